"""What a result rests on: the definitions that its code reaches, and nothing else of the package."""

import functools
import time
from concurrent.futures import ThreadPoolExecutor

import pytest

from advlook.experiments.corruptions.measure import sweep_rows
from advlook.study import code

SWEEPS = "advlook.experiments.corruptions.measure"
FILTERS = "advlook.corruptions.filters"


@pytest.fixture
def digest_with(monkeypatch):
    """The digest of some code in a package of changed sources: {module: {old text: new text}}, and renamed modules."""

    def digest(source: str = "", changes: dict[str, dict[str, str]] | None = None, moved: dict[str, str] | None = None):
        sources = dict(code._SOURCES)
        for module, replaced in (changes or {}).items():
            for old, new in replaced.items():
                assert old in sources[module], old
                sources[module] = sources[module].replace(old, new)
        for old, new in (moved or {}).items():
            sources = {name.replace(old, new): text.replace(old, new) for name, text in sources.items()}
        with monkeypatch.context() as patch:
            patch.setattr(code, "_SOURCES", sources)
            for cached in ("_module", "_looked_up", "_references"):
                patch.setattr(code, cached, functools.cache(getattr(code, cached).__wrapped__))
            return code.source_digest(source) if source else code.code_digest(sweep_rows)

    return digest


@pytest.fixture(scope="module")
def before():
    """The digest of the sweeps of notebook 04, as they are."""
    return code.code_digest(sweep_rows)


def test_a_line_far_away_counts(digest_with, before):
    """The sweeps rest on the blur, two rooms away, on how images are scaled to [0, 1], and on the networks."""
    assert digest_with() == before
    for module, change in {
        FILTERS: {"def gaussian_blur(": "CHANGED = 1\n\n\ndef gaussian_blur(", "kernel_size": "window"},
        "advlook.data.image_sets": {".div_(255)": ".div_(256)"},
        "advlook.models.architectures": {"nn.ReLU(inplace=True)": "nn.ReLU()"},
        "advlook.core.gradients": {"model.eval()": "model.train()"},
    }.items():
        assert digest_with(changes={module: change}) != before, module


def test_what_is_not_reached_does_not_count(digest_with, before):
    """Attacks, figures, training (weights are hashed themselves) and results on disk leave the sweeps alone."""
    changes = {
        "advlook.attacks.pgd": {"2.5 * eps": "2 * eps"},
        "advlook.experiments.corruptions.figures": {"def ": "def changed_"},
        "advlook.models.training": {"math.isfinite": "bool"},
        "advlook.study.study": {'["seconds"] = round(': '["seconds"] = int('},
        SWEEPS: {"def crossings(": "def crossed("},
    }
    assert digest_with(changes=changes) == before


def test_sentences_do_not_count(digest_with, before):
    """Docstrings, comments and blank lines of code that is reached may change."""
    remark = {"def gaussian_blur(": "# A comment.\n\ndef gaussian_blur("}
    texts = {FILTERS: {'"""Images blurred': '"""In other words, images blurred'} | remark}
    assert digest_with(changes=texts) == before


def test_a_move_does_not_count_and_does_not_hide_changes(digest_with):
    """In another room, under another name of its module, a result rests on the same code, and on all of it."""
    source = f"from {SWEEPS} import sweep_rows\nsweep_rows"
    moved = {SWEEPS: "advlook.elsewhere", FILTERS: "advlook.core.blurring"}
    there, changed = source.replace(SWEEPS, "advlook.elsewhere"), {FILTERS: {"kernel_size": "window"}}
    moves, changes = digest_with(there, moved=moved), digest_with(there, changes=changed, moved=moved)
    assert moves == digest_with(source)
    assert changes == digest_with(source, changes=changed)
    assert changes != moves


def test_every_way_to_import_reaches_the_same(digest_with):
    """A name, an alias, a module, a package that passes it on, an import inside a function."""
    ways = {
        "gaussian_blur": "from advlook.corruptions.filters import gaussian_blur",
        "filters.gaussian_blur": "from advlook.corruptions import filters",
        "advlook.corruptions.filters.gaussian_blur": "import advlook.corruptions.filters",
        "blur": "from advlook.corruptions import gaussian_blur as blur",
        "corruptions.gaussian_blur": "from advlook import corruptions",
    }
    digests = {digest_with(f"{way}\n%magic\n{name}") for name, way in ways.items()}
    assert len(digests) == 1
    inside = "def later():\n    from advlook.corruptions import gaussian_blur\n    return gaussian_blur"
    assert digest_with(inside) != digest_with(inside, changes={FILTERS: {"kernel_size": "window"}})


def test_a_name_that_is_bound_nearer_is_another_thing(digest_with):
    """A local variable called like a function of its module does not reach that function."""
    source = "from advlook.corruptions import gaussian_blur\ndef mine(gaussian_blur):\n    return gaussian_blur"
    assert digest_with(source) == digest_with(source, changes={FILTERS: {"kernel_size": "window"}})


def test_methods_count_where_they_are_named(digest_with, before):
    """A measurement that asks a study for its images rests on how they are found, and not on how results are saved."""
    other_images = {"advlook.study.models": {'"synthetic", "test"': '"synthetic", "train"'}}
    assert digest_with(changes=other_images) != before


def test_a_function_of_ones_own_is_its_source():
    """Two measurements of a notebook that do different things are not taken for the same."""

    def measurement(study, key):
        yield {"value": 1}

    first = code.code_digest(measurement)
    assert code.code_digest(functools.partial(measurement)) == first

    def measurement(study, key):
        yield {"value": 2}

    assert code.code_digest(measurement) != first


def test_one_thread_parses_at_a_time(monkeypatch):
    """CPython's parser counts depth over threads: no second tree is begun while one is being made."""
    running, most = [0], [0]

    def slow(source):
        running[0] += 1
        most[0] = max(most[0], running[0])
        time.sleep(0.01)
        running[0] -= 1
        return source

    monkeypatch.setattr(code.ast, "parse", slow)
    with ThreadPoolExecutor(4) as pool:
        assert list(pool.map(code.parse, "abcdefgh")) == list("abcdefgh")
    assert most == [1]
