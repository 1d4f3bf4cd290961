"""The epsilon ball around an image: random draws, steps and projection; and the checks of an attack's arguments.

Radii and steps are in the images' units, in the L-infinity ("linf") or the Euclidean norm ("l2") over a whole image."""

from numbers import Integral

import torch
from torch import Generator, Tensor

from advlook.core import Classifier, Model, RequestError, check_batch, check_choice, check_eps
from advlook.core.gradients import at_least_float32, per_image

NORMS = ("linf", "l2")


def random_noise(
    model: Model | None,
    images: Tensor,
    labels: Tensor,
    eps: float,
    *,
    norm: str = "linf",
    generator: Generator | None = None,
) -> Tensor:
    """Noise of length eps, the baseline of every table: +-eps a value ("linf"), or a random direction ("l2"). The model
    is not asked."""
    eps, images = check_attack(images, labels, eps, norm), at_least_float32(images)
    noise = torch.empty_like(images, memory_format=torch.contiguous_format).normal_(generator=generator)
    return ascend(images.detach(), noise, eps, norm).clamp_(0, 1)


def random_in_ball(images: Tensor, eps: float, norm: str, generator: Generator | None = None) -> Tensor:
    """Uniform draws from the epsilon ball around each image, clamped to [0, 1]."""
    noise = torch.empty_like(images, memory_format=torch.contiguous_format)
    if norm == "linf":
        noise.uniform_(-1, 1, generator=generator)
    else:
        noise.normal_(generator=generator)
        radius = torch.rand(len(images), generator=generator, device=images.device, dtype=images.dtype)
        noise *= per_image(radius ** (1 / noise.flatten(1).shape[1]) / l2_norm(noise).clamp_min(1e-12))
    return (images.detach() + eps * noise).clamp_(0, 1)


def ascend(images: Tensor, gradient: Tensor, step: float | Tensor, norm: str) -> Tensor:
    """One step of length `step` (a float, or a tensor `(N,)`) in the direction of steepest ascent in the norm."""
    step = per_image(step) if isinstance(step, Tensor) else step
    if norm == "linf":
        return images + step * gradient.sign()
    # Scaled to 1 first: where a model is very confident, the squares of its gradient underflow.
    largest = gradient.flatten(1).abs().amax(1).clamp_min(torch.finfo(gradient.dtype).tiny)
    gradient = gradient / per_image(largest)
    return images + step * gradient / per_image(l2_norm(gradient).clamp_min(1e-12))


def project(images: Tensor, centres: Tensor, eps: float, norm: str) -> Tensor:
    """Projection on the epsilon ball around `centres`, then on [0, 1], which stays inside the ball."""
    if norm == "linf":
        images = torch.minimum(torch.maximum(images, centres - eps), centres + eps)
    else:
        delta = images - centres
        images = centres + delta * per_image((eps / l2_norm(delta).clamp_min(1e-12)).clamp(max=1))
    return images.clamp_(0, 1).detach()


def l2_norm(batch: Tensor) -> Tensor:
    """Euclidean length `(N,)` of every image of a batch."""
    return batch.flatten(1).norm(dim=1)


def prepared(
    model: Model,
    images: Tensor,
    labels: Tensor,
    eps: float,
    norm: str = "linf",
    targets: Tensor | None = None,
    **counts: int,
) -> tuple[Classifier, Tensor, float]:
    """The model, images and `eps` as an attack takes them; RequestError as of `check_attack`. Images are attacked in at
    least float32: in half precision steps vanish, and projection rounds out of the ball."""
    eps = check_attack(images, labels, eps, norm, targets, **counts)
    return Classifier(model, labels=labels, targets=targets), at_least_float32(images), eps


def check_attack(
    images: Tensor, labels: Tensor, eps: float, norm: str, targets: Tensor | None = None, **counts: int
) -> float:
    """`eps` as a float; RequestError that names what is wrong where no attack can be made of the arguments."""
    check_choice("norm", norm, NORMS)
    eps = check_length(eps, norm, "eps")
    check_counts(**counts)
    check_batch(images, labels, targets)
    return eps


def check_length(value: float, norm: str, name: str) -> float:
    """A radius or step of the given norm as a float; an L2 one may exceed 1."""
    try:
        value = float(value)
    except (TypeError, ValueError):
        raise RequestError(f"{name} {value!r} is not a number; give it in units of [0, 1], such as 4/255") from None
    if norm == "linf":
        return check_eps(value, name)
    if not value >= 0:
        raise RequestError(f"{name}={value:g} is not a length; give it in pixel units of [0, 1], at least 0")
    return value


def check_counts(**counts: int) -> None:
    """RequestError where one of these is not a whole number of at least 1."""
    for name, value in counts.items():
        if not isinstance(value, Integral) or value < 1:
            raise RequestError(f"{name}={value} must be a whole number, at least 1")
