"""Texture transfer by quilting (Efros and Freeman 2001): the layout of one picture, rebuilt from pieces of another.

Square, overlapping blocks of a source photograph take the place of the content. Each is the one, of a random sample,
that best has the luminance which it replaces and best continues the blocks already placed; it is joined to them along
the seam where the two differ least. The larger the blocks, the more is seen of the source and the less of the content.

Three things differ from the paper. There is one pass, by blocks of one size. Luminance is compared by its ranks within
each picture, so that a pale source can rebuild a content of strong contrast. And a block that was used before costs
more: in even parts of a content the best block would be the same again and again, which looks like woven cloth."""

from collections.abc import Iterator, Sequence

import numpy as np
import torch
from numpy.lib.stride_tricks import sliding_window_view
from numpy.typing import NDArray
from torch import Tensor, nn

from advlook.core import Classifier, RequestError, check_batch, evaluating
from advlook.data.image_sets import luminance

# Chosen on 100 pairs of Imagenette's training photographs at 160 pixels, with blocks of 8: a classifier from elsewhere
# (`models.Judge`) names the shape in 29% of its answers for either at 0.3, in 38% at 0.5, and in 46% at 0.8.
LUMINANCE = 0.3  # share in the cost of a block; seams have the rest
CANDIDATES = 2048  # blocks of the source, drawn at random, among which is chosen: all, of a small one
TOLERANCE = 0.1  # of the cost, by which chance may prefer a worse block (as in the paper)
REUSE = 1.0  # of the cost, that every earlier use of a block adds; without it even parts are one block over and over
FLOOR = 1e-6  # least cost: also blocks that fit exactly take turns
TILE = 40  # pixels a side: a quarter of Imagenette's photographs, of which shapes no longer tell the class
SMALLEST = 2  # pixels a side of a block: one of a single pixel would overlap all of the next

Array = NDArray[np.float32]
Places = NDArray[np.int64]
Mask = NDArray[np.bool_]


def quilt(
    contents: Tensor, sources: Tensor, block: int, *, seeds: Sequence[int] | None = None, share: float = LUMINANCE
) -> Tensor:
    """Contents rebuilt from blocks of sources: float `(N, 3, H, W)` in [0, 1], of the type and device of `contents`.

    sources: `(N, 3, h, w)` in [0, 1] of any size, one an image; every pixel of the result is one of them. block: pixels
    a side, at least 2; neighbours overlap by a third of it. seeds: one per image, of the blocks that can be chosen and
    of chance between nearly equal ones (None: 0 for all). share: of luminance in the cost of a block, in [0, 1]; the
    rest is that of its seams. An image's result does not depend on the others in the batch. Raises RequestError for
    images and sources that do not match, a source smaller than a block, and a block, seeds or share out of range."""
    _check(contents, sources, block, share)
    seeds = [0] * len(contents) if seeds is None else seeds
    if len(seeds) != len(contents):
        raise RequestError(f"{len(seeds)} seeds do not match {len(contents)} images; give one an image")
    made = torch.empty_like(contents, requires_grad=False)
    for place, seed in enumerate(seeds):  # one by one: bits must not depend on how many are made together
        content, source = (_planes(some[place : place + 1]) for some in (contents, sources))
        made[place] = torch.from_numpy(_quilted(content[3], source, block, int(seed), share))
    return made


def shuffle_tiles(images: Tensor, side: int, seed: int = 0) -> Tensor:
    """Images `(N, C, H, W)` whose square tiles of `side` pixels have changed places, in all images by the same draw.
    Raises RequestError where the sides of the images are not multiples of `side`."""
    height, width = images.shape[2:]
    if side < 1 or height % side or width % side:
        raise RequestError(f"tiles of {side} pixels do not fill images of {height}x{width}; give a divisor of both")
    tiles = images.unfold(2, side, side).unfold(3, side, side)  # (N, C, rows, columns, side, side)
    order = torch.randperm(tiles.shape[2] * tiles.shape[3], generator=torch.Generator().manual_seed(seed))
    moved = tiles.flatten(2, 3)[:, :, order.to(images.device)].view_as(tiles)
    return moved.transpose(3, 4).reshape(images.shape)


