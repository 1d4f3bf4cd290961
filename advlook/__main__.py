"""The command line: `python -m advlook ...`, also installed as `advlook`.

Exit codes: 0 done; 1 the study ran and something failed; 2 the request cannot be carried out, and one line says why;
130 interrupted.
"""

import argparse
import os
import sys
from collections.abc import Sequence
from datetime import timedelta
from pathlib import Path
from typing import NoReturn

from advlook.core.errors import RequestError
from advlook.core.presets import ARCHITECTURES, SETTINGS, STEMS, available, load_preset, parse_eps


class _Parser(argparse.ArgumentParser):
    """argparse that complains in one line."""

    def error(self, message: str) -> NoReturn:
        self.exit(2, f"advlook: {message}; see {self.prog} --help\n")


def _parser() -> argparse.ArgumentParser:
    parser = _Parser(
        prog="advlook",
        description="What do adversarially robust image classifiers look at? A study that anyone can run again.",
        formatter_class=argparse.RawDescriptionHelpFormatter,
        epilog="examples:\n"
        "  advlook reproduce                          every figure and table on the embedded data, without a GPU\n"
        "  advlook reproduce --preset imagenette --notebooks 02\n"
        "  advlook claims --preset imagenette         what the paper says, and whether it holds here\n"
        "  advlook train --preset imagenette --arch resnet10 --setting adv --seed 0\n"
        "  advlook evaluate --checkpoint adv.safetensors --arch resnet10 --data photos/ --attack pgd --eps 4/255",
    )
    commands = parser.add_subparsers(dest="command", required=True, parser_class=_Parser)
    presets = ", ".join(available())

    def command(name: str, text: str, example: str) -> argparse.ArgumentParser:
        return commands.add_parser(
            name,
            help=text,
            description=text + ".",
            epilog=f"example: {example}",
            formatter_class=argparse.RawDescriptionHelpFormatter,
        )

    run = command(
        "reproduce",
        "run the notebooks and write figures, tables and the gallery",
        "advlook reproduce --preset imagenette --notebooks 01,02",
    )
    run.add_argument("--preset", default="quick", help=f"{presets}, or the path of a .toml (default: quick)")
    run.add_argument("--notebooks", help="numbers or names, separated by commas (default: all)")
    run.add_argument("--output", type=Path, help="folder for results (default: figures)")
    run.add_argument("--force", action="store_true", help="run also what is up to date")

    train = command(
        "train",
        "train one model of a preset; goes on where an earlier run stopped",
        "advlook train --preset quick --arch resnet10 --setting adv --seed 0\n"
        "         advlook train --preset imagenet --arch resnet50 --setting adv --profile\n"
        "         torchrun --nproc-per-node=8 --max-restarts=3 -m advlook train --preset imagenet --arch resnet50 "
        "--setting adv",
    )
    train.add_argument("--preset", default="quick", help=f"{presets}, or the path of a .toml (default: quick)")
    train.add_argument("--arch", required=True, help=", ".join(ARCHITECTURES))
    train.add_argument("--setting", required=True, help=", ".join(SETTINGS))
    train.add_argument("--seed", type=int, default=0, help="(default: 0)")
    train.add_argument(
        "--profile", action="store_true", help="train a few steps, print where the time goes, and keep nothing"
    )
    train.add_argument("--steps", type=int, default=30, help="steps of such a profile (default: 30)")

    evaluate = command(
        "evaluate",
        "accuracy of a checkpoint on a folder of class folders",
        "advlook evaluate --checkpoint adv.safetensors --arch resnet10 --data photos/ --attack pgd --eps 4/255\n"
        "         advlook evaluate --checkpoint robust.pt --arch resnet50 --data imagenet/val --attack pgd "
        "--limit 5000\n"
        "         torchrun --nproc-per-node=8 -m advlook evaluate --checkpoint robust.pt --arch resnet50 "
        "--data imagenet/val\n"
        "         advlook evaluate --checkpoint cifar.pt --arch resnet18 --data cifar10/test --stem tiny --size 32 "
        "--resize 32 \\\n             --mean 0.4914,0.4822,0.4465 --std 0.2470,0.2435,0.2616",
    )
    evaluate.add_argument(
        "--checkpoint",
        type=Path,
        required=True,
        help="what `advlook train` wrote, or a state dict (.safetensors, or torch's .pt, .pth, .ckpt): torchvision's, "
        "that of the robustness library, RobustBench's, or a plain one",
    )
    evaluate.add_argument("--arch", required=True, help=", ".join(ARCHITECTURES))
    evaluate.add_argument("--data", type=Path, required=True, help="folder with one folder of images per class")
    evaluate.add_argument(
        "--attack",
        default="none",
        help="none, noise, fgsm, pgd, mi-fgsm, apgd-ce, apgd-dlr, or suite: pgd, apgd-ce and apgd-dlr in turn "
        "(default: none)",
    )
    evaluate.add_argument("--eps", default="4/255", help="L-infinity radius, as a fraction (default: 4/255)")
    evaluate.add_argument("--steps", type=int, default=20, help="steps of iterative attacks (default: 20)")
    channels = "of red, green, blue in units of [0, 1] (default: the checkpoint's own, else ImageNet's)"
    evaluate.add_argument("--mean", help=f"mean {channels}")
    evaluate.add_argument("--std", help=f"standard deviation {channels}")
    evaluate.add_argument("--size", type=int, help="pixels shown (default: as trained, else 224 for stem imagenet)")
    evaluate.add_argument("--resize", type=int, help="short side before the crop (default: as trained, or size/0.875)")
    evaluate.add_argument("--limit", type=int, help="so many images, drawn by a fixed seed (default: all)")
    evaluate.add_argument("--stem", help=f"{', '.join(STEMS)}; needed where a checkpoint does not tell")

    claims = command(
        "claims",
        "verdicts on what the paper says, from the tables that are there",
        "advlook claims --preset imagenette\n         advlook claims --preset imagenette --preset cifar10 --markdown",
    )
    claims.add_argument(
        "--preset",
        action="append",
        metavar="NAME",
        dest="presets",
        help=f"{presets}, or the path of a .toml; may be given several times (default: quick)",
    )
    claims.add_argument("--markdown", action="store_true", help="one table, side by side, as Markdown")

    data = command(
        "data",
        "which image sets are there, and how to get the others",
        "advlook data\n         advlook data --get svhn",
    )
    data.add_argument("--get", metavar="NAME", help="download this set, where torchvision can")
    return parser


