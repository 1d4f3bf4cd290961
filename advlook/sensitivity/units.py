"""Images that excite units (channels of the output) of any layer of a model."""

from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor, nn

from advlook.attacks.ball import ascend, check_counts, l2_norm
from advlook.core import RequestError, autocast, check_choice, check_finite, evaluating, finite_gradient, tqdm
from advlook.core.gradients import at_least_float32, per_image
from advlook.core.probing import blank_image
from advlook.sensitivity.frequency import filtered
from advlook.sensitivity.truncated import Truncated

PARAMETERISATIONS = ("pixels", "fourier")
CONTRAST = 0.02  # root mean square of the noise that an ascent starts from, in units of [0, 1]


@dataclass(frozen=True)
class Maximised:
    """Images that excite units, and the activations reached: means of units' maps, before any nonlinearity behind."""

    images: Tensor  # (U, 3, size, size) in [0, 1]: of each unit's starts the best
    activations: Tensor  # (U,), of `images`
    start_activations: Tensor  # (U,), of the noise that `images` began as
    all_activations: Tensor  # (U, starts), reached from every start


def colour_variance(images: Tensor) -> Tensor:
    """Variance over pixels of images `(N, 3, H, W)` less their mean over channels, summed over channels: `(N,)`."""
    return (images - images.mean(1, keepdim=True)).var((2, 3), unbiased=False).sum(1)


def maximise(
    model: nn.Module,
    layer: str,
    units: Sequence[int] | Tensor,
    *,
    size: int,
    steps: int = 100,
    step_size: float = 0.03,
    starts: int = 1,
    parameterisation: str = "pixels",
    jitter: int = 0,
    generator: torch.Generator | None = None,
    batch_size: int = 64,
    precision: str = "float32",
    progress: bool = False,
) -> Maximised:
    """Activation maximisation (Erhan et al. 2009; equation 10 of the paper), of many units at once.

    Gradient ascent on the sum of a unit's map, in [0, 1], from noise of low contrast around grey. A step has a root
    mean square of `step_size`, in units of [0, 1], whatever the size of the gradient, and leaves out pixels that it
    would push out of [0, 1]. Of all images of an ascent the best is kept.

    size: pixels a side; units: channels of the layer's output, `(N, C, H, W)`, `(N, H, W, C)`, tokens `(N, L, C)` or
    `(N, C)`, found by running the model; starts: ascents of each unit, whose noise depends on the generator, the unit
    and the start alone; batch_size: images in memory at once.
    `parameterisation="fourier"`: the spectra of noise and steps are scaled by 1/f (Olah et al. 2017); jitter: every
    step sees the image shifted cyclically by up to so many pixels. Both favour smooth images, whatever the model.
    precision: of the ascent, as in `attacks.pgd`; activations are in the model's own. Raises RequestError for a layer
    that is unknown, does not run or has no units, a unit out of range, or other arguments that make no ascent."""
    units = [int(unit) for unit in units]
    check_counts(size=size, steps=steps, starts=starts, batch_size=batch_size)
    _check_ascent(units, size, step_size, parameterisation, jitter)
    target, like = Truncated(model, layer), at_least_float32(blank_image(model, size))
    arithmetic = autocast(precision, like.device)
    seed, shift_seed = torch.randint(2**31, (2,), generator=generator, device=generator and generator.device).tolist()
    scale = _spectrum_scale(size) if parameterisation == "fourier" else None
    noise = torch.cat([_noise(starts, size, scale, seed + unit) for unit in units]).to(like.dtype)
    if scale is not None:
        scale = scale.to(like)
    draws = torch.Generator().manual_seed(shift_seed)
    shifts = [[0, 0], *(torch.randint(-jitter, jitter + 1, (2,), generator=draws).tolist() for _ in range(steps))]
    chosen = torch.tensor(units).repeat_interleave(starts)
    length, parts = step_size * (3 * size**2) ** 0.5, []
    bar = tqdm(total=len(noise) * (steps + 1), desc=layer, unit=" images", disable=not progress, leave=False)
    with evaluating(target), bar:
        _check_units(target, size, units)
        for images, numbers in zip(noise.split(batch_size), chosen.split(batch_size), strict=True):
            images, numbers = images.to(like.device, memory_format=torch.channels_last), numbers.to(like.device)
            with arithmetic:
                best, *reached = _ascent(target, images, numbers, length, scale, shifts, bar)
            if precision != "float32":
                with torch.no_grad():
                    reached = [_of_units(target(shown), numbers).to(like.dtype).mean(1) for shown in (best, images)]
            parts.append((best, *reached))
    images, reached, began = (torch.cat(part).unflatten(0, (-1, starts)) for part in zip(*parts, strict=True))
    rows, best = torch.arange(len(units), device=like.device), reached.argmax(1)
    return Maximised(images[rows, best].contiguous(), reached[rows, best], began[rows, best], reached)


