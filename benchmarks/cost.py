"""What a preset costs on a GPU: arithmetic that is counted, at a rate that is assumed. Nothing is measured here.

    python benchmarks/cost.py [--preset imagenet] [--rate 2500] [--decode 2500]

Neither a GPU nor an image set is needed. Counted are the operations of one forward pass of each network (by torch's
counter, on tensors without storage), the passes that each piece of the study makes (from the preset), and the bytes
that autograd keeps of one. Assumed is `--rate`, the images per second at which one GPU trains ResNet-50, STD, at 224 px
in bfloat16; the operations per second that this amounts to are taken for every other network and piece as well:

    GPU hours = forward passes x operations of one / (rate x 3 x operations of ResNet-50) / 3600

An image costs 1 forward pass in evaluation, 3 in a standard training step (backward is two more, for the weights and
for the maps), 2 in a step of an attack or in a gradient map (backward for the maps alone), and 5 in an FGSM training
step: 5/3 of a standard one. Where arithmetic is float32 the rate is lower by FLOAT32. Training takes no less than its
images take to be decoded (`--decode`, images per second of all the cores beside a GPU). Attacks leave out what is lost
already, and maximised units stop at their layer, so the hours of notebooks are upper bounds for what is counted. Not
counted are the image operations, figures, and whatever the CPU does alone, such as classifiers on frozen features.
"""

import argparse
from collections.abc import Iterator
from dataclasses import dataclass

import torch
from torch import nn
from torch.autograd.graph import saved_tensors_hooks
from torch.utils.flop_counter import FlopCounterMode

from advlook import attacks
from advlook.core.names import ARCH_NAMES
from advlook.core.presets import SETTINGS, Preset, available, load_preset
from advlook.corruptions import adain
from advlook.corruptions.severities import FAMILIES
from advlook.data.catalogue import lookup
from advlook.experiments.sanity_checks import measure as sanity_checks_measure
from advlook.experiments.stylization.images import STRENGTHS
from advlook.experiments.visualize import measure as vision
from advlook.models.architectures import build_model, folded, preset_model
from advlook.models.fusion import COMBINATIONS, members
from advlook.sensitivity import randomisation
from advlook.sensitivity.maps import METHODS

REFERENCE = "resnet50", 224  # what `--rate` is stated for
FLOAT32 = 938 / 2470  # of that rate: images/s in TF32 and mixed precision, published for an A100 (DeepLearningExamples)
STEP = {"std": 3, "adv": 5}  # forward passes that a training step is worth
GRADIENT = 2  # and a step of an attack, or a map
TEST = {"imagenet": 50_000, "imagenette": 3_925, "cifar10": 10_000}  # test images of whole sets


@dataclass(frozen=True)
class Piece:
    """A part of the study: its operations, whether they are in bfloat16, and how many images it has to decode."""

    name: str
    operations: float
    native: bool
    decoded: int = 0


def operations(model: nn.Module, size: int, channels: int = 3) -> int:
    """Of one forward pass on one image: multiplications and additions."""
    counter = FlopCounterMode(display=False)
    with counter, torch.no_grad():
        model(torch.empty(1, channels, size, size, device="meta"))
    return counter.get_total_flops()


def kept(model: nn.Module, size: int, dtype: torch.dtype) -> float:
    """Bytes of maps that autograd keeps of one image's forward pass until the backward pass."""
    model, found = model.to(dtype), {}

    def keep(value: torch.Tensor) -> torch.Tensor:
        if value.dim() == 4 and len(value) == 2:  # not a weight; held, so that no other gets its place
            found[value.untyped_storage()._cdata] = value
        return value

    with saved_tensors_hooks(keep, lambda value: value):
        logits = model(torch.empty(2, 3, size, size, device="meta", dtype=dtype, requires_grad=True))
    del logits
    return sum(value.numel() * value.element_size() for value in found.values()) / 2


def attack(steps: int, restarts: int = 1) -> int:
    """Forward passes of an iterative attack on an image, and of the answer that it gets."""
    return GRADIENT * steps * restarts + 1


