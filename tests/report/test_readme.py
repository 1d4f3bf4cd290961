"""What README and the pages under docs/ say: links, commands, examples, names of files, and numbers."""

import re
import shlex
import tomllib
from types import SimpleNamespace

import helpers
import numpy as np
import pytest

from advlook.__main__ import parser
from advlook.core import preset_files
from advlook.experiments.claims.measure import CLAIMS
from advlook.experiments.claims.published import (
    CLEAN,
    LOW,
    OTHER_STD,
    SHAPE_BIAS,
    STD,
    STYLIZED,
    load_published,
    verdicts,
)
from advlook.experiments.corruptions.contrast import LOWERED, RESTORED
from advlook.experiments.stylization import judged
from advlook.report import blocks
from advlook.report.blocks import load
from advlook.study import Study
from advlook.study.folders import ROOT
from advlook.study.tables import read_table

PAGES = [ROOT / "README.md", ROOT / "data" / "README.md", *sorted((ROOT / "docs").glob("*.md"))]
README, FINDINGS, MAP, TROUBLE = (
    (ROOT / name).read_text() for name in ("README.md", "docs/findings.md", "docs/map.md", "docs/troubleshooting.md")
)
SHELL = "\n".join(re.findall(r"```sh\n(.*?)```", README, re.DOTALL)).replace("\\\n", "")
COMMANDS = re.findall(r" -m advlook (.*?) *(?: #.*)?$", SHELL, re.MULTILINE)
COMMANDS += re.findall(r"`(?:python -m )?advlook ([^`]+)`", README + FINDINGS)


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.stem)
def test_links_lead_somewhere(page):
    """Every file and figure that a page names exists, and so does every heading."""
    for target in re.findall(r"\]\(([^)]+)\)", page.read_text()):
        path, _, heading = target.partition("#")
        if "://" not in target:
            named = page.parent / path if path else page
            assert named.exists(), target
            headings = re.findall(r"^#+ (.*)$", named.read_text(), re.MULTILINE) if heading else []
            assert not heading or heading in [re.sub(r"[^\w -]", "", h).lower().replace(" ", "-") for h in headings]


@pytest.mark.parametrize("command", COMMANDS)
def test_commands_exist(command):
    """The command line understands every command, with all of its options."""
    assert parser().parse_args(shlex.split(command)).command == command.split()[0]


def test_make_targets_exist():
    """Make knows the two commands."""
    makefile = (ROOT / "Makefile").read_text()
    targets = re.findall(r"^(?:\w+=\w+ )?make (\S+)", SHELL, re.MULTILINE)
    assert len(targets) == 2
    assert all(f"\n{target}:" in makefile for target in targets)


def test_python_examples_run(tmp_path, monkeypatch, capsys):
    """The examples of the README run as they stand, here with small models and images."""
    for part in ("train", "test"):
        helpers.write_folder(tmp_path / "datasets" / "tiny" / part, count=4)
    small = helpers.small_preset(data={"name": "tiny"}, model={"epochs_std": 1, "epochs_adv": 1})
    opened = []

    def study(name):
        opened.append(preset_files.load_preset(name).name)
        return Study(small, output=tmp_path, data=tmp_path, progress=False)

    monkeypatch.setattr("advlook.study.Study", study)
    monkeypatch.setattr("advlook.models.load_model", lambda path, arch: SimpleNamespace(model=helpers.convolutional()))
    monkeypatch.chdir(tmp_path)
    helpers.write_folder(tmp_path / "photos")
    examples = re.findall(r"```python\n(.*?)```", README, re.DOTALL)
    names = {"images": helpers.random_images(4, 8), "labels": helpers.image_set(4).labels}
    for example in examples:
        assert len(example.splitlines()) <= 10
        exec(example, names)
    assert "PGD is no weaker than FGSM" in capsys.readouterr().out
    assert (tmp_path / "blur.png").is_file()
    assert len(names["top1"]) == len(names["sigmas"])
    assert names["maps"].shape == (4, 3, 8, 8)
    assert opened == ["imagenette"]
    assert names["images"].shape == (12, 3, 16, 16)