def _of_units(output: Tensor, units: Tensor) -> Tensor:
    """The map of unit `units[i]` of image i, flat: `(N, pixels)`."""
    return output[torch.arange(len(units), device=units.device), units].reshape(len(units), -1)


def _ascent(
    model: nn.Module, images: Tensor, units: Tensor, step: float, scale: Tensor | None, shifts: list[list], bar: tqdm
) -> tuple[Tensor, Tensor, Tensor]:
    """Excite unit `units[i]` in image i, with one step of L2 length `step` for every shift. Returns the best images,
    shifted as the model saw them, their activations `(N,)`, and those of the first images."""
    first: Tensor | None = None
    for shift in shifts:
        seen = images.roll(tuple(shift), (2, 3))
        gradient, output = finite_gradient(model, seen, lambda output: _of_units(output, units).sum())
        reached = _of_units(output, units).to(images.dtype).mean(1)
        check_finite(reached, "the activation")
        if first is None:
            best, highest, first = seen, reached, reached
        better = reached > highest
        best, highest = torch.where(per_image(better), seen, best), torch.where(better, reached, highest)
        stuck = ((seen >= 1) & (gradient > 0)) | ((seen <= 0) & (gradient < 0))
        direction = gradient.masked_fill(stuck, 0)
        if scale is not None:
            # Masked again, it is still a direction of ascent, because the filter is symmetric and positive.
            direction = filtered(direction, scale).masked_fill_(stuck, 0)
        images = ascend(seen, direction, step, "l2").clamp_(0, 1).roll((-shift[0], -shift[1]), (2, 3))
        bar.update(len(images))
    return best, highest, first


def _spectrum_scale(size: int) -> Tensor:
    """What every frequency of `rfft2` is scaled by, `(size, size // 2 + 1)`: 1/f, at f = 0 as at the lowest above."""
    frequency = torch.hypot(torch.fft.fftfreq(size)[:, None], torch.fft.rfftfreq(size)[None, :])
    return 1 / frequency.clamp_min(1 / size)


def _noise(count: int, size: int, scale: Tensor | None, seed: int) -> Tensor:
    """Starting images `(count, 3, size, size)`; the first ones are the same whatever the count."""
    generator = torch.Generator().manual_seed(seed)
    noise = torch.stack([torch.randn(3, size, size, generator=generator) for _ in range(count)])
    noise = noise if scale is None else filtered(noise, scale)
    length = CONTRAST * (3 * size**2) ** 0.5
    return (0.5 + noise * per_image(length / l2_norm(noise))).clamp_(0, 1)


def _check_ascent(units: list[int], size: int, step_size: float, parameterisation: str, jitter: int) -> None:
    """Raise RequestError for a request that makes no ascent."""
    if not units:
        raise RequestError("units is empty; name at least one")
    check_choice("parameterisation", parameterisation, PARAMETERISATIONS)
    if not 0 < step_size <= 1:
        raise RequestError(f"step_size={step_size:g} must be above 0 and at most 1; give it in units of [0, 1]")
    if not 0 <= jitter < size:
        raise RequestError(f"jitter={jitter} must be from 0 to below size={size}, in pixels")


def _check_units(target: Truncated, size: int, units: Sequence[int]) -> None:
    """Raise RequestError where the layer has no such units."""
    channels = target.channels(size)
    for unit in units:
        if not 0 <= unit < channels:
            raise RequestError(f"unit {unit} is unknown; layer {target.layer!r} has units 0 to {channels - 1}")
