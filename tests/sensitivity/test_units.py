"""Images that excite units, as far as can be known; units wherever a layer has its channels."""

from functools import partial

import pytest
import torch
from helpers import FailingHead, Linear, Recorder, convolutional, random_images, snapshot
from torch import nn

from advlook.core.errors import RequestError
from advlook.models.architectures import build_model
from advlook.sensitivity.frequency import filtered
from advlook.sensitivity.units import _noise, _spectrum_scale, colour_variance, maximise

VARIANTS = {
    "pixels": {},
    "pixels, jitter": {"jitter": 2},
    "fourier": {"parameterisation": "fourier"},
    "fourier, jitter": {"parameterisation": "fourier", "jitter": 2},
    "bfloat16": {"precision": "bfloat16"},
}
each_variant = pytest.mark.parametrize("variant", VARIANTS.values(), ids=VARIANTS.keys())


def seeded(seed=0):
    return torch.Generator().manual_seed(seed)


def hooks(model):
    """How many hooks there are on any module."""
    return sum(len(m._forward_hooks) + len(m._forward_pre_hooks) + len(m._backward_hooks) for m in model.modules())


def build_small(arch, **changes):
    return build_model(arch, 3, stem="tiny", width=8, seed=0, **changes).eval()


@pytest.mark.parametrize("parameterisation", ["pixels", "fourier"])
def test_linear_optimum_is_attained(parameterisation):
    """Of a linear layer the best image in [0, 1] is found: white where a weight is positive, else black."""
    model = Linear(classes=5)
    found = maximise(model, "layer", range(5), size=4, parameterisation=parameterisation, generator=seeded())
    weights = model.layer.weight.detach()
    assert torch.equal(found.images, (weights > 0).float().view(5, 3, 4, 4))
    torch.testing.assert_close(found.activations, weights.clamp_min(0).sum(1) + model.layer.bias.detach())


def test_convolution_optimum_is_attained():
    """Of filters on the pixels, behind a normalisation, the sum of the map has its optimum at black and white."""
    model = build_small("resnet10", std=(0.1, 0.3, 0.9))
    images = torch.full((8, 3, 9, 9), 0.5, requires_grad=True)
    maps = model.network.conv1((images - model.mean) / model.std)
    (gradient,) = torch.autograd.grad(maps[range(8), range(8)].sum(), images)
    found = maximise(model, "network.conv1", range(8), size=9, generator=seeded())
    assert torch.equal(found.images, (gradient > 0).float())


def test_units_are_excited_before_the_nonlinearity():
    """Behind an in-place ReLU a unit that is never positive would give no gradient and 0; it is seen before that."""
    model = nn.Sequential(nn.Conv2d(3, 2, 3), nn.ReLU(inplace=True))
    with torch.no_grad():
        model[0].weight.copy_(-model[0].weight.abs())
        model[0].bias.fill_(-1)
    found = maximise(model, "0", [0, 1], size=6, generator=seeded())
    assert not found.images.any()
    assert torch.equal(found.activations, torch.tensor([-1.0, -1.0]))


@each_variant
def test_batch_equals_one_after_another(variant):
    """What becomes of a unit does not depend on which others are asked for, nor on the size of the batch."""
    model = convolutional().double()
    run = partial(maximise, model, "3", size=8, steps=12, starts=2, **variant)
    together = run([0, 1, 2, 4, 5], batch_size=3, generator=seeded())
    assert together.images.dtype == torch.float64
    for index, unit in enumerate([0, 1, 2, 4, 5]):
        alone = run(torch.tensor([unit]), batch_size=1, generator=seeded())
        for name in ("images", "activations", "start_activations", "all_activations"):
            torch.testing.assert_close(getattr(together, name)[index], getattr(alone, name)[0], atol=1e-9, rtol=0)


