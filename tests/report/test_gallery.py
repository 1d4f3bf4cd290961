"""The page of results: complete, honest about what made it, escaped, and legible on a laptop and a phone."""

import os
import re
import shutil
from itertools import pairwise
from pathlib import Path
from urllib.parse import unquote

import pandas as pd
import pytest
from gallery_pages import EVIL, MORE, add_notebook, add_result, claims_table, missing_items, page_of, write_json

from advlook.experiments.claims.published import READINGS
from advlook.report import gallery
from advlook.report.gallery import PAPER
from advlook.report.runner import CONTROLS
from advlook.study.code import PACKAGE
from advlook.study.folders import ROOT, output_folder

# The page ------------------------------------------------------------------------------------------------------------


def test_every_result_is_on_the_page_with_its_files(folder):
    """Figures and tables have an anchor each, and links to all files that belong to them; no link leads nowhere."""
    page = page_of(folder)
    results = [*folder.glob("*.png"), *(folder / "tables").glob("*.csv")]
    anchors = {path.stem if path.suffix == ".png" else f"table-{path.stem}" for path in results}
    assert anchors <= set(page.ids)
    assert len(page.ids) == len(set(page.ids))
    links = [unquote(link) for link in page.all("a", "href")]
    wanted = [path.with_suffix(suffix) for path in results for suffix in (path.suffix, ".json")]
    wanted += [path.with_suffix(".pdf") for path in results if path.suffix == ".png"]
    wanted += (folder / "notebooks").glob("*.ipynb")
    assert {str(path.relative_to(folder)) for path in wanted} <= set(links)
    for link in links:
        assert link[1:] in page.ids if link.startswith("#") else (folder / link).is_file()


def test_files_beside_a_result_are_linked_where_they_exist(folder):
    """Per-image answers beside a table, and PDFs, which are made on request only."""
    (folder / "02_radius.pdf").unlink()
    (folder / "tables" / "01_tradeoff.npz").write_bytes(b"arrays")
    links = page_of(folder).all("a", "href")
    assert "02_radius.pdf" not in links
    assert {"04_accuracy.pdf", "tables/01_tradeoff.npz"} <= set(links)


@pytest.mark.parametrize(("differing", "outcome"), [([], "all equal"), (["one", "another"], "2 differ")])
def test_repeated_measurements_are_told_at_the_top(differing, outcome, folder):
    """How many were measured again, of how many, and whether they differ, where `verified.json` says so."""
    assert "measured again" not in page_of(folder).text
    found = {"checked": 41, "units": 612, "seconds": 290.3, "differing": differing, "commit": "abc1234" + 33 * "0"}
    write_json(folder / "verified.json", **found, when="2030-01-01")
    page = page_of(folder)
    assert f"41 of 612 units measured again in 290 s: {outcome} (commit abc1234)" in page.text
    assert page.ids.index("verified") < page.ids.index("claims")


def test_figures_say_what_they_show_and_how_they_differ(folder):
    """Caption and "paper" line come from the figure's JSON; room is kept for the picture before it is loaded."""
    page = page_of(folder)
    assert "What 02_radius shows. Paper: not 02_radius." in page.text
    pictures = [attrs for tag, attrs in page.tags if tag == "img"]
    assert len(pictures) == len(list(folder.glob("*.png")))
    for picture in pictures:
        assert (picture["width"], picture["height"], picture["loading"]) == ("1500", "300", "lazy")
        assert picture["alt"] == f"What {Path(picture['src']).stem} shows."


def test_sections_follow_the_study_and_results_the_notebook(folder):
    """A section a notebook, by number and with its title; in it what was made first, and figures before tables."""
    add_result(folder, "02_zeroth.png", seconds=0.5)
    add_result(folder, "02_last.png", seconds=9.0)
    add_result(folder, "tables/02_attacks.csv", seconds=0.1)
    page = page_of(folder)
    wanted = [f"section-{number}" for number in gallery.INTRODUCTIONS]
    assert [name for name in page.ids if name.startswith("section-")] == wanted
    assert [link[1:] for link in page.all("a", "href") if link.startswith("#section-")] == wanted
    assert [n for n in page.ids if "02_" in n] == ["02_zeroth", "02_radius", "02_last", "table-02_attacks"]
    assert page.text.count("2. About 02") == 3  # contents, heading, and how it was made


def test_published_verdicts_stand_beside_the_own(folder):
    """Those of the deciding reading that are tested, under the claim that they are about; they count for nothing."""
    claims = claims_table().assign(**MORE)
    add_result(folder, "tables/08_claims.csv", table=claims)
    alone = gallery._claims(folder)
    theirs = claims.iloc[[0, 3]].assign(arch="ResNet-50 (published)")
    readings = [theirs.assign(reading=reading, effect=20.5 + place) for place, reading in enumerate(READINGS)]
    add_result(folder, "tables/08_published.csv", table=pd.concat(readings))
    found = gallery._claims(folder)
    assert (found["count"], found["verdicts"]) == (alone["count"], alone["verdicts"])
    assert (found["published"], alone["published"]) == (True, False)
    (pays, *_), (shape,) = found["places"].values()
    assert [answer["about"] for answer in pays[-1]] == ["ResNet-10", "AlexNet (BN)", "ResNet-50 (published)"]
    assert pays[-1][-1]["effect"] == "+20.5 [5.2, 7.0] points"
    assert len(shape[-1]) == 1
    assert "Gavrikov and Keuper" in page_of(folder).text


