"""How fast maps and maximising inputs are, in one run, at the same result: integrated gradients and SmoothGrad against
captum, activation maximisation of 64 units together against one after another.

    python benchmarks/maps.py [--preset imagenette] [--arch resnet10] [--images 20] [--rounds 5] [--quick]

captum is there after `make test`. Points a map, rule of integration, noise, images in a forward pass, threads are the
same for both. advlook folds batch normalisation and lays maps out channels last by itself; captum gets the same weights
as its users would give them: float32, contiguous. Weights do not matter for speed, so the network is an untrained one,
with batch statistics of the images; and neither do the images, which are those of the embedded test-bed, each stretched
to [0, 1], because captum takes one spread of the noise for all of them.

The libraries take turns within every round, after a warm-up, so that what slows the machine down for a while slows both
of them. Machines differ and are shared: read the ratio, a median over the rounds, not the rates. On the CPU both draw
the same noise from the same seed, so the maps must agree: the table gives the lowest correlation of any image's two.

Units are maximised in the first layer that has 64 of them behind the middle of the network, from the same noise: all in
one call; one call of ours for each; and by the loop that one would write first: a hook, the whole network, and
`backward()`, which computes the parameters' gradients as well.
"""

import argparse
import copy
import os
import statistics
import time
import warnings
from collections.abc import Callable

import torch
from captum.attr import IntegratedGradients, NoiseTunnel, Saliency
from torch import Tensor, nn

from advlook.attacks.ball import ascend
from advlook.core.preset_files import available, load_preset
from advlook.data.test_bed import generate
from advlook.models.architectures import preset_model
from advlook.models.folding import for_inference
from advlook.sensitivity.filters import conv_layers
from advlook.sensitivity.maps import BATCH_SIZE, integrated_gradients, smooth_grad
from advlook.sensitivity.units import maximise

GOAL = 1.3  # times as fast as captum
TOGETHER_GOAL = 5.0  # times as fast as unit by unit
UNITS = 64
SAME = 0.999  # correlation
SIGMA = 0.15  # of the range, which is 1
Maker = Callable[[int], Tensor]  # seed -> maps (N, 3, H, W)


def subject(preset_name: str, arch: str, count: int, device: torch.device) -> tuple[nn.Module, Tensor, Tensor]:
    preset = load_preset(preset_name)
    images = generate(count, preset.data.size, seed=0).images.to(device).float() / 255
    low, high = (find(images.flatten(1), 1).view(-1, 1, 1, 1) for find in (torch.amin, torch.amax))
    images = (images - low) / (high - low)
    model = preset_model(preset, arch, 0).to(device)
    for module in model.modules():
        if isinstance(module, nn.BatchNorm2d):
            module.momentum = None  # the mean over all batches seen
    with torch.no_grad():
        for batch in images.split(50):
            model.train()(batch)
        labels = model.eval()(images).argmax(1)
    return model, images, labels


