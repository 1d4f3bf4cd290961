"""advlook: what do adversarially robust image classifiers look at?"""

from advlook._torchvision import ensure_importable

ensure_importable()

__version__ = "0.1.0"
