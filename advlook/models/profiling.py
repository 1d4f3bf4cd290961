"""What a training step spends its time on, and what holds it back: `advlook train --profile`.

Two things are measured apart, since to time a stretch on a GPU is to wait for its end: the rate, with nothing but
training going on, and the shares of time, with a wait after each stretch.
"""

import resource
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, replace
from itertools import islice, repeat

import torch
from torch import Tensor, nn
from torch.utils.flop_counter import FlopCounterMode

from advlook.core.distributed import ALONE, Group
from advlook.core.errors import RequestError
from advlook.core.precision import autocast
from advlook.core.presets import DataConfig, Preset
from advlook.models.architectures import preset_model
from advlook.models.training import Trainer, TrainingImages

WARM_UP = 5  # steps before the clock starts: kernels are chosen, processes that decode are started
LITTLE = 5  # percent of the rate, and of the time, that an input pipeline may cost without being in the way


@dataclass(frozen=True)
class Profile:
    """What was measured of one training, over all processes together.

    rate: images a second; step_rate: of one batch shown again and again, without an input pipeline; shares: of the
    time, in percent, by stretch; operations: floating-point operations a second that the network's products take, in
    training and in the attack; peak: those of one large matrix product on as many devices; memory: bytes of a process
    at most.
    """

    title: str
    rate: float
    step_rate: float
    shares: dict[str, float]
    operations: float
    peak: float
    memory: int

    @property
    def held_back_by(self) -> str:
        """The input pipeline, where steps without it are faster and it is waited for; else the longest stretch."""
        if self.rate < (1 - LITTLE / 100) * self.step_rate and self.shares["data"] > LITTLE:
            return "the input pipeline (more processors, or more processes that decode: ADVLOOK_WORKERS)"
        return max((name for name in self.shares if name != "data"), key=self.shares.__getitem__)

    def __str__(self) -> str:
        return "\n".join(
            [
                self.title,
                f"  {self.rate:,.0f} images/s; {self.step_rate:,.0f} with one batch again and again, without input",
                "  " + ", ".join(f"{name} {share:.0f}%" for name, share in self.shares.items()),
                f"  {self.operations / 1e12:.3g} TFLOP/s, {100 * self.operations / self.peak:.0f}% of a large matrix "
                f"product's {self.peak / 1e12:.3g}; {self.memory / 2**30:.1f} GiB at most",
                f"  held back by: {self.held_back_by}",
            ]
        )


class Stopwatch:
    """Seconds spent in each named stretch; on a GPU a stretch ends when the GPU is done with it."""

    def __init__(self, device: torch.device) -> None:
        self.device = device
        self.seconds: dict[str, float] = {}

    @contextmanager
    def __call__(self, phase: str) -> Iterator[None]:
        """Add the time of the block to that of `phase`."""
        started = time.perf_counter()
        yield
        finish(self.device)
        self.seconds[phase] = self.seconds.get(phase, 0.0) + time.perf_counter() - started

    def shares(self) -> dict[str, float]:
        """Percent of all the time by stretch, in the order in which they came."""
        whole = sum(self.seconds.values())
        return {phase: 100 * seconds / whole for phase, seconds in self.seconds.items()}


class _Steps:
    """The first batches of an epoch, or with a batch given that one again and again."""

    def __init__(self, images: TrainingImages, count: int, batch: tuple[Tensor, Tensor] | None = None) -> None:
        self.images, self.count, self.batch = images, count, batch

    def __len__(self) -> int:
        return self.count

    def training_batches(
        self,
        config: DataConfig,
        batch_size: int,
        generator: torch.Generator,
        device: torch.device | str = "cpu",
        group: Group = ALONE,
    ) -> Iterator[tuple[Tensor, Tensor]]:
        """As of all images, as many batches as make the count."""
        steps = self.count // batch_size
        if self.batch is not None:
            yield from repeat(self.batch, steps)
        else:
            yield from islice(self.images.training_batches(config, batch_size, generator, device, group), steps)