class Counts:
    """How many forward passes of an architecture the pieces of a preset are worth."""

    def __init__(self, preset: Preset) -> None:
        self.preset = preset
        self.test = preset.data.test_images or TEST[preset.data.name]
        self.train = preset.data.train_images or lookup(preset.data.name).train
        self.seeds = len(preset.seeds)
        self.models = self.seeds * len(SETTINGS)  # of an architecture, the untrained ones left out

    def tradeoff(self, arch: str) -> int:
        config = self.preset.evaluation
        return self.models * self.test * (2 + attack(1) + attack(config.pgd_steps, config.pgd_restarts))

    def attacks(self, arch: str) -> int:
        config = self.preset.evaluation
        images, steps = config.curve_images or self.test, config.pgd_steps
        radii = [eps for eps in config.curve if eps]
        pgd = {(eps, steps, 1) for eps in radii} | {(config.eps, count, 1) for count in config.steps}
        pgd |= {(config.eps, steps, count) for count in config.restarts}
        each = 1 + len(radii) * (1 + attack(1)) + sum(attack(*effort) for _, *effort in pgd)
        each += attack(1) + 3 * attack(steps) + 1  # random start; random target, momentum, L2; noise in L2
        each += attack(attacks.SUITE_PGD_STEPS) + 2 * attack(config.suite_steps)
        each += GRADIENT * steps + 2 * self.models * len(self.preset.archs)  # transfer
        each += 13 * attack(steps)  # smallest radii
        each += 1 + attack(1) + 3 * attack(steps) + GRADIENT  # checks
        return self.models * images * each

    def maps(self, arch: str) -> int:
        config, size = self.preset.visualize, self.preset.data.size
        reach = size // 2 // config.fourier_stride
        frequencies = (2 * reach) ** 2 // 2
        shown = 1 + 2 * len(vision.CUTOFFS) + sum(size % block == 0 for block in vision.BLOCKS)
        total = config.images * (frequencies + GRADIENT * self._gradients(config.samples))
        total += max(config.images, self.preset.evaluation.curve_images) * shown
        total += GRADIENT * vision.DEPTHS * config.units * config.starts * (config.steps + 1)
        return self.seeds * len(vision.KINDS) * total

    def corruptions(self, arch: str) -> int:
        config = self.preset.corruptions
        levels = 2 + len(config.sigmas) + len(config.median_kernels) * len(config.passes)
        return self.models * (config.images * levels + config.family_images * (1 + 5 * len(FAMILIES)))

    def stylized(self) -> int:
        """Images that are made."""
        config = self.preset.stylization
        return config.images + (len(STRENGTHS) - 2) * config.partial_images + config.cues

    def stylization(self, arch: str) -> int:
        return self.models * (2 * self.preset.stylization.images + self.stylized())

    def _target_images(self, name: str) -> tuple[int, int]:
        config = self.preset.ensembles
        return min(config.train_images, lookup(name.partition("@")[0]).train), config.test_images

    def fine_tuning(self, arch: str) -> int:
        config, total = self.preset.ensembles, 0
        for name in config.targets:
            train, test = self._target_images(name)
            for run in range(config.runs):
                backbones = sum(len(members(combination, self.preset.seeds, run)) for combination in COMBINATIONS)
                total += backbones * (config.epochs * train * STEP["std"] + test)
        return total

    def frozen(self, arch: str) -> int:
        config = self.preset.ensembles
        levels = [*config.targets, *(name for name in config.degraded for _ in config.sides)]
        return self.models * sum(sum(self._target_images(name)) for name in levels)

    def sanity(self, arch: str) -> int:
        config = self.preset.visualize
        count = len(randomisation.stages(preset_model(self.preset, arch, 0)))
        cascade = min(sanity_checks_measure.CASCADE_IMAGES, config.sanity_images) * 2 * count * len(SETTINGS)
        cascade *= self._gradients(min(sanity_checks_measure.CASCADE_SAMPLES, config.samples))
        images = self.seeds * len(sanity_checks_measure.KINDS) * config.sanity_images
        return GRADIENT * (images * self._gradients(config.samples) + cascade)

    @staticmethod
    def _gradients(samples: int) -> int:
        """Gradients that all maps of an image take: SmoothGrad and integrated gradients one each sample."""
        return len(METHODS) - 2 + 2 * samples