@torch.no_grad()
def texture_sources(
    judge: nn.Module, photographs: Tensor, labels: Tensor, *, tile: int = TILE, batch_size: int = 50
) -> Tensor:
    """Which photographs have a texture that tells their class: bool `(N,)`, whether `judge` names a photograph's class
    when its tiles of `tile` pixels are shuffled. photographs: float `(N, 3, H, W)` in [0, 1], of sides that are
    multiples of `tile`; labels: int64 `(N,)`, of the judge's classes. Raises RequestError as `shuffle_tiles` and
    `core.Classifier`."""
    check_batch(photographs, labels)
    shown = shuffle_tiles(photographs, tile)
    with evaluating(Classifier(judge, labels=labels)) as asked:
        found = [asked(batch).argmax(1) for batch in shown.split(batch_size)]
    return torch.cat([*found, labels[:0]]) == labels


def _planes(picture: Tensor) -> Array:
    """A picture `(1, 3, H, W)` as `(4, H, W)`: its colours, and the ranks of its luminance in [0, 1]."""
    picture = picture.detach().cpu().float()
    return np.concatenate([picture[0].numpy(), _ranks(luminance(picture).numpy())])


def _ranks(values: Array) -> Array:
    """The share of values that are smaller, equal ones counted half, in the shape of `values`."""
    ordered = np.sort(values, None)
    below, not_above = (np.searchsorted(ordered, values, side) for side in ("left", "right"))
    return ((below + not_above) / (2 * values.size)).astype(np.float32)