def captum_maps(
    attribute: Callable[[Tensor, Tensor], Tensor], images: Tensor, labels: Tensor, points: int, batch_size: int
) -> Tensor:
    """In portions that put no more images into a forward pass than advlook does."""
    together = max(1, batch_size // points)
    return torch.cat([attribute(x, y) for x, y in zip(images.split(together), labels.split(together), strict=True)])


def makers(
    model: nn.Module, images: Tensor, labels: Tensor, points: int, batch_size: int
) -> dict[str, dict[str, Maker]]:
    """For each map, by library, what computes it."""
    plain = copy.deepcopy(model).to(memory_format=torch.contiguous_format)
    path, noisy = IntegratedGradients(plain), NoiseTunnel(Saliency(plain))

    def our_noise(seed: int) -> Tensor:
        generator = torch.Generator(images.device).manual_seed(seed)
        return smooth_grad(
            model, images, labels, samples=points, sigma=SIGMA, batch_size=batch_size, generator=generator
        )

    def their_noise(seed: int) -> Tensor:
        torch.manual_seed(seed)
        options = {
            "nt_samples": points,
            "nt_samples_batch_size": min(points, batch_size),
            "stdevs": SIGMA,
            "abs": False,
        }
        return captum_maps(lambda x, y: noisy.attribute(x, target=y, **options), images, labels, points, batch_size)

    def their_path(seed: int) -> Tensor:
        options = {"n_steps": points, "method": "gausslegendre", "internal_batch_size": batch_size}
        return captum_maps(lambda x, y: path.attribute(x, 0.0, y, **options), images, labels, points, batch_size)

    return {
        f"integrated gradients, {points} steps": {
            "advlook": lambda seed: integrated_gradients(model, images, labels, steps=points, batch_size=batch_size),
            "captum": their_path,
        },
        f"SmoothGrad, {points} samples": {"advlook": our_noise, "captum": their_noise},
    }


def timed(make: Maker, seed: int, device: torch.device) -> tuple[float, Tensor]:
    """Seconds taken, and the maps."""
    started = time.perf_counter()
    maps = make(seed)
    if device.type == "cuda":
        torch.cuda.synchronize()
    return time.perf_counter() - started, maps.detach()


def agreement(ours: Tensor, theirs: Tensor) -> float:
    """The lowest correlation of any image's two maps."""
    pairs = zip(ours.flatten(1), theirs.flatten(1), strict=True)
    return min(float(torch.corrcoef(torch.stack(pair))[0, 1]) for pair in pairs)


def wide_layer(model: nn.Module, size: int) -> str:
    """The first convolution behind the middle of the network with enough units, or else the widest."""
    names = conv_layers(model, size=size)
    widths = {name: model.get_submodule(name).out_channels for name in names[len(names) // 2 :]}
    return next((name for name, width in widths.items() if width >= UNITS), max(widths, key=widths.__getitem__))


def plain_maximise(model: nn.Module, layer: str, unit: int, start: Tensor, steps: int, step_size: float) -> float:
    """Mean activation reached by the loop that one would write first, with the same steps as `layers.maximise`."""
    seen: list[Tensor] = []
    length = step_size * start[0].numel() ** 0.5
    image = start.clone().requires_grad_()
    with model.get_submodule(layer).register_forward_hook(lambda module, inputs, output: seen.append(output)):
        for _ in range(steps + 1):
            model(image)
            activation = seen.pop()[:, unit]
            activation.sum().backward()
            with torch.no_grad():
                image.copy_(ascend(image, image.grad, length, "l2").clamp_(0, 1))
            image.grad = None
    return activation.mean().item()


def compare_units(model: nn.Module, size: int, steps: int, rounds: int) -> None:
    """Print how much faster many units together are than one after another."""
    fast = for_inference(model)
    layer = wide_layer(fast, size)
    units = list(range(min(UNITS, fast.get_submodule(layer).out_channels)))
    plain = copy.deepcopy(model).to(memory_format=torch.contiguous_format)
    options = {"size": size, "steps": steps, "precision": "auto"}  # as in notebook 03
    first = 0.5 + 0.02 * torch.randn(1, 3, size, size, generator=torch.Generator().manual_seed(0))
    works: dict[str, Callable[[], object]] = {
        "together": lambda: maximise(fast, layer, units, **options),
        "one call each": lambda: [maximise(fast, layer, [unit], **options) for unit in units],
        "plain loop": lambda: [plain_maximise(plain, layer, unit, first, steps, 0.03) for unit in units],
    }
    maximise(fast, layer, units, **options | {"steps": 1})
    taken: dict[str, list[float]] = {name: [] for name in works}
    for _ in range(rounds):
        for name, work in works.items():
            started = time.perf_counter()
            work()
            taken[name].append(time.perf_counter() - started)
    print(f"maximising {len(units)} units of {layer.removeprefix('network.')}, {steps} steps")
    for name, seconds in taken.items():
        line = f"  {name:<32}{len(units) / statistics.median(seconds):>9.2f} units/s"
        if name != "together":
            ratios = [each / ours for each, ours in zip(seconds, taken["together"], strict=True)]
            ratio = statistics.median(ratios)
            line += f"{ratio:>7.2f}  ({min(ratios):.2f} to {max(ratios):.2f})   {TOGETHER_GOAL} "
            line += "met" if ratio >= TOGETHER_GOAL else "missed"
        print(line)


def main() -> None:
    parser = argparse.ArgumentParser(description="Measure maps; the module's docstring says how to read the table.")
    parser.add_argument("--preset", default="imagenette", help=f"one of {', '.join(available())}, or a .toml")
    parser.add_argument("--arch", default="resnet10")
    parser.add_argument("--images", type=int, default=20)
    parser.add_argument("--points", type=int, default=50, help="steps of a path, samples of noise")
    parser.add_argument("--steps", type=int, default=20, help="steps of activation maximisation")
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--batch-size", type=int, default=BATCH_SIZE, help="images in a forward pass")
    parser.add_argument("--quick", action="store_true", help="preset smoke, few images and steps: does it run at all?")
    arguments = parser.parse_args()
    if arguments.quick:
        arguments.preset, arguments.images, arguments.points, arguments.rounds = "smoke", 4, 5, 1
        arguments.steps = 2
    warnings.filterwarnings("ignore", "Input Tensor .* did not already require gradients")

    device = torch.device("cuda" if torch.cuda.is_available() else "cpu")
    model, images, labels = subject(arguments.preset, arguments.arch, arguments.images, device)
    print(
        f"{arguments.arch}, preset {arguments.preset}: {images.shape[-1]} px, {len(images)} images, at most "
        f"{arguments.batch_size} in a forward pass, {device.type}, {torch.get_num_threads()} threads of "
        f"{os.cpu_count()} cores; rates are medians of {arguments.rounds} rounds"
    )
    print(
        f"{'map':<34}{'library':<10}{'images/s':>9}{'  advlook is faster by (range)':<31}"
        f"{'goal':<12}{'correlation':>11}"
    )
    first = slice(max(1, arguments.batch_size // arguments.points))  # one forward pass, as large as they will be
    for libraries in makers(model, images[first], labels[first], arguments.points, arguments.batch_size).values():
        for make in libraries.values():
            make(0)
    for name, libraries in makers(model, images, labels, arguments.points, arguments.batch_size).items():
        rounds = []
        for seed in range(arguments.rounds):
            rounds.append({library: timed(make, seed, device) for library, make in libraries.items()})
        for library in libraries:
            seconds = statistics.median(result[library][0] for result in rounds)
            line = f"{name:<34}{library:<10}{len(images) / seconds:>9.2f}"
            if library == "advlook":
                print(line)
                continue
            ratios = [result[library][0] / result["advlook"][0] for result in rounds]
            ratio = statistics.median(ratios)
            same = min(agreement(result["advlook"][1], result[library][1]) for result in rounds)
            times = f"{ratio:>9.2f}  ({min(ratios):.2f} to {max(ratios):.2f})"
            met = "" if arguments.quick else f"{GOAL} {'met' if ratio >= GOAL else 'missed'}"
            print(f"{line}{times:<31}{met:<12}{same:>11.6f}{'' if same >= SAME else '   missed: not the same maps'}")
    compare_units(model, images.shape[-1], arguments.steps, min(3, arguments.rounds))


if __name__ == "__main__":
    main()
