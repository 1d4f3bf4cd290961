"""What the README and the pages under docs/ say is what the files say."""

import re

import pandas as pd
import pytest

from advlook.attacks import checks
from advlook.core import presets
from advlook.core.names import ARCH_NAMES
from advlook.experiments.claims.measure import CLAIMS
from advlook.stats.verdict_text import markdown
from advlook.study.study import ROOT

README = (ROOT / "README.md").read_text()
FINDINGS, TRUST = ((ROOT / "docs" / f"{name}.md").read_text() for name in ("findings", "trust"))
PAGES = [ROOT / "README.md", ROOT / "data" / "README.md", *sorted((ROOT / "docs").glob("*.md"))]
MODELS = [(arch, setting) for arch in ("alexnet_bn", "resnet10") for setting in ("std", "adv")]
ROW = re.compile(r"^\| (\S.*) (STD|ADV) \| ([\d.]+) \| ([\d.]+) \| ([\d.]+) \|$", re.MULTILINE)


def table_of(name, preset="imagenette"):
    """A table of the committed run of a preset."""
    return pd.read_csv(ROOT / "figures" / preset / "tables" / f"{name}.csv")


def test_table_1_is_the_table_of_the_run():
    """The percentages in the findings are the means over seeds in 01_tradeoff.csv."""
    table = table_of("01_tradeoff")
    means = table.groupby(["arch", "setting"])[["top1", "robust_fgsm", "robust_pgd"]].mean()
    told = {(arch, setting.lower()): numbers for arch, setting, *numbers in ROW.findall(FINDINGS)}
    measured = {
        (ARCH_NAMES[arch], setting): [f"{value:.1f}" for value in row] for (arch, setting), row in means.T.items()
    }
    assert told == measured


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


def test_verdicts_are_told():
    """The table of claims is what those of the presets that it names say."""
    (shown,) = re.findall(r"^\| claim \|.*?\n\n", README, re.MULTILINE | re.DOTALL)
    presets = dict.fromkeys(column.split(",")[0] for column in shown.splitlines()[0].strip("| ").split(" | ")[1:])
    tables = {preset: table_of("08_claims", preset) for preset in presets}
    assert markdown(tables) == shown.strip()


def test_the_number_of_claims_is_told():
    """As many findings are judged as the README says."""
    assert f"{len(CLAIMS)} findings, all but one of them the paper's, are claims" in README
    assert sum("Ours: the paper" in str(claim.rule) for claim in CLAIMS) == 1


def test_every_preset_and_module_is_told():
    """The README has a line for each preset and each module of the package."""
    for preset in presets.available():
        assert f"| `{preset}` |" in README
    for module in (ROOT / "advlook").glob("*.py"):
        assert module.stem == "__init__" or module.name in README


def test_every_remedy_is_told():
    """The page on trust says for each check what to do where it fails, in the words of the package."""
    for name, remedy in checks.REMEDIES.items():
        assert f"| {name} | {remedy} |" in TRUST


def test_suite_is_told():
    """What the findings say the suite, PGD-10 and no attack leave of the ADV models is what 02_attacks.csv says."""
    table = table_of("02_attacks")
    table = table[table["setting"] == "adv"]
    told = numbers_in(
        FINDINGS,
        r"leaves ResNet-10 ADV ([\d.]+)% and AlexNet ADV ([\d.]+)%, where PGD-10 leaves ([\d.]+)% and ([\d.]+)%, "
        r"and no attack ([\d.]+)% and ([\d.]+)%",
    )
    left = [
        table[table["attack"] == attack].groupby("arch")["top1"].mean()
        for attack in ("suite: + apgd-dlr", "suite: pgd", "none")
    ]
    assert told == [round(means[arch], 1) for means in left for arch in ("resnet10", "alexnet_bn")]


