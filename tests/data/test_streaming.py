"""Streamed images: the right pixels, the same whoever reads them, and nothing left behind."""

import dataclasses
import io
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import pytest
import torch
from helpers import image_set, small_preset, write_folder
from PIL import Image

from advlook.core.distributed import ALONE, Group
from advlook.core.errors import RequestError
from advlook.core.preset_files import PRESET_FOLDER, load_preset
from advlook.data.crops import random_resized_crops
from advlook.data.image_sets import load_listing, to_float
from advlook.data.layouts import list_images
from advlook.data.streaming import StreamedImages, random_crop, worker_count
from advlook.data.test_bed import FreshImages
from advlook.study.study import Study

CONFIG = small_preset(data={"store": 0, "crop_scale": 0.3, "flip": True}).data


@pytest.fixture(autouse=True)
def _alone(monkeypatch):
    monkeypatch.setenv("ADVLOOK_WORKERS", "0")


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    """Three classes of seven JPEG files, and one PNG, of several shapes."""
    root = write_folder(tmp_path_factory.mktemp("set") / "train", count=6, side=40, suffix="jpg")
    rng = np.random.default_rng(1)
    for number, (name, shape) in enumerate(
        {"ant/x.jpg": (30, 70), "bee/x.jpg": (90, 24), "cat/x.png": (33, 33)}.items()
    ):
        coarse = rng.integers(0, 256, (4 + number, 6, 3), dtype=np.uint8)
        Image.fromarray(coarse).resize(shape).save(root / name)
    return root


def generator(seed=0):
    return torch.Generator().manual_seed(seed)


def streamed(folder, side=16, short=18):
    return StreamedImages(list_images(folder), side, short)


def epoch(images, seed=0, batch_size=6, group=ALONE):
    return list(images.training_batches(CONFIG, batch_size, generator(seed), group=group))


