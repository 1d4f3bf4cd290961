"""Runs that are killed at any moment, and then run to their end."""

import os
import random
import re
import signal
import subprocess
import sys
import time

import pandas as pd
import pytest
from safetensors.torch import load_file

from advlook.core.preset_files import PRESET_FOLDER
from advlook.study.folders import ROOT

SMALLER = (
    'archs = ["resnet10"]',
    "train_images = 160",
    "test_images = 30",
    "check_images = 10",
    'curve = ["0/255", "8/255"]',
    "curve_images = 10",
    "pgd_steps = 4",
    "suite_steps = 2",
)


@pytest.mark.slow
@pytest.mark.parametrize(
    "command", ["reproduce --preset {} --notebooks 01,02", "train --preset {} --arch resnet10 --setting adv"]
)
def test_killed_runs_end_in_the_same_results(command, tmp_path):
    """SIGKILL at five random moments of a run, then a run to the end: tables and weights as if undisturbed."""
    smaller = (PRESET_FOLDER / "smoke.toml").read_text()
    for line in SMALLER:
        smaller = re.sub(f"^{line.partition(' = ')[0]} = .*", line, smaller, count=1, flags=re.MULTILINE)
    (tmp_path / "smaller.toml").write_text(smaller)
    words = command.format(tmp_path / "smaller.toml").split()
    seconds = run(words, tmp_path / "undisturbed")
    moments = random.Random(command)
    for _ in range(5):
        run(words, tmp_path / "killed", kill_after=moments.uniform(0.1, 0.9) * seconds)
    run(words, tmp_path / "killed")
    assert results(tmp_path / "killed") == results(tmp_path / "undisturbed") != {}
    assert not list((tmp_path / "killed").glob("out/**/.staging*"))


def run(words, place, kill_after=None):
    """Run the command line with its own data and output folder; returns the seconds taken."""
    environment = os.environ | {"ADVLOOK_DATA": str(place / "data"), "ADVLOOK_OUTPUT": str(place / "out")}
    started = time.monotonic()
    process = subprocess.Popen(
        [sys.executable, "-m", "advlook", *words],
        env=environment,
        cwd=ROOT,
        start_new_session=True,
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
    )
    try:
        assert process.wait(kill_after) == 0
    except subprocess.TimeoutExpired:
        os.killpg(process.pid, signal.SIGKILL)
        process.wait()
    return time.monotonic() - started


def results(place):
    """The content of every table and the weights of every checkpoint, without the seconds that epochs took."""
    tables = {
        path.name: pd.read_csv(path).drop(columns="seconds", errors="ignore").to_csv()
        for path in place.glob("out/**/tables/*.csv")
    }
    weights = {
        path.name: {name: value.tolist() for name, value in load_file(path).items()}
        for path in place.glob("data/cache/models/**/*.safetensors")
    }
    return tables | weights