@pytest.mark.parametrize(
    ("name", "measure", "level"),
    [
        ("only frequencies below 0.09 cycles per pixel", "kept_low_pass", 0.09),
        ("only frequencies above 0.09 cycles per pixel", "kept_high_pass", 0.09),
        ("pixels shuffled inside 4x4 blocks", "kept_shuffled", 4),
    ],
)
def test_scale_is_told(name, measure, level):
    """What the findings say is left of the accuracy is what 03_scale.csv says."""
    table = table_of("03_scale")
    table = table[(table["measure"] == measure) & ((table["at"] - level).abs() < 1e-9)]
    means = table.groupby(["arch", "setting"])["value"].mean()
    assert numbers_told(name) == [f"{means[model]:.0f}" for model in MODELS]


@pytest.mark.parametrize(
    ("name", "operation"),
    [
        ("Gaussian blur, sigma in pixels", "blur"),
        ("3x3 median, passes", "median"),
        ("5x5 median, passes", "median 5x5"),
    ],
)
def test_crossings_are_told(name, operation):
    """Where the findings say that ADV overtakes STD is where 04_crossings.csv says."""
    table = table_of("04_crossings")
    table = table[(table["operation"] == operation) & (table["seed"] == "all")].set_index("arch")
    numbers = [
        [f"{value:.2f}".replace("inf", "-") for value in table.loc[arch, ["level", "low", "high"]]]
        for arch in ("alexnet_bn", "resnet10")
    ]
    assert numbers_told(name) == [f"{level} [{low}, {high}]" for level, low, high in numbers]


@pytest.mark.parametrize(
    ("name", "variant"),
    [("photographs as they are", "standard"), ("colours reversed", "reversed"), ("stylized", "stylized")],
)
def test_table_2_is_told(name, variant):
    """What the findings say is left on reversed and stylized images is what 05_stylization.csv says."""
    table = table_of("05_stylization")
    table = table[(table["variant"] == variant) & ((variant != "stylized") | (table["strength"] == 1))]
    means = table.groupby(["arch", "setting"])["top1"].mean()
    assert numbers_told(name) == [f"{means[model]:.1f}" for model in MODELS]


def test_shape_bias_is_told():
    """The shape bias in the findings is that of 05_shape_bias.csv, over all classes and seeds."""
    table = table_of("05_shape_bias")
    table = table[(table["seed"] == "all") & (table["class"] == "all")].set_index(["arch", "setting"])
    assert numbers_told("shape bias") == [f"{table.loc[model, 'shape_bias']:.1f}" for model in MODELS]


@pytest.mark.parametrize(
    ("name", "table", "column"),
    [("{0}, {1} px", "06_ensembles", "pixels"), ("{0} at {1} px", "06_resolution", "resolution")],
)
def test_ensembles_are_told(name, table, column):
    """The accuracies of frozen pairs in the findings are means over the runs of the tables, on every set of them."""
    rows = table_of(table)
    rows = rows[rows["mode"] == "frozen"] if "mode" in rows else rows[rows["dataset"] == "Imagenette"]
    rows = rows if "mode" in rows else rows[rows[column] < 64]
    for (dataset, pixels), each in rows.groupby(["dataset", column]):
        means = each.groupby(["arch", "combination"])["top1"].mean()
        wanted = [
            means[arch, pair] for arch in ("alexnet_bn", "resnet10") for pair in ("STD+STD", "ADV+ADV", "STD+ADV")
        ]
        told = numbers_told(re.escape(name.format(dataset, pixels)))
        assert told == [f"{value:.1f}" for value in wanted]


def numbers_told(name):
    """The cells of the row of that name."""
    return re.search(rf"^\| {name} \| (.*) \|$", FINDINGS, re.MULTILINE).group(1).split(" | ")


def numbers_in(page, sentence):
    """The numbers of a sentence, a pattern, wherever its lines break."""
    return [float(number) for number in re.search(sentence, " ".join(page.split())).groups()]


def difference_in(sentence, row, sign=1):
    """The sentence of the findings that matches tells a difference, on the side of `sign`, and its interval."""
    effect, *ends = (sign * row[name] for name in ("difference", "low", "high"))
    assert numbers_in(FINDINGS, sentence) == [round(effect), *sorted(round(end, 1) for end in ends)]