@each_variant
def test_more_steps_never_lower_the_activation(variant):
    """The best of an ascent is kept: with steps long enough to overshoot, more of them lose nothing."""
    run = partial(maximise, convolutional(), "3", range(6), size=8, step_size=0.6, **variant)
    reached = torch.stack([run(steps=steps, generator=seeded()).activations for steps in (1, 3, 6, 10, 20)])
    assert (reached.diff(dim=0) >= 0).all()
    assert (reached[-1] > reached[0]).all()
    # Somewhere the last step was not the best one, else this would say nothing about keeping the best.
    assert (reached.diff(dim=0) == 0).any()


def test_best_start_is_kept():
    """Of several starts the one that got furthest is returned, and the first of them is that of a single start."""
    model = convolutional().eval()
    run = partial(maximise, model, "3", range(6), size=8, steps=5)
    one, four = (run(starts=starts, generator=seeded()) for starts in (1, 4))
    assert four.all_activations.shape == (6, 4)
    assert len(four.all_activations.argmax(1).unique()) > 1
    assert torch.equal(four.activations, four.all_activations.max(1).values)
    torch.testing.assert_close(four.all_activations[:, :1], one.all_activations)
    torch.testing.assert_close(model[:4](four.images).mean((2, 3)).diagonal(), four.activations)


@each_variant
@pytest.mark.parametrize("layer", ["0", "1", "3", "8", ""])
def test_activation_is_that_of_the_image(variant, layer):
    """The activation reported is a fresh forward's on the image returned, above the start's; images are in [0, 1]."""
    model = convolutional()
    found = maximise(model, layer, [2, 0], size=9, steps=8, generator=seeded(), **variant)
    assert found.images.shape == (2, 3, 9, 9)
    assert found.images.dtype == torch.float32
    assert found.images.min() >= 0
    assert found.images.max() <= 1
    assert not found.images.requires_grad
    with torch.no_grad():
        output = model.eval()[: int(layer) + 1 if layer else None](found.images)
    fresh = torch.stack([output[0, 2].mean(), output[1, 0].mean()])
    torch.testing.assert_close(found.activations, fresh)
    assert (found.activations > found.start_activations).all()


def test_start_activation_is_that_of_low_contrast_noise():
    """An ascent starts from noise around grey, of one contrast for every unit and start, and reports its activation."""
    model = convolutional().eval()
    for scale in (None, _spectrum_scale(16)):
        noise = _noise(4, 16, scale, seed=0)
        torch.testing.assert_close((noise - 0.5).square().mean((1, 2, 3)).sqrt(), torch.full((4,), 0.02))
        assert len(noise.flatten(1).unique(dim=0)) == 4
        assert not torch.equal(noise, _noise(4, 16, scale, seed=1))
    found = maximise(model, "0", range(6), size=16, steps=1, generator=seeded())
    grey = model[0](torch.full((1, 3, 16, 16), 0.5)).mean((0, 2, 3)).detach()
    torch.testing.assert_close(found.start_activations, grey, atol=0.01, rtol=0)
    assert not torch.equal(found.start_activations, grey)


def test_units_start_from_noise_of_their_own():
    """Two units with the same weights begin at different activations, as do two starts of one."""
    model = Linear(classes=2)
    with torch.no_grad():
        model.layer.weight[1] = model.layer.weight[0]
    found = maximise(model, "layer", [0, 1], size=4, steps=1, starts=2, step_size=1e-6, generator=seeded())
    assert len(found.all_activations.unique()) == 4


def test_weak_units_get_as_far_as_strong_ones():
    """A unit a million times weaker is given the same image."""
    model = Linear(classes=2)
    with torch.no_grad():
        model.layer.weight[1] = 1e-6 * model.layer.weight[0]
    strong, weak = (maximise(model, "layer", [unit], size=4, steps=4, starts=40) for unit in (0, 1))
    ratio = weak.all_activations.mean() / strong.all_activations.mean()
    torch.testing.assert_close(ratio, torch.tensor(1e-6), rtol=0.05, atol=0)


