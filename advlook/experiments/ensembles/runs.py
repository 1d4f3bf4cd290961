"""The runs of notebook 06: how well ensembles of STD and ADV backbones learn other image sets.

A *run* is one ensemble trained on a target, fine-tuned or with frozen backbones, whose classifiers have a closed form:
there a run is a choice of checkpoints, and nothing else differs. Of frozen backbones those of other radii in training
are measured, too, each alone. Finished runs are kept under a key of
checkpoints, images and configuration, so that an interrupted study goes on with the next ones. As with checkpoints the
code is not part of the key: whoever changes what a run does deletes `data/cache/ensembles`."""

import time
from collections.abc import Callable, Collection, Iterable, Iterator, Sequence
from dataclasses import asdict, dataclass, replace
from functools import cache
from itertools import product
from pathlib import Path

import pandas as pd
import torch
from torch import Tensor

from advlook.attacks.suite import percent
from advlook.core import Preset, digest, file_hash, run_all, worker_count
from advlook.core.names import FINE_TUNED, FROZEN
from advlook.experiments.ensembles.targets import Target, load_images
from advlook.models import fusion, predict
from advlook.models.architectures import split_last_layer
from advlook.models.fusion import COMBINATIONS, Member, members
from advlook.models.probes import FOLDS, PENALTIES, Probes, shuffled_folds
from advlook.study import Row, Study
from advlook.study.tables import keep_rows, kept_rows

MODES = FINE_TUNED, FROZEN
WHERE = ["arch", "dataset", "pixels", "mode"]
COLUMNS = [*WHERE, "known", "classes", "combination", "seed", "top1", "images", "members", "parameters", "right"]

Progress = Callable[[int], object]  # is told how many images were seen