def _quilted(ranks: Array, source: Array, block: int, seed: int, share: float) -> Array:
    """The picture `(3, H, W)` with a content's `ranks (H, W)`, from blocks of `source (4, h, w)`."""
    overlap = max(1, round(block / 3))
    step = block - overlap
    rows, columns = (max(1, -(-(length - overlap) // step)) for length in ranks.shape)
    # Blocks reach beyond the lower and the right border; what lies there is cut off in the end.
    shape = rows * step + overlap, columns * step + overlap
    beyond = [(0, whole - length) for whole, length in zip(shape, ranks.shape, strict=True)]
    wanted = sliding_window_view(np.pad(ranks, beyond, mode="edge"), (block, block))[::step, ::step]
    canvas = np.zeros((3, *shape), np.float32)
    windows = sliding_window_view(canvas, (block, block), (1, 2), writeable=True)[:, ::step, ::step]
    pieces = _Pieces(source, block, overlap, share, seed)
    for i, j in _waves(rows, columns):
        placed = windows[:, i, j].swapaxes(0, 1)  # a copy, (n, 3, block, block)
        chosen = pieces.choose(placed, wanted[i, j], j > 0, i > 0)
        error = np.square(chosen - placed).sum(1)
        new = _beyond_seam(error[:, :, :overlap], block) | (j == 0)[:, None, None]
        new &= (_beyond_seam(error[:, :overlap].swapaxes(1, 2), block) | (i == 0)[:, None, None]).swapaxes(1, 2)
        windows[:, i, j] = np.where(new[:, None], chosen, placed).swapaxes(0, 1)
    return canvas[:, : ranks.shape[0], : ranks.shape[1]]


def _waves(rows: int, columns: int) -> Iterator[tuple[Places, Places]]:
    """Rows and columns of blocks that are placed together, as a loop over rows would place them one by one: a wave has
    a block of each row, two columns behind the row above, so that all that it touches was placed in earlier waves."""
    for wave in range(2 * (rows - 1) + columns):
        i = np.arange(max(0, -(-(wave - columns + 1) // 2)), min(rows, wave // 2 + 1))
        if len(i):  # of a single column every second wave is empty
            yield i, wave - 2 * i


class _Pieces:
    """Blocks of a source from which a quilt is made, and how often each was used."""

    def __init__(self, source: Array, block: int, overlap: int, share: float, seed: int) -> None:
        self.rng, self.share = np.random.default_rng(seed), share
        windows = sliding_window_view(source, (block, block), (1, 2))  # (4, h, w, block, block)
        width, places = windows.shape[2], np.arange(windows.shape[1] * windows.shape[2])
        if len(places) > CANDIDATES:
            places = np.sort(self.rng.choice(places, CANDIDATES, replace=False))
        found = windows[:, places // width, places % width].swapaxes(0, 1)  # (K, 4, block, block)
        self.blocks = np.ascontiguousarray(found[:, :3])
        self.ranks = np.ascontiguousarray(found[:, 3].reshape(len(found), -1))
        self.used = np.zeros(len(found), np.float32)
        near = np.arange(block) < overlap
        left, top = np.broadcast_to(near, (block, block)), np.broadcast_to(near[:, None], (block, block))
        self.edge = left | top  # the pixels that can lie on others
        self.left, self.top = left[self.edge], top[self.edge]
        edges = self.blocks[:, :, self.edge]  # (K, 3, pixels)
        self.edges, self.squares = edges.reshape(len(edges), -1), np.square(edges).sum(1)

    def choose(self, placed: Array, wanted: Array, left: Mask, top: Mask) -> Array:
        """Blocks `(n, 3, block, block)` for as many places. placed: what lies there, in the same shape; wanted: ranks
        `(n, block, block)`; left, top: whether there is a neighbour."""
        wanted = wanted.reshape(len(wanted), -1)
        layout = np.square(self.ranks).sum(1) - 2 * wanted @ self.ranks.T + np.square(wanted).sum(1, keepdims=True)
        known = (left[:, None] & self.left | top[:, None] & self.top).astype(np.float32)  # (n, pixels)
        before = (placed[:, :, self.edge] * known[:, None]).reshape(len(placed), -1)
        seams = known @ self.squares.T - 2 * before @ self.edges.T + np.square(before).sum(1, keepdims=True)
        # Means over pixels and colours: the shares of the two must not depend on the size of blocks.
        cost = self.share / wanted.shape[1] * layout
        cost += (1 - self.share) * seams / np.maximum(3 * known.sum(1, keepdims=True), 1)
        chance = TOLERANCE * self.rng.random(cost.shape, dtype=np.float32)
        best = (np.maximum(cost, FLOOR) * (1 + chance + REUSE * self.used)).argmin(1)
        np.add.at(self.used, best, 1)  # a wave may use one twice
        return self.blocks[best]


def _beyond_seam(error: Array, block: int) -> Mask:
    """Which pixels of blocks are right of the seam through a strip at their left: `(n, length, block)`. The seam is the
    path from top to bottom, by one column at most from row to row, of the smallest sum of `error (n, length, width)`;
    its own pixels are the new block's."""
    total = np.pad(error, ((0, 0), (0, 0), (1, 1)), constant_values=np.inf)
    for row in range(1, error.shape[1]):
        above = total[:, row - 1]
        total[:, row, 1:-1] += np.minimum(np.minimum(above[:, :-2], above[:, 1:-1]), above[:, 2:])
    columns = np.arange(total.shape[2])
    seam = np.empty(error.shape[:2], np.int64)
    seam[:, -1] = total[:, -1].argmin(1)
    for row in range(error.shape[1] - 2, -1, -1):
        reached = np.abs(columns - seam[:, row + 1, None]) <= 1
        seam[:, row] = np.where(reached, total[:, row], np.inf).argmin(1)
    return np.arange(block) >= seam[:, :, None] - 1


def _check(contents: Tensor, sources: Tensor, block: int, share: float) -> None:
    for name, given in (("contents", contents), ("sources", sources)):
        if given.dim() != 4 or given.shape[1] != 3 or not given.is_floating_point() or not min(given.shape[2:]):
            raise RequestError(f"{name} are {given.dtype} {tuple(given.shape)}; give them as float (N, 3, H, W)")
    if len(contents) != len(sources):
        raise RequestError(f"{len(sources)} sources do not match {len(contents)} contents; give one an image")
    if not isinstance(block, int) or not SMALLEST <= block <= min(sources.shape[2:]):
        sides = "x".join(map(str, sources.shape[2:]))
        raise RequestError(f"block={block} does not suit sources of {sides} pixels; give {SMALLEST} to the short side")
    if not 0 <= share <= 1:
        raise RequestError(f"share={share:g} is outside [0, 1]; 1 chooses blocks by luminance alone, 0 by seams alone")
