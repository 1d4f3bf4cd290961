"""How fast the image operations are, in one run: the 3x3 median against OpenCV, scipy and kornia, at the same result;
and what the sweeps of notebook 04 cost beside the forward passes that they contain.

    python benchmarks/corruptions.py [--preset imagenette] [--arch resnet10] [--rounds 9] [--threads 1] [--quick]

scipy is there after `make test`; kornia comes with
`pip install --constraint constraints.txt --editable '.[dev,benchmark]'`. One that is absent is left out, and named.

Every library gets the same float32 batch as it likes it best, and makes a new one: OpenCV, called as a user would, an
image at a time, has the channels last in memory, as `ImageSet.batches` gives them to advlook; scipy and kornia have
them first. OpenCV, and so advlook, and scipy have no threads for a median, however many they are allowed. kornia takes
what lies outside an image as 0, so results are compared without the outermost pixels.

A sweep is measured against the same network on the same images, which then are there before the clock starts. Weights
do not matter for speed, so the network is an untrained one.

The contestants take turns within every round, after a warm-up, and a turn lasts several calls, so that what slows the
machine down for a while slows all of them, and none works in the cache that another has filled. Machines differ and are
shared: read the ratios, medians over the rounds, not the rates. Those of `--quick` say nothing: it only tries whether
everything runs.
"""

import argparse
import importlib
import os
import statistics
import time
from collections.abc import Callable, Iterator, Sequence

import cv2
import numpy as np
import torch
from torch import Tensor

from advlook.core.memory import keep_freed_memory
from advlook.core.preset_files import available, load_preset
from advlook.core.presets import CorruptionsConfig
from advlook.corruptions.filters import median_filter
from advlook.data.test_bed import generate
from advlook.experiments.corruptions.measure import sweeps
from advlook.models.architectures import preset_model
from advlook.models.folding import for_inference

IMAGES = 250  # in the batches whose medians are taken, as in those of `evaluation`
SLOW_IMAGES = 10  # of them, for the libraries that take a second for more; rates and ratios are those of an image
SIZES = (64, 224)
GOAL = 1.0  # times as fast as each library
SWEEP_GOAL = 1.15  # times the forward passes, at most
TURN = 0.1  # seconds of calls in a turn
Work = Callable[[], Tensor]


def opencv_work(pictures: np.ndarray) -> Work:
    """The batch `(N, H, W, 3)` an image at a time, each into its place."""

    def work() -> Tensor:
        made = np.empty_like(pictures)
        for picture, place in zip(pictures, made, strict=True):
            cv2.medianBlur(picture, 3, place)
        return torch.from_numpy(made).permute(0, 3, 1, 2)

    return work


def contestants(batch: Tensor) -> dict[str, Work]:
    """For each library that is there: what filters the batch, contiguous `(N, 3, H, W)`, or the first of its images."""
    last = batch.contiguous(memory_format=torch.channels_last)
    works: dict[str, Work] = {
        "advlook": lambda: median_filter(last, 1),
        "OpenCV": opencv_work(last.permute(0, 2, 3, 1).numpy()),
    }
    if scipy := found("scipy.ndimage"):
        array = batch[:SLOW_IMAGES].numpy()
        works["scipy"] = lambda: torch.from_numpy(scipy.median_filter(array, size=(1, 1, 3, 3)))
    if kornia := found("kornia.filters"):
        works["kornia"] = lambda: kornia.median_blur(batch[:SLOW_IMAGES], 3)
    return works


def found(name: str) -> object | None:
    try:
        return importlib.import_module(name)
    except ImportError as error:
        print(f"{name} is left out: {error}")
        return None


def turns(works: Sequence[Callable[[], object]], rounds: int) -> list[list[float]]:
    """Seconds that a call of each took, for every round."""
    calls = []
    for work in works:
        work()
        calls.append(max(1, round(TURN / timed(work, 1))))
    return [[timed(work, count) for work, count in zip(works, calls, strict=True)] for _ in range(rounds)]


def timed(work: Callable[[], object], calls: int) -> float:
    started = time.perf_counter()
    for _ in range(calls):
        work()
    return (time.perf_counter() - started) / calls


def ratio_of(rounds: list[list[float]], above: int, below: int) -> tuple[float, str]:
    """How many times as long one took as another: the median over the rounds, and the same in words with the range."""
    ratios = [seconds[above] / seconds[below] for seconds in rounds]
    ratio = statistics.median(ratios)
    return ratio, f"{ratio:>9.2f}  ({min(ratios):.2f} to {max(ratios):.2f})"


