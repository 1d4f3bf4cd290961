"""The command line: `python -m advlook ...`, also installed as `advlook`.

A command is a function `_NAME` of its options, which `command` lists: its docstring is the help and the examples.
Exit codes: 0 done; 1 the study ran and something failed; 2 the request cannot be carried out, and one line says why;
130 interrupted."""

import os
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from advlook.core import ARCHITECTURES, FORMS, SETTINGS, STEMS, RequestError, joined, parse_eps
from advlook.core.command_line import COMMANDS, at_least_one, command, option, parser
from advlook.core.distributed import first_to_fail
from advlook.core.preset_files import available, load_preset


def main(arguments: Sequence[str] | None = None) -> int:
    """Run one command; returns the exit code."""
    given = vars(parser().parse_args(arguments))
    try:
        return COMMANDS[given.pop("command")][0](**given)
    except RequestError as error:
        if first_to_fail():
            end_of_bar = "\n" if int(os.environ.get("RANK", 0)) > 0 else ""  # of the leader, which may have shown one
            print(f"{end_of_bar}advlook: {error}", file=sys.stderr)
        return 2
    except KeyboardInterrupt:
        print("advlook: interrupted; the same command goes on where this one stopped", file=sys.stderr)
        return 130


PRESETS = f"{', '.join(available())}, or the path of a .toml"
CHANNELS = "of red, green, blue in units of [0, 1] (default: the checkpoint's own, else ImageNet's)"
PRESET = option("--preset", f"{PRESETS} (default: quick)", default="quick")
ARCH = option("--arch", "as the preset names it", required=True)
ANY_ARCH = option("--arch", f"{', '.join(ARCHITECTURES)}, {FORMS}", required=True)
OUTPUT = option("--output", "folder of results (default: figures)", type=Path)


@command(
    PRESET,
    option("--notebooks", "numbers or names, separated by commas (default: all)"),
    OUTPUT,
    option("--force", "run also what is up to date", action="store_true"),
    option("--pdf", "write every figure as PDF as well", action="store_true"),
    option("--jobs", "notebooks side by side (default: 2 on a CPU, 1 on a GPU)", type=at_least_one),
    option("--texts", "run nothing; bring changed sentences of notebooks into their results", action="store_true"),
)
def _reproduce(
    preset: str, notebooks: str | None, output: Path | None, force: bool, pdf: bool, jobs: int | None, texts: bool
) -> int:
    """Run the notebooks and write figures, tables and the gallery.

    advlook reproduce
    advlook reproduce --preset imagenette --notebooks 01,02
    """
    from advlook.report.runner import renew_texts, reproduce

    wanted = notebooks.split(",") if notebooks else None
    return renew_texts(preset, wanted, output) if texts else reproduce(preset, wanted, output, force, pdf, jobs)


@command(
    PRESET,
    option("--minutes", "how long to go on (default: 5)", type=float, default=5.0),
    option("--seed", "of the draw (default: another one every time)", type=int),
    OUTPUT,
    option("--stamp", "if all are equal, record that the present code makes these results", action="store_true"),
)
def _verify(preset: str, minutes: float, seed: int | None, output: Path | None, stamp: bool) -> int:
    """Measure a random part of the committed results again, and compare.

    advlook verify --preset imagenette
    advlook verify --preset cifar10 --minutes 60 --seed 1
    """
    from advlook.experiments.units import every_unit
    from advlook.report import runner
    from advlook.study import Study
    from advlook.study.verification import verify

    study = Study(preset, output=output, recorded=True)
    outcome = verify(study, every_unit, minutes, seed, lambda line: print(line, flush=True))
    if stamp and outcome == 0:
        runner.stamp(preset, output)
    return outcome


