"""The numbers of `03_scale` that tell whether ADV looks at larger structures than STD."""

from dataclasses import dataclass

import pandas as pd

from advlook.sensitivity.maps import TITLES


@dataclass(frozen=True)
class Expected:
    """One number of `03_scale`, and on which side ADV would lie if it looked at larger structures."""

    measure: str
    of: str | None
    at: float | None
    title: str
    lower: bool  # whether the paper's sentence asks for a lower value of ADV

    def rows(self, table: pd.DataFrame) -> pd.DataFrame:
        """Its rows in `03_scale`; of any `of` and `at` where these are None."""
        table = table[table["measure"] == self.measure]
        table = table if self.of is None else table[table["of"] == self.of]
        return table if self.at is None else table[(table["at"] - self.at).abs() < 1e-9]


EXPECTED = (
    Expected("answers_half_frequency", None, None, "frequency below which half of the answers' sensitivity lies", True),
    Expected("kept_low_pass", None, 0.09, "accuracy kept below 0.09 cycles/px [% of clean]", False),
    Expected("kept_high_pass", None, 0.09, "accuracy kept above 0.09 cycles/px [% of clean]", True),
    Expected("kept_shuffled", None, 4, "accuracy kept with 4x4 blocks shuffled [% of clean]", False),
    *(
        Expected("map_median_frequency", method, None, f"median frequency of maps: {title}", True)
        for method, title in TITLES.items()
    ),
    Expected("map_median_frequency_coarse", "loss_gradient", None, "the same of Loss Grad, below 0.25 alone", True),
    Expected("map_median_frequency_coarse", "guided_backprop", None, "of Guided Backprop, below 0.25 alone", True),
    Expected("map_edge_correlation", "loss_gradient", 0, "rank correlation of Loss Grad with edges", False),
    Expected("map_edge_correlation", "guided_backprop", 0, "of Guided Backprop with edges", False),
    Expected("map_energy_inside", "loss_gradient", None, "share of Loss Grad inside, on the texture", True),
    Expected("map_energy_outline", "loss_gradient", None, "share of Loss Grad on the outline", False),
    Expected("unit_median_frequency", None, None, "median frequency of maximising inputs", True),
    Expected("unit_colour_variance", None, None, "colour variance of maximising inputs", True),
    Expected("filter_norm", None, None, "norm of first-layer filters, normalisation folded in", True),
    Expected("filter_frequency", None, None, "mean frequency of first-layer filters", True),
)
