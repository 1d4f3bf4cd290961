"""What models are shown: images in batches, for evaluation and for training."""

from collections.abc import Iterator
from typing import Protocol

import torch
from torch import Tensor

from advlook.core.distributed import ALONE, Group
from advlook.core.presets import DataConfig


class Images(Protocol):
    """Images to evaluate a model on: an `ImageSet`, or a `StreamedImages`."""

    labels: Tensor

    def __len__(self) -> int: ...

    def batches(
        self, batch_size: int, device: torch.device | str = "cpu", chosen: Tensor | None = None
    ) -> Iterator[tuple[Tensor, Tensor]]:
        """Every image once, in order, or those of the numbers `chosen`: float32 in [0, 1], with labels."""
        ...


class TrainingImages(Protocol):
    """Images to train a model on: an `ImageSet`, a `StreamedImages`, or the generated `FreshImages`."""

    def __len__(self) -> int: ...

    def training_batches(
        self,
        config: DataConfig,
        batch_size: int,
        generator: torch.Generator,
        device: torch.device | str = "cpu",
        group: Group = ALONE,
        clipped: bool = False,
    ) -> Iterator[tuple[Tensor, Tensor]]:
        """This process's shares of the batches of one epoch, float32 in [0, 1], with labels.

        Shuffled and augmented, all by `generator`; full batches only (a batch of one would break batch normalisation).
        Images do not depend on how many processes there are. clipped: as of `crops.draw_crops`.
        """
        ...