def main(arguments: Sequence[str] | None = None) -> int:
    """Run one command; returns the exit code."""
    options = _parser().parse_args(arguments)
    try:
        return {"reproduce": _reproduce, "train": _train, "evaluate": _evaluate, "claims": _claims, "data": _data}[
            options.command
        ](options)
    except RequestError as error:
        if _first_to_fail():
            behind_a_bar = int(os.environ.get("RANK", 0)) > 0  # which the leading process has left open
            print("\n" * behind_a_bar + f"advlook: {error}", file=sys.stderr)
        return 2
    except KeyboardInterrupt:
        print("advlook: interrupted; the same command goes on where this one stopped", file=sys.stderr)
        return 130


def _first_to_fail() -> bool:
    """Whether none of the other processes that torchrun started has failed before: one says what all of them met.

    That is not always the leading one: any of them may meet a corrupt image, and torchrun ends the others for it.
    """
    if int(os.environ.get("WORLD_SIZE", 1)) == 1:
        return True
    from torch.distributed import DistNetworkError, TCPStore  # the store in which torchrun's processes find each other

    try:
        store = TCPStore(os.environ["MASTER_ADDR"], int(os.environ["MASTER_PORT"]), timeout=timedelta(seconds=5))
    except DistNetworkError:
        return True  # nobody to ask: rather twice than never
    return store.add(f"advlook failed {os.environ.get('TORCHELASTIC_RESTART_COUNT')}", 1) == 1


