"""How fast attacks are, and how strong: against torchattacks, foolbox and the reference code of AutoAttack, in one run.

    python benchmarks/attacks.py [--preset imagenette] [--arch resnet10] [--images 500] [--rounds 3] [--quick]

torchattacks is there after `make test`; the others come with
`pip install --constraint constraints.txt --editable '.[dev,benchmark]'`. One that is absent is left out, and named.

Measured is the accuracy of a trained model under attack: a pass over the clean images, the attack, and a pass over what
it made, unless the library tells by itself what it has fooled. Radius, steps, step size, restarts, batch size, threads
are the same for all. advlook goes through `evaluation.survivors`, which folds batch normalisation and attacks only what
the model gets right; the peers get the same weights as their users would give them: float32, contiguous.

The libraries take turns within every round, after a warm-up, so that what slows the machine down for a while slows all
of them. Machines differ and are shared: read the ratios, medians over the rounds, not the rates. Random starts differ
from round to round, and top-1 is the mean over the rounds.
"""

import argparse
import copy
import importlib
import os
import statistics
import time
from collections.abc import Callable
from dataclasses import dataclass
from types import ModuleType

import torch
from torch import Tensor, nn

from advlook import attacks
from advlook.core.preset_files import available
from advlook.data.image_sets import ImageSet
from advlook.models import evaluation
from advlook.study.study import Study

Fooled = Callable[[Tensor, Tensor], Tensor]  # (images, labels) -> which of them the attack has fooled, bool (N,)
PEERS = ("torchattacks", "foolbox", "pyautoattack")
WEAKER = 0.2  # points that advlook may be weaker by


@dataclass(frozen=True)
class Task:
    """One attack at one setting; goals: by setting, how many times as fast as a peer advlook should be."""

    name: str
    kind: str  # "pgd" or "apgd"
    steps: int
    restarts: int
    share: float  # of the images
    goals: dict[str, float]

    def shortened(self) -> "Task":
        """The same with as little work as will do for a warm-up."""
        return Task(self.name, self.kind, 2, min(2, self.restarts), self.share, self.goals)


TASKS = (
    Task("PGD-10", "pgd", 10, 1, 1.0, {"std": 4.0, "adv": 2.0}),
    Task("PGD-50, 10 restarts", "pgd", 50, 10, 0.2, {"std": 4.0, "adv": 2.0}),
    Task("APGD-CE, 100 steps", "apgd", 100, 1, 0.4, {"std": 1.5, "adv": 1.5}),
)
QUICK = tuple(Task(t.name + " (cut short)", t.kind, 5, min(2, t.restarts), 1.0, {}) for t in TASKS)


def our_attack(task: Task, eps: float) -> evaluation.Attack:
    if task.kind == "apgd":
        return lambda m, x, y, g: attacks.apgd(m, x, y, eps, steps=task.steps, generator=g)
    return lambda m, x, y, g: attacks.pgd(
        m,
        x,
        y,
        eps,
        steps=task.steps,
        step_size=step_size(task, eps),
        restarts=task.restarts,
        generator=g,
        precision="auto",
    )


def step_size(task: Task, eps: float) -> float:
    return 2.5 * eps / task.steps


def torchattacks_attack(library: ModuleType, task: Task, model: nn.Module, eps: float, seed: int) -> Fooled:
    if task.kind == "apgd":
        attack = library.APGD(model, eps=eps, steps=task.steps, seed=seed)
    else:
        runs = [library.PGD(model, eps, step_size(task, eps), task.steps) for _ in range(task.restarts)]
        attack = runs[0] if task.restarts == 1 else library.MultiAttack(runs)
    return lambda images, labels: wrong(model, attack(images, labels), labels)


def foolbox_attack(library: ModuleType, task: Task, model: nn.Module, eps: float, seed: int) -> Fooled | None:
    if task.kind == "apgd":
        return None  # it has none
    wrapped = library.PyTorchModel(model, bounds=(0, 1))
    attack = library.attacks.LinfPGD(abs_stepsize=step_size(task, eps), steps=task.steps, random_start=True)
    attack = attack if task.restarts == 1 else attack.repeat(task.restarts)
    return lambda images, labels: attack(wrapped, images, labels, epsilons=eps)[2]


def pyautoattack_attack(library: ModuleType, task: Task, model: nn.Module, eps: float, seed: int) -> Fooled | None:
    if task.kind != "apgd":
        return None
    apgd = importlib.import_module("pyautoattack.autopgd_base")
    attack = apgd.APGDAttack(model, n_iter=task.steps, norm="Linf", eps=eps, loss="ce", seed=seed)
    return lambda images, labels: wrong(model, attack.perturb(images, labels), labels)


@torch.no_grad()
def wrong(model: nn.Module, images: Tensor, labels: Tensor) -> Tensor:
    return model(images).argmax(1) != labels


def peer_survivors(model: nn.Module, images: ImageSet, fooled: Fooled, batch_size: int, device: torch.device) -> Tensor:
    """What `evaluation.survivors` returns, as it is usually computed."""
    alive = []
    for batch, labels in images.batches(batch_size, device):
        batch = batch.contiguous()
        alive.append((~wrong(model, batch, labels) & ~fooled(batch, labels)).cpu())
    return torch.cat(alive)


MAKERS = dict(zip(PEERS, (torchattacks_attack, foolbox_attack, pyautoattack_attack), strict=True))


