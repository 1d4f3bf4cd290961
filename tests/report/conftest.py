"""What tests of the runner share."""

import pytest
from helpers import small_preset

from advlook.report import runner
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