def test_headings_are_in_order(folder):
    """One first heading, and none that skips a level: what a screen reader goes by."""
    add_result(folder, "tables/08_claims.csv", table=claims_table())
    levels = [int(tag[1]) for tag, _ in page_of(folder).tags if re.fullmatch("h[1-6]", tag)]
    assert levels.count(1) == 1
    assert levels[0] == 1
    assert all(after <= before + 1 for before, after in pairwise(levels))


def test_nothing_comes_from_outside(folder):
    """No script, no style sheet, no font and no picture but those beside the page: it opens without a network."""
    page = page_of(folder)
    assert not {"script", "link", "iframe", "object"} & {tag for tag, _ in page.tags}
    sources = [*page.all("a", "href"), *page.all("img", "src")]
    assert not [source for source in sources if ":" in source or source.startswith("/")]
    assert not re.search(r"url\(|@import|@font-face", (folder / "index.html").read_text())


def test_an_interval_that_is_not_to_be_had(folder):
    """An effect of too few images for an interval is shown all the same."""
    add_result(folder, "tables/08_claims.csv", table=claims_table().assign(low=float("nan"), high=float("nan")))
    assert "+6.1 [-, -]" in page_of(folder).text


def test_what_comes_from_files_is_escaped(folder):
    """Markup in a caption, a cell, a title, a claim or a record is shown, not followed."""
    add_result(folder, "02_evil.png", caption=EVIL, paper=EVIL, device=EVIL, commit=EVIL, packages={EVIL: EVIL})
    add_result(folder, "tables/02_evil.csv", table=pd.DataFrame({EVIL: [EVIL]}))
    claims = claims_table(**dict.fromkeys(("where", "arch", "verdict", "unit", "rule", "at", "reason"), EVIL))
    add_result(folder, "tables/08_claims.csv", table=claims)
    add_notebook(folder, "09_evil", EVIL)
    page = page_of(folder)
    assert "script" not in {tag for tag, _ in page.tags}
    assert page.text.count(EVIL) >= 12


def test_tables_are_shown_whole_or_folded(folder):
    """A long table shows its first rows, folded up, and how many there are; a short one every cell."""
    sentence = "a sentence of many words that says what was found on all of these images " * 3
    short = pd.DataFrame({"said": [sentence, ""], "value": [12345.678, 0.0123456]})
    add_result(folder, "tables/01_short.csv", table=short)
    add_result(folder, "tables/01_long.csv", table=pd.DataFrame({"row": range(1000, 31000)}))
    page = page_of(folder)
    assert sentence.strip() + " 12,346" in page.text
    assert "0.01235" in page.text
    assert len(page.all("details", "class")) == 0
    assert sum(tag == "details" for tag, _ in page.tags) == 1
    assert f"The first {gallery.FIRST} of 30,000 rows" in page.text
    assert f"{999 + gallery.FIRST}" in page.text
    assert f"{1000 + gallery.FIRST}" not in page.text
    assert (folder / "index.html").stat().st_size < 100_000


def test_results_that_say_nothing_of_themselves_are_shown(tmp_path):
    """Neither a missing nor a broken record, nor a table without columns, nor a strange name stops the page."""
    assert "No results yet." in page_of(tmp_path).text
    add_result(tmp_path, "02_bare.png").with_suffix(".json").unlink()
    add_result(tmp_path, "02_broken.png").with_suffix(".json").write_text("{")
    add_result(tmp_path, "tables/a & b.csv", table=pd.DataFrame())
    page = page_of(tmp_path)
    assert {"02_bare", "02_broken"} <= set(page.ids)
    assert page.text.count("(no record of how it was made)") == 2
    assert "Other results" in page.text
    assert "No rows." in page.text


# The claims ----------------------------------------------------------------------------------------------------------


def test_claims_stand_at_the_top_with_verdict_and_interval(folder):
    """Grouped by their place in the paper, a verdict an architecture, and counted in a sentence."""
    add_result(folder, "tables/08_claims.csv", table=claims_table(**MORE))
    page = page_of(folder)
    assert page.ids.index("claims") < page.ids.index("section-01")
    assert "3 claims, a verdict for each architecture: 1 supported, 1 contradicted, 1 inconclusive, and 1" in page.text
    assert "supported ResNet-10 +6.1 [5.2, 7.0] points" in page.text
    assert "contradicted AlexNet (BN) -3.0 [-4.0, -2.0] points" in page.text
    assert "inconclusive ResNet-10 +1.0 [-1.0, 3.0] points (sigma 2; comparisons: 1 for, 2 open)" in page.text
    assert "not tested ResNet-10 (no table 05_variants)" in page.text
    assert "Table 1 ADV is less accurate. The rule Supported if the effect is above 0. supported" in page.text
    assert {"claim-pays", "claim-gains", "claim-shape"} <= set(page.ids)


