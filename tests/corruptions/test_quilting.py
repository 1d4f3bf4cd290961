"""Quilting: where every pixel comes from, which layout stays, and what chance decides."""

import itertools

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from helpers import random_images, smooth
from torch import nn

from advlook.core.errors import RequestError
from advlook.corruptions import quilt, quilting
from advlook.corruptions.quilting import shuffle_tiles, texture_sources
from advlook.data.image_sets import luminance

SIDE = 43  # eight steps of 5 pixels and an overlap of 3: blocks of 8 fill it


def colours(images):
    """The colours in an image `(3, H, W)`."""
    return set(map(tuple, images.flatten(1).T.tolist()))


def layouts_correlation(images, others):
    """Correlation `(N,)` of the ranks of luminance."""
    ranks = [luminance(some).flatten(1).argsort(1).argsort(1).double() for some in (images, others)]
    one, other = (some - some.mean(1, keepdim=True) for some in ranks)
    return (one * other).sum(1) / (one.norm(dim=1) * other.norm(dim=1))


@pytest.mark.parametrize("block", [2, 3, 5, 8, 13])
@pytest.mark.parametrize("shape", [(30, 30), (17, 40), (8, 3)])
def test_every_pixel_is_the_sources(block, shape):
    """Of images of any size, smaller than a block too; the source, of another size, has no colour twice."""
    contents, sources = random_images(2, 40)[..., : shape[0], : shape[1]], random_images(2, 25, seed=1)[..., :20]
    made = quilt(contents, sources, block)
    assert made.shape == contents.shape
    assert made.dtype == torch.float32
    for image, source in zip(made, sources, strict=True):
        assert colours(image) <= colours(source)


def test_blocks_are_whole_inside():
    """Where no other block can lie, a block is one piece of the source."""
    block, overlap = 9, 3
    side = 4 * (block - overlap) + overlap
    (made,), (source,) = quilt(smooth(1, side), sources := random_images(1, 30), block), sources
    inside = block - 2 * overlap
    windows = source.unfold(1, inside, 1).unfold(2, inside, 1)
    windows = set(map(tuple, windows.permute(1, 2, 0, 3, 4).flatten(2).flatten(0, 1).tolist()))
    for i, j in itertools.product(range(4), range(4)):
        top, left = ((block - overlap) * place + overlap for place in (i, j))
        assert tuple(made[:, top : top + inside, left : left + inside].flatten().tolist()) in windows


def test_a_source_of_one_colour_gives_that_colour():
    colour = torch.tensor([0.2, 0.5, 0.8]).view(1, 3, 1, 1)
    made = quilt(smooth(2, 30), colour.expand(2, 3, 20, 20), 6)
    assert torch.equal(made, colour.expand_as(made))


def test_a_content_that_is_its_own_source_comes_back():
    """Blocks are chosen by luminance alone, and all of the source can be chosen."""
    images = smooth(2, SIDE) + 0.02 * random_images(2, SIDE)
    assert (SIDE - 7) ** 2 < quilting.CANDIDATES
    assert torch.equal(quilt(images, images, 8, share=1.0), images)


def test_the_layout_is_the_contents_and_less_of_it_in_larger_blocks():
    contents, sources = smooth(4, 48), random_images(4, 48, seed=3)
    sources = F.avg_pool2d(F.pad(sources, (2,) * 4, mode="reflect"), 5, 1)
    kept = [layouts_correlation(contents, quilt(contents, sources, block)).mean().item() for block in (4, 8, 16, 24)]
    assert kept[0] > 0.7
    assert kept == sorted(kept, reverse=True)
    assert kept[-1] < kept[0] - 0.2


def test_contrast_and_brightness_do_not_matter():
    """The ranks of luminance are matched: a pale content has the same blocks, and a darker source darker ones."""
    contents, sources = smooth(2, 40), random_images(2, 40)
    assert torch.equal(quilt(0.25 * contents + 0.5, sources, 8), quilt(contents, sources, 8))


def test_more_weight_on_luminance_keeps_more_layout():
    contents, sources = smooth(4, 48), random_images(4, 48, seed=3)
    kept = [layouts_correlation(contents, quilt(contents, sources, 8, share=share)).mean() for share in (0.0, 0.5, 1.0)]
    assert kept == sorted(kept)
    assert kept[0].abs() < 0.3


def steps_between(images):
    """Mean difference of neighbouring pixels."""
    return (images[..., 1:] - images[..., :-1]).abs().mean().item()


def test_blocks_continue_each_other(monkeypatch):
    """A smooth source gives a smoother quilt where seams decide, and where blocks are joined along the best path."""
    contents, sources = random_images(4, 48), smooth(4, 48, seed=1)
    chosen = steps_between(quilt(contents, sources, 8, share=0.2))
    assert chosen < 0.8 * steps_between(quilt(contents, sources, 8, share=1.0))
    straight = lambda error, block: np.ones((*error.shape[:2], block), dtype=bool)  # noqa: E731
    monkeypatch.setattr(quilting, "_beyond_seam", straight)
    assert chosen < 0.95 * steps_between(quilt(contents, sources, 8, share=0.2))


def test_the_seam_has_the_smallest_sum():
    """Of all paths that move by one column at most from row to row, found by trying them."""
    errors = np.random.default_rng(0).random((5, 6, 3)).astype(np.float32)
    paths = [p for p in itertools.product(range(3), repeat=6) if all(abs(a - b) < 2 for a, b in itertools.pairwise(p))]
    for error, new in zip(errors, quilting._beyond_seam(errors, 8), strict=True):
        sums = [error[np.arange(6), list(path)].sum() for path in paths]
        assert tuple(new.argmax(1)) == paths[int(np.argmin(sums))]
        assert (np.sort(new, 1) == new).all()  # left of the seam what lay there, right of it the new block


