"""Is the standard suite as strong as AutoAttack? Image by image, on the shipped ADV models.

    python benchmarks/autoattack.py [--models imagenette/resnet10 ...] [--images 200] [--only-ours]

AutoAttack is the standard version of pyautoattack (`pip install --constraint constraints.txt --editable
'.[dev,benchmark]'`), with the weights as a user would give them: float32, contiguous. It takes an hour or two of one
core for 200 images of a model; what it found is kept in benchmarks/autoattack.csv, a row an image, and an interrupted
run goes on with the next images. `advlook.attacks.attack_suite(version="standard")` is run anew every time, and
compared: the accuracy that both leave, the images on which they differ, and the images that went through the model.
Its draws come from a seed; --seeds runs it with several.
"""

import argparse
import copy
import csv
import time
from pathlib import Path

import torch
from torch import Tensor, nn

from advlook import attacks
from advlook.attacks.suite import _Passes as Counted  # the same count for both
from advlook.models import for_inference
from advlook.study.study import Study

PATH = Path(__file__).with_suffix(".csv")
COLUMNS = ("model", "image", "clean", "autoattack", "forward", "backward", "seconds")
MODELS = ("imagenette/resnet10", "imagenette/alexnet_bn", "cifar10/resnet10")
CHUNK = 20  # images that are attacked together, and kept


def asked(name: str, count: int) -> tuple[nn.Module, Tensor, Tensor, float]:
    """ADV of seed 0, the first of a shuffle of the test images, their labels, and the preset's radius."""
    preset, arch = name.split("/")
    study = Study(preset, progress=False)
    images, labels = next(study.test.subset(count).batches(count, study.device))
    return study.model(arch, "adv", 0), images.contiguous(), labels, study.preset.evaluation.eps


def kept() -> dict[tuple[str, int], dict[str, str]]:
    """The rows of PATH by model and image."""
    if not PATH.is_file():
        return {}
    with open(PATH, newline="") as file:
        return {(row["model"], int(row["image"])): row for row in csv.DictReader(file)}


def autoattack(name: str, model: nn.Module, images: Tensor, labels: Tensor, eps: float) -> None:
    """Attack the images that are not kept yet, CHUNK by CHUNK."""
    import pyautoattack  # an extra

    counted, known = Counted(copy.deepcopy(model).to(memory_format=torch.contiguous_format)).eval(), kept()
    new = not PATH.is_file()
    for first in range(0, len(labels), CHUNK):
        if (name, first) in known:
            continue
        part = slice(first, first + CHUNK)
        before, started = (counted.forward_passes, counted.backward_passes), time.perf_counter()
        with torch.no_grad():
            clean = counted(images[part]).argmax(1) == labels[part]
        runner = pyautoattack.AutoAttack(counted, norm="Linf", eps=eps, version="standard", seed=0)
        runner.verbose = False
        found, _ = runner.run_standard_evaluation(images[part], labels[part], batch_size=CHUNK)
        with torch.no_grad():
            left = counted(found).argmax(1) == labels[part]
        passes = counted.forward_passes - before[0], counted.backward_passes - before[1]
        cost = [round(each / len(left), 1) for each in (*passes, time.perf_counter() - started)]
        with open(PATH, "a", newline="") as file:
            rows = csv.writer(file)
            if new:
                rows.writerow(COLUMNS)
            for place, (right, survives) in enumerate(zip(clean.tolist(), left.tolist(), strict=True)):
                rows.writerow([name, first + place, int(right), int(survives), *cost])
        new = False
        print(f"{name}: images {first} to {first + len(left) - 1}, {int(left.sum())} left", flush=True)


def compared(name: str, model: nn.Module, images: Tensor, labels: Tensor, eps: float, seeds: int) -> None:
    """Print what the standard suite leaves, and what AutoAttack left, of the images that were kept."""
    known = kept()
    places = [place for place in range(len(labels)) if (name, place) in known]
    rows = [known[name, place] for place in places]
    theirs = torch.tensor([row["autoattack"] == "1" for row in rows])
    model = for_inference(model)
    for seed in range(seeds):
        started = time.perf_counter()
        generator = torch.Generator().manual_seed(seed)
        result = attacks.attack_suite(
            model, images[places], labels[places], eps, version="standard", generator=generator
        )
        seconds = time.perf_counter() - started
        ours = list(result.survived.values())[-1]
        forward, backward = (sum(each) for each in zip(*result.passes.values(), strict=True))
        print(f"{name}, {len(places)} images, seed {seed}: clean {result.accuracy['clean']:.1f}%")
        told = ", ".join(f"{attack} {value:.1f}%" for attack, value in result.accuracy.items())
        print(f"  ours: {told}; {forward} forward, {backward} backward, {seconds:.0f} s")
        if rows:
            cost = [sum(float(row[column]) for row in rows) for column in ("forward", "backward", "seconds")]
            print(
                f"  AutoAttack: {100 * theirs.double().mean():.1f}%; {cost[0]:.0f} forward, {cost[1]:.0f} backward, ",
                end="",
            )
            print(f"{cost[2]:.0f} s: {cost[2] / seconds:.0f} times as long")
            for title, chosen in (("only AutoAttack loses", ours & ~theirs), ("only ours loses", theirs & ~ours)):
                print(f"  {title}: {[places[place] for place in chosen.nonzero()[:, 0].tolist()]}")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--models", nargs="+", default=MODELS, metavar="PRESET/ARCH")
    parser.add_argument("--images", type=int, default=200)
    parser.add_argument("--seeds", type=int, default=1)
    parser.add_argument("--only-ours", action="store_true", help="compare with what is kept")
    asked_for = parser.parse_args()
    torch.set_num_threads(1)
    for name in asked_for.models:
        about = asked(name, asked_for.images)
        if not asked_for.only_ours:
            autoattack(name, *about)
        compared(name, *about, asked_for.seeds)


if __name__ == "__main__":
    main()
