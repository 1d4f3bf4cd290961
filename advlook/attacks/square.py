"""Square attack (Andriushchenko et al. 2020): random search that asks for logits alone, so that no gradient can mislead
it."""

import torch
from torch import Generator, Tensor

from advlook.attacks.ball import prepared
from advlook.attacks.margin import margin
from advlook.core import Model, frozen_buffers

SHARE = 0.8  # of the pixels that the first squares cover
# Of 10,000 queries, those after which the share of pixels is halved (section 4.1); of fewer, in proportion.
HALVED_AT = (10, 50, 200, 500, 1000, 2000, 4000, 6000, 8000)


def square(
    model: Model, images: Tensor, labels: Tensor, eps: float, *, queries: int = 1000, generator: Generator | None = None
) -> Tensor:
    """Random search in the L-infinity ball (Andriushchenko et al. 2020, algorithms 1 and 2), without gradients.

    images: float `(N, 3, H, W)` in [0, 1]; labels: int64 `(N,)`; eps: in pixel units of [0, 1]; queries: forward passes
    of each image. It starts from vertical stripes at the surface of the ball, and keeps a square of random place and
    colours wherever that raises the margin. An image is lost as soon as it is misclassified, and is asked no more.
    Returns adversarial images of the same shape, detached. Raises RequestError as `pgd` does."""
    model, images, eps = prepared(model, images, labels, eps, queries=queries)
    found = images.detach().clone()
    height, width = images.shape[2:]
    with torch.no_grad(), frozen_buffers(model):
        loss = margin(model(images), labels) if len(images) else torch.zeros(0)
        active = (loss <= 0).nonzero()[:, 0]
        for query in range(queries):
            if not len(active):
                break
            # Draws are made for the whole batch: which images are lost already makes no difference to the others.
            if query:
                inside = _squares(len(images), height, width, side_of(query, queries, height, width), generator)
                signs, inside = _signs((len(images), 3, 1, 1), images, generator), inside.to(images.device)
            else:
                inside = torch.ones(len(images), 1, 1, 1, dtype=torch.bool, device=images.device)
                signs = _signs((len(images), 3, 1, width), images, generator)
            changed = torch.where(inside[active], images[active] + eps * signs[active], found[active]).clamp_(0, 1)
            value = margin(model(changed), labels[active])
            better = (value > loss[active]) | (query == 0)
            found[active[better]], loss[active[better]] = changed[better], value[better]
            active = active[loss[active] <= 0]
    return found


def side_of(query: int, queries: int, height: int, width: int) -> int:
    """Pixels a side of the squares of a query, from 0 on."""
    halvings = sum(query * 10_000 / queries > at for at in HALVED_AT)
    return max(1, min(round((SHARE / 2**halvings * height * width) ** 0.5), min(height, width) - 1))


def _squares(count: int, height: int, width: int, side: int, generator: Generator | None) -> Tensor:
    """For each of so many images the pixels of a square of `side` a side at a random place: bool `(N, 1, H, W)`."""
    device = generator.device if generator else None
    inside = torch.ones(count, 1, height, width, dtype=torch.bool, device=device)
    for axis, length in ((2, height), (3, width)):
        first = torch.randint(length - side + 1, (count, 1, 1, 1), generator=generator, device=device)
        place = torch.arange(length, device=device).view([-1 if each == axis else 1 for each in range(4)])
        inside = inside & (place >= first) & (place < first + side)
    return inside


def _signs(shape: tuple[int, ...], like: Tensor, generator: Generator | None) -> Tensor:
    drawn = torch.randint(2, shape, generator=generator, device=like.device)
    return (2 * drawn - 1).to(like.dtype)
