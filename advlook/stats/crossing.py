"""Where curves over a level change sides: by linear interpolation between the levels that were measured."""

import numpy as np

from advlook.stats.bootstrap import Effect


def overtaken_at(levels: np.ndarray, difference: np.ndarray) -> np.ndarray:
    """The first level at which a difference `(..., levels)` exceeds 0, by linear interpolation: `(...)`; the lowest
    level where it does from the start, infinity where it never does."""
    above = difference > 0
    after = above.argmax(-1)
    before = np.maximum(after - 1, 0)
    low, high = (np.take_along_axis(difference, place[..., None], -1)[..., 0] for place in (before, after))
    share = np.where(after > 0, -low / np.where(high > low, high - low, 1), 0)
    found = levels[before] + share * (levels[after] - levels[before])
    return np.where(above.any(-1), found, np.inf)


def octave_of(levels: np.ndarray) -> Effect:
    """The effect "log2 of the level at which a difference exceeds 0" of means `(..., levels)`; one that
    lies outside the levels counts as at their end."""
    octaves = np.log2(levels)
    return lambda means: np.clip(overtaken_at(octaves, means), octaves[0], octaves[-1])


def octaves_apart(of_one: Effect) -> Effect:
    """By how many octaves ADV's scale lies below STD's, by the effect of one model; means are `(..., columns)`, the
    columns of STD before those of ADV. Where one lies outside the levels, this is the least that it can be."""
    return lambda means: of_one(means[..., : means.shape[-1] // 2]) - of_one(means[..., means.shape[-1] // 2 :])


def masked_octave(frequencies: np.ndarray, noise: np.ndarray, chance: float) -> Effect:
    """The centre of a model's channel as log2 of a frequency, of means `(..., 1 + bands * noise)`: its accuracy without
    noise, then at each noise of each band. See `channel`."""
    return lambda means: channel(frequencies, noise, chance, means)[1]


def channel(
    frequencies: np.ndarray, noise: np.ndarray, chance: float, means: np.ndarray
) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """What noise of one octave tells of a model (after Subramanian et al. 2023): its sensitivity to each band
    `(..., bands)`, and centre (log2 of a frequency) and width in octaves `(...)` of the channel.

    Sensitivity is 1 / the standard deviation of the noise at which the accuracy above chance is half of that without
    noise, interpolated over the logarithm of the noise; 0 where no noise does that. Centre and width are mean and
    full width at half maximum (2.355 standard deviations) of the octaves, weighted by sensitivity. Theirs are of a
    fitted Gaussian; a mean needs no fit. nan where the model is not above chance, or no band has an effect."""
    clean, masked = means[..., :1] - chance, means[..., 1:] - chance
    lost = clean[..., None] / 2 - masked.reshape(*means.shape[:-1], len(frequencies), len(noise))
    sensitivity = 2.0 ** -overtaken_at(np.log2(noise), lost)
    weights = np.where(clean > 0, sensitivity, np.nan)
    octaves = np.log2(frequencies)
    with np.errstate(invalid="ignore", divide="ignore"):
        weights = weights / weights.sum(-1, keepdims=True)
    centre = (weights * octaves).sum(-1)
    spread = (weights * (octaves - centre[..., None]) ** 2).sum(-1)
    return sensitivity, centre, 2.355 * np.sqrt(spread)
