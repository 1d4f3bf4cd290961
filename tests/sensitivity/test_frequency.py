"""Measures of scale: signals whose frequency, edges and place are known."""

import math

import numpy as np
import pytest
import torch
from gratings import FLAT_MEDIAN, grating, grey_set, radial_spectrum, radius, seeded
from helpers import Linear, Recorder, convolutional, image_set, random_images, snapshot
from torch import Tensor, nn

from advlook.attacks.suite import percent
from advlook.core.errors import RequestError
from advlook.data import test_bed
from advlook.data.image_sets import ImageSet
from advlook.models.evaluation import correct
from advlook.sensitivity import edges, frequency


def reader(pattern: Tensor, offset: float = 1e-3) -> Linear:
    """Answers class 1 where the image's projection on `pattern` `(side, side)` exceeds `offset`."""
    model = Linear(side=len(pattern), margin=offset)
    with torch.no_grad():
        model.layer.weight[0] = 0
        model.layer.weight[1] = pattern.expand(3, -1, -1).flatten()
    return model


class Keeper(nn.Module):
    """Remembers the images of every call."""

    def __init__(self) -> None:
        super().__init__()
        self.seen: list[Tensor] = []

    def forward(self, images: Tensor) -> Tensor:
        self.seen.append(images)
        return images.new_zeros(len(images), 2)


@pytest.mark.parametrize(("rows", "columns"), [(2, 1), (0, 3), (-1, 3), (-4, -4)])
def test_a_model_that_reads_one_frequency_is_sensitive_there_alone(rows, columns):
    """Random phases and signs turn the answer of about half the images at its frequency and of none elsewhere."""
    pattern = grating(rows, columns, 8, phase=0.0)
    found = frequency.fourier_sensitivity(reader(pattern), grey_set(), 1.0, generator=seeded())
    assert found.frequencies.tolist() == [k / 8 for k in range(-4, 4)]
    place = torch.zeros(8, 8, dtype=torch.bool)
    for sign in (1, -1):
        place[(sign * rows + 4) % 8, (sign * columns + 4) % 8] = True
    assert (found.changed[~place] == 0).all()
    assert ((found.changed[place] > 30) & (found.changed[place] < 70)).all()
    assert found.clean == 0
    assert torch.equal(found.error, found.changed)  # every grey image is right at first
    assert frequency.half_frequency(found.changed, radius(found)).item() == pytest.approx(math.hypot(rows, columns) / 8)


def test_perturbations_have_one_length_and_one_frequency():
    """Over half of the plane, and no more, every image moves by eps in L2, along f and -f alone, with random signs."""
    keeper, images = Keeper(), grey_set(20)
    frequency.fourier_sensitivity(keeper, images, 0.7, generator=seeded())
    assert len(keeper.seen) == 1 + (64 + 4) // 2
    places = set()
    for seen in keeper.seen[1:]:
        delta = (seen - keeper.seen[0]).double()
        torch.testing.assert_close(delta.flatten(1).norm(dim=1), torch.full((20,), 0.7).double(), rtol=1e-5, atol=0)
        power = torch.fft.fft2(delta).abs()
        here = [tuple(place) for place in (power.sum((0, 1)) > 1e-4 * power.sum()).nonzero().tolist()]
        assert len(here) == 1 or (len(here) == 2 and all((a + b) % 8 == 0 for a, b in zip(*here, strict=True)))
        assert (delta[:, 0] + delta[:, 1]).flatten(1).norm(dim=1).lt(1e-5).double().mean() == pytest.approx(
            0.5, abs=0.4
        )
        places.update(here)
    assert len(places) == 64


def test_the_fourier_heat_map_does_not_depend_on_thinning_or_batches():
    """A thinned grid has the values of the full one; the map is symmetric, and batches change no number."""
    model, images = convolutional(), image_set(12, 8)
    before = snapshot(model)
    full = frequency.fourier_sensitivity(model, images, 1.5, generator=seeded())
    assert full.changed.std() > 0
    assert full.clean == pytest.approx(100 - percent(correct(model, images)))
    assert torch.equal(full.error[1:, 1:], full.error[1:, 1:].flip(0, 1))
    thin = frequency.fourier_sensitivity(model, images, 1.5, stride=2, generator=seeded(), batch_size=5)
    assert torch.equal(thin.error, full.error[::2, ::2])
    assert snapshot(model) == before