def adain_operations(counts: Counts) -> int:
    """Operations of the decoder's training and of all images that the network makes."""
    encoder, network = adain.Encoder(adain.vgg19().features), adain.decoder()
    size = counts.preset.data.size
    encoded, large = (operations(encoder, side) for side in (size, 2 * size))
    decoded = operations(network, size // 8, channels=512)
    # Contents and styles are encoded; what is decoded as well, and the gradient goes back through both.
    training = adain.DECODER_STEPS * adain.BATCH_SIZE * (4 * encoded + 3 * decoded)
    return training + counts.stylized() * (encoded + large + decoded)


def pieces(preset: Preset) -> Iterator[Piece]:
    """Everything that `advlook reproduce` computes on the GPU, in its order."""
    counts, size = Counts(preset), preset.data.size

    def of_one(arch: str, side: int) -> int:
        return operations(preset_model(preset, arch, 0), side)

    for arch in preset.archs:
        if arch in preset.external:
            continue
        shown = sum(of_one(arch, side) for side in preset.training.sizes) / len(preset.training.sizes)
        for setting in SETTINGS:
            epochs = getattr(preset.models[arch], f"epochs_{setting}")
            images = epochs * counts.train * counts.seeds
            name = f"training {ARCH_NAMES[arch]} {setting.upper()}, {epochs} epochs, {counts.seeds} seed(s)"
            yield Piece(name, images * STEP[setting] * shown, native=True, decoded=images)
    notebooks = {
        "01, trade-off": counts.tradeoff,
        "02, attacks": counts.attacks,
        "03, maps and scale": counts.maps,
        "04, corruptions": counts.corruptions,
        "05, answers about stylized images": counts.stylization,
        "06, frozen backbones": counts.frozen,
        "06, fine-tuning": counts.fine_tuning,
        "07, sanity checks": counts.sanity,
    }
    for name, passes in notebooks.items():
        total = sum(passes(arch) * of_one(arch, size) for arch in preset.archs)
        yield Piece(f"notebook {name}", total, native=name == "06, fine-tuning")
    if preset.stylization.engine == "adain":
        yield Piece("notebook 05, AdaIN: its decoder, and the images", adain_operations(counts), native=False)


def hours_table(preset: Preset, rate: float, decode: float) -> Iterator[str]:
    speed = rate * STEP["std"] * operations(build_model(REFERENCE[0], 1000), REFERENCE[1])
    yield "| piece | operations [10^15] | GPU hours |"
    yield "|---|---|---|"
    total = [0.0, 0.0]
    for piece in pieces(preset):
        hours = max(piece.operations / speed / (1 if piece.native else FLOAT32), piece.decoded / decode) / 3600
        total = [total[0] + piece.operations, total[1] + hours]
        waits = " (waits for decoding)" if piece.decoded / decode > piece.operations / speed else ""
        shown = f"{hours:,.1f}" if hours >= 0.05 else "below 0.1"
        yield f"| {piece.name} | {piece.operations / 1e15:,.0f} | {shown}{waits} |"
    yield f"| all | {total[0] / 1e15:,.0f} | {total[1]:,.0f} |"


def memory_table(preset: Preset) -> Iterator[str]:
    training, evaluation = preset.training.batch_size // preset.training.accumulate, preset.evaluation.batch_size
    yield f"| GPU memory [GB] | training, batch {training}, bfloat16 | an attack, batch {evaluation}, float32 |"
    yield "|---|---|---|"
    for arch in preset.archs:
        model, size = preset_model(preset, arch, 0), preset.data.size
        states = 3 * 4 * sum(value.numel() for value in model.parameters())  # weights, gradients, momentum
        attacked = evaluation * kept(folded(model.eval()), size, torch.float32)
        trained = training * kept(model.train(), size, torch.bfloat16) + states
        yield f"| {ARCH_NAMES[arch]} | {trained / 1e9:.1f} | {attacked / 1e9:.1f} |"


def disk_table(preset: Preset) -> Iterator[str]:
    counts, data, config = Counts(preset), preset.data, preset.ensembles

    def decoded(images: int, side: int) -> float:
        return images * 3 * side**2

    pairs = [counts._target_images(name) for name in config.targets]
    tests = sum(decoded(sum(pair), data.size) for pair in pairs)
    margins = sum(decoded(train, data.store or data.test_store) for train, _ in pairs)
    degraded = sum(decoded(sum(counts._target_images(name)), data.size) * len(config.sides) for name in config.degraded)
    rows = {
        "test images": decoded(counts.test, data.size),
        "training images": decoded(counts.train, data.store),
        "notebook 05: stylized images": decoded(counts.stylized(), data.size),
        "notebook 05: each 1,000 paintings": decoded(1000, 2 * data.size),
        "notebook 06: targets": tests + margins,
        "notebook 06: one of them degraded": degraded,
    }
    yield "| decoded, in `data/cache` | GB |"
    yield "|---|---|"
    yield from (f"| {name} | {size / 1e9:,.1f} |" for name, size in rows.items() if size)


def main() -> None:
    parser = argparse.ArgumentParser(description="Print what a preset costs; the docstring says how it is derived.")
    parser.add_argument("--preset", default="imagenet", help=f"one of {', '.join(available())}, or a .toml")
    parser.add_argument("--rate", type=float, default=2500, help="images/s of ResNet-50 STD training on one GPU")
    parser.add_argument("--decode", type=float, default=2500, help="images/s that the cores beside it decode")
    arguments = parser.parse_args()
    torch.set_default_device("meta")
    preset = load_preset(arguments.preset)
    if preset.data.name not in TEST:
        parser.error(
            f"preset {preset.name}: how many images {preset.data.name!r} has is known of {', '.join(TEST)} alone"
        )
    print("\n".join(hours_table(preset, arguments.rate, arguments.decode)), end="\n\n")
    print("\n".join(memory_table(preset)), end="\n\n")
    print("\n".join(disk_table(preset)))


if __name__ == "__main__":
    main()
