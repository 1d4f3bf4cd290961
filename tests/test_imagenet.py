"""A miniature ImageNet, as it lies on disk, goes through every notebook at the size of the paper."""

import json
import re

import numpy as np
import pandas as pd
import pytest
import torch
from PIL import Image

from advlook.core.preset_files import PRESET_FOLDER
from advlook.report import runner
from advlook.study.folders import data_folder
from advlook.study.study import Study

CLASSES = 1000
WNIDS = [f"n{1_000_000 + 17 * number:08d}" for number in range(CLASSES)]
SMALL = {  # the least of everything, and numbers of images that tell apart; the rest is as in preset `imagenet`
    "": {"archs": ["resnet50"], "seeds": [0]},
    "data": {"train_images": 16, "test_images": 10},
    "models.resnet50": {"width": 8, "epochs_std": 1, "epochs_adv": 1},
    "training": {"batch_size": 16, "check_images": 6},
    "evaluation": {
        "batch_size": 16,
        "pgd_steps": 2,
        "curve": ["0/255", "4/255"],
        "curve_images": 5,
        "steps": [1, 2],
        "restarts": [1],
        "suite_steps": 2,
    },
    "visualize": {
        "images": 3,
        "samples": 2,
        "shown": 1,
        "units": 2,
        "steps": 1,
        "starts": 1,
        "fourier_stride": 56,
        "sanity_images": 1,
    },
    "corruptions": {
        "images": 7,
        "sigmas": [4.0],
        "passes": [1],
        "family_images": 4,
        "pairs": 4,
        "controls": 2,
        "masked": 3,
    },
    "ensembles": {
        "targets": ["stanford-dogs", "imagenet"],
        "images": 24,
        "test_images": 9,
        "fine_tuned": ["imagenet"],
        "fine_tuned_images": 24,
        "fine_tuned_test_images": 9,
        "epochs": 1,
        "runs": 1,
        "sides": [56],
    },
    "stylization": {
        "engine": "optimised",  # the network is an extra
        "styles": ["paintings"],
        "images": 8,
        "partial_images": 4,
        "cues": 6,
        "steps": 1,
    },
}
IMAGES = {  # in the column "images" of a table
    "01_tradeoff": {10},
    "02_attacks": {5},
    "02_radii": {5},
    "02_transfer": {5},
    "03_fourier": {3},
    "03_scale": {3},
    "04_answers": {10},
    "04_hybrids": {2, 4},
    "04_masking": {3},
    "04_corruptions": {7},
    "04_families": {4},
    "05_stylization": {4, 8},
    "05_conflicts": {0},  # the judge was not asked about ImageNet
    "06_ensembles": {9},
    "06_resolution": {9},
}
DECODED = [  # by what it is: how many, and pixels a side
    ("datasets-paintings", 3, 448),
    ("imagenet-test-degraded", 9, 224),
    ("imagenet-train", 24, 224),
    ("imagenet-train", 24, 256),
    ("imagenet-train-degraded", 24, 224),
    ("imagenet-val", 9, 224),
    ("imagenet-val", 10, 224),
]


def write_imagenet(root):
    """Two training images a class and one of validation, in the layout and the modes that the real files have."""
    rng = np.random.default_rng(0)

    def write(path, number):
        shape = (*rng.integers(60, 100, 2), 3)
        coarse = rng.integers(0, 256, (4, 4, 3), dtype=np.uint8)
        image = Image.fromarray(coarse).resize(shape[1::-1], Image.Resampling.BICUBIC)
        # Some of the real ones are grey, some CMYK, and one is a PNG by another name.
        mode = "L" if number % 5 == 1 else "CMYK" if number % 5 == 2 else "RGB"
        image.convert(mode).save(path, "PNG" if number % 5 == 3 else "JPEG")

    for number, wnid in enumerate(WNIDS):
        folder = root / "train" / wnid
        folder.mkdir(parents=True)
        for image in range(2):
            write(folder / f"{wnid}_{image}.JPEG", number + image)
    (root / "val").mkdir()
    answers = ["ImageId,PredictionString"]
    for place, number in enumerate(rng.permutation(CLASSES), 1):
        name = f"ILSVRC2012_val_{place:08d}"
        write(root / "val" / f"{name}.JPEG", place)
        answers.append(f"{name},{WNIDS[number]} 1 1 50 50 ")
    (root / "LOC_val_solution.csv").write_text("\n".join(answers) + "\n")


