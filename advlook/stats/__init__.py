"""Bootstrap intervals, paired comparisons of models, and the rules of verdicts."""

from advlook.stats.bootstrap import Sample, interval
from advlook.stats.paired import answers, difference, labelled, less, pooled, right_of
