"""One preset opened: its images, models, measurements and results."""

from advlook.study.study import ModelKey, Study
from advlook.study.tables import Row
