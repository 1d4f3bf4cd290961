"""What a model looks at: sensitivity maps, units, spatial frequency, edges, similarity and randomisation."""

from advlook.sensitivity.edges import edge_correlation
from advlook.sensitivity.filters import conv_layers, first_filters, first_layer
from advlook.sensitivity.frequency import accuracy_on, fourier_sensitivity, high_pass, low_pass, median_frequency
from advlook.sensitivity.maps import METHODS, TITLES, by_name, guided_backprop, integrated_gradients
from advlook.sensitivity.maps import loss_gradient as loss_gradient
from advlook.sensitivity.maps import smooth_grad as smooth_grad
from advlook.sensitivity.maps import vanilla_gradient as vanilla_gradient
from advlook.sensitivity.randomisation import randomised, stages
from advlook.sensitivity.units import maximise
