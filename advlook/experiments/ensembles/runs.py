"""The runs of notebook 06: how well ensembles of STD and ADV backbones learn other image sets.

A *run* is one ensemble trained on a target, fine-tuned or with frozen backbones. Each finished run is kept at once,
with the answer to every test image, under a key of what made it (checkpoints, images, configuration, number of the
run), so that an interrupted study goes on with the next one; a run is a matter of minutes, and is not resumed inside.
As with checkpoints the code is no part of the key: whoever changes what a run does deletes `data/cache/ensembles`.
"""

import json
from collections.abc import Callable, Collection, Iterable, Iterator, Sequence
from dataclasses import asdict, dataclass, replace
from functools import cache
from pathlib import Path

import pandas as pd
import torch
from torch import Tensor, nn

from advlook.attacks.suite import percent
from advlook.core.files import digest, file_hash, write_atomically
from advlook.core.presets import Preset
from advlook.core.processes import run_all, worker_count
from advlook.data.image_sets import ImageSet
from advlook.experiments.ensembles.targets import Target, load_images
from advlook.models import fusion
from advlook.models.architectures import split_last_layer
from advlook.models.evaluation import predict
from advlook.models.fusion import COMBINATIONS, Member, members
from advlook.stats.paired import pack
from advlook.study.study import Row, Study

MODES = ("fine-tuned", "frozen")
FEW = 20_000  # images: to show them takes no longer than to start processes