@pytest.mark.parametrize(("rows", "columns"), [(1, 1), (1, 5), (4, 1), (5, 7), (7, 2)])
def test_waves_place_every_block_after_those_it_touches(rows, columns):
    placed = set()
    for i, j in quilting._waves(rows, columns):
        wave = set(zip(i.tolist(), j.tolist(), strict=True))
        for row, column in wave:
            before = {(row, column - 1), *((row - 1, column + k) for k in (-1, 0, 1))}
            assert {place for place in before if place[0] >= 0 and 0 <= place[1] < columns} <= placed
        assert not wave & placed
        placed |= wave
    assert placed == set(itertools.product(range(rows), range(columns)))


def test_even_parts_are_not_one_block_again_and_again():
    """An even content is rebuilt from many parts of the source."""
    sources = random_images(1, 64)
    made = quilt(torch.full((1, 3, 64, 64), 0.5), sources, 8)
    assert len(colours(made[0])) > 0.3 * len(colours(sources[0]))


def test_images_do_not_depend_on_their_batch():
    contents, sources, seeds = smooth(3, 40), random_images(3, 90), [3, 1, 4]
    together = quilt(contents, sources, 8, seeds=seeds)
    for k in range(3):
        one = slice(k, k + 1)
        assert torch.equal(quilt(contents[one], sources[one], 8, seeds=seeds[one]), together[one])


def test_seeds_fix_the_result():
    contents, sources = smooth(2, 40), random_images(2, 90)
    first, again, other = (quilt(contents, sources, 8, seeds=seeds) for seeds in ([1, 2], [1, 2], [3, 4]))
    assert torch.equal(first, again)
    assert ((first - other).abs().amax(1) > 0).float().mean((1, 2)).min() > 0.5


def test_type_and_layout_are_the_contents():
    contents = smooth(2, 24).double().contiguous(memory_format=torch.channels_last).requires_grad_()
    made = quilt(contents, random_images(2, 24), 8)
    assert made.dtype == torch.float64
    assert made.is_contiguous(memory_format=torch.channels_last)
    assert not made.requires_grad
    assert quilt(contents[:0], random_images(0, 24), 8).shape == (0, 3, 24, 24)


@pytest.mark.parametrize(
    ("change", "says"),
    [
        ({"contents": (255 * smooth()).to(torch.uint8)}, "contents are torch.uint8"),
        ({"sources": smooth(4)[:, :1]}, "sources are torch.float32"),
        ({"sources": smooth(3)}, "3 sources do not match 4 contents"),
        ({"block": 1}, "block=1 does not suit"),
        ({"block": 25}, "block=25 does not suit sources of 24x24"),
        ({"block": 8.0}, "block=8.0 does not suit"),
        ({"seeds": [1]}, "1 seeds do not match 4 images"),
        ({"share": 1.5}, "share=1.5 is outside"),
        ({"share": float("nan")}, "share=nan is outside"),
    ],
)
def test_refuses_what_makes_no_sense(change, says):
    arguments = {"contents": smooth(), "sources": smooth(), "block": 8} | change
    with pytest.raises(RequestError, match=says) as refused:
        quilt(arguments.pop("contents"), arguments.pop("sources"), arguments.pop("block"), **arguments)
    assert "\n" not in str(refused.value)


def test_tiles_change_places_and_stay_whole():
    images = random_images(2, 12)
    moved = shuffle_tiles(images[..., :8], 4, seed=1)
    assert moved.shape == (2, 3, 12, 8)
    corners = list(itertools.product(range(0, 12, 4), range(0, 8, 4)))
    tiles = [
        [image[:, y : y + 4, x : x + 4] for y, x in corners] for image in (images[0], moved[0], images[1], moved[1])
    ]
    places = [[torch.equal(new, old) for old in tiles[0]].index(True) for new in tiles[1]]
    assert sorted(places) == list(range(6))
    assert places != list(range(6))
    assert all(torch.equal(tiles[3][k], tiles[2][place]) for k, place in enumerate(places))  # as in the first image
    assert torch.equal(shuffle_tiles(images, 12), images)
    with pytest.raises(RequestError, match="tiles of 5 pixels"):
        shuffle_tiles(images, 5)


class Reddest(nn.Module):
    """Class 0 where the mean is red, 1 where the upper left pixel is: the second is lost with the places of tiles."""

    def forward(self, images):
        return torch.stack([images[:, 0].mean((1, 2)), images[:, 0, 0, 0]], 1)


def test_sources_are_named_from_their_tiles():
    """Both photographs are named by their upper left corner, and are of the other class once it has moved away."""
    photographs = torch.zeros(2, 3, 120, 120)
    photographs[0, 0], photographs[0, 0, :40, :40] = 1.0, 0.5
    photographs[1, 0, :40, :40] = 1.0
    assert shuffle_tiles(photographs, 40)[1, 0, 0, 0] == 0
    labels = torch.tensor([0, 1])
    assert Reddest()(photographs).argmax(1).tolist() == [0, 1]
    assert texture_sources(Reddest(), photographs, labels).tolist() == [False, False]
    assert texture_sources(Reddest(), photographs, 1 - labels).tolist() == [True, True]
    assert texture_sources(Reddest(), photographs[:0], torch.tensor([], dtype=torch.int64)).shape == (0,)
