"""What notebook 02 says of the results of its run, generated from their tables."""

import pandas as pd
from IPython.display import Markdown

from advlook.core import NAMES, SETTINGS, eps_label
from advlook.study import Study
from advlook.study.sentences import bullets, by_arch, existing, sample

_AT_RADIUS = "fgsm, random start"  # an attack that is made at the study's radius alone


def told(study: Study) -> Markdown:
    """What is left under attacks of growing strength."""
    tables = existing(study, "02_attacks")
    if not tables:
        return bullets([])
    eps = eps_label(tables["02_attacks"].query("attack == @_AT_RADIUS")["eps"].iloc[0])
    return bullets(attacks(tables["02_attacks"]), f"At {eps}, on {sample(tables['02_attacks'])}:")


def attacks(table: pd.DataFrame) -> list[str]:
    """A line an architecture and setting: accuracy without an attack, and at the study's radius under noise, FGSM, PGD
    and the suite; and how much lower the suite ends than the PGD with which it begins. table: `02_attacks`."""
    lines = []
    for name, rows in by_arch(table):
        eps = rows.loc[rows["attack"] == _AT_RADIUS, "eps"].iloc[0]
        for setting in SETTINGS:
            own = rows[(rows["setting"] == setting) & rows["eps"].isin([0, eps]) & (rows["norm"] == "linf")]
            means = own.groupby("attack", sort=False)["top1"].mean()
            suite = means[means.index.str.startswith("suite")]
            text = f"{name} {NAMES[setting]}: {means['none']:.1f}% without an attack"
            text += f", {means['noise']:.1f}% under random noise, {means['fgsm']:.1f}% under FGSM"
            if len(suite):
                text += f", {suite.iloc[0]:.1f}% under PGD, {suite.iloc[-1]:.1f}% under the suite"
                text += f" ({suite.iloc[0] - suite.iloc[-1]:.1f} points below its PGD)"
            lines.append(f"{text}.")
    return lines
