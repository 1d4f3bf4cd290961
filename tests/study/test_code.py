"""What a result depends on: modules and all that they import, and nothing else."""

from advlook.experiments.train.measure import tradeoff
from advlook.study import code


def test_modules_are_reached_through_others():
    """A measurement rests on the attacks that its module's imports import; not on figures, claims or the page."""
    reached = code.reached_from(["measurements"])
    assert {"__init__", "measurements", "attacks", "search", "models", "config"} <= reached
    assert not {"figures", "claims", "gallery", "reproduce", "explore"} & reached


def test_every_way_to_import_counts():
    """Names of modules, names in modules, aliases, imports inside functions; magics of notebooks do not disturb."""
    source = """
%matplotlib inline
!echo from advlook import claims
import torch, advlook.scale
from advlook import figures as draw, attacks
from advlook.study import Study
def late():
    from advlook.vision import units
"""
    assert code.imported_by(source) == {"scale", "figures", "attacks", "study", "vision"}
    assert code.imported_by("not python at all") == set(code._SOURCES)


def test_a_change_counts_where_it_is_reached(monkeypatch):
    """The hash moves with a module that is imported on the way, and with no other."""
    before = code.code_digest(["measurements"]), code.function_digest(tradeoff)
    assert before[0] == before[1]
    monkeypatch.setitem(code._SOURCES, "gallery", "changed")
    assert code.code_digest(["measurements"]) == before[0]
    monkeypatch.setitem(code._SOURCES, "balls", "changed = 1")
    assert code.code_digest(["measurements"]) != before[0]
    assert code.function_digest(tradeoff) != before[1]


def test_a_function_of_ones_own_is_its_source():
    """Two measurements of a notebook that do different things are not taken for the same."""

    def measurement(study, model):
        yield {"value": 1}

    first = code.function_digest(measurement)

    def measurement(study, model):
        yield {"value": 2}

    assert code.function_digest(measurement) != first
