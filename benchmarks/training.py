"""How fast training is: against what an attack must cost, against a plain loop, and against the machine.

    python benchmarks/training.py [--arch resnet10] [--preset imagenette] [--steps 20] [--rounds 3]

Everything is measured in one run, in interleaved rounds of `--steps` steps after a warm-up; rates are medians of
the rounds. Machines differ and are shared, so read the ratios, not the rates:

- "ADV / STD" is the cost of an adversarial step in standard ones. A standard step is 3 forward passes' worth of
  arithmetic (1 forward, 2 backward). FGSM adds 2 where it asks for the input's gradient alone, 5/3 in all, and 3
  where it computes the parameters' gradients as well, 2 in all. The goal is at most 1.75.
- "advlook / plain" compares with the loop that one would write first: JPEG files, a DataLoader with workers,
  torchvision's transforms, float32 in the default memory layout, and `loss.backward()` in the attack.
- "% of the float32 matrix rate" is the arithmetic that training gets done, counted as above from the operations of
  one forward pass, as a share of what large float32 matrix products reach here. bfloat16, where the hardware multiplies
  it, may exceed 100 %.

On a machine that is busy with other work, set OMP_NUM_THREADS=1: threads that wait for one another magnify the noise.
"""

import argparse
import resource
import statistics
import tempfile
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import torch
import torch.nn.functional as F
from PIL import Image
from torch import Tensor, nn
from torch.utils.data import DataLoader
from torch.utils.flop_counter import FlopCounterMode

from advlook.core.memory import keep_freed_memory
from advlook.core.precision import autocast
from advlook.core.preset_files import available, load_preset
from advlook.core.presets import Preset
from advlook.data.image_sets import ImageSet
from advlook.models.architectures import preset_model
from advlook.models.training import Trainer

FORWARDS = {"std": 3, "adv": 5}


def random_images(preset: Preset, count: int) -> ImageSet:
    """Smooth random images of the stored size, which compress about as well as photographs."""
    generator = torch.Generator().manual_seed(0)
    coarse = torch.rand(count, 3, 12, 12, generator=generator)
    images = F.interpolate(coarse, size=preset.data.store, mode="bicubic")
    images = images + 0.05 * torch.randn(images.shape, generator=generator)
    labels = torch.arange(count) % preset.data.classes
    images = (images.clamp(0, 1) * 255).to(torch.uint8).contiguous(memory_format=torch.channels_last)
    return ImageSet(images, labels, tuple(map(str, range(preset.data.classes))))


