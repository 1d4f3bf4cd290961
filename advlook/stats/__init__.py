"""Intervals over images, and over images and seeds, paired comparisons of models, and the rules of verdicts."""

from advlook.stats.bootstrap import interval
from advlook.stats.paired import answers, difference, labelled, less, pooled, right_of
from advlook.stats.two_way import Estimate, Sample, estimate, mean_of
