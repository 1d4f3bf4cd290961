"""What notebook 01 says of the results of its run, generated from their tables."""

import pandas as pd
from IPython.display import Markdown

from advlook.core import eps_label
from advlook.study import Study
from advlook.study.sentences import apart, bullets, by_arch, lines_of, sample


def told(study: Study) -> Markdown:
    """The cost of robustness in accuracy and, in the test-bed, the cue that decides."""
    lines = lines_of(study, {"01_tradeoff": tradeoff, "01_cues": cues})
    return bullets(lines, f"On {sample(study.load_table('01_tradeoff'))}:" if lines else "")


def tradeoff(table: pd.DataFrame) -> list[str]:
    """A line an architecture: accuracy of STD and ADV, clean and under PGD. table: `01_tradeoff`."""
    lines = []
    for name, rows in by_arch(table):
        means = rows.groupby("setting")[["top1", "robust_pgd"]].mean()
        clean, robust = (
            f"{means.at['std', column]:.1f}% (STD) and {means.at['adv', column]:.1f}% (ADV): "
            f"{apart(means.at['adv', column] - means.at['std', column])}"
            for column in means
        )
        lines.append(f"{name}: {clean}. Under PGD at {eps_label(rows['eps'].iloc[0])}: {robust}.")
    return lines


def cues(table: pd.DataFrame) -> list[str]:
    """A line an architecture: answers where silhouette and texture disagree. table: `01_cues`."""
    lines = []
    for name, rows in by_arch(table):
        means = rows.groupby("setting")[["by_texture", "by_shape"]].mean()
        of = {
            setting: f"{means.at[setting, 'by_texture']:.0f}% by texture and {means.at[setting, 'by_shape']:.0f}% by "
            "silhouette"
            for setting in means.index
        }
        lines.append(f"{name}, where the two cues disagree: STD answers {of['std']}, ADV {of['adv']}.")
    return lines
