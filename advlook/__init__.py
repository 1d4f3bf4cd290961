"""advlook: what do adversarially robust image classifiers look at?"""

from advlook.core.torchvision_import import ensure_importable

ensure_importable()

__version__ = "0.1.0"
