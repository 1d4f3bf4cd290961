"""Images that are in memory as floats, shown to a model as an image set is."""

from collections.abc import Iterator
from dataclasses import dataclass

import torch
from torch import Tensor

from advlook.core import Device, RequestError, at_least_float32, check_batch
from advlook.data.image_sets import Batch
from advlook.data.layouts import Labelled
from advlook.data.streaming import Images


@dataclass(frozen=True)
class TensorImages(Labelled):
    """Float images `(N, 3, H, W)` in [0, 1] and labels int64 `(N,)`; RequestError for others."""

    images: Tensor
    labels: Tensor

    def __post_init__(self) -> None:
        check_batch(self.images, self.labels)

    def __getitem__(self, chosen: slice | Tensor) -> "TensorImages":
        return TensorImages(self.images[chosen], self.labels[chosen])

    def batches(self, batch_size: int, device: Device = "cpu", chosen: Tensor | None = None) -> Iterator[Batch]:
        """Every image once, in order, or those of the numbers `chosen`: in at least float32, with labels."""
        for part in (torch.arange(len(self)) if chosen is None else chosen).split(batch_size):
            yield at_least_float32(self.images[part].to(device)), self.labels[part].to(device)


Shown = Images | TensorImages | tuple[Tensor, Tensor]  # what a model is evaluated on


def as_image_set(shown: Shown) -> Images | TensorImages:
    """An image set as it is, a pair of images and labels as one; RequestError for anything else."""
    if isinstance(shown, tuple) and len(shown) == 2:
        shown = TensorImages(*shown)
    if not hasattr(shown, "batches"):
        raise RequestError(f"images are of type {type(shown).__name__}; give an image set or a pair (images, labels)")
    if not len(shown):
        raise RequestError("there are no images, so there is no accuracy; give at least one")
    return shown