def test_no_perturbation_leaves_the_clean_error():
    """With eps 0 no answer changes, and the error is the clean one everywhere."""
    found = frequency.fourier_sensitivity(convolutional(), image_set(12, 8), 0.0)
    assert (found.changed == 0).all()
    assert (found.error == found.clean).all()
    assert frequency.half_frequency(found.changed, radius(found)).isnan()


@pytest.mark.parametrize("cutoff", [0.0, 0.1, 0.25, 0.6])
def test_low_and_high_frequencies_make_up_the_image(cutoff):
    """Low pass plus high pass is the image plus its mean grey; their energies around the mean add up (Parseval)."""
    images = random_images(3, 20)
    low, high = frequency.low_pass(images, cutoff), frequency.high_pass(images, cutoff)
    grey = images.mean((1, 2, 3), keepdim=True)
    torch.testing.assert_close(low + high - grey, images, atol=1e-5, rtol=0)
    torch.testing.assert_close(high.mean((2, 3)), grey.view(3, 1).expand(3, 3), atol=1e-5, rtol=0)
    energies = [frequency.power_spectrum(version).sum((1, 2)) for version in (low, high, images)]
    torch.testing.assert_close(energies[0] + energies[1], energies[2])
    torch.testing.assert_close(frequency.low_pass(low, cutoff), low, atol=1e-5, rtol=0)


@pytest.mark.parametrize("side", [20, 21])
def test_the_cutoff_is_where_it_is_said_to_be(side):
    """A frequency on the cut-off passes below and is gone above; so do diagonals, by their radial frequency."""
    for rows, columns in [(2, 0), (0, 5), (3, 4), (-3, 4)]:
        wave = grating(rows, columns, side).expand(1, 3, -1, -1) * 0.2 + 0.5
        at = math.hypot(rows, columns) / side
        torch.testing.assert_close(frequency.low_pass(wave, at), wave, atol=1e-5, rtol=0)
        torch.testing.assert_close(frequency.high_pass(wave, at - 0.001), wave, atol=1e-5, rtol=0)
        assert (frequency.low_pass(wave, at - 0.001) - 0.5).abs().max() < 1e-5
        assert (frequency.high_pass(wave, at) - 0.5).abs().max() < 1e-5
    images = random_images(2, side)
    torch.testing.assert_close(frequency.low_pass(images, math.sqrt(0.5)), images, atol=1e-5, rtol=0)


@pytest.mark.parametrize("block", [2, 4, 12])
def test_shuffled_blocks_keep_their_pixels(block):
    """Every tile has the same colours in another order, and no two tiles share the order."""
    offsets = torch.rand(2, 3, 1, 1, generator=seeded(1))
    ramp = torch.arange(24.0 * 24).view(1, 1, 24, 24) + offsets
    shuffled = frequency.shuffle_blocks(ramp, block, seeded())
    places = shuffled - offsets
    torch.testing.assert_close(places, places[:, :1].expand(2, 3, 24, 24))  # one order for all channels

    def tiles(images: Tensor) -> Tensor:
        parts = images.unfold(2, block, block).unfold(3, block, block)
        return parts.reshape(2, 3, -1, block * block)

    before, after = tiles(ramp), tiles(shuffled)
    assert torch.equal(after.sort(-1).values, before)  # the ramp ascends inside each tile
    orders = {tuple((tile - tile.min()).round().tolist()) for tile in after[:, 0].flatten(0, 1)}
    assert len(orders) > (6 if block > 2 else 12)
    assert torch.equal(shuffled, frequency.shuffle_blocks(ramp, block, seeded()))


def test_a_block_of_one_pixel_changes_nothing():
    """Shuffling inside 1x1 tiles is the identity, also for images that are not square or channels last."""
    images = random_images(3, 8)[:, :, :6].to(memory_format=torch.channels_last)
    assert torch.equal(frequency.shuffle_blocks(images, 1), images)
    assert frequency.shuffle_blocks(images, 2).mean().item() == pytest.approx(images.mean().item())