@each_variant
def test_equal_under_a_fixed_generator(variant):
    """The draws come from the generator alone: the same seed gives the same bits, another seed others."""
    runs = []
    for seed in (0, 0, 1):
        torch.rand(3)  # the global state must not matter
        state = torch.get_rng_state()
        run = maximise(convolutional(), "3", [0, 1], size=8, steps=3, generator=seeded(seed), **variant)
        runs.append(run.images)
        assert torch.equal(torch.get_rng_state(), state)
    assert torch.equal(runs[0], runs[1])
    assert not torch.equal(runs[0], runs[2])


@each_variant
def test_model_is_left_as_it_was(variant):
    """Mode, parameters, gradients, running statistics and hooks survive, whatever the caller's grad mode."""
    model = convolutional()
    model(random_images(6, 8)).sum().backward()  # fills .grad and the statistics
    model[3].weight.requires_grad_(False)
    model[1].eval()
    before = snapshot(model)
    with torch.no_grad():
        maximise(model, "4", [0, 1], size=8, steps=2, generator=seeded(), **variant)
        assert not torch.is_grad_enabled()
    assert snapshot(model) == before
    assert hooks(model) == 0


@pytest.mark.parametrize("call", [1, 3])
def test_model_is_left_as_it_was_after_an_exception(call):
    """A model that fails on the way to the layer keeps its mode, and no hook stays behind."""
    model = nn.Sequential(FailingHead(call), convolutional()).train()
    before = snapshot(model)
    with pytest.raises(ArithmeticError):
        maximise(model, "1.3", [0, 1], size=8, generator=seeded())
    assert snapshot(model) == before
    assert hooks(model) == 0


def test_nothing_runs_behind_the_layer():
    """The forward pass ends at the layer, so that shallow layers cost little."""
    model = nn.Sequential(convolutional(), FailingHead(1))
    assert maximise(model, "0.0", [0], size=8, steps=2).images.shape == (1, 3, 8, 8)


def test_batches_are_no_larger_than_asked_for():
    """Units and starts share batches, of at most the size asked for, beside one image that asks for the shape."""
    model = Recorder(convolutional())
    maximise(model, "model.3", [0, 2, 5], size=8, steps=1, starts=3, batch_size=4)
    assert model.sizes == [1, 4, 4, 4, 4, 1, 1]


def test_fourier_scale_keeps_every_image_representable():
    """Scaling a spectrum loses nothing, grey stays grey, and the mean is scaled as the lowest frequency."""
    for size in (8, 9):
        scale, images = _spectrum_scale(size).double(), random_images(2, size).double()
        torch.testing.assert_close(filtered(filtered(images, scale), 1 / scale), images, atol=1e-12, rtol=0)
        grey = torch.full_like(images, 0.5)
        torch.testing.assert_close(filtered(grey, scale), size * grey, atol=1e-6, rtol=0)
        wave = torch.cos(2 * torch.pi * 2 / size * torch.arange(size, dtype=torch.float64)).expand(1, 3, size, size)
        for crossing in (wave, wave.mT):
            torch.testing.assert_close(filtered(crossing, scale), size / 2 * crossing, atol=1e-5, rtol=0)


def test_fourier_steps_are_ascent_in_coefficients():
    """The scaled gradient is what a step in coefficients of amplitude f^-1/2 does to the pixels, and reaches all."""
    scale = _spectrum_scale(7).double()
    gradient = torch.zeros(1, 3, 7, 7, dtype=torch.float64)
    gradient[0, 1, 2, 3] = 1
    coefficients = random_images(1, 7).double().requires_grad_()
    pixels = 0.5 + filtered(coefficients, scale**0.5)
    (slope,) = torch.autograd.grad(pixels, coefficients, gradient)
    step = filtered(gradient, scale)
    torch.testing.assert_close(filtered(slope, scale**0.5), step, atol=1e-12, rtol=0)
    assert step[0, 1].abs().min() > 1e-3


