"""The embedded data set: a test-bed in which what a model looks at is known.

Every image carries exactly two cues, which can be taken apart. A *silhouette*, large and high in contrast, floats in
random pose and colour over a soft 1/f background: ten outlines, of 2 to 6 lobes, shallow or deep. Inside it lies a
*texture*, fine and faint: ten square-wave gratings, in 5 orientations and 2 periods, of an amplitude equal to the usual
adversary's radius, 8/255.

The texture defines the label; the silhouette is right in four images out of five. So whoever may use everything should
read the texture and can be perfect. But an adversary of radius 8/255 can wipe the texture out or draw another one,
while it hardly touches a silhouette: whoever must be robust should read the silhouette, and pays for it with the fifth
image. This is the trade-off between accuracy and robustness in its smallest form (Tsipras et al. 2019, Ilyas et al.
2019), and the splits ask a trained model what it has chosen:

- `train`, `test`: as above; the label is the texture's class.
- `cue_conflict`: the silhouette of one class with the texture of another, never the same (after Geirhos et al. 2019).
- `shape_only`: the silhouette without a texture; the label is the silhouette's class.
- `texture_only`: the texture in a plain disc, an outline that no class has.

For one seed, `test` and the three splits after it show the same scenes: colours, poses, backgrounds and phases agree
image by image, and only the cues differ. `train` draws its own. Nothing is downloaded or stored."""

import math
from collections.abc import Iterator
from dataclasses import dataclass

import torch
from torch import Generator, Tensor

from advlook.core import ALONE, Device, Group, RequestError, check_choice

SPLITS = ("train", "test", "cue_conflict", "shape_only", "texture_only")
_SHALLOW = ("pebble", "triangle", "square", "pentagon", "hexagon")  # outlines of 2 to 6 lobes
_DEEP = ("peanut", "trefoil", "clover", "starfish", "flower")  # the same
CLASSES = (*_SHALLOW, *_DEEP)

SHAPE_AGREEMENT = 0.8  # share of train and test images whose silhouette is right
TEXTURE_LEVELS = 8  # amplitude of the texture, in steps of 1/255
PERIODS = (3.0, 6.0)  # of the gratings, in pixels at any image size
CONTRAST = (0.3, 0.6)  # of silhouette against background, mean over the channels
DEPTHS = (0.13, 0.36)  # of the lobes, as a share of the mean radius
RADIUS = (0.29, 0.35)  # mean radius, as a share of the image side

_CHUNK = 50  # images drawn at once: few enough to stay in the processor's cache


@dataclass(frozen=True)
class SyntheticSet:
    """Generated images, the right answers, and what each of the two cues says."""

    images: Tensor  # uint8 (N, 3, size, size)
    labels: Tensor  # int64 (N,), the texture's class, but the silhouette's on `shape_only`
    shapes: Tensor  # int64 (N,), the silhouette's class, -1 where it tells nothing
    textures: Tensor  # the same of the texture
    masks: Tensor  # bool (N, size, size), the inside of the silhouette

    def __len__(self) -> int:
        return len(self.labels)


def generate(count: int, size: int, seed: int, split: str = "test") -> SyntheticSet:
    """Draw `count` images of `size` pixels a side; RequestError for an unknown split or what cannot be drawn."""
    check_choice("split", split, SPLITS)
    if count < 1 or size < 16:
        raise RequestError(f"count={count}, size={size} cannot be drawn; ask for 1 image or more, of 16 pixels or more")
    # The splits for testing share their scenes, so only training images have a stream of their own.
    generator = torch.Generator().manual_seed((2 * seed + (split == "train")) % 2**63)
    chunks = [_draw(min(_CHUNK, count - first), size, split, generator) for first in range(0, count, _CHUNK)]
    return SyntheticSet(*(torch.cat(parts) for parts in zip(*chunks, strict=True)))


