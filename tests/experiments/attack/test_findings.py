"""What notebook 02 says of its results."""

import pandas as pd

from advlook.experiments.attack import findings


def test_only_the_studys_radius_counts():
    """Neither other radii, nor the L2 ball, are taken for the accuracy at eps; the suite ends below its own PGD."""
    rows = [("none", "linf", 0, 90), ("noise", "linf", 0.1, 88), ("noise", "linf", 0.4, 10), ("fgsm", "linf", 0.1, 50)]
    rows += [("fgsm", "linf", 0.4, 1), ("noise", "l2", 0.1, 5), ("fgsm, random start", "linf", 0.1, 60)]
    rows += [("suite: pgd", "linf", 0.1, 40), ("suite: + apgd-ce", "linf", 0.1, 36)]
    table = pd.DataFrame(rows, columns=["attack", "norm", "eps", "top1"])
    both = pd.concat([table.assign(setting="std"), table.assign(setting="adv")]).assign(arch="vit")
    std, adv = findings.attacks(both)
    told = "90.0% without an attack, 88.0% under random noise, 50.0% under FGSM, 40.0% under PGD, 36.0% under the suite"
    assert std == f"**vit** STD: {told} (4.0 points below its PGD)."
    assert adv.startswith("**vit** ADV: 90.0%")
