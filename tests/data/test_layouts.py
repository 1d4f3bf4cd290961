"""Which files of a folder are images: of every suffix that is read, nothing that is hidden, and none in silence."""

import logging
import re
import shutil

import pytest
from helpers import write_folder
from PIL import Image

from advlook.core.errors import RequestError
from advlook.data import layouts
from advlook.data.image_sets import load_listing
from advlook.data.layouts import images_below, list_images
from advlook.data.styles import load_styles


@pytest.fixture
def told(caplog):
    """What is logged from now on, as if nothing had been told before."""
    layouts._tell.cache_clear()
    caplog.set_level(logging.WARNING, "advlook")
    return lambda: [record.getMessage() for record in caplog.records]


def names(listing):
    """The files of a listing, from its root."""
    return [str(path.relative_to(listing.root)) for path in listing.files]


def test_every_format_that_pillow_reads_is_listed_and_read(tmp_path, told):
    """Whatever the suffix and its case; the files are decoded as well."""
    suffixes = ("gif", "jfif", "JPG", "jpeg", "avif", "WebP", "tif", "tiff", "bmp", "ppm", "pgm", "jp2", "tga")
    (tmp_path / "set" / "ant").mkdir(parents=True)
    for suffix in suffixes:
        Image.new("L" if suffix == "pgm" else "RGB", (30, 20), 90).save(tmp_path / "set" / "ant" / f"image.{suffix}")
    listing = list_images(tmp_path / "set")
    assert len(listing) == len(suffixes)
    assert len(load_listing(listing, 16, progress=False)) == len(suffixes)
    assert told() == []


def test_a_plugin_adds_the_formats_that_it_reads(tmp_path, monkeypatch):
    """Photographs of iPhones are listed where a plugin reads them, and only there."""
    folder = write_folder(tmp_path / "set")
    (folder / "ant" / "0.png").rename(folder / "ant" / "0.HEIC")
    for register in ("EXTENSION", "OPEN"):
        known = {key: value for key, value in getattr(Image, register).items() if key not in (".heic", "HEIF")}
        monkeypatch.setattr(Image, register, known)
    assert len(list_images(folder)) == 5
    Image.OPEN["HEIF"] = Image.OPEN["PNG"]
    Image.EXTENSION[".heic"] = "HEIF"
    assert "ant/0.HEIC" in names(list_images(folder))


def clutter(folder):
    """Fill a folder with what notebooks, Macs and sync clients leave in it, copied from one of its images."""
    (image,) = folder.glob("*/0.png") if folder.name != "ant" else [folder / "0.png"]
    for place in (".ipynb_checkpoints/0-checkpoint.png", "._0.png", "__MACOSX/0.png", "a/.b/c/0.png", ".0.png"):
        (folder / place).parent.mkdir(parents=True, exist_ok=True)
        shutil.copy(image, folder / place)


def test_hidden_files_are_no_images(tmp_path, told):
    """At any depth, in a class and beside classes: neither counted, nor read, nor told of as passed over. The folder
    itself may lie in a hidden one."""
    folder = write_folder(tmp_path / ".cache" / "__MACOSX" / "train", ("ant",))
    before = names(list_images(folder))
    clutter(folder / "ant")
    (folder / "ant" / ".DS_Store").write_text("")
    clutter(folder)
    shutil.rmtree(folder / "a")
    listing = list_images(folder)
    assert listing.classes == ("ant",)
    assert names(listing) == before == ["ant/0.png", "ant/1.png"]
    assert images_below(folder) == list(listing.files)
    assert told() == []


def test_hidden_files_are_no_validation_images(tmp_path):
    """In the flat `val/` of ImageNet a Mac's files, which no list of answers names, change nothing."""
    (tmp_path / "val").mkdir()
    Image.new("RGB", (20, 20)).save(tmp_path / "val" / "ILSVRC2012_val_00000001.JPEG")
    (tmp_path / "val" / "._ILSVRC2012_val_00000001.JPEG").write_bytes(b"left by a Mac")
    answers = "ImageId,PredictionString\nILSVRC2012_val_00000001,n01440764 1 2 3 4\n"
    (tmp_path / "LOC_val_solution.csv").write_text(answers)
    listing = layouts.imagenet(tmp_path, "test")
    assert names(listing) == ["ILSVRC2012_val_00000001.JPEG"]
    assert listing.classes == ("n01440764",)


def test_files_passed_over_are_counted_by_suffix(tmp_path, told):
    """Once in a process, in one line that holds no path of this machine; a folder of styles is told of likewise."""
    folder = write_folder(tmp_path / "photos" / "train")
    for name in ("ant/a.mp4", "bee/b.MP4", "bee/deep/c.mp4", "cat/notes.txt", "cat/README"):
        (folder / name).parent.mkdir(exist_ok=True)
        (folder / name).write_text("")
    for _ in range(2):
        assert len(list_images(folder)) == 6
    (line,) = told()
    assert line == "photos/train: passed over 3 .mp4, 1 without suffix, 1 .txt, which are not read as images"
    load_styles([str(folder / "ant")], 16, tmp_path)
    assert told()[1:] == ["train/ant: passed over 1 .mp4, which are not read as images"]


def test_many_suffixes_are_summed_up(tmp_path, told):
    """A thousand files with numbers for suffixes make no longer line."""
    folder = write_folder(tmp_path / "photos", ("ant",))
    for number in range(1000):
        (folder / "ant" / f"photo.{number:04d}").write_text("")
    list_images(folder)
    (line,) = told()
    assert re.search(r"passed over (1 \.\d{4}, ){5}995 others, which", line)


def test_a_class_without_readable_images_tells_what_it_holds(tmp_path, monkeypatch):
    """So that nobody looks for images that are there; for .heic, with the plugin that reads them."""
    folder = write_folder(tmp_path / "photos")
    monkeypatch.setattr(layouts, "image_suffixes", lambda: {".png"})
    for image in (folder / "bee").iterdir():
        image.rename(image.with_suffix(".heic"))
    wanted = r"class folder .*bee holds no images but 2 \.heic \(`pip install pillow-heif` reads \.heic\); add some"
    with pytest.raises(RequestError, match=wanted):
        list_images(folder)