def inside(images: Tensor) -> Tensor:
    return images[..., 1:-1, 1:-1]


def compare_medians(size: int, count: int, rounds: int, threads: int) -> None:
    torch.set_num_threads(threads)
    cv2.setNumThreads(threads)
    batch = torch.rand(count, 3, size, size, generator=torch.Generator().manual_seed(0))
    works = contestants(batch)
    made = {name: work() for name, work in works.items()}
    ours = made["advlook"]
    taken = [
        [seconds / len(images) for seconds, images in zip(each, made.values(), strict=True)]
        for each in turns(list(works.values()), rounds)
    ]
    for place, (name, images) in enumerate(made.items()):
        line = f"{size:>4}{threads:>9}  {name:<10}{1 / statistics.median(each[place] for each in taken):>10.0f}"
        if name == "advlook":
            print(line)
            continue
        ratio, words = ratio_of(taken, place, 0)
        same = torch.equal(inside(images), inside(ours[: len(images)]))
        met = f"{GOAL} {'met' if round(ratio, 2) >= GOAL else 'missed'}"
        print(f"{line}{words:<32}{met}{'' if same else '   missed: not the same medians'}")


@torch.no_grad()
def compare_sweeps(preset_name: str, arch: str, count: int, rounds: int, threads: int) -> None:
    torch.set_num_threads(threads)
    cv2.setNumThreads(threads)
    preset = load_preset(preset_name)
    model = for_inference(preset_model(preset, arch, 0).eval())
    made = generate(count, preset.data.size, seed=0).images.float() / 255
    images = made.contiguous(memory_format=torch.channels_last)
    for operation in sweeps(images, preset.corruptions):
        there = list(levels(images, preset.corruptions, operation))

        def sweep(operation: str = operation) -> None:
            for changed in levels(images, preset.corruptions, operation):
                model(changed)

        def passes(there: list[Tensor] = there) -> None:
            for changed in there:
                model(changed)

        taken = turns([passes, sweep], rounds)
        ratio, words = ratio_of(taken, 1, 0)
        rate = len(there) * count / statistics.median(seconds[1] for seconds in taken)
        met = f"{SWEEP_GOAL} {'met' if ratio <= SWEEP_GOAL else 'missed'}"
        print(f"{threads:>7}  {operation:<12}{len(there):>6}{rate:>10.0f}{words:<32}{met}")


def levels(images: Tensor, config: CorruptionsConfig, operation: str) -> Iterator[Tensor]:
    """The images at every level but the first, which leaves them as they are."""
    _, *changed = sweeps(images, config)[operation]
    return (left for _, left in changed)


def main() -> None:
    parser = argparse.ArgumentParser(description="Measure operations; the module's docstring says how to read it.")
    parser.add_argument("--preset", default="imagenette", help=f"one of {', '.join(available())}, or a .toml")
    parser.add_argument("--arch", default="resnet10")
    parser.add_argument("--images", type=int, default=100, help="in the batch that is swept")
    parser.add_argument("--rounds", type=int, default=9)
    parser.add_argument("--threads", type=int, action="append", help="1 and as many as torch takes, unless given")
    parser.add_argument("--quick", action="store_true", help="preset smoke, few images: does it run at all?")
    arguments = parser.parse_args()
    if arguments.quick:
        arguments.preset, arguments.images, arguments.rounds = "smoke", 8, 2
    keep_freed_memory()  # as a Study does

    threads = arguments.threads or sorted({1, torch.get_num_threads()})
    print(f"CPU of {os.cpu_count()} cores; rates are medians of {arguments.rounds} rounds")
    print("3x3 median")
    print("  px  threads  library     images/s  advlook is faster by (range)  goal")
    for size in SIZES:
        for each in threads:
            compare_medians(size, 8 if arguments.quick else IMAGES, arguments.rounds, each)
    print(f"\nsweeps: {arguments.arch}, preset {arguments.preset}, batch {arguments.images}")
    print("threads  operation   levels  images/s  times the forward passes (range)  goal")
    for each in threads:
        compare_sweeps(arguments.preset, arguments.arch, arguments.images, arguments.rounds, each)


if __name__ == "__main__":
    main()