def picture(width, height, seed=0):
    """Soft spots of any colour, 20 beside each other at any size."""
    coarse = np.random.default_rng(seed).integers(0, 256, (20 * height // width, 20, 3), dtype=np.uint8)
    return Image.fromarray(coarse).resize((width, height), Image.Resampling.BICUBIC)


def test_shows_what_an_image_set_shows(folder):
    """Images, labels and classes are those of the decoded set, whole, in part and in any order."""
    kept, images = load_listing(list_images(folder), 16, 18, progress=False), streamed(folder)
    assert len(images) == len(kept) == 21
    assert images.classes == kept.classes
    order = torch.tensor([20, 3, 3, 11])
    parts = [lambda x: x, lambda x: x[4:9], lambda x: x[order], lambda x: x.subset(5, seed=1)]
    for ours, theirs in ((part(images), part(kept)) for part in parts):
        assert torch.equal(ours.labels, theirs.labels)
        batches = list(ours.batches(4))
        assert [len(labels) for _, labels in batches] == [len(part) for part in theirs.labels.split(4)]
        assert torch.equal(torch.cat([batch for batch, _ in batches]), to_float(theirs.images))
        assert torch.equal(torch.cat([labels for _, labels in batches]), theirs.labels)
    ((batch, labels),) = images.batches(4, chosen=order)
    ((expected, _),) = kept.batches(4, chosen=order)
    assert torch.equal(batch, expected)
    assert torch.equal(batch, to_float(kept.images[order]))
    assert torch.equal(labels, kept.labels[order])
    assert batch.is_contiguous(memory_format=torch.channels_last)


@pytest.mark.parametrize("workers", ["1", "2"])
def test_workers_change_nothing(folder, monkeypatch, workers):
    """Whoever decodes, the bits and their order are the same, whole and cropped."""
    images = streamed(folder)
    alone = epoch(images), list(images.batches(5))
    monkeypatch.setenv("ADVLOOK_WORKERS", workers)
    for ours, expected in zip((epoch(images), list(images.batches(5))), alone, strict=True):
        assert len(ours) == len(expected) > 1
        for (batch, labels), (other, theirs) in zip(ours, expected, strict=True):
            assert torch.equal(batch, other)
            assert torch.equal(labels, theirs)


@pytest.mark.parametrize("size", [2, 3, 4])
@pytest.mark.parametrize("kind", ["kept", "streamed", "fresh"])
def test_processes_share_the_batches_of_one(folder, kind, size):
    """The shares of several processes, put together, are bit by bit the batches of a process alone."""
    images = {"kept": image_set(40, 20), "streamed": streamed(folder), "fresh": FreshImages(20, 16)}[kind]
    alone = epoch(images)
    shares = [epoch(images, group=Group(rank, size)) for rank in range(size)]
    assert len(alone) == {"kept": 6, "streamed": 3, "fresh": 3}[kind]
    for batch, *parts in zip(alone, *shares, strict=True):
        assert max(len(labels) for _, labels in parts) - min(len(labels) for _, labels in parts) <= 1
        for place, whole in enumerate(batch):
            assert torch.equal(torch.cat([part[place] for part in parts]), whole)


def test_epoch_sees_every_image_once(folder):
    """Full batches of different images, with their own labels; another seed gives another order and other crops."""
    files = streamed(folder)
    numbered = dataclasses.replace(files, listing=dataclasses.replace(files.listing, labels=range(21)))
    first, again, other = (epoch(numbered, seed, batch_size=7) for seed in (0, 0, 1))
    assert sorted(torch.cat([labels for _, labels in first]).tolist()) == list(range(21))
    assert all(torch.equal(a, b) for (a, _), (b, _) in zip(first, again, strict=True))
    shown, different = ({int(k): x for b, ks in e for x, k in zip(b, ks, strict=True)} for e in (first, other))
    assert list(shown) != list(different)
    square = [k for k in shown if files.listing.files[k].stem != "x"]  # of the thin ones mostly the centre alone fits
    assert not any(torch.equal(shown[k], different[k]) for k in square)
    few = dataclasses.replace(CONFIG, train_images=8)
    assert [len(labels) for _, labels in numbered.training_batches(few, 3, generator())] == [3, 3]


def test_reading_leaves_the_random_state_alone(folder, monkeypatch):
    """Dropout draws from torch's own state: what reads images must not move it."""
    monkeypatch.setenv("ADVLOOK_WORKERS", "1")
    torch.manual_seed(5)
    expected = torch.rand(3)
    torch.manual_seed(5)
    epoch(streamed(folder))
    assert torch.equal(torch.rand(3), expected)


def crop_and_flip(width, height, least, chance):
    """Where `random_crop` cuts an image out, and whether it mirrors it."""
    box = random_resized_crops(torch.tensor([height]), torch.tensor([width]), least, chance)[0].tolist()
    return box, bool(torch.rand((), generator=chance) < 0.5)


@pytest.mark.parametrize(
    ("shape", "mode", "suffix"),
    [
        ((500, 375), "RGB", "jpg"),
        ((375, 500), "L", "jpg"),
        ((500, 375), "CMYK", "jpg"),
        ((300, 300), "RGB", "png"),
        ((60, 40), "RGB", "jpg"),  # enlarged
        ((900, 700), "RGB", "jpg"),  # decoded whole or at a half
        ((1600, 1200), "RGB", "jpg"),  # at a half or a quarter
    ],
)
def test_crops_equal_the_slow_exact_way(tmp_path, shape, mode, suffix):
    """A crop is what Pillow decodes, cuts out and resizes: to a level, and to two where the decoder scaled it down."""
    config = dataclasses.replace(CONFIG, size=128, crop_scale=0.2)
    path = tmp_path / f"image.{suffix}"
    picture(*shape).convert(mode).save(path, **({"quality": 92} if suffix == "jpg" else {}))
    whole, mirrored = Image.open(path).convert("RGB"), 0
    for seed in range(12):
        found = random_crop(path, config, generator(seed))
        assert found.shape == (128, 128, 3)
        assert found.dtype == np.uint8
        (top, left, height, width), flipped = crop_and_flip(*shape, 0.2, generator(seed))
        scale = max((k for k in (2, 4, 8) if suffix == "jpg" and min(width, height) >= k * 256), default=1)
        left, top, width, height = (scale * round(length / scale) for length in (left, top, width, height))
        exact = whole.crop((left, top, left + width, top + height)).resize((128, 128), Image.Resampling.BILINEAR)
        exact = np.asarray(exact).astype(int)
        apart = np.abs(found - (exact[:, ::-1] if flipped else exact))
        assert apart.max() <= (1 if scale == 1 else 2)
        assert apart.mean() < 0.3
        mirrored += flipped
    assert 0 < mirrored < 12


def damaged(content, how):
    return {"empty": b"", "no image": b"nothing", "cut off": content[: len(content) // 2]}[how]


@pytest.mark.parametrize("workers", ["0", "2"])
@pytest.mark.parametrize("how", ["empty", "no image", "cut off", "gone"])
def test_a_corrupt_file_is_named(tmp_path, monkeypatch, workers, how):
    """A file that is no whole image ends training and evaluation in one line that names it, whoever meets it."""
    monkeypatch.setenv("ADVLOOK_WORKERS", workers)
    root = write_folder(tmp_path / "train", side=60, suffix="jpg")
    images, broken = streamed(root), root / "bee" / "1.jpg"
    if how == "gone":
        broken.unlink()
    else:
        broken.write_bytes(damaged(broken.read_bytes(), how))
    for show in (lambda: list(images.batches(2)), lambda: epoch(images, batch_size=3)):
        with pytest.raises(RequestError, match=r"bee/1\.jpg cannot be read .*replace or remove it$") as caught:
            show()
        assert "\n" not in str(caught.value)
        assert "object at" not in str(caught.value)


def test_an_image_with_something_behind_its_end_is_read(tmp_path):
    """What follows a JPEG's end mark does no harm, as it does none to Pillow."""
    file = io.BytesIO()
    picture(80, 80).save(file, "JPEG", quality=95)
    for name, behind in {"plain": b"", "zeros": b"\0" * 9, "text": b"made by a camera"}.items():
        (tmp_path / f"{name}.jpg").write_bytes(file.getvalue() + behind)
    plain, zeros, text = (
        random_crop(tmp_path / f"{name}.jpg", CONFIG, generator(1)).astype(int) for name in ("plain", "zeros", "text")
    )
    assert np.array_equal(plain, zeros)
    assert np.abs(plain - text).max() <= 8


def test_number_of_workers(monkeypatch):
    """The processes on a machine share its cores, each has at least one, and the user has the last word."""
    monkeypatch.delenv("ADVLOOK_WORKERS")
    monkeypatch.setattr(os, "cpu_count", lambda: 16)
    assert worker_count() == 16
    for processes, workers in (("8", 2), ("5", 3), ("32", 1)):
        monkeypatch.setenv("LOCAL_WORLD_SIZE", processes)
        assert worker_count() == workers
    monkeypatch.setenv("ADVLOOK_WORKERS", "7")
    assert worker_count() == 7
    for wrong in ("-1", "many", "1.5"):
        monkeypatch.setenv("ADVLOOK_WORKERS", wrong)
        with pytest.raises(RequestError, match=f"ADVLOOK_WORKERS='{wrong}'"):
            worker_count()


def test_a_preset_asks_for_it(tmp_path):
    """With `data.store = 0` a study trains on streamed files, and no decoded training image is kept anywhere."""
    write_folder(tmp_path / "mine" / "train", count=6, side=40, suffix="jpg")
    write_folder(tmp_path / "mine" / "test", side=40)
    preset = small_preset(
        data={"name": str(tmp_path / "mine"), "store": 0, "crop_scale": 0.3, "shift": 0},
        model={"epochs_std": 1, "epochs_adv": 1},
    )
    study = Study(preset, data=tmp_path / "data", output=tmp_path / "out", progress=False)
    assert isinstance(study.training_images, StreamedImages)
    assert study.metadata("resnet10", "std")["history"][0]["loss"] > 0
    assert [path.name for path in (tmp_path / "data" / "cache" / "images").iterdir()] == [
        path.name for path in (tmp_path / "data" / "cache" / "images").glob("mine-test-*")
    ]


@pytest.mark.parametrize(("change", "named"), [("crop_scale = 1.0", "crop_scale"), ("store = 32", "data.store = 32")])
def test_a_preset_that_cannot_be_streamed_is_refused(tmp_path, change, named):
    """Streaming without random crops, or keeping images smaller than they are shown, is told before anything runs."""
    text = (PRESET_FOLDER / "imagenet.toml").read_text()
    key = change.split(" = ")[0]
    lines = [change if line.startswith(f"{key} = ") else line for line in text.splitlines()]
    (tmp_path / "mine.toml").write_text("\n".join(lines))
    with pytest.raises(RequestError, match=named):
        load_preset(tmp_path / "mine.toml")


SCRIPT = """
import os, signal, sys, time
from pathlib import Path
signal.signal(signal.SIGINT, signal.default_int_handler)  # what a shell starts in the background ignores it
from advlook.data.layouts import Listing, list_images
from advlook.data.streaming import StreamedImages
root = Path(sys.argv[1])
for number, _ in enumerate(StreamedImages(list_images(root), 16, 18).batches(1)):
    if number == 0:
        continue  # the second batch is the other worker's: both are at work, and look for their parent
    children = Path(f"/proc/{os.getpid()}/task/{os.getpid()}/children")
    print(children.read_text(), flush=True)
    time.sleep(60)
"""


@pytest.mark.skipif(not Path("/proc/self/task").is_dir(), reason="looks for processes as Linux lists them")
@pytest.mark.parametrize("how", [signal.SIGINT, signal.SIGKILL])
def test_no_worker_outlives_its_parent(folder, how):
    """Workers end with the process that they read for: at once where it is interrupted, soon where it is killed."""
    environment = os.environ | {"ADVLOOK_WORKERS": "2", "OMP_NUM_THREADS": "1"}
    parent = subprocess.Popen(
        [sys.executable, "-c", SCRIPT, str(folder)],
        stdout=subprocess.PIPE,
        stderr=subprocess.DEVNULL,
        env=environment,
        text=True,
    )
    with parent:
        workers = [Path("/proc") / number for number in parent.stdout.readline().split()]
        assert len(workers) == 2
        assert all(worker.exists() for worker in workers)
        parent.send_signal(how)
        assert parent.wait(timeout=20) != 0
        deadline = time.monotonic() + 20
        while any(worker.exists() for worker in workers):
            assert time.monotonic() < deadline
            time.sleep(0.1)
