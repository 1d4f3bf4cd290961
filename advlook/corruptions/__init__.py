"""Changes of images: filters, hybrid images, severities, stylization, quilting."""

from advlook.corruptions.filters import gaussian_blur, match_contrast, median_filter, reverse_colors
from advlook.corruptions.hybrids import hybrid
from advlook.corruptions.quilting import quilt, texture_sources
from advlook.corruptions.style_network import style_transfer
from advlook.corruptions.stylization import stylize