def test_every_block_is_on_one_page():
    """No block is described in vain, and none lacks its end."""
    named = [found["name"] for page in blocks.PAGES for found in blocks.BLOCK.finditer(page.read_text())]
    described = tomllib.loads((ROOT / "docs" / "blocks.toml").read_text())
    coded = ["claims", "remedies", "blurs", "disagreements", "doses", "controls", "explanations"]
    assert sorted(named) == sorted([*coded, *described])
    assert len(named) == sum(page.read_text().count("<!-- block ") for page in blocks.PAGES)


@pytest.mark.parametrize("page", blocks.PAGES, ids=lambda page: page.stem)
def test_blocks_are_the_tables(page):
    """Every generated table is what the tables of the runs give."""
    assert blocks.changed(page) == []


def test_an_altered_number_is_found_and_put_right(tmp_path, monkeypatch, capsys):
    """`--check` names the block and exits with 1; without it the page is as it was, and nothing else of it changes."""
    page = tmp_path / "findings.md"
    page.write_text(FINDINGS.replace("79.5 / 68.6", "79.6 / 68.6"))
    monkeypatch.setattr(blocks, "PAGES", [page])
    assert blocks.main(["--check"]) == 1
    assert "tradeoff" in capsys.readouterr().out
    assert page.read_text() != FINDINGS
    assert blocks.main([]) == 0
    assert page.read_text() == FINDINGS
    assert blocks.main(["--check"]) == 0


def numbers(page, sentence):
    """The numbers of a sentence, a pattern, wherever its lines break."""
    return [float(number.replace(",", "")) for number in re.search(sentence, " ".join(page.split())).groups()]


def effects(claim, preset):
    """The effect of a claim, rounded, by architecture."""
    return load(preset, "08_claims").set_index(["claim", "arch"])["effect"].loc[claim].abs().round()


def _stylized(preset):
    """By how many points ADV is ahead on stylized images, rounded, by architecture."""
    found = load(preset, "08_claims").set_index(["claim", "arch"])["effect"]
    return found.loc["stylization reverses it"].round().tolist()


def test_answer_is_told():
    """The few numbers in the sentences of the README's answer are those of the tables."""
    both = ("resnet10", "alexnet_bn")
    apart = [
        load(preset, "04_scales").query("condition == 'as they are' and seed == 'all' and of == 'apart'")["scale"]
        for preset in ("imagenette", "imagenette128", "cifar10")
    ]
    told = numbers(README, r"([\d.]+) octaves lower than STD's at 64 px, ([\d.]+) at 128 px and ([\d.]+) at 32 px")
    assert told == [each for scale in apart for each in scale.round(1).unique()]
    crossing = [
        load(preset, "04_crossings").query("operation == 'blur' and seed == 'all'")["level"].round(1)
        for preset in ("imagenette", "imagenette128", "cifar10")
    ]
    levels = np.concatenate(crossing)
    assert numbers(README, r"from a sigma of ([\d.]+) to ([\d.]+) px on") == [levels.min(), levels.max()]
    bias = load("imagenette", "05_shape_bias").query("seed == 'all' and `class` == 'all' and arch == 'resnet10'")
    bias = bias.set_index("setting")["shape_bias"].round()
    told = numbers(README, r"a shape bias of (\d+)% for ResNet-10 at 64 px, against (\d+)% for STD")
    assert told == [bias["adv"], bias["std"]]
    cost = effects("robustness costs accuracy", "imagenette")
    told = numbers(
        README, r"(\d+) points with ResNet-10 and (\d+) with AlexNet at 64 px, (\d+) at 32 px .* (\d+) at 128"
    )
    others = [effects("robustness costs accuracy", preset).item() for preset in ("cifar10", "imagenette128")]
    assert told == [*cost[list(both)], *others]
    behind = [-each for preset in ("imagenette", "cifar10") for each in _stylized(preset)]
    assert numbers(README, r"they are behind by (\d+) to (\d+) points at 32 and 64 px") == [min(behind), max(behind)]
    cues = load("quick", "01_cues").groupby(["setting", "arch"])[["by_texture", "by_shape"]].mean().round()
    told = numbers(README, r"texture in (\d+) to (\d+)% of the images and ADV by the shape in (\d+) to (\d+)%")
    ends = [cues.loc[each] for each in ("std", "adv")]
    assert told == [f(e[c]) for e, c in zip(ends, ("by_texture", "by_shape"), strict=True) for f in (min, max)]