def test_accuracy_on_changed_images():
    """Unchanged images give the plain accuracy; a reader of fine stripes falls with them, one of brightness not."""
    model, images = convolutional(), image_set(13, 8)
    recorder = Recorder(model)
    plain = frequency.accuracy_on(recorder, images, lambda x: x, batch_size=5)
    assert plain == pytest.approx(percent(correct(model, images)))
    assert recorder.sizes == [5, 5, 3]
    stripes = (0.5 + 0.2 * grating(0, 4, 8, 0.0)).expand(10, 3, -1, -1)
    shown = ImageSet((stripes * 255).round().byte(), torch.ones(10, dtype=torch.int64), ("plain", "striped"))
    fine = reader(grating(0, 4, 8, 0.0), 1.0)
    assert frequency.accuracy_on(fine, shown, lambda x: frequency.high_pass(x, 0.3)) == 100
    assert frequency.accuracy_on(fine, shown, lambda x: frequency.low_pass(x, 0.3)) == 0
    assert frequency.accuracy_on(reader(torch.ones(8, 8)), shown, lambda x: frequency.shuffle_blocks(x, 8)) == 100


CHANGES = {
    "bytes": (lambda x: (255 * x).byte(), "change gives torch.uint8"),
    "an array": (lambda x: x.numpy(), "change gives ndarray"),
    "fewer": (lambda x: x[:1], "change gives torch.float32"),
    "nothing finite": (lambda x: x / 0 * 0, "what change returns is not finite"),
}


@pytest.mark.parametrize(("change", "says"), CHANGES.values(), ids=CHANGES)
def test_what_a_change_may_not_return_is_refused(change, says):
    """Bytes would be read as images 255 times as bright; the line is about the change, not about the model."""
    shown = torch.rand(3, 3, 8, 8), torch.tensor([0, 1, 0])
    with pytest.raises(RequestError, match=says):
        frequency.accuracy_on(convolutional(), shown, change)


def test_no_images_have_no_accuracy():
    """An empty set is told as such."""
    with pytest.raises(RequestError, match="there are no images"):
        frequency.accuracy_on(
            convolutional(), (torch.zeros(0, 3, 8, 8), torch.zeros(0, dtype=torch.int64)), torch.clone
        )


@pytest.mark.parametrize(("rows", "columns"), [(1, 0), (3, 4), (0, 16), (-5, 12), (16, 16)])
def test_the_spectrum_of_a_pure_frequency_is_one_point(rows, columns):
    """It holds all the power, the ring's mean peaks there, and the median is it; colour and mean do not matter."""
    wave = grating(rows, columns) * torch.tensor([1.0, -2.0, 0.5]).view(1, 3, 1, 1) + 7
    expected = math.hypot(rows, columns) / 32
    power = frequency.power_spectrum(wave)
    places = {(rows % 32, columns % 32), (-rows % 32, -columns % 32)}
    assert {tuple(place) for place in (power[0] > 1e-3).nonzero().tolist()} == places
    energy = (wave - wave.mean((2, 3), keepdim=True)).square().sum()
    assert power.sum().item() == pytest.approx(energy.item(), rel=1e-4)
    assert frequency.median_frequency(wave).item() == pytest.approx(expected)
    frequencies, rings = radial_spectrum(wave)
    assert frequencies[rings[0].argmax()].item() == pytest.approx(expected, abs=0.5 / 32 + 1e-9)


def test_power_is_the_energy_around_the_mean():
    """Parseval, for maps of odd and unequal sides."""
    maps = torch.randn(4, 3, 9, 14, generator=seeded()) + 2
    energy = (maps - maps.mean((2, 3), keepdim=True)).square().sum((1, 2, 3))
    torch.testing.assert_close(frequency.power_spectrum(maps).sum((1, 2)), energy)


def test_median_frequency_of_white_noise_is_that_of_the_plane():
    """A single bright pixel has a flat spectrum, noise has one on average: half lies below sqrt(1 / (2 pi))."""
    point = torch.zeros(1, 3, 64, 64)
    point[0, 1, 20, 30] = 1
    assert frequency.median_frequency(point).item() == pytest.approx(FLAT_MEDIAN, abs=0.004)
    noise = torch.randn(60, 3, 32, 32, generator=seeded())
    assert frequency.median_frequency(noise).mean().item() == pytest.approx(FLAT_MEDIAN, abs=0.008)
    _, rings = radial_spectrum(noise)
    assert rings.shape == (60, 24)
    assert (rings[:, 1:].mean(0) / 3 - 1).abs().max() < 0.2


