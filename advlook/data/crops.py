"""Random crops, from the distribution of torchvision's RandomResizedCrop, for stored and streamed sets alike."""

import math

import torch
import torch.nn.functional as F
from torch import Tensor

from advlook.core.presets import DataConfig

ASPECT = 4 / 3  # width over height of the widest crop; of the tallest it is the inverse
TRIES = 10  # draws per image before the central crop is taken


def random_resized_crops(heights: Tensor, widths: Tensor, least: float, generator: torch.Generator) -> Tensor:
    """Crops of N images of `heights` and `widths` pixels, int64 `(N, 4)`: top, left, height and width. Drawn as by
    `torchvision.transforms.RandomResizedCrop(scale=(least, 1))`: area uniform in [least, 1] of the image's, aspect
    log-uniform in [3/4, 4/3]. Of ten draws the first that fits is taken, else the largest central crop of such an
    aspect: large areas are rarer than small ones (`findings/random-resized-crop-area.sh`)."""
    sizes = torch.stack([heights, widths], 1).double()  # (N, 2)
    area = sizes.prod(1) * torch.empty(TRIES, len(sizes), dtype=torch.float64).uniform_(least, 1, generator=generator)
    aspect = torch.empty_like(area).uniform_(-math.log(ASPECT), math.log(ASPECT), generator=generator).exp()
    drawn = torch.stack([area / aspect, area * aspect], 2).sqrt().round()  # (TRIES, N, 2)
    central = sizes.minimum((sizes.flip(1) * ASPECT).round())
    fits = ((drawn > 0) & (drawn <= sizes)).all(2)
    crops = torch.where(fits.any(0)[:, None], drawn[fits.int().argmax(0), torch.arange(len(sizes))], central)
    room = sizes - crops
    places = torch.rand(len(sizes), 2, dtype=torch.float64, generator=generator) * (room + 1)
    return torch.cat([torch.where(fits.any(0)[:, None], places, room / 2), crops], 1).long()


def _clipped_crops(count: int, side: int, least: float, generator: torch.Generator) -> Tensor:
    """As `random_resized_crops`, but sides that do not fit are cut to the image's: every sixth crop has a full side."""
    area = torch.rand(count, generator=generator) * (1 - least) + least
    aspect = torch.exp((torch.rand(count, generator=generator) * 2 - 1) * math.log(ASPECT))
    lengths = torch.stack([(area / aspect).sqrt(), (area * aspect).sqrt()], 1)
    lengths = (lengths.clamp(max=1) * side).round().long()
    places = (torch.rand(count, 2, generator=generator) * (side + 1 - lengths)).long()
    return torch.cat([places, lengths], 1)


def draw_crops(count: int, side: int, config: DataConfig, generator: torch.Generator, clipped: bool = False) -> Tensor:
    """Which part is shown of `count` square images: int64 `(count, 5)`, top, left, height, width, 1 where mirrored.
    Where crop_scale < 1 a random resized crop (clipped: as in earlier versions), else one shifted up to `shift` beyond
    edges."""
    if config.crop_scale < 1 and clipped:
        crops = _clipped_crops(count, side, config.crop_scale, generator)
    elif config.crop_scale < 1:
        sides = torch.full((count,), side)
        crops = random_resized_crops(sides, sides, config.crop_scale, generator)
    else:
        first, last = -config.shift, side - config.size + config.shift
        crops = torch.full((count, 4), config.size)
        crops[:, :2] = torch.randint(first, last + 1, (count, 2), generator=generator) if last > first else 0
    mirrored = torch.rand(count, generator=generator) < 0.5 if config.flip else torch.zeros(count, dtype=torch.bool)
    return torch.cat([crops, mirrored.long()[:, None]], 1)


def cut_out(images: Tensor, crops: Tensor, config: DataConfig) -> Tensor:
    """The crops that `draw_crops` has drawn of images uint8 `(N, 3, side, side)`, as uint8 `(N, 3, size, size)`."""
    n, side, size = len(images), images.shape[-1], config.size
    if config.crop_scale < 1:
        boxes = enumerate(crops.tolist())
        images = torch.cat([resized(images[k : k + 1, :, y : y + h, x : x + w], size) for k, (y, x, h, w, _) in boxes])
    elif config.shift or side > size:
        places = (crops[:, :2, None] + torch.arange(size)).abs()  # reflects at the near edge, next line: at the far one
        places = (side - 1) - ((side - 1) - places).abs()
        rows, columns = places[:, 0, :, None], places[:, 1, None, :]
        images = images.permute(0, 2, 3, 1)[torch.arange(n)[:, None, None], rows, columns].permute(0, 3, 1, 2)
    return torch.where(crops[:, 4].bool().view(-1, 1, 1, 1), images.flip(3), images) if config.flip else images


def resized(windows: Tensor, size: int) -> Tensor:
    """Windows uint8 `(N, 3, h, w)` as uint8 `(N, 3, size, size)`, bilinear with antialiasing; faster than of floats."""
    return F.interpolate(windows, (size, size), mode="bilinear", antialias=True)
