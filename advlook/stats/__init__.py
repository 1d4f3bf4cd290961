"""Bootstrap intervals, paired comparisons of models, and the rules of verdicts."""

from advlook.stats.paired import difference, less, right_of
