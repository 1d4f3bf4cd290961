"""What tests of the runner, and of the gallery, share."""

import pytest
from gallery_pages import add_notebook, add_result
from helpers import small_preset

from advlook.report import gallery, runner
from advlook.report.gallery import PAPER
from advlook.study.study import Study


@pytest.fixture
def workshop(tmp_path, monkeypatch):
    """A study without models, and a folder for notebooks."""
    folder = tmp_path / "notebooks"
    folder.mkdir()
    monkeypatch.setattr(runner, "NOTEBOOKS", folder)
    preset = small_preset()
    object.__setattr__(preset, "archs", ())
    monkeypatch.setattr(runner, "Study", lambda *a, **k: Study(preset, output=tmp_path / "out", data=tmp_path / "data"))
    return folder, tmp_path / "out" / "small"


@pytest.fixture
def folder(tmp_path):
    """A folder with every result that the paper has, and one that it has not."""
    for name in dict.fromkeys(name for _, names in PAPER.values() for name in names):
        for arch in ("alexnet_bn", "resnet10") if "{arch}" in name else ("",):
            add_result(tmp_path / "made", name.format(arch=arch))
    add_result(tmp_path / "made", "02_radius.png")
    for number in gallery.INTRODUCTIONS:
        add_notebook(tmp_path / "made", f"{number}_notebook", f"{int(number)}. About {number}")
    return tmp_path / "made"