def profile(
    preset: Preset,
    arch: str,
    setting: str,
    images: TrainingImages,
    device: torch.device,
    *,
    steps: int = 30,
    group: Group = ALONE,
) -> Profile:
    """Train an untrained model for a few steps at the preset's full size, and say where the time went; nothing is kept.

    Every process of a group calls it. Raises RequestError where there are too few images for `steps` after those that
    warm up.
    """
    config, side = preset.training, preset.data.size
    count = (WARM_UP + steps) * config.batch_size
    if len(images) < count:
        raise RequestError(
            f"a profile of {steps} steps of {config.batch_size} images takes {count:,}; there are {len(images):,}"
        )
    preset = replace(preset, data=replace(preset.data, train_images=0), training=replace(config, sizes=(side,)))
    at_once = config.batch_size // config.accumulate
    own = len(range(at_once)[group.share(at_once)])
    batch = (
        torch.rand(own, 3, side, side, device=device).contiguous(memory_format=torch.channels_last),
        torch.arange(own, device=device) % preset.data.classes,
    )
    if device.type == "cuda":
        torch.cuda.reset_peak_memory_stats()
    step_rate = _rate(Trainer(preset, arch, setting, 0, device, group=group), _Steps(images, count, batch))
    rate = _rate(Trainer(preset, arch, setting, 0, device, group=group), _Steps(images, count))
    watch = Stopwatch(device)
    Trainer(preset, arch, setting, 0, device, group=group, watch=watch).train_epoch(
        _Steps(images, count), lambda images: None
    )
    # Forward, backward and update of every product; an attack asks the backward pass for the images' gradient alone.
    passes = 3 + (2 * (1 if preset.adversary.method == "fgsm" else preset.adversary.steps) if setting == "adv" else 0)
    bf16 = isinstance(autocast(config.precision, device), torch.autocast)
    kind = torch.cuda.get_device_name() if device.type == "cuda" else "CPU"
    return Profile(
        title=f"{preset.name} {arch} {setting.upper()}: {config.batch_size} images of {side} px a step, "
        f"{'bfloat16' if bf16 else 'float32'}, {group.size} x {kind}",
        rate=rate,
        step_rate=step_rate,
        shares=watch.shares(),
        operations=rate * passes * operations(preset_model(preset, arch, 0), side),
        peak=group.size * matrix_rate(device, torch.bfloat16 if bf16 else torch.float32),
        memory=_most_memory(device),
    )


def _rate(trainer: Trainer, images: _Steps) -> float:
    """Images a second of an epoch, the first steps left out."""
    seen, left_out, began = 0, WARM_UP * trainer.config.batch_size, 0.0

    def progressed(count: int) -> None:
        nonlocal seen, began
        seen += count
        if seen == left_out:
            finish(trainer.device)
            began = time.perf_counter()

    trainer.train_epoch(images, progressed)
    finish(trainer.device)
    return (seen - left_out) / (time.perf_counter() - began)


def operations(model: nn.Module, side: int) -> float:
    """Floating-point operations of the products in a forward pass of one image; multiplying and adding are two."""
    with FlopCounterMode(display=False) as counter, torch.no_grad():
        model.eval()(torch.zeros(1, 3, side, side))
    return counter.get_total_flops()


def matrix_rate(device: torch.device, dtype: torch.dtype) -> float:
    """Floating-point operations a second of a large matrix product: what the device reaches at its best."""
    size, times = (8192, 20) if device.type == "cuda" else (1024, 10)
    one, other = (torch.rand(size, size, device=device).to(dtype) for _ in range(2))
    one @ other
    finish(device)
    started = time.perf_counter()
    for _ in range(times):
        one @ other
    finish(device)
    return times * 2 * size**3 / (time.perf_counter() - started)


def finish(device: torch.device) -> None:
    """Wait until the device has done what it was given."""
    if device.type == "cuda":
        torch.cuda.synchronize(device)


def _most_memory(device: torch.device) -> int:
    if device.type == "cuda":
        return torch.cuda.max_memory_allocated(device)
    # The unit differs: kibibytes on Linux, bytes on macOS.
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * (1 if sys.platform == "darwin" else 1024)
