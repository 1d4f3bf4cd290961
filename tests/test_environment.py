"""pyproject.toml, constraints.txt and environment.yml describe one environment."""

import re
import tomllib
from pathlib import Path

import pytest
from packaging.requirements import Requirement
from packaging.utils import canonicalize_name

ROOT = Path(__file__).parent.parent
PROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
EXTRAS = PROJECT["optional-dependencies"]
REQUIREMENTS = [Requirement(r) for r in PROJECT["dependencies"] + EXTRAS["dev"] + EXTRAS["benchmark"]]
PINS = {
    canonicalize_name(name): version
    for line in (ROOT / "constraints.txt").read_text().splitlines()
    if not line.startswith("#")
    for name, version in [line.split("==")]
}


@pytest.mark.parametrize("requirement", REQUIREMENTS, ids=lambda r: r.name)
def test_every_dependency_is_pinned_within_its_range(requirement):
    """An exact version exists for each dependency, and the range in pyproject admits it."""
    assert requirement.specifier.contains(PINS[canonicalize_name(requirement.name)])


def test_ranges_admit_what_is_promised():
    """An existing torch 2.8 and Python 3.11 to 3.13 will do."""
    ranges = {r.name: r.specifier for r in REQUIREMENTS}
    assert ranges["torch"].contains("2.8.0")
    python = Requirement(f"python{PROJECT['requires-python']}").specifier
    assert [python.contains(v) for v in ("3.10", "3.11", "3.12", "3.13", "3.14")] == [False, True, True, True, False]


def test_torch_and_torchvision_are_the_stated_pair():
    """torchvision is compiled against one torch, so the two are pinned together."""
    assert (PINS["torch"], PINS["torchvision"]) == ("2.13.0", "0.28.0")


def test_conda_installs_the_same_environment():
    """environment.yml adds nothing of its own: Python's range, then the same constraints and extras as the Makefile."""
    text = (ROOT / "environment.yml").read_text()
    assert f"python{PROJECT['requires-python']}" in text
    assert re.search(r"pip:\n\s+- --constraint constraints.txt\n\s+- --editable \.\[dev\]\n$", text)
    assert "--constraint constraints.txt --editable '.[dev]'" in (ROOT / "Makefile").read_text()


def test_peers_cannot_be_missed_in_silence():
    """`make test` installs the peers, at pinned versions, and fails rather than skips where one is absent."""
    makefile = (ROOT / "Makefile").read_text()
    assert "pip install --quiet --constraint constraints.txt --no-deps torchattacks\n" in makefile
    assert "torchattacks" in PINS
    assert re.search(r"\n\tADVLOOK_PEERS=1 .*\$\(BIN\)/python -m pytest ", makefile)
    assert "ADVLOOK_PEERS" in (ROOT / "tests" / "attacks" / "test_peers.py").read_text()
    # captum is an ordinary requirement of the tests, which import it without asking.
    assert "captum" in [Requirement(r).name for r in EXTRAS["dev"]]
    assert "\nfrom captum.attr import " in (ROOT / "tests" / "sensitivity" / "test_maps_peers.py").read_text()


def test_no_address_of_a_registry_is_recorded():
    """Constraints are names and versions only."""
    assert all(re.fullmatch(r"[A-Za-z0-9._-]+", name) for name in PINS)
    assert all(re.fullmatch(r"[0-9][A-Za-z0-9.]*", version) for version in PINS.values())
