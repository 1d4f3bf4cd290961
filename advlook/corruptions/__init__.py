"""Changes of images: filters, hybrid images, severities, stylization."""

from advlook.corruptions.filters import gaussian_blur, median_filter, reverse_colors
from advlook.corruptions.hybrids import hybrid
from advlook.corruptions.stylization import stylize