def test_two_frequencies_share_the_median_by_their_power():
    """The stronger one is the median; with equal power it is the lower."""
    for strength, expected in [(0.9, 2), (1.0, 2), (1.1, 6)]:
        wave = (grating(2, 0) + strength * grating(0, 6))[None, None]
        assert frequency.median_frequency(wave).item() == pytest.approx(expected / 32)
    assert frequency.median_frequency(torch.ones(2, 3, 8, 8)).isnan().all()


def test_the_spectrum_of_pink_noise_falls_as_it_should():
    """Noise of amplitude 1/f has a radial spectrum of slope -2 in power."""
    fields = test_bed._pink_noise(100, 64, seeded())
    frequencies, rings = radial_spectrum(fields)
    chosen = (frequencies > 0.05) & (frequencies < 0.4)
    slope = np.polyfit(frequencies[chosen].log(), rings.mean(0)[chosen].log(), 1)[0]
    assert slope == pytest.approx(-2, abs=0.1)


def test_filters_have_the_frequency_of_their_grating():
    """A grating is found at its frequency, a box at 0, and a single pixel answers to all frequencies alike."""
    weight = torch.zeros(4, 3, 11, 11)
    weight[0, :2] = grating(0, 16, 64, 0.0)[:11, :11]
    weight[1] = -2 * grating(9, -12, 64, 0.0)[:11, :11]
    weight[2] = 0.1
    weight[3, 1, 5, 5] = 3
    found = frequency.filter_frequencies(weight)
    torch.testing.assert_close(found["norm"].float(), weight.flatten(1).norm(dim=1))
    assert found["mean"][:2].tolist() == pytest.approx([16 / 64, 15 / 64], abs=0.05)
    # The mean distance of the points of a unit square from its centre.
    assert found["mean"][3].item() == pytest.approx((math.sqrt(2) + math.asinh(1)) / 6, abs=1e-3)
    assert found["mean"][2] < found["mean"][0]
    assert found["mean"][3].item() == pytest.approx(frequency.frequency_radius(64, 64).mean().item(), rel=1e-9)
    assert frequency.filter_frequencies(torch.zeros(1, 3, 3, 3))["mean"].isnan().all()


IMAGES = random_images(2, 12)
SET = image_set(4, 8)
REFUSED = {
    "cutoff=0.8 must": lambda: frequency.low_pass(IMAGES, 0.8),
    "cutoff=-0.1 must": lambda: frequency.high_pass(IMAGES, -0.1),
    "cutoff=nan must": lambda: frequency.low_pass(IMAGES, math.nan),
    "block=5 does not divide images of 12x12": lambda: frequency.shuffle_blocks(IMAGES, 5),
    "block=0 does not divide": lambda: frequency.shuffle_blocks(IMAGES, 0),
    "eps=-1 is not a length": lambda: frequency.fourier_sensitivity(convolutional(), SET, -1.0),
    "stride=0": lambda: frequency.fourier_sensitivity(convolutional(), SET, 1.0, stride=0),
    "stride=5": lambda: frequency.fourier_sensitivity(convolutional(), SET, 1.0, stride=5),
    r"\(8, 6\) pixels are not square": lambda: frequency.fourier_sensitivity(
        convolutional(), ImageSet(SET.images[..., :6], SET.labels, SET.classes), 1.0
    ),
    "values below 0": lambda: frequency.half_frequency(-torch.ones(4, 4), frequency.frequency_radius(4, 4)),
    "sigma=-1 ": lambda: edges.edges(IMAGES, -1),
    r"maps \(2, 3, 12, 12\) and images \(1, 3": lambda: edges.edge_correlation(IMAGES, IMAGES[:1]),
    "masks must be bool": lambda: edges.energy_shares(IMAGES, torch.ones(2, 12, 12)),
    r"shape \(2, 12, 12\), not": lambda: edges.energy_shares(IMAGES, torch.ones(2, 6, 6, dtype=torch.bool)),
}


@pytest.mark.parametrize("message", REFUSED)
def test_what_cannot_be_measured_is_refused_in_one_line(message):
    """The line names the argument and its value."""
    with pytest.raises(RequestError, match=message) as error:
        REFUSED[message]()
    assert "\n" not in str(error.value)