def test_fourier_images_are_smoother():
    """For the same units the Fourier variant gives images with less power in high frequencies."""
    model, high = build_small("resnet10"), torch.hypot(torch.fft.fftfreq(16)[:, None], torch.fft.rfftfreq(16)) > 0.25
    shares = []
    for parameterisation in ("pixels", "fourier"):
        images = maximise(
            model,
            "network.layer2.0.conv1",
            range(6),
            size=16,
            steps=10,
            step_size=0.02,
            parameterisation=parameterisation,
            generator=seeded(),
        ).images
        power = torch.fft.rfft2(images - images.mean((2, 3), keepdim=True)).abs().square().sum(1)
        shares.append(power[:, high].sum(1) / power.sum((1, 2)))
    assert (shares[1] < 0.7 * shares[0]).all()


def test_jitter_shifts_what_the_model_sees():
    """With jitter the steps see the image shifted both ways by up to so many pixels, the first one as it is."""
    seen = []

    class Watched(nn.Module):
        def forward(self, images):
            seen.append(images.detach().clone())
            return images.mean((2, 3)) * 1e-9  # an even gradient: all pixels stay equal but for the noise

    maximise(Watched(), "", [0], size=9, steps=40, step_size=1e-6, jitter=2, generator=seeded())
    first, rolls = seen[1], []  # before it, the image that asks for the shape
    shifted = {(y, x): first.roll((y, x), (2, 3)) for y in range(-4, 5) for x in range(-4, 5)}
    for images in seen[1:]:
        rolls.append(min(shifted, key=lambda shift: float((images - shifted[shift]).abs().amax())))
        assert (images - shifted[rolls[-1]]).abs().amax() < 1e-3
    assert rolls[0] == (0, 0)
    assert {y for y, _ in rolls} == {x for _, x in rolls} == {-2, -1, 0, 1, 2}


def test_colour_variance():
    """Grey noise and a single colour have none; red and cyan halves have that of a coin; contrast counts squared."""
    grey = random_images(2, 8)[:, :1].expand(-1, 3, -1, -1)
    assert colour_variance(grey).max() < 1e-12
    assert colour_variance(torch.tensor([0.9, 0.1, 0.4]).view(1, 3, 1, 1).expand(1, 3, 8, 8)).max() < 1e-12
    halves = torch.zeros(1, 3, 8, 8)
    halves[:, 0, :, :4], halves[:, 1:, :, 4:] = 1, 1
    expected = (2 / 3) ** 2 + 2 * (1 / 3) ** 2
    assert colour_variance(halves).item() == pytest.approx(expected)
    assert colour_variance(0.5 * halves + 0.2).item() == pytest.approx(expected / 4)


@pytest.mark.parametrize(
    ("wrong", "names"),
    [
        ({"layer": "features.9"}, ["'features.9'", "0, 3, 8"]),
        ({"layer": "0.weight"}, ["'0.weight'", "0, 3, 8"]),
        ({"units": [0, 6]}, ["unit 6", "'3'", "0 to 5"]),
        ({"units": [-1]}, ["unit -1", "0 to 5"]),
        ({"units": []}, ["units is empty"]),
        ({"size": 0}, ["size=0"]),
        ({"steps": 0}, ["steps=0"]),
        ({"starts": 0}, ["starts=0"]),
        ({"batch_size": 0}, ["batch_size=0"]),
        ({"step_size": 0}, ["step_size=0", "[0, 1]"]),
        ({"step_size": 8}, ["step_size=8", "[0, 1]"]),
        ({"step_size": float("nan")}, ["step_size=nan"]),
        ({"jitter": -1}, ["jitter=-1"]),
        ({"jitter": 8}, ["jitter=8", "size=8"]),
        ({"parameterisation": "wavelets"}, ["'wavelets'", "pixels, fourier"]),
        ({"precision": "half"}, ["'half'", "float32, bfloat16"]),
    ],
)
def test_request_that_makes_no_sense_is_refused(wrong, names):
    """An unknown layer, a unit out of range and numbers that make no ascent end in one line that names them."""
    model = convolutional()
    with pytest.raises(RequestError) as caught:
        maximise(model, **{"layer": "3", "units": [0], "size": 8} | wrong)
    assert "\n" not in str(caught.value)
    assert all(name in str(caught.value) for name in names)
    assert hooks(model) == 0
    assert all(module.training for module in model.modules())