class FreshImages:
    """Training images that are new in every epoch, `count` of `size` pixels: nothing but the cues can be learned."""

    def __init__(self, count: int, size: int) -> None:
        self.count, self.size = count, size

    def __len__(self) -> int:
        return self.count

    def training_batches(
        self, config: object, batch_size: int, generator: Generator, device: Device = "cpu", group: Group = ALONE
    ) -> Iterator[tuple[Tensor, Tensor]]:
        """One epoch, as of `ImageSet`. `config` changes nothing: a flip would turn one texture into another."""
        share = group.share(batch_size)
        for _ in range(self.count // batch_size):
            images, labels, *_ = _draw(batch_size, self.size, "train", generator)
            scaled = images[share].to(device).float().div_(255).contiguous(memory_format=torch.channels_last)
            yield scaled, labels[share].to(device)


def _draw(count: int, size: int, split: str, generator: torch.Generator) -> tuple[Tensor, ...]:
    """The five tensors of a `SyntheticSet`. Every split makes the same draws, in the same order."""
    uniform = torch.rand(count, 12, generator=generator).unbind(1)
    textures = torch.randint(len(CLASSES), (count,), generator=generator)
    others = (textures + torch.randint(1, len(CLASSES), (count,), generator=generator)) % len(CLASSES)
    fields = _pink_noise(count, size, generator)
    shapes = others if split == "cue_conflict" else torch.where(uniform[0] < SHAPE_AGREEMENT, textures, others)
    labels = shapes if split == "shape_only" else textures
    nothing = torch.full_like(shapes, -1)
    shapes = nothing if split == "texture_only" else shapes
    textures = nothing if split == "shape_only" else textures
    inside = _silhouettes(shapes, size, uniform[1:5])
    masks = inside > 0.5
    # Whole levels, and room for the texture at both ends: so its amplitude is exact in the rounded image.
    levels = _colours(inside, fields, uniform[5:11]).mul_(255).round_().clamp_(TEXTURE_LEVELS, 255 - TEXTURE_LEVELS)
    if split != "shape_only":
        levels += (_gratings(textures, size, uniform[11]) * masks * TEXTURE_LEVELS)[:, None]
    return levels.to(torch.uint8), labels, shapes, textures, masks


def _silhouettes(shapes: Tensor, size: int, uniform: tuple[Tensor, ...]) -> Tensor:
    """Share of every pixel, `(N, size, size)`, inside outlines r(angle) = R (1 + depth cos(lobes angle)); -1: discs."""
    lobes = (2 + shapes % 5).float()
    depth = torch.tensor([*DEPTHS, 0.0])[shapes.div(5, rounding_mode="floor")]
    radius = size * (RADIUS[0] + (RADIUS[1] - RADIUS[0]) * uniform[0])
    # Deep outlines reach further out than shallow ones: give both the same area.
    radius = radius / (1 + depth**2 / 2).sqrt()
    reach = (size / 2 - radius * (1 + depth) - 1).clamp_min(0)
    axis = torch.arange(size) - (size - 1) / 2
    x = axis[None, None, :] - (reach * (2 * uniform[2] - 1))[:, None, None]
    y = axis[None, :, None] - (reach * (2 * uniform[3] - 1))[:, None, None]
    lobes, depth, radius, turn = (v[:, None, None] for v in (lobes, depth, radius, 2 * math.pi * uniform[1]))
    wave = (torch.atan2(y, x) + turn) * lobes
    distance = (x.square() + y.square()).sqrt_()
    # Along a ray an outline is crossed at a slant; dividing by its slope makes all edges one pixel soft.
    slope = (depth * lobes * wave.sin()).square_().add_(1).sqrt_()
    return ((radius * (1 + depth * wave.cos()) - distance) / slope).add_(0.5).clamp_(0, 1)


def _gratings(textures: Tensor, size: int, phase: Tensor) -> Tensor:
    """Square waves of -1 and 1, `(N, size, size)`: class modulo 5 is the orientation, the rest is the period."""
    angle = math.pi / 5 * (textures % 5)
    frequency = 1 / torch.tensor(PERIODS)[textures // 5]
    axis = torch.arange(size, dtype=torch.float32)
    along = (frequency * angle.cos())[:, None, None] * axis[None, None, :] + phase[:, None, None]
    cycles = along + (frequency * angle.sin())[:, None, None] * axis[None, :, None]
    return torch.where(cycles - cycles.floor() < 0.5, 1.0, -1.0)


def _pink_noise(count: int, size: int, generator: torch.Generator) -> Tensor:
    """Two fields an image, `(N, 2, size, size)`, of amplitude 1/f, mean 0 and about unit variance, cut at 2.5."""
    frequency = torch.hypot(torch.fft.fftfreq(size)[:, None], torch.fft.rfftfreq(size)[None])
    frequency[0, 0] = math.inf
    amplitude = 1 / frequency
    amplitude *= size / (2 * amplitude.square().sum().mul(2)).sqrt()
    spectrum = torch.randn(count, 2, *amplitude.shape, 2, generator=generator) * amplitude[..., None]
    return torch.fft.irfft2(torch.view_as_complex(spectrum), s=(size, size), norm="ortho").clamp_(-2.5, 2.5)


def _colours(inside: Tensor, fields: Tensor, uniform: tuple[Tensor, ...]) -> Tensor:
    """Silhouettes painted over backgrounds, float `(N, 3, size, size)`; brightness alone carries the contrast."""
    contrast = CONTRAST[0] + (CONTRAST[1] - CONTRAST[0]) * uniform[0]
    middle = 0.5 + (2 * uniform[1] - 1) * (0.35 - contrast / 2)
    lighter = torch.where(uniform[2] < 0.5, -0.5, 0.5)
    hue, saturation = uniform[3], 0.06 + 0.08 * uniform[5]

    def colour(brightness: Tensor, hue: Tensor) -> Tensor:
        ring = torch.cos(2 * math.pi * (hue[:, None] - torch.arange(3) / 3))
        return (brightness[:, None] + saturation[:, None] * ring)[:, :, None, None]

    # The background drifts towards a neighbouring hue as it grows lighter, the figure is only shaded a little.
    drift = colour(torch.full_like(hue, 0.1), hue + 0.2)
    background = colour(middle - lighter * contrast, hue) + 0.35 * drift * fields[:, :1]
    figure = colour(middle + lighter * contrast, hue + 0.25 + 0.5 * uniform[4]) + 0.01 * fields[:, 1:]
    return background + (figure - background) * inside[:, None]
