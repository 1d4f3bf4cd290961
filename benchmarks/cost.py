"""What training a preset costs on a GPU: arithmetic that is counted, at a rate that is assumed. Nothing is measured.

    python benchmarks/cost.py [--preset imagenet] [--rate 2500] [--decode 2500]

Neither a GPU nor an image set is needed. Counted are the operations of one forward pass of each network (by torch's
counter, on tensors without storage), the passes that training and fine-tuning make (from the preset), and the bytes
that autograd keeps of one. Assumed is `--rate`, the images per second at which one GPU trains ResNet-50, STD, at 224 px
in bfloat16; the operations per second that this amounts to are taken for every other network as well:

    GPU hours = forward passes x operations of one / (rate x 3 x operations of ResNet-50) / 3600

An image costs 3 forward passes in a standard training step (backward is two more, for the weights and for the maps),
and 5 in an FGSM training step. Training takes no less than its images take to be decoded (`--decode`, images per second
of all the cores beside a GPU).
"""

import argparse
from collections.abc import Iterator
from dataclasses import dataclass

import torch
from torch import nn
from torch.autograd.graph import saved_tensors_hooks
from torch.utils.flop_counter import FlopCounterMode

from advlook.core.names import ARCH_NAMES
from advlook.core.preset_files import available, load_preset
from advlook.core.presets import SETTINGS, Preset
from advlook.data.catalogue import lookup
from advlook.models.architectures import build_model, preset_model
from advlook.models.folding import for_inference
from advlook.models.fusion import COMBINATIONS, members

REFERENCE = "resnet50", 224  # what `--rate` is stated for
STEP = {"std": 3, "adv": 5}  # forward passes that a training step is worth


@dataclass(frozen=True)
class Piece:
    """A part of the study: its operations, and how many images it has to decode."""

    name: str
    operations: float
    decoded: int = 0


def operations(model: nn.Module, size: int) -> int:
    """Of one forward pass on one image: multiplications and additions."""
    counter = FlopCounterMode(display=False)
    with counter, torch.no_grad():
        model(torch.empty(1, 3, size, size, device="meta"))
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


def target_images(preset: Preset, name: str) -> tuple[int, int]:
    """Training and test images of a target of notebook 06."""
    config = preset.ensembles
    return min(config.fine_tuned_images, lookup(name.partition("@")[0]).train), config.fine_tuned_test_images


def fine_tuning(preset: Preset) -> int:
    """Forward passes that fine-tuning every ensemble of one architecture is worth."""
    config, total = preset.ensembles, 0
    for train, test in (target_images(preset, name) for name in config.fine_tuned):
        for run in range(config.runs):
            backbones = sum(len(members(combination, preset.seeds, run)) for combination in COMBINATIONS)
            total += backbones * (config.epochs * train * STEP["std"] + test)
    return total


def pieces(preset: Preset) -> Iterator[Piece]:
    train = preset.data.train_images or lookup(preset.data.name).train
    seeds, sizes = len(preset.seeds), preset.training.sizes
    trained = [arch for arch in preset.archs if arch not in preset.external]
    for arch in trained:
        shown = sum(operations(preset_model(preset, arch, 0), side) for side in sizes) / len(sizes)
        for setting in SETTINGS:
            epochs = getattr(preset.models[arch], f"epochs_{setting}")
            images = epochs * train * seeds
            name = f"training {ARCH_NAMES[arch]} {setting.upper()}, {epochs} epochs, {seeds} seed(s)"
            yield Piece(name, images * STEP[setting] * shown, decoded=images)
    each = sum(operations(preset_model(preset, arch, 0), preset.data.size) for arch in preset.archs)
    yield Piece("notebook 06, fine-tuning", fine_tuning(preset) * each)


def hours_table(preset: Preset, rate: float, decode: float) -> Iterator[str]:
    speed = rate * STEP["std"] * operations(build_model(REFERENCE[0], 1000), REFERENCE[1])
    yield "| piece | operations [10^15] | GPU hours |"
    yield "|---|---|---|"
    total = [0.0, 0.0]
    for piece in pieces(preset):
        hours = max(piece.operations / speed, piece.decoded / decode) / 3600
        total = [total[0] + piece.operations, total[1] + hours]
        waits = " (waits for decoding)" if piece.decoded / decode > piece.operations / speed else ""
        yield f"| {piece.name} | {piece.operations / 1e15:,.0f} | {hours:,.1f}{waits} |"
    yield f"| all | {total[0] / 1e15:,.0f} | {total[1]:,.0f} |"


def memory_table(preset: Preset) -> Iterator[str]:
    training, evaluation = preset.training.batch_size // preset.training.accumulate, preset.evaluation.batch_size
    yield f"| GPU memory [GB] | training, batch {training}, bfloat16 | an attack, batch {evaluation}, float32 |"
    yield "|---|---|---|"
    for arch in preset.archs:
        model, size = preset_model(preset, arch, 0), preset.data.size
        states = 3 * 4 * sum(value.numel() for value in model.parameters())  # weights, gradients, momentum
        attacked = evaluation * kept(for_inference(model.eval()), size, torch.float32)
        trained = training * kept(model.train(), size, torch.bfloat16) + states
        yield f"| {ARCH_NAMES[arch]} | {trained / 1e9:.1f} | {attacked / 1e9:.1f} |"


def main() -> None:
    parser = argparse.ArgumentParser(description="Print what a preset costs; the docstring says how it is derived.")
    parser.add_argument("--preset", default="imagenet", help=f"one of {', '.join(available())}, or a .toml")
    parser.add_argument("--rate", type=float, default=2500, help="images/s of ResNet-50 STD training on one GPU")
    parser.add_argument("--decode", type=float, default=2500, help="images/s that the cores beside it decode")
    arguments = parser.parse_args()
    preset = load_preset(arguments.preset)
    if not preset.data.train_images and not lookup(preset.data.name):
        parser.error(f"preset {preset.name}: the catalogue does not know how many images {preset.data.name!r} has")
    with torch.device("meta"):
        print("\n".join(hours_table(preset, arguments.rate, arguments.decode)), end="\n\n")
        print("\n".join(memory_table(preset)))


if __name__ == "__main__":
    main()