def test_the_first_figure_is_told():
    """How many pairs of photographs are named as the pictures at the top show, and the other way round."""
    rows = read_table(ROOT / "figures" / "imagenette" / "tables" / "04_hybrids.csv")
    rows = rows.query("arch == 'resnet10' and condition == 'as they are' and cutoff == 0.08").set_index("setting")
    shares = []
    for columns in (("by_fine", "by_coarse"), ("by_coarse", "by_fine")):
        right = [np.stack(rows.loc[each, name]) for each, name in zip(("std", "adv"), columns, strict=True)]
        shares.append(round(100 * np.concatenate(right).all(0).mean(), 1))
    told = numbers(README, r"split like this on ([\d.]+)% of ([\d,]+) pairs, and the other way round on ([\d.]+)%")
    assert told == [shares[0], rows["images"].max(), shares[1]]


def test_shape_and_texture_are_told():
    """Shape biases of the judge, by size, and of models by size of blocks."""
    judge = {
        size: round(judged.judge_bias(judged.conflicts("imagenette", judged.CLAIM), size)[0]) for size in (160, 64, 32)
    }
    assert numbers(FINDINGS, r"quilts (\d+)% at 160 px, (\d+)% at 64 px and (\d+)% at 32 px") == list(judge.values())
    named = judged.stylized_answers("imagenette")[:, 1]
    assert numbers(FINDINGS, r"names (\d+)% of such photographs rightly at 256 px") == [round(100 * named.mean())]
    curves = load("imagenette", "05_curves").query("over == 'block' and seed == 'all' and arch == 'resnet10'")
    ahead = curves.pivot(index="at", columns="setting", values="shape_bias").eval("adv - std").round()
    told = numbers(FINDINGS, r"ahead at every block size from (\d+) to (\d+) px, by (\d+) to (\d+) points")
    assert told == [ahead.index.min(), ahead.index.max(), ahead.min(), ahead.max()]


def test_verdicts_of_the_answer_are_told():
    """What the first three sentences call supported, contradicted or inconclusive has this verdict in the tables."""
    both = ("alexnet_bn", "resnet10")
    said = [
        ("imagenette", "hybrid images", both, "supported"),
        ("imagenette", "masked by noise", both, "supported"),
        ("imagenette", "high-passed", ["alexnet_bn"], "supported"),
        ("cifar10", "high-passed", ["resnet10"], "supported"),
        ("cifar10", "hybrid images", ["resnet10"], "supported"),
        ("cifar10", "masked by noise", ["resnet10"], "supported"),
        ("imagenette", "blur of 3x3 pixels keeps the difference", both, "inconclusive"),
        ("imagenette", "low-passed", ["resnet10"], "supported"),
        ("imagenette", "blur keeps the difference", ["alexnet_bn"], "contradicted"),
        ("imagenette", "blur keeps the difference", ["resnet10"], "inconclusive"),
        ("cifar10", "blur keeps the difference", ["resnet10"], "inconclusive"),
        ("imagenette", "stylization reverses it", both, "inconclusive"),
        ("cifar10", "stylization reverses it", ["resnet10"], "inconclusive"),
        ("imagenette", "robustness costs accuracy", both, "supported"),
        ("imagenette", "ADV goes by shape", ["resnet10"], "supported"),
        ("imagenette", "ADV goes by shape", ["alexnet_bn"], "inconclusive"),
        ("cifar10", "ADV goes by shape", ["resnet10"], "not tested"),
        ("imagenette128", "hybrid images", ["resnet10"], "supported"),
        ("imagenette128", "blur keeps the difference", ["resnet10"], "inconclusive"),
        ("imagenette128", "robustness costs accuracy", ["resnet10"], "inconclusive"),
    ]
    for preset, claim, archs, verdict in said:
        found = load(preset, "08_claims").set_index(["claim", "arch"])["verdict"]
        assert [found[claim, arch] for arch in archs] == [verdict] * len(archs), claim
    order = load("imagenette", "04_scales").query("of == 'apart' and seed == 'all'")
    assert (order["low"] > 0).all()
    theirs = verdicts(load_published())[0].set_index("claim")["verdict"]
    assert theirs["low-passed"] == theirs["ADV goes by shape"] == "supported"


