"""What a model looks at: sensitivity maps, units, spatial frequency, edges, similarity and randomisation."""

from advlook.sensitivity.edges import edge_correlation, edges
from advlook.sensitivity.frequency import accuracy_on, fourier_sensitivity, high_pass, low_pass, median_frequency
from advlook.sensitivity.maps import (
    METHODS,
    TITLES,
    by_name,
    guided_backprop,
    integrated_gradients,
    loss_gradient,
    smooth_grad,
    vanilla_gradient,
)
from advlook.sensitivity.randomisation import randomised, stages
from advlook.sensitivity.similarity import similarity
from advlook.sensitivity.units import first_filters, maximise

__all__ = [
    "METHODS",
    "TITLES",
    "accuracy_on",
    "by_name",
    "edge_correlation",
    "edges",
    "first_filters",
    "fourier_sensitivity",
    "guided_backprop",
    "high_pass",
    "integrated_gradients",
    "loss_gradient",
    "low_pass",
    "maximise",
    "median_frequency",
    "randomised",
    "similarity",
    "smooth_grad",
    "stages",
    "vanilla_gradient",
]
