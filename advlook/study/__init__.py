"""One preset opened: its images, models, measurements and results."""

from advlook.study.study import Study

__all__ = ["Study"]