def test_answer_is_told():
    """The numbers in the README's answer are those of the tables."""
    scale = table_of("03_scale")
    scale = scale[(scale["measure"] == "kept_low_pass") & ((scale["at"] - 0.09).abs() < 1e-9)]
    kept = scale.groupby(["arch", "setting"])["value"].mean()["resnet10"]
    told = numbers_in(README, r"ResNet-10 ADV keeps (\d+)% of its accuracy and its STD counterpart (\d+)%")
    assert told == [round(kept["adv"]), round(kept["std"])]
    means = table_of("01_tradeoff").groupby(["arch", "setting"])
    means = means[["top1", "robust_pgd"]].mean()
    paid, gained = (
        [
            abs(means.loc[(arch, "adv"), column] - means.loc[(arch, "std"), column])
            for arch in ("resnet10", "alexnet_bn")
        ]
        for column in ("top1", "robust_pgd")
    )
    told = numbers_in(
        README, r"(\d+) points \(ResNet-10\) and (\d+) \(AlexNet\) of plain accuracy, for (\d+) and (\d+) under PGD-10"
    )
    assert told == [round(value) for value in (*paid, *gained)]


def test_differences_on_reversed_and_stylized_images_are_told():
    """How far ADV is ahead or behind, with intervals, in the findings, and without in the README's answer."""
    table = table_of("05_differences")
    rows = table[table["seed"] == "all"].set_index(["variant", "strength", "measure", "arch"])
    rows = rows.sort_index()[["difference", "low", "high"]]
    difference_in(
        r"AlexNet ADV loses (\d+) fewer than STD \[(\S+), (\S+)\]", rows.loc["reversed", 0.0, "change", "alexnet_bn"]
    )
    difference_in(
        r"ResNet-10 ADV (\d+) more \[(\S+), (\S+)\]", rows.loc["reversed", 0.0, "change", "resnet10"], sign=-1
    )
    difference_in(
        r"gets ahead, by (\d+) points \[(\S+), (\S+)\] at full", rows.loc["stylized", 1.0, "accuracy", "resnet10"]
    )
    difference_in(r"and by (\d+) \[(\S+), (\S+)\] at half of it", rows.loc["stylized", 0.5, "accuracy", "resnet10"])
    difference_in(
        r"AlexNet ADV is (\d+) behind \[(\S+), (\S+)\]", rows.loc["stylized", 1.0, "accuracy", "alexnet_bn"], sign=-1
    )
    effects = rows["difference"].loc["stylized", 1.0, "accuracy"]
    answer = numbers_in(README, r"ADV is (\d+) points ahead with ResNet-10 and (\d+) behind with AlexNet")
    assert answer == [round(effects["resnet10"]), -round(effects["alexnet_bn"])]


def test_answer_on_ensembles_is_told():
    """How much of its lead STD+STD loses, and how far STD+ADV falls behind, on Imagenette with frozen backbones."""
    trends, compared = table_of("06_trends"), table_of("06_comparisons")
    lost = trends[(trends["combination"] == "STD+STD") & (trends["dataset"] == "Imagenette")].set_index("arch")[
        "change"
    ]
    told = numbers_in(README, r"take (\d+) and (\d+) points of that lead")
    assert told == [-round(lost[arch]) for arch in ("resnet10", "alexnet_bn")]
    rows = compared[(compared["table"] == "06_resolution") & (compared["dataset"] == "Imagenette")]
    worst = rows[(rows["combination"] == "STD+ADV") & (rows["against"] == "better pair")]["difference"].min()
    assert numbers_in(README, r"at no resolution more than ([\d.]+) points behind") == [-round(worst, 1)]
    leads = rows[(rows["combination"] == "STD+STD") & (rows["against"] == "ADV+ADV") & (rows["pixels"] == 64)]
    leads = leads.set_index("arch")["difference"]
    told = numbers_in(README, r"lead two ADV ones by (\d+) points \(ResNet-10\) and (\d+) \(AlexNet\) at 64 px")
    assert told == [round(leads[arch]) for arch in ("resnet10", "alexnet_bn")]