def test_answer_on_ensembles_is_told():
    """What one of each is ahead by in the mean over sets, what resolution takes away, and where it leads or lags."""
    claims = load("imagenette", "08_claims").set_index(["claim", "arch"])
    joined, best, gains = "STD+ADV beats single models", "STD+ADV stays with the best", "ADV gains at low resolution"
    effects = claims["effect"].round(1)
    told = numbers(README, r"ResNet-10 are ([\d.]+) points more accurate\s+than the better of the two alone")
    told += numbers(README, r"\(\*supported\*; AlexNet ([\d.]+), \*inconclusive\*\)")
    told += numbers(README, r"and ([\d.]+) points ahead of the best other combination \(AlexNet ([\d.]+)")
    told += numbers(README, r"have ([\d.]+) points less of a lead")
    asked = [
        (joined, "resnet10"),
        (joined, "alexnet_bn"),
        (best, "resnet10"),
        (best, "alexnet_bn"),
        (gains, "resnet10"),
    ]
    assert told == [abs(effects[each]) for each in asked]
    verdicts_of = claims["verdict"]
    assert verdicts_of[joined, "resnet10"] == verdicts_of[gains, "resnet10"] == "supported"
    others = verdicts_of.loc[[joined, best]].drop((joined, "resnet10"))
    assert set(others) == {"inconclusive"}
    assert claims.loc[(joined, "resnet10"), "at"] == "mean of 8 image sets"
    table = load("imagenette", "06_comparisons").query("table == '06_ensembles' and mode == 'frozen'")
    pairs = table.query("combination == 'STD+ADV' and against == 'better pair'").set_index(["dataset", "arch"])
    ahead, behind = (set(pairs.index[side]) for side in (pairs["low"] > 0, pairs["high"] < 0))
    assert ahead == {
        ("CIFAR-10 (JPEG)", "resnet10"),
        ("CUB-100", "resnet10"),
        ("Flowers-12", "resnet10"),
        ("Flowers-12", "alexnet_bn"),
    }
    assert behind == {("GTSRB (JPEG)", "alexnet_bn"), ("Imagenette", "alexnet_bn")}


def test_what_is_said_of_the_radius_that_transfers_best():
    """On which sets a small radius beats STD, that none does on textures and the set of the training, and AlexNet's."""
    table = load("imagenette", "06_transfer_effects").assign(radius=lambda rows: (255 * rows["eps"]).round())
    small = table.query("arch == 'resnet10' and radius <= 2")
    beaten = small.groupby("dataset")["low"].min() > 0
    assert set(beaten.index[beaten]) == {"CIFAR-10 (JPEG)", "Tiny ImageNet (32 px)", "CUB-100"}
    assert (table.query("dataset in ('DTD-10', 'Imagenette')")["difference"] < 0).all()
    alexnet = table.query("arch == 'alexnet_bn'")
    assert set(alexnet["radius"]) == {4}
    assert set(alexnet.query("low > 0")["dataset"]) == {"Tiny ImageNet (32 px)"}
    largest = table.query("arch == 'resnet10' and radius == 8").set_index("dataset")["low"]
    assert (largest[["CIFAR-10 (JPEG)", "Tiny ImageNet (32 px)"]] > 0).all()


def test_what_is_said_of_pairs_at_32_px():
    """Two STD lead two ADV on CIFAR-10 at 32 px, and at 8 px neither does; on eight other sets they lead as well."""
    pairs = load("cifar10", "06_comparisons").query("combination == 'STD+STD' and against == 'ADV+ADV'")
    of_cifar10 = pairs.query("table == '06_resolution'").set_index("pixels")
    lead = of_cifar10.loc[32, "difference"].round(1)
    assert numbers(FINDINGS, r"two STD, ([\d.]+) points ahead of two ADV") == [lead]
    assert of_cifar10.loc[32, "low"] > 0
    assert of_cifar10.loc[8, "low"] < 0 < of_cifar10.loc[8, "high"]
    claim = load("cifar10", "08_claims").set_index("claim").loc["ADV+ADV leads at low resolution"]
    assert numbers(FINDINGS, r"in the mean over eight other sets, by ([\d.]+)") == [-round(claim["effect"], 1)]
    assert (claim["verdict"], claim["at"]) == ("contradicted", "mean of 8 image sets")


