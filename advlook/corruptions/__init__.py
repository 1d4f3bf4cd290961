"""What takes detail, colour or texture from images: filters, severities, stylization."""

from advlook.corruptions.filters import gaussian_blur, median_filter, reverse_colors
from advlook.corruptions.stylization import stylize