def test_pairs_are_told():
    """How far STD+ADV falls behind the better pair, frozen on any set, and fine-tuned where it is worst."""
    table = table_of("06_comparisons")
    rows = table[(table["combination"] == "STD+ADV") & (table["against"] == "better pair")].sort_values("difference")
    told = numbers_in(FINDINGS, r"at every resolution at most ([\d.]+) points behind the better pair")
    assert told == [-round(rows[rows["mode"] == "frozen"]["difference"].iloc[0], 1)]
    worst = rows.iloc[0]
    assert (worst["mode"], worst["arch"], worst["dataset"]) == ("fine-tuned", "resnet10", "DTD-10")
    told = numbers_in(FINDINGS, r"fine-tuned ResNet-10s on DTD-10 are ([\d.]+) behind \[([\d.]+), ([\d.]+)\]")
    assert told == [-round(worst[it], 1) for it in ("difference", "high", "low")]


CIFAR10 = {
    "top-1": ("01_tradeoff", "top1", "images == 10_000"),
    "top-1 under PGD-50": ("01_tradeoff", "robust_pgd", "images == 10_000"),
    "kept of top-1 with only frequencies below 0.18 cycles per pixel (400 images)": (
        "03_scale",
        "value",
        "measure == 'kept_low_pass' and at == 0.18 and images == 400",
    ),
    "kept of top-1 with pixels shuffled inside 4x4 blocks (400 images)": (
        "03_scale",
        "value",
        "measure == 'kept_shuffled' and at == 4 and images == 400",
    ),
    "top-1, colours reversed (2,000 images)": ("05_stylization", "top1", "variant == 'reversed' and images == 2_000"),
    "top-1, stylized (2,000 images)": (
        "05_stylization",
        "top1",
        "variant == 'stylized' and strength == 1 and images == 2_000",
    ),
    "shape bias (1,000 pictures)": (
        "05_shape_bias",
        "shape_bias",
        "seed == 'all' and `class` == 'all' and images == 1_000",
    ),
}


@pytest.mark.parametrize("row", CIFAR10)
def test_cifar10_table_is_told(row):
    """Each row of the findings on CIFAR-10 holds the means over seeds of those rows of its tables."""
    name, column, rows = CIFAR10[row]
    means = table_of(name, "cifar10").query(rows).groupby("setting")[column].mean()
    digits = 0 if column == "value" else 1
    assert numbers_told(re.escape(row)) == [f"{means[setting]:.{digits}f}" for setting in ("std", "adv")]


def test_cifar10_under_attack_is_told():
    """What long attacks leave of ADV on CIFAR-10, and in the README's answer what robustness costs there."""
    attacks = table_of("02_attacks", "cifar10").query("setting == 'adv' and eps > 0.03 and eps < 0.032")
    pgd = attacks.query("attack == 'pgd' and steps == 50").groupby("restarts")["top1"].mean()
    suite = attacks.query("attack == 'suite: + apgd-dlr'")["top1"].mean()
    told = numbers_in(
        FINDINGS, r"PGD-50 leaves ADV ([\d.]+)%, with ten restarts ([\d.]+)%, and the suite, .*?, ([\d.]+)%;"
    )
    assert told == [round(number, 1) for number in (pgd[1], pgd[10], suite)]
    passed = table_of("02_checks", "cifar10")["passed"]
    assert numbers_in(FINDINGS, r"all (\d+) checks pass") == [(passed == "yes").sum()] == [len(passed)]
    means = table_of("01_tradeoff", "cifar10").groupby("setting")[["top1", "robust_pgd"]].mean()
    change = means.loc["adv"] - means.loc["std"]
    told = numbers_in(README, r"on CIFAR-10, where epsilon is twice as large, (\d+) for (\d+) under PGD-50")
    assert told == [-round(change["top1"]), round(change["robust_pgd"])]


