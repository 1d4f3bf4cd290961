"""Square attack (Andriushchenko et al. 2020): random search that asks for logits alone, so that no gradient can mislead
it."""

import torch
from torch import Generator, Tensor

from advlook.attacks.ball import l2_norm, prepared, project
from advlook.attacks.margin import margin
from advlook.core import Model, frozen_buffers
from advlook.core.gradients import per_image

SHARES = {"linf": 0.8, "l2": 0.1}  # of the pixels that the first squares cover
# Of 10,000 queries, those after which the share of pixels is halved (section 4.1); of fewer, in proportion.
HALVED_AT = (10, 50, 200, 500, 1000, 2000, 4000, 6000, 8000)
TILES = 5  # a side, of the first perturbation in L2


def square(
    model: Model,
    images: Tensor,
    labels: Tensor,
    eps: float,
    *,
    norm: str = "linf",
    queries: int = 1000,
    generator: Generator | None = None,
) -> Tensor:
    """Random search in the ball (Andriushchenko et al. 2020, algorithms 1 to 3), without gradients.

    images: float `(N, 3, H, W)` in [0, 1]; labels: int64 `(N,)`; eps: in pixel units of [0, 1], in the norm "linf" or
    "l2"; queries: forward passes of each image. It starts at the surface of the ball, from vertical stripes or in L2
    from tiles, and keeps a square of random place and colours wherever that raises the margin; in L2 the square takes
    its length from another one. An image is lost as soon as it is misclassified, and is asked no more. Returns
    adversarial images of the same shape, detached. Raises RequestError as `pgd` does."""
    model, images, eps = prepared(model, images, labels, eps, norm, queries=queries)
    found = images.detach().clone()
    first, changed = (_stripes, _coloured) if norm == "linf" else (_tiles, _moved)
    with torch.no_grad(), frozen_buffers(model):
        loss = margin(model(images), labels) if len(images) else images.new_zeros(0)
        active = (loss <= 0).nonzero()[:, 0]
        for query in range(queries):
            if not len(active):
                break
            # Draws are made for the whole batch: which images are lost already makes no difference to the others.
            if query:
                draws = _Draws(images, side_of(query, queries, *images.shape[2:], share=SHARES[norm]), generator)
                ahead = changed(found[active], images[active], eps, draws.of(active))
            else:
                ahead = first(images, eps, generator)[active]
            ahead = project(ahead, images[active], eps, norm)
            value = margin(model(ahead), labels[active])
            better = (value > loss[active]) | (query == 0)
            found[active[better]], loss[active[better]] = ahead[better], value[better]
            active = active[loss[active] <= 0]
    return found


def side_of(query: int, queries: int, height: int, width: int, share: float = SHARES["linf"]) -> int:
    """Pixels a side of the squares of a query, from 0 on."""
    halvings = sum(query * 10_000 / queries > at for at in HALVED_AT)
    return max(1, min(round((share / 2**halvings * height * width) ** 0.5), min(height, width) - 1))


class _Draws:
    """For each image of a batch the rows and columns of two squares of `side` pixels a side, `(N, side)` each, a colour
    `(N, 3, 1, 1)` of -1 and 1, and whether a pattern is turned, bool `(N, 1, 1, 1)`."""

    def __init__(self, images: Tensor, side: int, generator: Generator | None) -> None:
        count, _, *sides = images.shape
        self.places = [_first(count, length - side + 1, images, generator) for length in (*sides, *sides)]
        self.colours = _signs((count, 3, 1, 1), images, generator)
        self.turned = _signs((count, 1, 1, 1), images, generator) > 0
        self.side = side

    def of(self, chosen: Tensor) -> "_Draws":
        """Those of some of the images."""
        some = object.__new__(_Draws)
        some.places, some.side = [place[chosen] for place in self.places], self.side
        some.colours, some.turned = self.colours[chosen], self.turned[chosen]
        return some

    def window(self, number: int) -> tuple[Tensor, ...]:
        """Indices of the pixels of the first square (0) or the second, which pick `(N, 3, side, side)`."""
        count, along = len(self.places[0]), torch.arange(self.side, device=self.places[0].device)
        rows, columns = (place[:, None] + along for place in self.places[2 * number :][:2])
        every = torch.arange(count, device=along.device)[:, None, None, None]
        channels = torch.arange(3, device=along.device)[None, :, None, None]
        return every, channels, rows[:, None, :, None], columns[:, None, None, :]


def _stripes(images: Tensor, eps: float, generator: Generator | None) -> Tensor:
    return images + eps * _signs((len(images), 3, 1, images.shape[3]), images, generator)


def _coloured(found: Tensor, centres: Tensor, eps: float, draws: _Draws) -> Tensor:
    """Each image with one square at the surface of the L-infinity ball around its centre."""
    ahead, window = found.clone(), draws.window(0)
    ahead[window] = centres[window] + eps * draws.colours
    return ahead


def _tiles(images: Tensor, eps: float, generator: Generator | None) -> Tensor:
    """Hills of random colour side by side, of length eps together."""
    height, width = images.shape[2:]
    side = max(1, min(height, width) // TILES)
    rows, columns = -(-height // side), -(-width // side)
    colours = _signs((len(images), 3, rows, columns), images, generator)
    pattern = colours.repeat_interleave(side, 2).repeat_interleave(side, 3)[..., :height, :width]
    pattern = pattern * _hill(side, side, images).repeat(rows, columns)[:height, :width]
    return images + eps * pattern / per_image(l2_norm(pattern))


def _moved(found: Tensor, centres: Tensor, eps: float, draws: _Draws) -> Tensor:
    """Each image with a square of its perturbation pushed towards hill and valley, and as long as that square, another
    one, which becomes 0, and what is left up to eps were together (algorithm 3)."""
    change = found - centres
    free = eps**2 - l2_norm(change) ** 2
    here, there, before = draws.window(0), draws.window(1), change.clone()
    half = draws.side // 2
    hills = torch.cat([_hill(half, draws.side, found), -_hill(draws.side - half, draws.side, found)])
    hills = torch.where(draws.turned, hills.T, hills) / hills.norm()
    old = change[here]
    new = draws.colours * hills / 3**0.5 + old / per_image(l2_norm(old).clamp_min(1e-12))
    change[there] = 0
    change[here] = 0
    length = l2_norm(before) ** 2 - l2_norm(change) ** 2 + free
    change[here] = new * per_image(length.clamp_min(0).sqrt() / l2_norm(new).clamp_min(1e-12))
    return centres + change


def _hill(height: int, width: int, like: Tensor) -> Tensor:
    """A pattern `(height, width)` that rises from its borders to the middle (equation 2)."""
    rows, columns = (torch.arange(each, device=like.device) for each in (height, width))
    ring = torch.minimum(torch.minimum(rows, height - 1 - rows)[:, None], torch.minimum(columns, width - 1 - columns))
    most = int(ring.max()) if height and width else 0
    steps = torch.tensor([1 / (most + 1 - k) ** 2 for k in range(most + 1)], device=like.device, dtype=like.dtype)
    return steps.cumsum(0)[ring]


def _first(count: int, places: int, like: Tensor, generator: Generator | None) -> Tensor:
    return torch.randint(places, (count,), generator=generator, device=like.device)


def _signs(shape: tuple[int, ...], like: Tensor, generator: Generator | None) -> Tensor:
    drawn = torch.randint(2, shape, generator=generator, device=like.device)
    return (2 * drawn - 1).to(like.dtype)