def contestants(
    task: Task,
    model: nn.Module,
    images: ImageSet,
    eps: float,
    seed: int,
    batch_size: int,
    device: torch.device,
    libraries: dict[str, ModuleType],
) -> dict[str, Callable[[], Tensor]]:
    """For advlook and each library that has such an attack: what runs it, and returns the images that survive it."""
    ours = our_attack(task, eps)
    works: dict[str, Callable[[], Tensor]] = {
        "advlook": lambda: evaluation.survivors(model, images, ours, seed=seed, batch_size=batch_size, device=device)
    }
    plain = copy.deepcopy(model).eval().to(memory_format=torch.contiguous_format)
    for name, library in libraries.items():
        fooled = MAKERS[name](library, task, plain, eps, seed)
        if fooled is not None:
            works[name] = lambda fooled=fooled: peer_survivors(plain, images, fooled, batch_size, device)
    return works


def timed(work: Callable[[], Tensor], seed: int, device: torch.device) -> tuple[float, float]:
    """Seconds taken, and accuracy in percent."""
    torch.manual_seed(seed)
    started = time.perf_counter()
    alive = work()
    if device.type == "cuda":
        torch.cuda.synchronize()
    return time.perf_counter() - started, evaluation.percent(alive)


def measure(
    task: Task,
    model: nn.Module,
    images: ImageSet,
    eps: float,
    rounds: int,
    batch_size: int,
    device: torch.device,
    libraries: dict[str, ModuleType],
) -> list[dict[str, tuple[float, float]]]:
    """`{library: (seconds, accuracy)}` of each round."""
    first = images[: min(batch_size, len(images))]
    for work in contestants(task.shortened(), model, first, eps, 0, batch_size, device, libraries).values():
        work()
    measured = []
    for seed in range(rounds):
        works = contestants(task, model, images, eps, seed, batch_size, device, libraries)
        measured.append({name: timed(work, seed, device) for name, work in works.items()})
    return measured


def print_rows(setting: str, task: Task, count: int, measured: list[dict[str, tuple[float, float]]]) -> None:
    ours = statistics.mean(result["advlook"][1] for result in measured)
    for name in measured[0]:
        seconds = statistics.median(result[name][0] for result in measured)
        top1 = statistics.mean(result[name][1] for result in measured)
        line = f"{setting.upper():<6}{task.name:<32}{count:>6}  {name:<14}{count / seconds:>9.1f}"
        if name == "advlook":
            print(f"{line}{'':>42}{top1:>7.1f}")
            continue
        ratios = [result[name][0] / result["advlook"][0] for result in measured]
        ratio, goal = statistics.median(ratios), task.goals.get(setting)
        times = f"{ratio:>9.2f}  ({min(ratios):.2f} to {max(ratios):.2f})"
        met = "" if goal is None else f"{goal:.1f} {'met' if ratio >= goal else 'missed'}"
        strong = "" if ours - top1 <= WEAKER + 1e-9 else f"   missed: more than {WEAKER} points"
        print(f"{line}{times:<31}{met:<11}{top1:>7.1f}{ours - top1:>+9.2f}{strong}")


def main() -> None:
    parser = argparse.ArgumentParser(description="Measure attacks; the module's docstring says how to read the table.")
    parser.add_argument("--preset", default="imagenette", help=f"one of {', '.join(available())}, or a .toml")
    parser.add_argument("--arch", default="resnet10")
    parser.add_argument("--settings", default="std,adv")
    parser.add_argument("--tasks", default="1,2,3", help="1: PGD-10; 2: PGD-50 with 10 restarts; 3: APGD")
    parser.add_argument("--peers", default=",".join(PEERS), help="those to compare with")
    parser.add_argument("--images", type=int, default=500, help="for PGD-10; the longer attacks take a share of them")
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--batch-size", type=int, help="the preset's, unless given")
    parser.add_argument("--quick", action="store_true", help="preset smoke, few images and steps: does it run at all?")
    arguments = parser.parse_args()
    if arguments.quick:
        arguments.preset, arguments.images, arguments.rounds = "smoke", 60, 1
    libraries = {}
    for name in arguments.peers.split(","):
        try:
            libraries[name] = importlib.import_module(name)
        except ImportError as error:
            print(f"{name} is left out: {error}")

    study = Study(arguments.preset)
    eps, device = study.preset.evaluation.eps, study.device
    batch_size = arguments.batch_size or study.preset.evaluation.batch_size
    models = {setting: study.model(arguments.arch, setting, 0) for setting in arguments.settings.split(",")}
    print(
        f"{arguments.arch}, preset {study.preset.name}: {study.preset.data.size} px, L-infinity, "
        f"eps {eps * 255:g}/255, batch {batch_size}, {device.type}, {torch.get_num_threads()} threads of "
        f"{os.cpu_count()} cores; rates are medians of {arguments.rounds} rounds"
    )
    print(
        f"{'model':<6}{'attack':<32}{'images':>6}  {'library':<14}{'images/s':>9}"
        f"{'  advlook is faster by (range)':<31}{'goal':<11}{'top-1':>7}{'weaker':>9}"
    )
    tasks = QUICK if arguments.quick else TASKS
    for task in (tasks[int(number) - 1] for number in arguments.tasks.split(",")):
        images = study.test.subset(max(1, round(task.share * arguments.images)))
        for setting, model in models.items():
            print_rows(
                setting,
                task,
                len(images),
                measure(task, model, images, eps, arguments.rounds, batch_size, device, libraries),
            )
    print(f"'weaker': points that accuracy under advlook's attack is above that under the peer's; at most {WEAKER}")


if __name__ == "__main__":
    main()