class OurLoop:
    """advlook's own epoch, over as many images as `steps` steps take."""

    def __init__(self, preset: Preset, arch: str, setting: str, images: ImageSet, device: torch.device) -> None:
        self.trainer = Trainer(preset, arch, setting, 0, device)
        # Halfway, where images have their full size and the learning rate is an ordinary one.
        self.trainer.history = [{}] * (self.trainer.epochs // 2)
        self.images = images

    def __call__(self) -> None:
        """Run one round."""
        self.trainer.train_epoch(self.images, lambda count: None)


class PlainLoop:
    """The usual training script, without any of what advlook does to be fast."""

    def __init__(self, preset: Preset, arch: str, setting: str, folder: Path, device: torch.device) -> None:
        from torchvision import datasets, transforms

        data, config = preset.data, preset.training
        transform = transforms.Compose(
            [
                transforms.RandomResizedCrop(data.size, scale=(data.crop_scale, 1)),
                transforms.RandomHorizontalFlip(),
                transforms.ToTensor(),
            ]
        )
        images = datasets.ImageFolder(str(folder), transform)
        self.loader = DataLoader(
            images, config.batch_size, shuffle=True, num_workers=2, drop_last=True, persistent_workers=True
        )
        self.eps = preset.adversary.eps if setting == "adv" else 0.0
        self.device = device
        model = preset_model(preset, arch, 0)
        self.model = model.to(device, memory_format=torch.contiguous_format).train()
        self.optimizer = torch.optim.SGD(
            self.model.parameters(), lr=0.01, momentum=config.momentum, weight_decay=config.weight_decay
        )

    def __call__(self) -> None:
        """Run one round."""
        for images, labels in self.loader:
            images, labels = images.to(self.device), labels.to(self.device)
            if self.eps:
                images = self.attack(images, labels)
            self.optimizer.zero_grad()
            loss = F.cross_entropy(self.model(images), labels)
            loss.backward()
            self.optimizer.step()
            loss.item()

    def attack(self, images: Tensor, labels: Tensor) -> Tensor:
        """FGSM as usually written: `backward` fills the parameters' gradients too."""
        images = images.requires_grad_()
        F.cross_entropy(self.model(images), labels).backward()
        return (images + self.eps * images.grad.sign()).clamp(0, 1).detach()


def seconds(work: Callable[[], object], device: torch.device) -> float:
    started = time.perf_counter()
    work()
    if device.type == "cuda":
        torch.cuda.synchronize()
    return time.perf_counter() - started


def matrix_rate(device: torch.device, side: int = 1536) -> Callable[[], object]:
    """Four products of large float32 matrices: 8 side^3 operations."""
    a, b = torch.randn(2, side, side, device=device)

    def multiply() -> None:
        for _ in range(4):
            torch.mm(a, b)

    multiply.operations = 8 * side**3
    return multiply


def forward_operations(model: nn.Module, images: Tensor) -> float:
    """Operations of one forward pass, of one image."""
    with torch.no_grad(), FlopCounterMode(display=False) as counter:
        model(images)
    return counter.get_total_flops() / len(images)


def rounds(works: dict[str, Callable[[], object]], count: int, device: torch.device) -> Iterator[dict[str, float]]:
    """Time every work once a round, so that what slows the machine down for a while slows all of them."""
    for work in works.values():
        work()  # warm-up: memory, threads, workers, kernels
    for _ in range(count):
        yield {name: seconds(work, device) for name, work in works.items()}


def main() -> None:
    parser = argparse.ArgumentParser(description="Measure training speed; the module's docstring says how to read it.")
    parser.add_argument("--arch", default="resnet10")
    parser.add_argument("--preset", default="imagenette", help=f"one of {', '.join(available())}, or a .toml")
    parser.add_argument("--steps", type=int, default=20, help="steps a round")
    parser.add_argument("--rounds", type=int, default=3)
    arguments = parser.parse_args()
    preset, arch = load_preset(arguments.preset), arguments.arch
    device = torch.device("cuda" if torch.cuda.is_available() else "cpu")
    count = arguments.steps * preset.training.batch_size
    images = random_images(preset, count)
    keep_freed_memory()  # as a Study does; the plain loop gains by it too
    with tempfile.TemporaryDirectory() as folder:
        for index, (pixels, label) in enumerate(zip(images.images, images.labels.tolist(), strict=True)):
            path = Path(folder) / f"{label:03d}" / f"{index}.jpeg"
            path.parent.mkdir(exist_ok=True)
            Image.fromarray(pixels.permute(1, 2, 0).numpy()).save(path)
        multiply = matrix_rate(device)
        ours: dict[str, Callable[[], object]] = {
            f"advlook {setting}": OurLoop(preset, arch, setting, images, device) for setting in ("std", "adv")
        }
        # By themselves first: the workers that the plain loop forks leave this process's memory to be copied page by
        # page, a cost that a training has not.
        alone = list(rounds(ours, 2 * arguments.rounds, device))
        works = {"matrix": multiply} | ours
        for setting in ("std", "adv"):
            works[f"plain {setting}"] = PlainLoop(preset, arch, setting, Path(folder), device)
        measured = list(rounds(works, arguments.rounds, device))

    def ratio(over: str, under: str, measured: list[dict[str, float]] = measured) -> str:
        each = [times[over] / times[under] for times in measured]
        return f"{statistics.median(each):5.2f}  ({min(each):.2f} to {max(each):.2f})"

    model = ours["advlook std"].trainer.model
    operations = forward_operations(model, torch.rand(2, 3, preset.data.size, preset.data.size, device=device))
    reduced = isinstance(autocast(preset.training.precision, device), torch.autocast)
    print(
        f"{arch}, preset {preset.name}: {preset.data.size} px, batch {preset.training.batch_size}, {device.type}, "
        f"{torch.get_num_threads()} threads, {'bfloat16' if reduced else 'float32'}; "
        f"median (and range) of {arguments.rounds} rounds of {arguments.steps} steps"
    )
    for loop in ("advlook", "plain"):
        std, adv = (count / statistics.median(t[f"{loop} {s}"] for t in measured) for s in ("std", "adv"))
        print(f"{loop:8} images/s       STD {std:7.0f}   ADV {adv:7.0f}")
    print(f"ADV / STD, advlook      {ratio('advlook adv', 'advlook std', alone)}   goal: at most 1.75")
    print(f"ADV / STD, plain loop   {ratio('plain adv', 'plain std')}")
    for setting in ("std", "adv"):
        speedup = ratio(f"plain {setting}", f"advlook {setting}")
        print(f"advlook / plain, {setting.upper()}    {speedup}   times as many images/s")
    for setting in ("std", "adv"):
        per_second = [FORWARDS[setting] * operations * count / t[f"advlook {setting}"] for t in measured]
        shares = [100 * r / (multiply.operations / t["matrix"]) for r, t in zip(per_second, measured, strict=True)]
        note = "   (bfloat16 may exceed 100)" if reduced else ""
        print(f"{setting.upper()}, % of the float32 matrix rate   {statistics.median(shares):5.0f}{note}")
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 2**20
    print(f"peak memory             {peak:5.2f} GiB, plain loop included")


if __name__ == "__main__":
    main()