def write_paintings(root):
    """Three pictures to take textures from."""
    root.mkdir()
    for number in range(3):
        pixels = np.random.default_rng(number).integers(0, 256, (64, 80, 3), dtype=np.uint8)
        Image.fromarray(pixels).save(root / f"{number}.jpg")


def write_preset(path):
    """Preset `imagenet` with what SMALL says: every other line is the one that the lab will run."""
    left = {(section, key) for section, values in SMALL.items() for key in values}
    section, lines = "", []
    for line in (PRESET_FOLDER / "imagenet.toml").read_text().splitlines():
        if header := re.fullmatch(r"\[(.*)\]", line):
            section = header[1]
        key = line.partition(" = ")[0]
        if key in SMALL.get(section, {}):
            left.remove((section, key))
            line = f"{key} = {json.dumps(SMALL[section][key])}"
        lines.append(line)
    assert not left
    path.write_text("\n".join(lines) + "\n")
    return path


@pytest.fixture(scope="module")
def preset(tmp_path_factory):
    """The path of the small preset, after every notebook has run on a miniature ImageNet; results lie beside it."""
    root = tmp_path_factory.mktemp("imagenet")
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("ADVLOOK_DATA", str(root / "data"))
        patch.setenv("ADVLOOK_OUTPUT", str(root / "figures"))
        patch.setenv("ADVLOOK_WORKERS", "0")  # to start processes takes longer than to decode a batch of this size
        write_imagenet(data_folder() / "datasets" / "imagenet")
        write_paintings(data_folder() / "datasets" / "paintings")
        path = write_preset(root / "mini.toml")
        assert runner.reproduce(str(path)) == 0
        yield path


@pytest.mark.slow
def test_every_notebook_runs(preset):
    """A copy of each with its outputs, but of 09, as the preset has no controls; no failure, and a gallery."""
    output = preset.parent / "figures" / "mini"
    every = {path.stem for path in runner.find_notebooks()}
    assert {path.stem for path in output.glob("notebooks/*.ipynb")} == every - {runner.CONTROLS}
    assert not list(output.glob("failed/*"))
    assert (output / "index.html").is_file()


@pytest.mark.slow
def test_tables_say_how_many_images(preset):
    """Each table is of as many images as the preset asks for, a random draw, at 224 px and of 1,000 classes."""
    tables = {path.stem: pd.read_csv(path) for path in (preset.parent / "figures").rglob("*.csv")}
    assert {name: set(tables[name]["images"].dropna()) for name in IMAGES} == IMAGES
    assert {"05_differences", "06_datasets", "06_comparisons", "07_sanity"} <= tables.keys()
    found = tables["06_datasets"].set_index("dataset").loc["ImageNet"]
    assert (found["pixels"], found["classes"]) == (224, 1000)
    (pixels,) = set(tables["06_ensembles"]["pixels"])  # those of the files: shown at 224 px they have no more
    assert 60 <= pixels < 100
    assert set(tables["06_resolution"]["resolution"]) == {56, pixels}
    assert set(tables["01_tradeoff"]["arch"]) == {"resnet50"}


@pytest.mark.slow
def test_models_are_of_the_size_of_the_study(preset):
    """Both were trained, and kept, and answer images of 224 px with 1,000 logits."""
    study = Study(preset, data=preset.parent / "data", progress=False)
    for key in study.each_model():
        assert study.find_checkpoint(*key)
        with torch.no_grad():
            assert study.model(*key)(torch.zeros(1, 3, 224, 224)).shape == (1, CLASSES)


@pytest.mark.slow
def test_no_more_is_decoded_than_is_asked_for(preset):
    """Of 2,000 training and 1,000 test images those that the preset names, and training reads from the files."""
    kept = sorted((preset.parent / "data" / "cache" / "images").glob("*.npy"))
    found = [
        (re.match(r"[a-z]+-[a-z]+(-degraded)?", path.name)[0], np.load(path, mmap_mode="r").shape) for path in kept
    ]
    assert sorted((name, count, side) for name, (count, side, _, _) in found) == DECODED
