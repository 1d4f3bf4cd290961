"""Random noise of the size of an attack: the baseline of every table."""

import torch
from torch import Generator, Tensor
from torch.nn import Module

from advlook.attacks.ball import ascend, check_request


def random_noise(
    model: Module, images: Tensor, labels: Tensor, eps: float, *, norm: str = "linf", generator: Generator | None = None
) -> Tensor:
    """Random noise of length eps, which depends on neither model nor labels; the result is clamped to [0, 1].

    "linf": every value changes by +eps or -eps; "l2": a random direction of length eps. Arguments (the model is not
    called), result and errors as in `fgsm`.
    """
    eps = check_request(images, labels, eps, norm)
    noise = torch.empty_like(images, memory_format=torch.contiguous_format).normal_(generator=generator)
    return ascend(images.detach(), noise, eps, norm).clamp_(0, 1)