@command(
    PRESET,
    ARCH,
    option("--setting", f"{', '.join(SETTINGS)}, or a control of the preset", required=True),
    option("--seed", "(default: 0)", type=int, default=0),
)
def _train(preset: str, arch: str, setting: str, seed: int) -> int:
    """Train one model of a preset; goes on where an earlier run stopped.

    advlook train --preset quick --arch resnet10 --setting adv --seed 0
    torchrun --nproc-per-node=8 --max-restarts=3 -m advlook train --preset imagenet --arch resnet50 --setting adv
    """
    from advlook.models.training import NonFiniteLossError
    from advlook.study import Study

    opened, model = load_preset(preset), (arch, setting, seed)
    if arch in opened.external:
        remedy = f"take [external.{arch}] out of the preset to train it"
        raise RequestError(f"arch {arch!r} of preset {opened.name} is external and not trained; {remedy}")
    with joined() as group:
        study = Study(opened, group=group)
        try:
            path = study.checkpoint(*model)
        except NonFiniteLossError as error:
            print(f"advlook: {error}", file=sys.stderr)
            return 1
        accuracy = study.metadata(*model)["accuracy"]
        if group.leads:
            print(f"{path}: " + ", ".join(f"{name} {value:.1f}%" for name, value in accuracy.items()))
    return 0


PAIR = {"nargs": 2, "type": Path, "action": "append", "metavar": ("STD", "ADV")}
CHECKPOINTS = """what `advlook train` wrote, or a state dict (.safetensors, or torch's .pt, .pth, .ckpt): torchvision's,
that of the robustness library, RobustBench's, or a plain one"""
ATTACKS = (
    "none, noise, fgsm, pgd, mi-fgsm, apgd-ce, apgd-dlr, margin, square, or suite: pgd, apgd-ce and apgd-dlr in turn"
)
CLASSES = """text file with the name of every logit's class, one a line, as folders are named (default: as the
checkpoint tells; 1,000 classes are ImageNet's, by wnid or name). Folders may be some of the classes, in any order"""
SPLIT = """all, or held-out: of a folder that was trained on, test/ or val/, or of class folders alone the fifth of the
images that training left out (default: all)"""


def _channels(mean: str | None, std: str | None) -> dict[str, tuple[float, ...]]:
    """The options --mean and --std as numbers, without those that are not given."""
    from advlook.models.external import parse_channels

    given = {name: text for name, text in (("mean", mean), ("std", std)) if text is not None}
    return {name: parse_channels(text, name) for name, text in given.items()}


@command(
    option("--checkpoint", CHECKPOINTS, type=Path, required=True),
    ANY_ARCH,
    option("--data", "folder with one folder of images per class", type=Path, required=True),
    option("--attack", f"{ATTACKS} (default: none)", default="none"),
    option("--eps", "L-infinity radius, as a fraction (default: 4/255)", default="4/255"),
    option("--steps", "steps of iterative attacks (default: 20)", type=at_least_one, default=20),
    option("--mean", f"mean {CHANNELS}"),
    option("--std", f"standard deviation {CHANNELS}"),
    option("--size", "pixels shown (default: as trained, else 224 for stem imagenet)", type=at_least_one),
    option("--resize", "short side before the crop (default: as trained, or size/0.875)", type=at_least_one),
    option("--limit", "so many images, drawn by a fixed seed (default: all)", type=at_least_one, default=0),
    option("--stem", f"{', '.join(STEMS)}; needed where a checkpoint does not tell"),
    option(
        "--weights", "of several sets of weights in the file, such as state_dict_ema, the one meant", metavar="NAME"
    ),
    option("--classes", CLASSES, type=Path, metavar="FILE"),
    option("--split", SPLIT, default="all"),
)
def _evaluate(eps: str, mean: str | None, std: str | None, **given: Any) -> int:
    r"""Accuracy of a checkpoint on a folder of class folders.

    advlook evaluate --checkpoint adv.safetensors --arch resnet10 --data photos/ --attack pgd --eps 4/255
    advlook evaluate --checkpoint robust.pt --arch resnet50 --data imagenet/val --attack pgd --limit 5000
    torchrun --nproc-per-node=8 -m advlook evaluate --checkpoint robust.pt --arch resnet50 --data imagenet/val
    advlook evaluate --checkpoint cifar.pt --arch resnet18 --data cifar10/test --stem tiny --size 32 --resize 32 \
        --mean 0.4914,0.4822,0.4465 --std 0.2470,0.2435,0.2616
    advlook evaluate --checkpoint timm.pt --arch resnet50 --data imagenette/val --weights state_dict_ema
    advlook evaluate --checkpoint mine.pt --arch timm:convnext_tiny --data photos/ --classes names.txt
    advlook evaluate --checkpoint mine.safetensors --arch resnet10 --data photos/ --split held-out
    """
    from advlook.models import evaluate_checkpoint

    given |= _channels(mean, std) | {"eps": parse_eps(eps)}
    with joined() as group:
        table = evaluate_checkpoint(**given, group=group)
    if not group.leads:
        return 0
    for note in table.attrs["notes"]:
        print(f"advlook: {note}", file=sys.stderr)
    print(table.to_string(index=False, float_format=lambda value: f"{value:.2f}"))
    return 0


