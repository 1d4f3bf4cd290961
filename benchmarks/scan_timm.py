"""How many of timm's classifiers the study is open to: every name that timm lists, built without weights, is asked what
tests/questions.py asks of the families in `make test`.

    python benchmarks/scan_timm.py [--to timm.csv] [--kinds] [--sample 60] [--most 100] [--seconds 300] [--gigabytes 8]

Most names differ in size, resolution or weights alone. With `--kinds` one network of each kind is asked, the smallest:
two are of a kind where they are built by one class, from modules of the same classes. Needs the extra `advlook[timm]`.
A network is asked at the first of 64 px and its own size that suits it, each in a process of its own, of limited memory
and time; those of more than `--most` million parameters are left out. Rows are written as soon as they are known:
started again, the scan goes on where it stopped. At the end it prints, for every question, how many networks answer
rightly, for how many it is not defined, and what went wrong; with `--sample 0` that alone. A core of its own takes
about a second for every million parameters: in all some eight hours, by kinds two.
"""

import argparse
import csv
import multiprocessing
import random
import resource
import sys
import time
import warnings
from collections import Counter, defaultdict
from pathlib import Path

import torch
from torch import nn

import advlook  # noqa: F401 (first of all, for it makes torchvision importable)

sys.path.insert(0, str(Path(__file__).resolve().parents[1] / "tests"))
import timm
from families import build
from questions import QUESTIONS, Asked, outcome
from tqdm import tqdm

SIDE = 64
ASKED = [name for name in QUESTIONS if name not in ("averaged", "evaluation", "frequencies")]
COLUMNS = ["name", "stands_for", "pixels", "parameters", "seconds", "built", *ASKED]


def without_storage(name: str) -> nn.Module | None:
    """A network whose tensors hold nothing; None where timm cannot build it so."""
    try:
        with torch.device("meta"):
            return timm.create_model(name)
    except Exception:  # each network fails in its own way
        return None


def parameters(model: nn.Module) -> float:
    """In millions."""
    return sum(each.numel() for each in model.parameters()) / 1e6


def by_kind(names: list[str]) -> dict[str, int]:
    """The smallest network of every kind, and of how many names the kind is. A name that cannot be built without
    storage is a kind of its own."""
    kinds = defaultdict(list)
    for name in tqdm(names, "kinds"):
        model = without_storage(name)
        if model is None:
            kinds[name].append((0.0, name))
        else:
            kinds[type(model), frozenset(type(each) for each in model.modules())].append((parameters(model), name))
    return {min(each)[1]: len(each) for each in kinds.values()}


def row(name: str, most: float) -> dict[str, object]:
    """What comes of every question to a network."""
    started, empty = time.perf_counter(), without_storage(name)
    found = {"name": name, "parameters": parameters(empty) if empty is not None else None}
    if (found["parameters"] or 0) > most:
        return found | {"built": f"skipped: more than {most:g} million parameters"}
    config, asked = timm.get_pretrained_cfg(name), None
    for size in dict.fromkeys([SIDE, config.input_size[-1]]):
        try:
            torch.manual_seed(0)
            asked = Asked(build(name, size), size)
            asked.logits.shape  # noqa: B018 (runs it)
            break
        except Exception as error:
            asked, found["built"] = None, f"{type(error).__name__}: {error}".splitlines()[0][:200]
    if asked is not None:
        found |= {"pixels": size, "parameters": parameters(asked.model), "built": "right"}
        found |= {question: outcome(question, asked)[:200] for question in ASKED}
    return found | {"seconds": round(time.perf_counter() - started, 1)}


def _child(name: str, most: float, gigabytes: float, queue: multiprocessing.SimpleQueue) -> None:
    resource.setrlimit(resource.RLIMIT_AS, (int(gigabytes * 2**30),) * 2)
    warnings.simplefilter("ignore")
    torch.set_num_threads(1)
    queue.put(row(name, most))


def apart(name: str, args: argparse.Namespace) -> dict[str, object]:
    """The row of a network, from a process of its own."""
    context = multiprocessing.get_context("fork")  # timm and torch are imported once
    queue = context.SimpleQueue()
    process = context.Process(target=_child, args=(name, args.most, args.gigabytes, queue))
    process.start()
    process.join(args.seconds)
    if process.is_alive():
        process.kill()
        process.join()
        return {"name": name, "built": f"skipped: more than {args.seconds:g} seconds"}
    if queue.empty():
        return {"name": name, "built": f"skipped: ended with {process.exitcode}, perhaps for want of memory"}
    return queue.get()


def report(path: Path) -> None:
    """Print the outcomes of every question, and how many networks the study is open to."""
    with open(path, newline="") as file:
        rows = list(csv.DictReader(file))
    outcomes = Counter(each["built"].partition(":")[0] for each in rows)
    print(f"{len(rows)} asked: " + ", ".join(f"{count} {outcome}" for outcome, count in outcomes.most_common()))
    built = [each for each in rows if each["built"] == "right"]
    for question in ASKED:
        found = Counter(each[question].partition(":")[0] for each in built)
        print(f"{question:12}", ", ".join(f"{count} {kind}" for kind, count in found.most_common()))
    shut = ("traceback", "wrong", "refused")
    closed = [each for each in built if any(each[q].startswith(shut) for q in ASKED if q != "head")]
    names, shut_names = (sum(int(each["stands_for"] or 1) for each in group) for group in (built, closed))
    every = sum(int(each["stands_for"] or 1) for each in rows)
    print(f"open to {len(built) - len(closed)} of {len(built)} that were asked")
    print(f"these stand for {names - shut_names} of {names} names, of {every} in all")
    for each in closed:
        print(" ", each["name"], *(f"{q}: {each[q]}" for q in ASKED if q != "head" and each[q].startswith(shut)))


def main() -> None:
    """Go on with the scan, and report."""
    parser = argparse.ArgumentParser(description=__doc__.partition("\n\n")[0])
    parser.add_argument("--to", type=Path, default=Path("timm.csv"), help="table of the outcomes")
    parser.add_argument("--kinds", action="store_true", help="ask the smallest network of each kind")
    parser.add_argument("--sample", type=int, help="so many names, drawn by a fixed seed, of those within --most; all")
    parser.add_argument("--most", type=float, default=100, help="million parameters of the largest network")
    parser.add_argument("--seconds", type=float, default=300, help="for one network")
    parser.add_argument("--gigabytes", type=float, default=8, help="of address space for one network")
    args = parser.parse_args()
    stands_for = by_kind(timm.list_models()) if args.kinds else dict.fromkeys(timm.list_models(), 1)
    names = list(stands_for)
    if args.sample is not None:
        names = random.Random(0).sample(names, args.sample)
    done = set()
    if args.to.exists():
        with open(args.to, newline="") as file:
            done = {each["name"] for each in csv.DictReader(file)}
    with open(args.to, "a", newline="") as file:
        table = csv.DictWriter(file, COLUMNS)
        if not done:
            table.writeheader()
        for place, name in enumerate(names):
            if name not in done:
                table.writerow(apart(name, args) | {"stands_for": stands_for[name]})
                file.flush()
                print(f"{place + 1} of {len(names)}: {name}", file=sys.stderr)
    report(args.to)


if __name__ == "__main__":
    main()