def test_what_follows_the_radius_is_told():
    """How the trainings at 8/255 ended; scale and accuracy are a generated table."""
    ends = load("imagenette", "09_training").query("setting == 'adv-8'").groupby("seed")[["fgsm", "pgd"]].last().round()
    told = numbers(FINDINGS, r"(\d+)% under FGSM and (\d+)% under PGD-10, the other one (\d+) and (\d+)%")
    assert told == ends.to_numpy().ravel().tolist()


def test_what_other_trainings_do_is_told():
    """Where each control switches in hybrid images, and the measures by which findings tell them apart."""
    scale = (
        load("imagenette", "09_rulers").query("ruler == 'hybrid images'").groupby("setting")["value"].mean().round(3)
    )
    assert numbers(FINDINGS, r"and in hybrid images it switches at ([\d.]+\d)") == [scale["blurred"]]
    apart = load("imagenette", "09_positions").query("apart")
    assert numbers(FINDINGS, r"median over (\d+) measures") == [apart["ruler"].nunique()]
    means = apart.groupby(["setting", "ruler"])["position"].mean()
    middle = means.groupby("setting").median()
    told = numbers(README, r"noise goes (\d+)% of the way, training on blur (\d+)%, and a weaker STD model (\d+)%")
    assert told == [round(100 * middle[each]) for each in ("noise", "blurred", "stopped")]
    at = means.round(1)
    told = numbers(FINDINGS, r"contrast \(([\d.]+)\) and how closely loss gradients follow edges \(([\d.]+)\)")
    assert told == [at["stopped", "contrast"], at["stopped", "loss gradients"]]
    assert numbers(FINDINGS, r"loss gradients of the L2 model follow edges \(([\d.]+)\)") == [
        at["l2", "loss gradients"]
    ]
    told = numbers(FINDINGS, r"low-passed photographs \(([\d.]+)\) and more of blurred ones \(([\d.]+)\)")
    assert told == [at["blurred", "low-passed"], at["blurred", "blur"]]
    attacked = load("imagenette", "09_rulers").query("ruler == 'accuracy under PGD' and setting == 'noise'")
    assert numbers(FINDINGS, r"has an accuracy of (\d+)% under PGD") == [round(attacked["value"].item())]


def test_numbers_of_claims_and_checks_are_told():
    """How many claims there are, how many are the paper's, and how many checks pass on CIFAR-10."""
    ours = sum("Ours: the paper" in str(claim.rule) for claim in CLAIMS)
    assert numbers(README, r"Of the (\d+) claims, (\d+) are the paper's") == [len(CLAIMS), len(CLAIMS) - ours]
    passed = load("cifar10", "02_checks")["passed"]
    told = numbers(FINDINGS, r"All (\d+) checks \(seven for each of four models\) pass")
    assert told == [(passed == "yes").sum()] == [len(passed)]


def test_where_blur_turns_is_told():
    """The sigma at which ResNet-10 ADV overtakes STD under blur, in pixels and as a frequency of the image; and what
    restoring and lowering the contrast does."""
    sizes = {"cifar10": 32, "imagenette": 64, "imagenette128": 128}
    found = [load(preset, "04_crossings").set_index(["arch", "operation", "seed"]) for preset in sizes]
    at = [table["level"]["resnet10", "blur", "all"] for table in found]
    sentence = r"in pixels \(([\d.]+), ([\d.]+) and ([\d.]+)\), .* \((\d+), (\d+) and (\d+) cycles per image"
    cycles = [(0.1874 * size / sigma).round() for size, sigma in zip(sizes.values(), at, strict=True)]
    assert numbers(FINDINGS, sentence) == [*np.round(at, 2), *cycles]
    effects = load("imagenette", "04_contrast_effects").query("arch == 'resnet10' and seed == 'all'")
    ends = effects.groupby(["change", "setting"])["effect"].agg(["min", "max"]).abs().round(1)
    sentence = r"gives ResNet-10 ADV up to ([\d.]+) points and STD ([\d.]+); .* costs ADV ([\d.]+) and STD ([\d.]+\d)"
    told = numbers(FINDINGS, sentence)
    restored, lowered = (ends.xs(change)[end] for change, end in ((RESTORED, "max"), (LOWERED, "min")))
    assert told == [restored["adv"], restored["std"], lowered["adv"], lowered["std"]]