@dataclass(frozen=True)
class Runs:
    """Runs on one target that are made together: a single fine-tuned one, or frozen ones, which share the features.
    chosen: combination and number of each; of a model of another radius its setting, and the place of its seed. A run
    has the same result in whatever company it is made."""

    arch: str
    target: Target
    mode: str
    chosen: tuple[tuple[str, int], ...]

    @property
    def where(self) -> Row:
        """The columns WHERE of their rows."""
        return dict(zip(WHERE, (self.arch, self.target.title, self.target.pixels, self.mode), strict=True))

    def members(self, preset: Preset) -> list[Member]:
        """The checkpoints that they need."""
        return sorted({member for each in self.chosen for member in _members(preset, *each)})

    def settings(self, preset: Preset) -> list[object]:
        """What their results depend on besides arch, target and checkpoints."""
        config, training = preset.ensembles, preset.training
        if self.mode == FROZEN:
            return [self.chosen, "ridge", FOLDS, PENALTIES]
        unused = ("schedule", "step_epochs", "warmup", "average")
        used = {name: value for name, value in training.key().items() if name not in unused}
        return [self.chosen, used, config.learning_rate, config.epochs]

    def cost(self, preset: Preset) -> int:
        """Images times backbones that see them in training; a forward pass counts as a third of a training step."""
        count, batch = self.target.train, preset.training.batch_size
        tuned = preset.ensembles.epochs * (count // batch * batch or count)
        return len(self.members(preset)) * ((count + self.target.test) // 3 if self.mode == FROZEN else tuned)

    def rows(self, study: Study, progressed: Progress = lambda images: None) -> Iterator[Row]:
        """Train the ensemble of each run and answer the test images: combination, seed, top1, ..., right."""
        yield from (_frozen if self.mode == FROZEN else _fine_tuned)(self, study, progressed)


def _fine_tuned(runs: Runs, study: Study, progressed: Progress) -> Iterator[Row]:
    preset, ((combination, run),) = study.preset, runs.chosen
    images, chosen = load_images(study, runs.target, "train", augmented=True), members(combination, preset.seeds, run)
    models = [study.model(runs.arch, *member) for member in chosen]
    ensemble = fusion.new_ensemble(models, len(images.classes), run, preset.data.size)
    shown = {"device": study.device, "progressed": lambda count: progressed(count * len(chosen))}
    fusion.fine_tune(ensemble, preset, runs.arch, images, run, **shown)
    test = load_images(study, runs.target, "test")
    logits = predict(ensemble, test, **study.batches)
    yield _row(combination, run, chosen, fusion.parameters(ensemble), logits, test.labels)


def _frozen(runs: Runs, study: Study, progressed: Progress) -> Iterator[Row]:
    """The features of each backbone are computed once. A set of folds is answered by cross-validation."""
    preset, target, needed = study.preset, runs.target, runs.members(study.preset)
    train, *test = (load_images(study, target, split) for split in target.splits)
    folds, asked = shuffled_folds(train.labels, target.folds or FOLDS), test[0] if test else train
    features, sizes = {}, {}
    for member in needed:
        backbone, _ = split_last_layer(study.model(runs.arch, *member), preset.data.size)
        sizes[member] = fusion.parameters(backbone)
        features[member] = [predict(backbone, images, **study.batches) for images in (train, *test)]
        progressed(runs.cost(preset) // len(needed))
    for combination, run in runs.chosen:
        chosen = _members(preset, combination, run)
        seen, *shown = (
            torch.cat([features[member][place] for member in chosen], dim=1) for place in range(1 + len(test))
        )
        probes = Probes(seen, train.labels, len(train.classes), folds)
        size = sum(sizes[member] for member in chosen) + (seen.shape[1] + 1) * len(train.classes)
        with torch.no_grad():
            logits = probes.fitted()(shown[0]) if test else probes.crossed()
        yield _row(combination, run, chosen, size, logits, asked.labels)


def _row(combination: str, run: int, chosen: Sequence[Member], size: int, logits: Tensor, labels: Tensor) -> Row:
    right = logits.argmax(1) == labels
    names = " ".join(f"{setting}-{seed}" for setting, seed in chosen)
    row = {"combination": combination, "seed": run, "top1": percent(right), "images": len(labels), "members": names}
    return row | {"parameters": size, "right": right.numpy()}


def every_run(study: Study, targets: Iterable[Target], modes: Sequence[str] = MODES) -> list[Runs]:
    """All runs of the preset on these targets, fine-tuned ones first; frozen ones also of models of other radii that
    are here, on targets as they are."""
    preset = study.preset
    tuned = [(name, run) for run in range(preset.ensembles.runs) for name in COMBINATIONS]
    tuned = [each for each in tuned if _members(preset, *each)]
    places = [(arch, target) for target in targets for arch in preset.archs]
    found = [Runs(*place, FINE_TUNED, (each,)) for place in places for each in tuned if FINE_TUNED in modes]
    for arch, target in places if FROZEN in modes else ():
        others = () if target.side else _other_radii(study, arch)
        found.append(Runs(arch, target, FROZEN, (*_choices(preset), *others)))
    return found


def _choices(preset: Preset) -> list[tuple[str, int]]:
    """The runs of every combination whose members differ: of two seeds a pair of equals has one."""
    found: dict[object, tuple[str, int]] = {}
    for name, run in product(COMBINATIONS, range(len(preset.seeds))):
        if chosen := members(name, preset.seeds, run):
            found.setdefault((name, frozenset(chosen)), (name, run))
    return list(found.values())


def _other_radii(study: Study, arch: str) -> list[tuple[str, int]]:
    """The controls that differ from ADV in the radius alone, and of each the places of the seeds that are trained."""
    controls = {name: study.preset.controls[name] for name in study.preset.doses if name in study.preset.controls}
    every = [(name, place, seed) for name, each in controls.items() for place, seed in enumerate(each.seeds)]
    known = [(name, place) for name, place, seed in every if study.find_checkpoint(arch, name, seed)]
    return [each for each in known if arch in controls[each[0]].archs]


def _members(preset: Preset, combination: str, run: int) -> tuple[Member, ...]:
    """As `fusion.members`; of a control the checkpoint of one of its own seeds."""
    control = preset.controls.get(combination)
    return ((combination, control.seeds[run]),) if control else members(combination, preset.seeds, run)


def measure(study: Study, runs: Collection[Runs]) -> pd.DataFrame:
    """A row each run (COLUMNS); those that are not kept yet are made first. seed: the number of the run, which chooses
    the checkpoints and, in fine-tuning, draws the classifier and the order of images; right: of which test images."""
    make(study, runs)
    return kept(study, runs)


def make(study: Study, runs: Collection[Runs]) -> None:
    """Make the runs that are not kept yet; on the CPU, unless they are small, on a core each."""
    places = _places(study, runs)
    missing = [each for each in runs if not places[each].is_file()]
    study.seconds_kept += sum(kept_rows(places[each])[1] for each in runs if each not in missing)
    if not missing:
        return
    for each in missing:  # decoded here, once, and not by every process
        whole = replace(each.target, side=0)
        for split in whole.splits:
            load_images(study, whole, split, augmented=split == "train" and each.mode == FINE_TUNED)
    everything, total = (sum(each.cost(study.preset) for each in some) for some in (runs, missing))
    workers = worker_count(len(runs), study.device, everything)
    jobs = [(study.preset, study.data, each, places[each]) for each in missing]
    run_all(_make, jobs, workers, title=f"{len(missing)} ensembles", total=total, progress=study.progress)


def kept(study: Study, runs: Collection[Runs]) -> pd.DataFrame:
    """A row each run of those that were made, as `measure` has it."""
    found = [
        each.where | {"known": each.target.known, "classes": each.target.classes} | row
        for each, place in _places(study, runs).items()
        for row in kept_rows(place)[0]
    ]
    return pd.DataFrame(found, columns=COLUMNS)


def _places(study: Study, runs: Iterable[Runs]) -> dict[Runs, Path]:
    """Where the rows of runs are kept, by names that tell everything they depend on."""
    preset, folder = study.preset, study.data / "cache" / "ensembles" / study.preset.name
    unused = ("name", "classes", "train_images", "test_images")  # of the set that backbones were trained on
    data = {name: value for name, value in asdict(preset.data).items() if name not in unused}

    weights, places = cache(lambda *key: file_hash(study.checkpoint(*key))), {}
    for each in runs:
        used = [(*member, weights(each.arch, *member)) for member in each.members(preset)]
        made_by = digest([each.mode, each.arch, each.target.digest, data, used, each.settings(preset)])
        places[each] = folder / f"{each.mode}-{each.arch}-{made_by}.npz"
    return places


def _make(preset: Preset, data: Path, runs: Runs, place: Path, progressed: Progress) -> None:
    started = time.perf_counter()
    rows = list(runs.rows(Study(preset, data=data, progress=False), progressed))
    keep_rows(place, rows, time.perf_counter() - started)