def test_cifar10_crossings_are_told():
    """Where the findings say that ADV overtakes STD on CIFAR-10, seeds pooled."""
    table = table_of("04_crossings", "cifar10")
    rows = table[table["seed"] == "all"].set_index("operation")[["level", "low", "high"]]
    told = numbers_in(
        FINDINGS, r"from sigma ([\d.]+) \[(\S+), (\S+)\] on, .*? from ([\d.]+) passes \[(\S+), (\S+)\] on"
    )
    assert told == [round(number, 2) for operation in ("blur", "median") for number in rows.loc[operation]]


def test_cifar10_reversed_and_stylized_are_told():
    """How far ADV is behind on CIFAR-10, in the findings and in the README's answer."""
    table = table_of("05_differences", "cifar10")
    rows = table[table["seed"] == "all"].set_index(["variant", "strength", "measure"]).sort_index()
    plain, stylized = rows.loc["standard", 0, "accuracy"], rows.loc["stylized", 1, "accuracy"]
    difference_in(r"take (\d+) points more from ADV \[(\S+), (\S+)\]", rows.loc["reversed", 0, "change"], sign=-1)
    difference_in(r"is still (\d+) ahead \[(\S+), (\S+)\]", stylized, sign=-1)
    assert (rows.loc["stylized"].xs("accuracy", level="measure")["high"] < 0).all()
    behind = [-round(row["difference"]) for row in (stylized, plain)]
    told = numbers_in(
        README, r"On CIFAR-10 ADV is (\d+) points behind where texture is replaced, from (\d+) on plain images"
    )
    assert told == behind
    assert numbers_in(FINDINGS, r"STD, (\d+) ahead on plain images of CIFAR-10, is still (\d+) ahead") == behind[::-1]


def test_cifar10_ensembles_are_told():
    """Who leads on CIFAR-10 at which resolution, and how far STD+ADV falls behind, frozen and fine-tuned."""
    pairs = table_of("06_comparisons", "cifar10").query("dataset == 'CIFAR-10 (JPEG)'")
    frozen = pairs.query("mode == 'frozen' and table == '06_resolution'").set_index("pixels")
    leads = frozen.query("combination == 'STD+STD' and against == 'ADV+ADV'")
    difference_in(r"(\d+) points ahead of ADV\+ADV at 32 px \[(\S+), (\S+)\]", leads.loc[32])
    difference_in(r"is (\d+) behind at 8 px \[(\S+), (\S+)\]", leads.loc[8], sign=-1)
    assert leads["difference"][32] > 0 > leads["difference"][8]
    assert leads["low"][4] < 0 < leads["high"][4]
    joined = "combination == 'STD+ADV' and against == 'better pair'"
    worst = frozen.query(joined)["difference"].min()
    assert numbers_in(FINDINGS, r"at every resolution at most ([\d.]+) behind the better pair") == [-round(worst, 1)]
    tuned = pairs.query(f"mode == 'fine-tuned' and {joined}")[["difference", "high", "low"]].squeeze()
    told = numbers_in(FINDINGS, r"fine-tuned it is ([\d.]+) behind \[([\d.]+), ([\d.]+)\]")
    assert told == [-round(number, 1) for number in tuned]


def test_errors_are_told_in_their_own_words():
    """What our own errors say, in the README's table of troubles, stands in the source."""
    source = "".join(path.read_text() for path in [*(ROOT / "advlook").glob("*.py"), ROOT / "Makefile"])
    trouble = README.split("## When something goes wrong")[1].split("## ")[0]
    texts = re.findall(r"`([^`]+)`", "".join(re.findall(r"^\| (`.*?) \|", trouble, re.MULTILINE)))
    others = ("No module named", "ensurepip", "operator torchvision", "No space left", "CUDA out of memory")
    ours = [text for text in texts if not text.startswith(others)]
    assert len(ours) > 8
    plain = re.sub(r"\{[^{}]*\}", "", re.sub(r'"\s*\n\s*f?"', "", source))
    for text in ours:
        assert all(part.strip() in plain for part in text.replace("nan", "").split("...")), text