def test_published_numbers_are_told():
    """The figures that pages quote from data/published are those of the file."""
    published = load_published()
    percent, adv = published.percent, published.radii()
    blurred = percent.loc["imagenet-c", "gaussian_blur"].round(1)
    other, at_four = blurred[OTHER_STD].tolist(), blurred[adv.index[adv == 4][0]].tolist()
    for page in (FINDINGS, (ROOT / "notebooks" / "08_claims.ipynb").read_text().replace('\\n",\n    "', " ")):
        fives = re.findall(r"([\d.]+), ([\d.]+), ([\d.]+), ([\d.]+),? (?:and )?([\d.]+)%", " ".join(page.split()))
        assert [list(map(float, five)) for five in fives[:2]] == [other, at_four]
    assert numbers(FINDINGS, r"a shape bias of (\d+)% for STD and (\d+)% for ADV \(Linf 4/255\)") == [
        percent.loc[SHAPE_BIAS, model].round() for model in (OTHER_STD, adv.index[adv == 4][0])
    ]
    lost = (percent.loc[CLEAN, STD] - percent.loc[CLEAN, adv.index]).round()
    assert numbers(FINDINGS, r"falls at every radius, by (\d+) to (\d+) points") == [lost.min(), lost.max()]
    ahead = [(percent.loc[STYLIZED, adv.index] - percent.loc[STYLIZED, std]).round() for std in (STD, OTHER_STD)]
    told = numbers(FINDINGS, r"by (\d+) to (\d+) points over the STD .* by (\d+) to (\d+) over torchvision's")
    assert told == [end for lead in ahead for end in (lead.min(), lead.max())]
    kept = percent.loc[LOW].round()
    told = numbers(FINDINGS, r"at every radius \((\d+) to (\d+)%, STD (\d+)%\)")
    assert told == [kept[adv.index].min(), kept[adv.index].max(), kept[STD]]
    alone = "resnet50_trained_on_SIN"
    told = numbers(FINDINGS, r"highest shape bias \((\d+)%\) .* images \((\d+)%, STD (\d+)%\)")
    assert told == [percent.loc[SHAPE_BIAS, alone].round(), kept[alone], kept[STD]]
    assert percent.loc[SHAPE_BIAS].idxmax() == alone


def test_every_preset_is_told():
    """The README has a line for each preset."""
    assert all(f"| `{preset}` |" in README for preset in preset_files.available())


def test_the_map_is_complete():
    """The map names each module below its room, and no file that is not there."""
    rooms = dict(re.findall(r"^\*\*`advlook/(\w+)/`\*\*(.*?)(?=^\*\*`|^`advlook|\Z)", MAP, re.MULTILINE | re.DOTALL))
    assert set(rooms) == {path.parent.name for path in (ROOT / "advlook").glob("*/__init__.py")}
    for room, text in rooms.items():
        there = {path.name for path in (ROOT / "advlook" / room).rglob("*.py")} - {"__init__.py"}
        assert set(re.findall(r"`(\w+\.py)`", text)) == there, room


def test_errors_are_told_in_their_own_words():
    """What our own errors say, in the table of troubles, stands in the source."""
    source = "".join(path.read_text() for path in [*(ROOT / "advlook").rglob("*.py"), ROOT / "Makefile"])
    plain = re.sub(r"\{[^{}]*\}", "", re.sub(r'"\s*\n\s*f?"', "", source))
    texts = re.findall(r"`([^`]+)`", "".join(re.findall(r"^\| (`.*?) \|", TROUBLE, re.MULTILINE)))
    others = ("No module named", "ensurepip", "operator torchvision", "No space left", "CUDA out of memory")
    ours = [text for text in texts if not text.startswith(others)]
    assert len(ours) > 8
    for text in ours:
        assert all(part.strip() in plain for part in text.replace("nan", "").split("...")), text
