"""Random noise of the size of an attack: the baseline of every table."""

import torch
from torch import Tensor, nn

from advlook.attacks.ball import ascend, check_request


def random_noise(
    model: nn.Module,
    images: Tensor,
    labels: Tensor,
    eps: float,
    *,
    norm: str = "linf",
    generator: torch.Generator | None = None,
) -> Tensor:
    """Noise of the size of an attack, which knows neither model nor label: the baseline of every table.

    "linf": every channel of every pixel moves by eps, up or down at random; "l2": a random direction of length eps; cut
    to [0, 1]. Arguments (the model is not asked), result and errors as in `fgsm`.
    """
    eps = check_request(images, labels, eps, norm)
    noise = torch.empty_like(images, memory_format=torch.contiguous_format).normal_(generator=generator)
    return ascend(images.detach(), noise, eps, norm).clamp_(0, 1)