def test_claims_need_no_more_than_the_columns_that_are_fixed(folder):
    """Without a unit, a rule and remarks the verdicts are still there; without the table it is said that it is not."""
    assert "No claim has been evaluated on this preset yet" in page_of(folder).text
    add_result(folder, "tables/08_claims.csv", table=claims_table())
    page = page_of(folder)
    assert "inconclusive ResNet-10 +1.0 [-1.0, 3.0]" in page.text
    assert "The rule" not in page.text.partition("The paper's figures")[0]


# The paper's items ---------------------------------------------------------------------------------------------------


def test_the_papers_items_are_named_and_linked(folder):
    """Every table, figure and appendix of the paper is listed, with links to what is ours of it, and back."""
    tables, figures = [f"Table {k}" for k in (1, 2, 3)], [f"Figure {k}" for k in (2, 3, 4, 5, 7, 9)]
    assert list(PAPER) == [*tables, *figures, *(f"Appendix {letter}" for letter in "ABCD")]
    for name in ("06_ensembles.png", "06_fine_tuning.png", "tables/06_ensembles.csv"):  # all of Figure 9
        (folder / name).unlink()
    page = page_of(folder)
    for item in PAPER:
        assert item.lower().replace(" ", "-") in page.ids
    assert "Figure 9 accuracy of the ensembles not made on this preset yet" in page.text
    assert page.all("a", "href").count("#03_maps_resnet10") == 1
    assert "Maps, ResNet-10 Figure 2 of the paper" in page.text
    assert "Appendix B, AlexNet (BN) Appendix B of the paper" in page.text


def test_missing_items_are_found(folder):
    """A complete folder lacks nothing; a file that is not there is named, and so is a record of how one was made."""
    assert missing_items(folder) == {}
    (folder / "04_accuracy.png").unlink()
    (folder / "03_maps_resnet10.json").unlink()
    write_json(folder / "tables" / "06_datasets.json", caption="of another kind")
    assert missing_items(folder) == {
        "Table 3": ["tables/06_datasets.json"],
        "Figure 2": ["03_maps_resnet10.json"],
        "Figure 7": ["04_accuracy.png"],
    }


def test_the_study_makes_what_stands_for_the_paper():
    """Every file of `PAPER` is saved under that name by a notebook or the package, and every notebook is introduced."""
    notebooks = sorted((ROOT / "notebooks").glob("*.ipynb"))
    sources = [*notebooks, *(path for path in PACKAGE.rglob("*.py") if path.stem != "gallery")]
    text = "".join(path.read_text() for path in sources)
    assert [n for _, names in PAPER.values() for n in names if f'"{Path(n).stem}' not in text.replace("\\", "")] == []
    assert {path.name[:2] for path in notebooks} <= gallery.INTRODUCTIONS.keys()


@pytest.mark.parametrize("preset", ["quick", "imagenette", "cifar10"])
def test_committed_runs_have_everything_of_the_paper(preset):
    """Each full run in this repository is whole: every item of the paper, and every notebook; 09, which is none of the
    paper, where the controls of the preset are trained."""
    folder = ROOT / "figures" / preset
    assert missing_items(folder) == {}
    found = {path.stem for path in (folder / "notebooks").glob("*.json")}
    every = {path.stem for path in (ROOT / "notebooks").glob("*.ipynb")}
    assert every - {CONTROLS} <= found <= every


@pytest.mark.skipif(os.environ.get("ADVLOOK_PRESET") != "smoke", reason="asks for the results of preset smoke")
def test_smoke_has_everything_of_the_paper():
    """After a run of the study on preset smoke: each item of the paper, with the record of how it was made."""
    assert missing_items(output_folder() / "smoke") == {}


# How it was made -----------------------------------------------------------------------------------------------------


def test_how_it_was_made_is_told(folder):
    """Commit, seeds, device, versions and time; what was not committed, and that results differ in it, is said."""
    page = page_of(folder)
    assert "All results come from one state of the code, aaaaaaaaaa." in page.text
    assert "1. About 01 aaaaaaaaaa 0, 1 2 CPU cores 1 min 40 s" in page.text
    assert "Python 3.12.1, torch 2.8.0." in page.text
    add_result(folder, "02_radius.png", commit="b" * 40, dirty=True, seeds=[0], packages={"torch": "2.9.0"})
    page = page_of(folder)
    assert "These results come from 2 states of the code" in page.text
    assert "2. About 02 aaaaaaaaaa; bbbbbbbbbb with changes that were not committed 0 2 CPU cores" in page.text
    assert "torch 2.8.0 and 2.9.0." in page.text


def test_a_failed_notebook_is_announced(folder):
    """What is shown of it is from before, and its partial copy is a link away."""
    (folder / "failed").mkdir()
    shutil.copy(folder / "notebooks" / "05_notebook.ipynb", folder / "failed")
    page = page_of(folder)
    assert "5. About 05 failed in its last run" in page.text
    assert "failed/05_notebook.ipynb" in page.all("a", "href")


# What it looks like --------------------------------------------------------------------------------------------------
