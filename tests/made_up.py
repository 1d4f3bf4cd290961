"""All tables that claims read, of a world where what the paper says is so, and of one where it is not."""

from itertools import product

import numpy as np
import pandas as pd

from advlook.experiments.claims.measure import CLAIMS
from advlook.experiments.corruptions.scale import CUTOFFS, conditions

ARCHS = ("alexnet_bn", "resnet10")
STYLES = 20
COSTS = next(claim for claim in CLAIMS if claim.name == "robustness costs accuracy")
ON_ATTACKS = CLAIMS[CLAIMS.index(COSTS) :][:2]


def bits(rate, units):
    """The first of so many images are right: models that are right more often are so on the same ones."""
    return np.arange(units) < np.float32(rate * units)


def made_up(right=True, units=1000, seeds=(0, 1), archs=ARCHS):
    """All tables that claims read, of a world where all that the paper says is clearly so; or else is clearly not."""
    tables = {claim.table: [] for claim in CLAIMS}
    for arch in archs:
        for seed in seeds:
            for setting in ("std", "adv"):
                who = {"arch": arch, "setting": setting, "seed": seed}
                for name, rows in of_model(setting == "adv", right, units, seed).items():
                    tables[name] += [who | row for row in rows]
            between = {"arch": arch, "setting": "adv-1", "seed": seed}
            tables["09_tradeoff"].append(between | {"right": bits(0.8, units), "images": units})
            tables["09_hybrids"] += [between | row for row in shown_hybrids(0.08, units)]
            for name, joined in (("06_runs", runs), ("06_resolution", degraded)):
                tables[name] += [{"arch": arch, "seed": seed} | row for row in joined(right, units, seeds, seed)]
        tables["07_sanity"] += [{"arch": arch} | row for row in similarities(right, units, seeds)]
    found = {name: pd.DataFrame(rows) for name, rows in tables.items()}
    for name in ("04_answers", "04_masking"):
        found[name]["chance"] = 0.1
    radii = {"setting": ["std", "adv", "adv-1", "noisy"], "eps": [0, 4 / 255, 1 / 255, 0]}
    found["09_models"] = pd.DataFrame(radii | {"kind": ["dose", "dose", "dose", "control"]})
    styles = [f"{image % STYLES}.jpg" for image in range(units)]
    found["05_checked"] = pd.DataFrame({"image": range(units), "style": styles})
    found["05_checks"] = pd.DataFrame({"check": ["texture", "shape"], "passed": True})
    return found


def set_right(table, chosen, rate, units):
    """Let the chosen rows be right about this share of the images."""
    table["right"] = [bits(rate, units) if each else old for each, old in zip(chosen, table["right"], strict=True)]


def of_model(adv, right, units, seed):
    """Of one model, rows by table. Values are of STD and ADV; `seed` moves both a little."""

    def of(std, value):
        return value if adv else std

    def either(paper, other):
        return of(*(paper if right else other))

    spread = 1 + 0.1 * np.sin(np.arange(units)) + 0.01 * seed
    edges = either((0.2, 0.4), (0.4, 0.2)) * spread
    frequencies = either((0.4, 0.2), (0.2, 0.4)) * spread
    layers = ("conv1", "conv2", "conv3")
    sizes = [
        {"measure": measure, "of": layer, "at": k, "value": size * either((2.0, 1.0), (1.0, 2.0))}
        for measure in ("filter_norm", "unit_median_frequency", "unit_colour_variance")
        for layer in (layers[:1] if measure == "filter_norm" else layers)
        for k, size in enumerate(spread)
    ]
    blurred = ((0, of(0.9, 0.8)), (1, either((0.8, 0.7), (0.5, 0.8))), (9, 0.1))
    filtered = ((0, of(0.9, 0.8)), (1, either((0.8, 0.75), (0.8, 0.5))), (2, either((0.5, 0.7), (0.7, 0.4))), (9, 0.1))
    levels = [
        (op, *each) for op, sweep in (("blur", blurred), ("blur 3x3", blurred), ("median", filtered)) for each in sweep
    ]
    control = {"right_control": bits(of(0.8, 0.76), units), "images": units}
    return of_scale(adv == right, units) | {
        "01_tradeoff": [
            {
                "right": bits(either((0.9, 0.7), (0.7, 0.9)), units),
                "images": units,
                "right_pgd": bits(either((0.1, 0.5), (0.5, 0.1)), units),
            }
        ],
        "03_maps": [
            {"of": "loss_gradient", "image": k, "edge_correlation": value, "median_frequency": 0.3}
            for k, value in enumerate(edges)
        ]
        + [
            {"of": "guided_backprop", "image": k, "edge_correlation": 0.3, "median_frequency": value}
            for k, value in enumerate(frequencies)
        ],
        "03_scale": sizes,
        "04_sweeps": [
            {"operation": op, "level": level, "top1": 100 * rate, "images": units, "right": bits(rate, units)}
            for op, level, rate in levels
        ],
        "05_variants": [
            {"variant": variant, "strength": strength, "right": bits(rate, units), **control}
            for variant, strength, rate in (
                ("reversed", 0, either((0.4, 0.37), (0.6, 0.15))),
                ("stylized", 0.5, of(0.6, 0.6)),
                ("stylized", 1, either((0.2, 0.5), (0.5, 0.2))),
            )
        ],
        "05_conflicts": [
            {"by_shape": bits(shape, units), "by_texture": bits(0.8 - shape, units), "images": units}
            | {"source": np.arange(units), "valid": True, "reason": np.nan}
            for shape in (either((0.2, 0.6), (0.6, 0.2)),)
        ],
    }


