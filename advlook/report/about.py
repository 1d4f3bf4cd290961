"""What a report is about: whose models, on which images, with which samples, and what is not defined for them. What
only files and models tell is found out once, when a preset of models from elsewhere runs, and stands in `models.json`.
"""

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import pandas as pd

from advlook.core import ARCH_NAMES, Preset, digest, eps_label, file_hash, read_json
from advlook.data.class_names import listed
from advlook.experiments.defined import SUBJECTS
from advlook.models.architectures import Normalized
from advlook.models.asked import checkpoint_of, classes_asked
from advlook.models.builders import builder, builder_file, is_built
from advlook.models.normalisation import SOURCES
from advlook.study.models import ModelKey
from advlook.study.provenance import write_record
from advlook.study.sentences import joined
from advlook.study.study import Study

FILE = "models.json"
_NAMES = {
    "given": "a file of names",
    "file": "the checkpoint",
    "imagenet": "ImageNet, by their number",
    "none": "the order of the folders",
}
Facts = dict[str, object]


@dataclass(frozen=True)
class About:
    """What the gallery shows of it: terms with what is to be said, and a line a model from elsewhere."""

    facts: list[tuple[str, str]]
    models: list[Facts]


def record_models(study: Study) -> None:
    """Write `models.json` of a preset whose models come from elsewhere; kept where preset, images and files are as they
    were. Raises RequestError where a file cannot be loaded, or does not suit the images."""
    path, preset = study.output / FILE, study.preset
    rests_on = digest([preset.digest, study.data_digest, study.weights])
    if not preset.external or read_json(path).get("rests_on") == rests_on:
        return
    models = [_facts(study, key) for key in study.each_model() if key[0] in preset.external]
    images = {"images": len(study.test), "classes": list(study.test.classes)}
    path.parent.mkdir(parents=True, exist_ok=True)
    write_record(path, {"rests_on": rests_on, "models": models, **images})


def about(folder: Path, preset: Preset) -> About:
    """What a report in this folder is about, from its preset, `models.json` and the tables of what is not defined."""
    record = read_json(folder / FILE)
    facts = {"Models": _models(preset), "Images": _images(preset, record), "Shown at": _shown(preset)}
    facts |= {
        "Radius": _radius(preset),
        "Samples": _samples(preset, record),
        "Not defined": "; ".join(_undefined(folder)),
    }
    return About([fact for fact in facts.items() if fact[1]], record.get("models", []))


def _facts(study: Study, key: ModelKey) -> Facts:
    """What is known of one model. Of its path only the last two parts are told, which a machine's folders do not."""
    arch, setting, seed = key
    external, path = study.preset.external[arch], study.checkpoint(*key)
    loaded = checkpoint_of(study.preset, arch, setting, path)
    network, made = _network(external.arch or arch)
    _, source, _ = classes_asked(loaded, study.test.classes, path, Path(study.preset.data.name), external.names_file)
    found = {"arch": arch, "setting": setting, "pair": seed, "file": "/".join(path.parts[-2:])}
    found |= {"sha256": study.weights["-".join(map(str, key))], "network": network, "from": made}
    found |= {"parameters": sum(each.numel() for each in loaded.model.parameters()), "classes": loaded.classes}
    found |= {"names": _NAMES[source], "normalisation": SOURCES[loaded.normalisation]}
    if isinstance(loaded.model, Normalized):
        buffers = {name: getattr(loaded.model, name).flatten().tolist() for name in ("mean", "std")}
        found |= {name: [round(value, 4) for value in values] for name, values in buffers.items()}
    return found


def _network(arch: str) -> tuple[str, str]:
    """The name of a network, and where it comes from: of a user's file its name and hash."""
    if path := builder_file(arch):
        return f"{path.name}:{arch.rpartition(':')[2]}", f"{path.name}, SHA-256 {file_hash(path)}"
    return arch, builder(arch).about if is_built(arch) else "this project"


def _models(preset: Preset) -> str:
    names, seeds = joined([ARCH_NAMES[arch] for arch in preset.archs]), len(preset.seeds)
    if not preset.external:
        return f"{names}, each as STD and ADV, trained here from {seeds} training seed{'s' * (seeds > 1)}."
    if seeds > 1:
        return f"{names}: {seeds} pairs of a STD and an ADV model from elsewhere, which count as training seeds."
    one = f"{names}: one pair of a STD and an ADV model from elsewhere. "
    return f'{one}What is found may be so by the chance of a training, so every verdict has the mark "one pair".'


def _images(preset: Preset, record: Facts) -> str:
    if preset.data.name == "synthetic":
        return "The embedded test-bed, whose cues are known."
    if not record:
        return f"The test images of {preset.data.name}."
    drawn = " drawn at random from" if preset.data.test_images else ", all of"
    classes = f"{preset.data.classes} classes: {listed(record['classes'], 10)}"
    return f"{record['images']:,} images{drawn} {Path(preset.data.name).name}; {classes}."


def _shown(preset: Preset) -> str:
    data = preset.data
    if data.name == "synthetic":
        return f"{data.size} px."
    return f"{data.size} px: the short side is resized to {data.test_store} px, and the centre is cut out."


def _radius(preset: Preset) -> str:
    evaluation = preset.evaluation
    return f"{eps_label(evaluation.eps)} in L-infinity, {evaluation.l2_eps:g} in L2, for images in [0, 1]."


def _samples(preset: Preset, record: Facts) -> str:
    evaluation, visualize, corruptions, style = (
        getattr(preset, name) for name in ("evaluation", "visualize", "corruptions", "stylization")
    )
    there = record.get("images", preset.data.test_images)  # 0: not known
    asked = {
        "attacks": (evaluation.curve_images, there),
        "maps": (visualize.images, there),
        "blur, median and reversed colours": (corruptions.images, there),
        "pairs of hybrid images": (corruptions.pairs, there // 2),
        "stylized images": (style.images, there),
        "sanity checks": (visualize.sanity_images, there),
    }
    counts = {what: min(filter(None, counts), default=0) for what, counts in asked.items()}
    told = [f"{what} {f'{count:,}' if count else 'all'}" for what, count in counts.items()]
    return f"At most: {'; '.join(told)}. Every table says of how many images it is."


def _undefined(folder: Path) -> Iterator[str]:
    """What is not defined, a text each."""
    paths = [folder / "tables" / f"{number}_undefined.csv" for number in ("03", "07")]
    found = pd.concat([pd.DataFrame(), *(pd.read_csv(path) for path in paths if path.is_file())])
    for row in found.drop_duplicates().itertuples():
        yield f"{SUBJECTS[row.method]} of {ARCH_NAMES[row.arch]} ({row.reason})"