def _reproduce(options: argparse.Namespace) -> int:
    from advlook.report.runner import reproduce

    wanted = options.notebooks.split(",") if options.notebooks else None
    return reproduce(options.preset, wanted, options.output, options.force)


def _train(options: argparse.Namespace) -> int:
    from advlook.core.distributed import joined
    from advlook.models.profiling import profile
    from advlook.models.training import NonFiniteLossError
    from advlook.study.study import Study

    preset = load_preset(options.preset)
    if options.arch in preset.external:
        raise RequestError(
            f"arch {options.arch!r} of preset {preset.name} is external and not trained; "
            f"take [external.{options.arch}] out of the preset to train it"
        )
    if options.steps < 1:
        raise RequestError(f"steps={options.steps} must be at least 1")
    with joined() as group:
        study = Study(preset, group=group)
        study.check_model(options.arch, options.setting)
        try:
            if options.profile:
                said = profile(
                    preset,
                    options.arch,
                    options.setting,
                    study.training_images,
                    study.device,
                    steps=options.steps,
                    group=group,
                )
            else:
                path = study.checkpoint(options.arch, options.setting, options.seed)
                accuracy = study.metadata(options.arch, options.setting, options.seed)["accuracy"]
                said = f"{path}: " + ", ".join(f"{name} {value:.1f}%" for name, value in accuracy.items())
        except NonFiniteLossError as error:
            print(f"advlook: {error}", file=sys.stderr)
            return 1
        if group.leads:
            print(said)
    return 0


def _evaluate(options: argparse.Namespace) -> int:
    from advlook.core.distributed import joined
    from advlook.models.evaluation import evaluate_checkpoint
    from advlook.models.external import parse_channels

    for name in ("steps", "size", "resize", "limit"):
        value = getattr(options, name)
        if value is not None and value < 1:
            raise RequestError(f"{name}={value} must be at least 1")
    channels = {name: getattr(options, name) for name in ("mean", "std")}
    with joined() as group:
        table = evaluate_checkpoint(
            options.checkpoint,
            options.arch,
            options.data,
            attack=options.attack,
            eps=parse_eps(options.eps),
            steps=options.steps,
            stem=options.stem,
            size=options.size,
            resize=options.resize,
            limit=options.limit or 0,
            group=group,
            **{name: parse_channels(text, name) for name, text in channels.items() if text is not None},
        )
    if not group.leads:
        return 0
    if "assumed" in table["normalisation"].values:
        print(
            f"advlook: {options.checkpoint} does not say its normalisation, so ImageNet's is assumed; "
            "give --mean and --std where it is another",
            file=sys.stderr,
        )
    print(table.to_string(index=False, float_format=lambda value: f"{value:.2f}"))
    return 0


def _claims(options: argparse.Namespace) -> int:
    from advlook.experiments.claims.measure import evaluate, load_tables
    from advlook.stats.verdict_text import markdown, report
    from advlook.study.study import Study

    studies = [Study(preset) for preset in options.presets or ["quick"]]
    found = {study.preset.name: evaluate(load_tables(study)) for study in studies}
    if options.markdown:
        print(markdown(found))
        return 0
    several = len(found) > 1
    print("\n\n".join(f"{name}\n\n" * several + report(table) for name, table in found.items()))
    return 0


def _data(options: argparse.Namespace) -> int:
    from advlook.data import catalogue, styles
    from advlook.study.study import data_folder

    folder = data_folder()
    if options.get:
        print(f"{options.get} is at {catalogue.get(options.get, folder)}")
        return 0
    for name, entry in catalogue.CATALOGUE.items():
        found = catalogue.check(name, folder)
        print(f"{name:<14} {found.title}: {found if found.present else f'absent: {entry.obtain(folder)}'}", flush=True)
    print(f"{styles.PAINTINGS:<14} styles of notebook 05: {styles.available(folder / 'datasets')}")
    return 0


if __name__ == "__main__":
    sys.exit(main())
