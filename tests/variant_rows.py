"""Rows of notebook 05 whose accuracies are chosen."""

import numpy as np
import pandas as pd

from advlook.experiments.stylization import measure


def shares(count, *wanted):
    """Answers about `count` images, right about the first so many percent of them."""
    return [np.arange(count) < share * count // 100 for share in wanted]


def made_up(std, adv, count=200):
    """Rows of one variant: percent right before and after, nested so that what is right after was right before."""
    found = []
    for setting, (before, after) in (("std", std), ("adv", adv)):
        control, right = shares(count, before, after)
        found.append(("resnet10", setting, 0, "stylized", 1.0, after, 100.0, count, before, right, control))
    return pd.DataFrame(found, columns=[*measure.COLUMNS, "right", "right_control"])