@command(
    option("std", f"the standard model: {CHECKPOINTS}", type=Path),
    option("adv", "the adversarially trained model of the same architecture", type=Path),
    ANY_ARCH,
    option("--data", "folder with one folder of images per class", type=Path, required=True),
    option("--pair", "another pair, of another training seed; may be repeated", **PAIR),
    option("--eps", "L-infinity radius, as a fraction (default: 4/255)", default="4/255"),
    option("--size", "pixels a side (default: as the models were made for)", type=at_least_one),
    option("--mean", f"mean {CHANNELS}"),
    option("--std", f"standard deviation {CHANNELS}", dest="deviation"),
    option("--stem", f"{', '.join(STEMS)}; needed where a checkpoint of the study's architectures does not tell"),
    option("--classes", CLASSES, type=Path, metavar="FILE"),
    option("--minutes", "draw samples that fit this time (default: all images)", type=float, default=0.0),
    option("--notebooks", "numbers, separated by commas (default: those that can run)", default=""),
    option("--name", "of the preset and the folder of results (default: from architecture and data)"),
    OUTPUT,
    option("--force", "run also what is up to date", action="store_true"),
)
def _compare(
    std: Path,
    adv: Path,
    pair: list[list[Path]] | None,
    mean: str | None,
    deviation: str | None,
    output: Path | None,
    force: bool,
    **asked: Any,
) -> int:
    """The whole study on a pair of models from elsewhere and a folder of photographs.

    advlook compare std.pt adv.pt --arch timm:vit_tiny_patch16_224 --data photos/ --minutes 10
    advlook compare a.pt b.pt --arch mynet.py:build --data photos/ --size 64 --pair c.pt d.pt
    """
    from advlook.report.compare import Asked, compare

    parse_eps(asked["eps"])
    asked |= _channels(mean, deviation) | {"notebooks": [each for each in asked["notebooks"].split(",") if each]}
    return compare(Asked([(std, adv), *map(tuple, pair or ())], **asked), output, force)


@command(
    option("--preset", f"{PRESETS}; may be given several times (default: quick)", action="append", metavar="NAME"),
    option("--markdown", "one table, side by side, as Markdown", action="store_true"),
)
def _claims(preset: list[str] | None, markdown: bool) -> int:
    """Verdicts on what the paper says, from the tables that are there.

    advlook claims --preset imagenette
    advlook claims --preset imagenette --preset cifar10 --markdown
    """
    from advlook.experiments.claims.measure import evaluate, load_tables
    from advlook.stats import verdict_text
    from advlook.study import Study

    studies = [Study(name) for name in preset or ["quick"]]
    found = {study.preset.name: evaluate(load_tables(study)) for study in studies}
    several = len(found) > 1
    reports = (f"{name}\n\n" * several + verdict_text.report(table) for name, table in found.items())
    print(verdict_text.markdown(found) if markdown else "\n\n".join(reports))
    return 0


@command(option("--get", "download this set, where torchvision can", metavar="NAME"))
def _data(get: str | None) -> int:
    """Which image sets are there, and how to get the others.

    advlook data
    advlook data --get svhn
    """
    from advlook.data import catalogue, styles
    from advlook.study.folders import data_folder

    folder = data_folder()
    if get:
        print(f"{get} is at {catalogue.get(get, folder)}")
        return 0
    for name, entry in catalogue.CATALOGUE.items():
        found = catalogue.check(name, folder)
        title = ", ".join(filter(None, (found.title, entry.described())))
        print(f"{name:<14} {title}: {found if found.present else f'absent: {entry.obtain(folder)}'}", flush=True)
    print(f"{styles.PAINTINGS:<14} styles of notebook 05: {styles.available(folder / 'datasets')}")
    return 0


if __name__ == "__main__":
    sys.exit(main())
