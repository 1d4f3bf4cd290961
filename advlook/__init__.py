"""advlook: what do adversarially robust image classifiers look at?"""

import os

# Read when torch is first imported, and inherited by kernels and worker processes: a thread that waits for another
# sleeps. By default it spins, and beside a busy process it keeps the other from the core that it needs.
os.environ.setdefault("OMP_WAIT_POLICY", "passive")

from advlook.core.torchvision_import import ensure_importable

ensure_importable()

__version__ = "0.1.0"
