"""The epsilon ball around an image: draws from it, steps in it, the way back into it; and what attacks refuse.

Images are float `(N, 3, H, W)` in [0, 1]; radii and steps are in the same units, in the L-infinity norm ("linf") over
an image's pixels and channels, or in their Euclidean one ("l2").
"""

import torch
from torch import Tensor

from advlook.core.errors import RequestError
from advlook.core.gradients import per_image
from advlook.core.radius import check_eps

NORMS = ("linf", "l2")


def random_in_ball(images: Tensor, eps: float, norm: str, generator: torch.Generator | None = None) -> Tensor:
    """Uniform draws from the epsilon ball around each image, cut to [0, 1]."""
    noise = torch.empty_like(images, memory_format=torch.contiguous_format)
    if norm == "linf":
        noise.uniform_(-1, 1, generator=generator)
    else:
        noise.normal_(generator=generator)
        radius = torch.rand(len(images), generator=generator, device=images.device, dtype=images.dtype)
        noise *= per_image(radius ** (1 / noise.flatten(1).shape[1]) / l2_norm(noise).clamp_min(1e-12))
    return (images.detach() + eps * noise).clamp_(0, 1)


def ascend(images: Tensor, gradient: Tensor, step: float | Tensor, norm: str) -> Tensor:
    """One step of length `step` (of each image, where a tensor `(N,)`) along the steepest ascent of the given norm."""
    step = per_image(step) if isinstance(step, Tensor) else step
    if norm == "linf":
        return images + step * gradient.sign()
    # To about 1 first: of a model that is sure of its answer the squares of a gradient may be too small for the float.
    largest = gradient.flatten(1).abs().amax(1).clamp_min(torch.finfo(gradient.dtype).tiny)
    gradient = gradient / per_image(largest)
    return images + step * gradient / per_image(l2_norm(gradient).clamp_min(1e-12))


def project(images: Tensor, centres: Tensor, eps: float, norm: str) -> Tensor:
    """The nearest point of the epsilon ball around `centres`, then of [0, 1] (which cannot leave the ball again)."""
    if norm == "linf":
        images = torch.minimum(torch.maximum(images, centres - eps), centres + eps)
    else:
        delta = images - centres
        images = centres + delta * per_image((eps / l2_norm(delta).clamp_min(1e-12)).clamp(max=1))
    return images.clamp_(0, 1).detach()


def l2_norm(batch: Tensor) -> Tensor:
    """Euclidean length `(N,)` of every image of a batch."""
    return batch.flatten(1).norm(dim=1)


def check_request(images: Tensor, labels: Tensor, eps: float, norm: str, targets: Tensor | None = None) -> float:
    """`eps` as a float, where an attack can be made of this; RequestError naming what is wrong where not."""
    if norm not in NORMS:
        raise RequestError(f"norm {norm!r} is unknown; choose from {', '.join(NORMS)}")
    eps = check_length(eps, norm, "eps")
    if len(images) and not (images.amin() >= -1e-4 and images.amax() <= 1 + 1e-4):
        raise RequestError(
            f"images span [{images.amin():.3g}, {images.amax():.3g}], not [0, 1]: give them unnormalised, "
            "and put the normalisation inside the model"
        )
    for name, tensor in (("labels", labels), ("targets", targets)):
        if tensor is not None and (tensor.shape != images.shape[:1] or tensor.dtype != torch.int64):
            raise RequestError(
                f"{name} must be int64 of shape ({len(images)},), not {tensor.dtype} {tuple(tensor.shape)}"
            )
    return eps


def check_length(value: float, norm: str, name: str) -> float:
    """A radius or step of the given norm; in L2 it may well be longer than the side of a pixel."""
    if norm == "linf":
        return check_eps(value, name)
    if not value >= 0:
        raise RequestError(f"{name}={value:g} is not a length; give it in pixel units of [0, 1], at least 0")
    return float(value)