@dataclass(frozen=True)
class FineTuning:
    """One run: an ensemble fine-tuned to a target."""

    arch: str
    target: Target
    combination: str
    run: int
    mode = "fine-tuned"

    def members(self, preset: Preset) -> tuple[Member, ...]:
        """The checkpoints that it is made of."""
        return members(self.combination, preset.seeds, self.run)

    def settings(self, preset: Preset) -> list[object]:
        """What else its result depends on."""
        config, training = preset.ensembles, preset.training.key()
        for unused in ("schedule", "step_epochs", "warmup", "average"):
            del training[unused]
        return [self.combination, self.run, training, config.learning_rate, config.epochs]

    def cost(self, preset: Preset) -> int:
        """Images times backbones that it shows to networks in training."""
        batch, count = preset.training.batch_size, self.target.train
        return len(self.members(preset)) * preset.ensembles.epochs * (count // batch * batch or count)

    def rows(self, study: Study, progressed: Callable[[int], object]) -> Iterator[Row]:
        """Train it, and answer the test images."""
        preset, chosen = study.preset, self.members(study.preset)
        images = load_images(study, self.target, "train", augmented=True)
        models = [study.model(self.arch, *member) for member in chosen]
        ensemble = fusion.new_ensemble(models, len(images.classes), self.run)
        fusion.fine_tune(
            ensemble,
            preset,
            self.arch,
            images,
            self.run,
            device=study.device,
            progressed=lambda count: progressed(count * len(chosen)),
        )
        test = load_images(study, self.target, "test")
        logits = predict(ensemble, test, batch_size=preset.evaluation.batch_size, device=study.device)
        yield _row(self.combination, self.run, chosen, fusion.parameters(ensemble), logits, test.labels)


@dataclass(frozen=True)
class Frozen:
    """All runs with frozen backbones of one architecture on a target: they share the features."""

    arch: str
    target: Target
    mode = "frozen"

    def runs(self, preset: Preset) -> list[tuple[str, int, tuple[Member, ...]]]:
        """Combination, number and members of every run."""
        every = [(name, run) for name in COMBINATIONS for run in range(preset.ensembles.frozen_runs)]
        return [(*each, chosen) for each in every if (chosen := members(each[0], preset.seeds, each[1]))]

    def members(self, preset: Preset) -> tuple[Member, ...]:
        """The checkpoints whose features are needed."""
        return tuple(sorted({member for *_, chosen in self.runs(preset) for member in chosen}))

    def settings(self, preset: Preset) -> list[object]:
        """What else its results depend on."""
        config, training = preset.ensembles, preset.training
        sgd = [training.batch_size, training.momentum, training.weight_decay, training.label_smoothing]
        return [config.frozen_epochs, config.frozen_learning_rate, config.frozen_runs, sgd]

    def cost(self, preset: Preset) -> int:
        """Images times backbones that it shows to networks, one forward pass a third of a step in training."""
        return len(self.members(preset)) * ((self.target.train + self.target.test) // 3)

    def rows(self, study: Study, progressed: Callable[[int], object]) -> Iterator[Row]:
        """Compute the features once, train every run's classifier on them, and answer the test images."""
        preset = study.preset
        train, test = (load_images(study, self.target, split) for split in ("train", "test"))
        known, sizes = {}, {}
        for member in self.members(preset):
            backbone, _ = split_last_layer(study.model(self.arch, *member))
            sizes[member] = fusion.parameters(backbone)
            known[member] = [features(study, backbone, images) for images in (train, test)]
            progressed(self.cost(preset) // len(self.members(preset)))
        for combination, run, chosen in self.runs(preset):
            seen, asked = (torch.cat([known[member][k] for member in chosen], dim=1) for k in (0, 1))
            classifier = fusion.fit_classifier(seen, train.labels, len(train.classes), preset, run)
            size = sum(sizes[member] for member in chosen) + fusion.parameters(classifier)
            with torch.no_grad():
                yield _row(combination, run, chosen, size, classifier(asked), test.labels)


Runs = FineTuning | Frozen


def features(study: Study, backbone: nn.Module, images: ImageSet) -> Tensor:
    """What a backbone makes of every image, in eval mode and on the CPU: `(N, width)`."""
    return predict(backbone, images, batch_size=study.preset.evaluation.batch_size, device=study.device)


def _row(
    combination: str, run: int, chosen: Sequence[Member], size: int, logits: Tensor, labels: Tensor
) -> dict[str, object]:
    right = logits.argmax(1) == labels
    return {
        "combination": combination,
        "seed": run,
        "top1": percent(right),
        "images": len(labels),
        "members": " ".join(f"{setting}-{seed}" for setting, seed in chosen),
        "parameters": size,
        "right": pack(right),
    }


def every_run(study: Study, targets: Iterable[Target], modes: Sequence[str] = MODES) -> list[Runs]:
    """All runs of the preset on these targets, fine-tuned ones first."""
    found: list[Runs] = []
    for target in targets if "fine-tuned" in modes else ():
        for arch in study.preset.archs:
            for run in range(study.preset.ensembles.runs):
                every = (FineTuning(arch, target, combination, run) for combination in COMBINATIONS)
                found += [each for each in every if each.members(study.preset)]
    if "frozen" in modes:
        found += [Frozen(arch, target) for target in targets for arch in study.preset.archs]
    return found


def measure(study: Study, runs: Collection[Runs]) -> pd.DataFrame:
    """A row each run: arch, dataset, pixels, mode, combination, seed, top1, images, members, parameters, and right,
    which test images it is right about (see `paired.right_of`).

    seed: the number of the run, which draws the classifier and the order of images, and turns to the next checkpoints.
    Runs that are not kept yet are made first; on the CPU, unless they are small, each on a core of its own.
    """
    places = _places(study, runs)
    missing = [each for each in runs if not places[each].is_file()]
    if missing:
        for each in missing:  # decoded here, once, and not by every process
            whole = replace(each.target, side=0)
            load_images(study, whole, "train", augmented=isinstance(each, FineTuning))
            load_images(study, whole, "test")
        small = sum(each.cost(study.preset) for each in runs) < FEW
        run_all(
            _make,
            [(study.preset, study.data, each, places[each]) for each in missing],
            1 if small else worker_count(len(runs), study.device),
            title=f"{len(missing)} ensembles",
            total=sum(each.cost(study.preset) for each in missing),
            progress=study.progress,
        )
    rows = []
    for each, place in places.items():
        about = {"arch": each.arch, "dataset": each.target.title, "pixels": each.target.pixels, "mode": each.mode}
        rows += [about | row for row in json.loads(place.read_text())]
    columns = [
        "arch",
        "dataset",
        "pixels",
        "mode",
        "combination",
        "seed",
        "top1",
        "images",
        "members",
        "parameters",
        "right",
    ]
    return pd.DataFrame(rows, columns=columns)


def _places(study: Study, runs: Iterable[Runs]) -> dict[Runs, Path]:
    """Where the rows of runs are kept, by names that tell everything they depend on."""
    preset = study.preset
    data = asdict(preset.data)
    for unused in ("name", "classes", "train_images", "test_images"):  # of the set that backbones were trained on
        del data[unused]

    @cache
    def weights(arch: str, setting: str, seed: int) -> str:
        return file_hash(study.checkpoint(arch, setting, seed))

    def place(each: Runs) -> Path:
        used = [(*member, weights(each.arch, *member)) for member in each.members(preset)]
        made_by = digest([each.mode, each.arch, each.target.digest, data, used, each.settings(preset)])
        return study.data / "cache" / "ensembles" / preset.name / f"{each.mode}-{each.arch}-{made_by}.json"

    return {each: place(each) for each in runs}


def _make(preset: Preset, data: Path, runs: Runs, place: Path, progressed: Callable[[int], object]) -> None:
    rows = runs.rows(Study(preset, data=data, progress=False), progressed)
    text = json.dumps([dict(row) for row in rows])
    write_atomically(place, lambda partial: partial.write_text(text))