def of_scale(coarse, units):
    """Of one model, rows on the scale of its answers: it reads coarse structure, or else fine detail."""
    masking = [{"frequency": 0.0, "noise": 0.0, "right": bits(0.9, units), "images": units}]
    answers = [
        {"operation": operation, "level": level, "right": bits(rate, units), "images": units}
        for operation, level, rate in (
            ("clean", 0.0, 0.9),
            ("low-pass", 0.06, 0.6 if coarse else 0.2),
            ("low-pass", 0.09, 0.7 if coarse else 0.3),
            ("high-pass", 0.06, 0.2 if coarse else 0.6),
            ("shuffled", 2.0, 0.7 if coarse else 0.3),
        )
    ]
    for frequency, noise in product((0.05, 0.1, 0.2, 0.4), (0.02, 0.04, 0.08, 0.16)):
        weight = np.exp(-(np.log2(frequency / (0.08 if coarse else 0.25)) ** 2))
        rate = 0.1 + 0.8 / (1 + (25 * weight * noise) ** 3)
        masking.append({"frequency": frequency, "noise": noise, "right": bits(rate, units), "images": units})
    hybrids = shown_hybrids(0.04 if coarse else 0.16, units)
    return {"04_hybrids": hybrids, "04_answers": answers, "04_masking": masking}


def shown_hybrids(scale, units):
    """Of a model that goes over to the coarse image at this cut-off, under every condition."""
    rows = []
    for condition, cutoff in product(conditions(), CUTOFFS):
        by_coarse = bits(1 / (1 + (scale / cutoff) ** 3), units)
        answers = {"by_coarse": by_coarse, "by_fine": ~by_coarse, "images": units}
        rows.append({"condition": condition, "cutoff": cutoff} | answers)
    return rows


def runs(right, units, seeds, seed):
    """One run of every combination on four sets, two of them of low resolution."""
    for dataset, pixels in (("digits", 16), ("numbers", 32), ("photographs", 64), ("birds", 96)):
        high = pixels > 32
        rates = {"STD": 0.6, "ADV": 0.6, "STD+ADV": 0.9 if right else 0.4}
        if len(seeds) > 1:
            first = high == right
            rates |= {"STD+STD": 0.8 if first else 0.6, "ADV+ADV": 0.6 if first else 0.8}
        about = {"dataset": dataset, "pixels": pixels, "known": False}
        for row, rate in combinations(rates, seeds, seed):
            for mode, share in (("frozen", rate), ("fine-tuned", 0.3)):
                yield about | row | {"mode": mode, "right": bits(share, units), "top1": 100 * share, "images": units}


def degraded(right, units, seeds, seed):
    """One run of every combination on two sets at three resolutions: the lead of two STD models falls with it, and one
    of each is as good as the better pair; or else that lead rises, and one of each falls behind."""
    for dataset, fine in (("photographs", 64), ("birds", 96)):
        for pixels in (fine, 32, 8):
            coarse = pixels < fine
            rates = {"STD": 0.5, "ADV": 0.5, "STD+ADV": (0.6 if right else 0.5) if coarse else 0.9}
            if len(seeds) > 1:
                rates |= {"STD+STD": (0.6 if right else 0.9) if coarse else 0.9}
                rates |= {"ADV+ADV": (0.6 if right else 0.4) if coarse else 0.7}
            for row, rate in combinations(rates, seeds, seed):
                answers = {"right": bits(rate, units), "top1": 100 * rate, "images": units}
                yield {"dataset": dataset, "resolution": pixels} | row | answers


def combinations(rates, seeds, seed):
    """The run of every combination that begins at a seed: name and members, and the share that it is right about."""
    for combination, rate in rates.items():
        others = [*seeds[seeds.index(seed) :], *seeds]
        members = " ".join(f"{part.lower()}-{k}" for part, k in zip(combination.split("+"), others, strict=False))
        yield {"combination": combination, "members": members}, rate


def similarities(right, units, seeds):
    """Trained models of two seeds are alike, and unlike an untrained one; or the other way round. Two untrained ones
    are less alike."""
    alike, fresh, untrained = (0.6, 0.2, 0.4) if right else (0.2, 0.6, 0.4)
    about = {"method": "guided_backprop", "measure": "spearman_abs"}
    for setting in ("std", "adv"):
        pairs = [(f"random-{(seed + 1) % 2}", f"{setting}-{seed}", fresh) for seed in seeds]
        pairs += [(f"{setting}-{a}", f"{setting}-{b}", alike) for a in seeds for b in seeds if a < b]
        if setting == "std":
            pairs += [(f"random-{a}", f"random-{b}", untrained) for a in seeds for b in seeds if a < b]
        for a, b, value in pairs:
            by_image = value + 0.05 * np.cos(np.arange(units))
            row = {"model_a": a, "model_b": b, "value": by_image.mean(), "images": units, "by_image": by_image}
            yield about | row
