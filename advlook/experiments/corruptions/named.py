"""Hybrid images that STD and ADV name differently, to be looked at: what notebook 04 measures, in three pictures."""

import math
from dataclasses import dataclass

import numpy as np
import pandas as pd
import torch
from torch import Tensor

from advlook.core import ARCH_NAMES, SETTINGS
from advlook.core.names import MAIN
from advlook.corruptions import hybrid
from advlook.experiments.corruptions.scale import pairs
from advlook.study import Study


@dataclass(frozen=True)
class Named:
    """Hybrid images at one cut-off that STD names by the fine image and ADV by the coarse one; all of one architecture.

    pictures: `(n, 3, 3, H, W)`, of each pair the fine image, the hybrid and the coarse one, on the CPU; classes: of the
    fine and the coarse image; votes: how many STD models name the fine one and how many ADV models the coarse one, of
    `models` each. as_here, other_way: the share of all pairs [%] on which every model answers so, and on which every
    one does the opposite (STD by the coarse image, ADV by the fine one); total: how many pairs these are of."""

    arch: str
    cutoff: float
    pictures: Tensor
    classes: list[tuple[str, str]]
    votes: list[tuple[int, int]]
    models: int
    as_here: float
    other_way: float
    total: int

    @property
    def told(self) -> str:
        """The shares in words."""
        every = "both models answer" if self.models == 1 else f"all {2 * self.models} models answer"
        shares = (
            f"On {self.as_here:.1f}% of {self.total:,} pairs {every} so, on {self.other_way:.1f}% the other way round"
        )
        return f"{ARCH_NAMES[self.arch]}, cut-off {self.cutoff:.2g} cycles per pixel. {shares}."


def named_differently(study: Study, table: pd.DataFrame, scales: pd.DataFrame, count: int = 3) -> Named:
    """The first pairs of the draw on which most models answer so, at the cut-off nearest to the middle (in octaves)
    between the changes of sides of STD and ADV, of the preset's last architecture. table, scales: `04_hybrids`,
    `04_scales`."""
    arch = study.preset.archs[-1]
    rows = table[(table["arch"] == arch) & (table["condition"] == MAIN)]
    chosen = (scales["arch"] == arch) & (scales["condition"] == MAIN) & (scales["seed"] == "all")
    middle = np.log2(scales.loc[chosen & scales["of"].isin(SETTINGS), "scale"]).mean()
    cutoff = min(rows["cutoff"].unique(), key=lambda each: abs(math.log2(each) - middle))
    rows = rows[rows["cutoff"] == cutoff].set_index("setting")

    def votes(first: str, second: str) -> np.ndarray:
        """`(2, pairs)`: how many STD models answer by the first column, and how many ADV models by the second."""
        return np.stack(
            [np.sum(list(rows.loc[[s], name]), 0) for s, name in zip(SETTINGS, (first, second), strict=True)]
        )

    wanted, opposite = votes("by_fine", "by_coarse"), votes("by_coarse", "by_fine")
    models = len(rows.loc[[SETTINGS[0]]])
    best = np.argsort(-wanted.min(0), kind="stable")[:count]
    (coarse, first), (fine, second) = (next(each[torch.tensor(best)].batches(count)) for each in pairs(study))
    pictures = torch.stack([fine, hybrid(coarse, fine, cutoff), coarse], 1).cpu()
    names = [
        tuple(study.test.classes[label] for label in pair) for pair in zip(second.tolist(), first.tolist(), strict=True)
    ]
    shares = (100 * float((each == models).all(0).mean()) for each in (wanted, opposite))
    about = names, [tuple(map(int, each)) for each in wanted[:, best].T], models
    return Named(arch, float(cutoff), pictures, *about, *shares, wanted.shape[1])
