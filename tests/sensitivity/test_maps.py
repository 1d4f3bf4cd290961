"""Sensitivity maps: closed forms, a network computed by hand, captum, and a model left as it was."""

import pytest
import torch
import torch.nn.functional as F
from helpers import Linear, Recorder, convolutional, random_images
from map_methods import LABELS, Points, Smooth, each_method, seeded

from advlook import sensitivity
from advlook.core.errors import RequestError
from advlook.core.gradients import cross_entropy, input_gradient
from advlook.sensitivity.maps import METHODS, TITLES, integrated_gradients, loss_gradient, smooth_grad, vanilla_gradient

# The methods against closed forms and each other.


def test_methods_have_titles():
    """The five maps of the contract are there by name, each with a title for figures."""
    names = ["vanilla_gradient", "loss_gradient", "guided_backprop", "smooth_grad", "integrated_gradients"]
    assert list(METHODS) == list(TITLES) == names
    assert all(getattr(sensitivity, name) is method for name, method in METHODS.items())


def test_gradients_are_those_of_logit_and_loss():
    """The plain maps equal autograd's gradients of the label's logit and of its cross-entropy."""
    model, images = convolutional().eval(), random_images(6, 8)
    logit, _ = input_gradient(model, images, lambda z: z[torch.arange(6), LABELS].sum())
    loss, _ = input_gradient(model, images, lambda z: F.cross_entropy(z, LABELS, reduction="sum"))
    torch.testing.assert_close(vanilla_gradient(model, images, LABELS), logit)
    torch.testing.assert_close(loss_gradient(model, images, LABELS), loss)
    assert logit.abs().amax((1, 2, 3)).min() > 0


def test_sure_model_has_a_loss_gradient():
    """Where float32 rounds the probability to 1 the loss gradient still points away from the label."""
    model = Linear(margin=60.0)
    found = loss_gradient(model, random_images(low=0.4, high=0.6), torch.zeros(8, dtype=torch.int64))
    towards = (model.layer.weight[1] - model.layer.weight[0]).detach()
    cosine = F.cosine_similarity(found.flatten(1).double() / found.abs().max(), towards[None].double())
    torch.testing.assert_close(cosine, torch.ones(8, dtype=torch.float64))


def test_integrated_gradients_of_a_linear_model():
    """On a linear model the map is weight times the way from the baseline, with any number of steps."""
    model, images, labels = Linear(classes=3).double(), random_images(6).double(), LABELS
    weights = model.layer.weight.detach()[labels].view(6, 3, 4, 4)
    for steps in (1, 2, 50):
        for baseline in (0.0, 0.3, torch.rand(3, 1, 1), random_images(6, seed=5).double()):
            found = integrated_gradients(model, images, labels, steps=steps, baseline=baseline)
            torch.testing.assert_close(found, weights * (images - baseline), atol=1e-12, rtol=0)
    mean = integrated_gradients(model, images, labels, steps=7, product=False)
    torch.testing.assert_close(mean, weights, atol=1e-12, rtol=0)


@pytest.mark.parametrize("of", ["logit", "loss"])
def test_integrated_gradients_are_complete(of):
    """A map sums to the gain over the baseline, with an error that vanishes as steps are added."""
    model, images, baseline = Smooth(), random_images(6).double(), random_images(1, seed=3).double()

    def value(x):
        logits = model(x)
        return cross_entropy(logits, LABELS) if of == "loss" else logits[torch.arange(6), LABELS]

    gain = (value(images) - value(baseline.expand_as(images))).detach()

    def error(steps):
        found = integrated_gradients(model, images, LABELS, steps=steps, baseline=baseline, of=of)
        return (found.sum((1, 2, 3)) - gain).abs().max()

    errors = [error(steps) for steps in (1, 4, 16, 64)]
    assert errors[0] > 0.1
    assert errors[1] < 0.1 * errors[0]
    assert errors[2] < 1e-6 * errors[1]
    assert errors[3] < 1e-12


def test_integrated_gradients_are_complete_with_kinks():
    """With ReLUs, too, a map sums to the gain over black, within a hundredth of it at 400 steps."""
    model, images = convolutional(width=8).double().eval(), random_images(6, 8).double()
    gain = (model(images) - model(torch.zeros_like(images)))[torch.arange(6), LABELS]
    found = integrated_gradients(model, images, LABELS, steps=400).sum((1, 2, 3))
    torch.testing.assert_close(found, gain.detach(), atol=0.01 * gain.abs().mean().item(), rtol=0)


@pytest.mark.parametrize("samples", [1, 5])
def test_smooth_grad_without_noise_is_the_gradient(samples):
    """Without noise the mean is the plain gradient, of the logit as of the loss."""
    model, images = convolutional(), random_images(6, 8)
    for of, plain in (("logit", vanilla_gradient), ("loss", loss_gradient)):
        found = smooth_grad(model, images, LABELS, samples=samples, sigma=0.0, of=of)
        torch.testing.assert_close(found, plain(model, images, LABELS))


def test_smooth_grad_is_the_mean_over_noisy_copies():
    """One sample with noise equals the plain gradient at the noisy image, and more equal the mean of such gradients."""
    model, images = convolutional().eval(), random_images(2, 8, low=0.1, high=0.9)
    generator = torch.Generator().manual_seed(4)
    noise = torch.stack([torch.randn(3, 8, 8, generator=generator) for _ in range(8)])
    spread = images.amax((1, 2, 3)) - images.amin((1, 2, 3))
    noisy = images.repeat_interleave(4, 0) + 0.2 * spread.repeat_interleave(4).view(-1, 1, 1, 1) * noise
    gradients, _ = input_gradient(model, noisy, lambda z: z[torch.arange(8), LABELS[:2].repeat_interleave(4)].sum())
    found = seeded(smooth_grad, 4)(model, images, LABELS[:2], samples=4, sigma=0.2)
    torch.testing.assert_close(found, gradients.view(2, 4, 3, 8, 8).mean(1))
    one = seeded(smooth_grad, 4)(model, images[:1], LABELS[:1], samples=1, sigma=0.2)
    torch.testing.assert_close(one, gradients[:1])


def test_noise_is_a_share_of_each_images_range():
    """The noise is Gaussian with a standard deviation of sigma times the image's range, free to leave [0, 1]."""
    model, ranges = Points(), torch.tensor([1.0, 0.5, 0.1, 0.0])
    images = random_images(4, seed=2)
    images[:, 0, 0, 0], images[:, 0, 0, 1] = 0, 1
    images = images * ranges.view(-1, 1, 1, 1)
    seeded(smooth_grad)(model, images, torch.zeros(4, dtype=torch.int64), samples=400, sigma=0.2)
    points = torch.cat(model.seen).view(4, 400, 48)
    noise = points - images.flatten(1)[:, None]
    torch.testing.assert_close(noise.flatten(1).std(1), 0.2 * ranges, atol=2e-3, rtol=0)
    torch.testing.assert_close(noise.mean((1, 2)), torch.zeros(4), atol=5e-3, rtol=0)
    torch.testing.assert_close((noise[0].abs() < 0.2).float().mean(), torch.tensor(0.683), atol=0.01, rtol=0)
    assert points.min() < 0
    assert points.max() > 1


def test_variance_of_the_mean_falls_with_samples():
    """Sixteen times as many samples leave a sixteenth of the variance."""
    model, images = convolutional(), random_images(1, 8).expand(300, -1, -1, -1)
    labels = torch.zeros(300, dtype=torch.int64)
    few, many = (seeded(smooth_grad)(model, images, labels, samples=n, batch_size=300).var(0).mean() for n in (1, 16))
    assert few > 0
    assert 12 < few / many < 21


# What all five promise.


@each_method
@pytest.mark.parametrize(
    ("wrong", "names"),
    [
        ({"images": random_images(6, 8, low=-2, high=2)}, ["[0, 1]", "normalisation"]),
        ({"images": random_images(6, 8) * float("nan")}, ["nan", "[0, 1]"]),
        ({"labels": torch.zeros(6)}, ["labels", "int64", "float32"]),
        ({"labels": LABELS[:5]}, ["labels", "(6,)", "(5,)"]),
        ({"labels": LABELS + 1}, ["labels", "3", "3 classes"]),
        ({"labels": LABELS - 1}, ["labels", "-1", "3 classes"]),
        ({"batch_size": 0}, ["batch_size=0", "at least 1"]),
    ],
)
def test_request_that_makes_no_sense_is_refused(method, wrong, names):
    """A wrong range, type, shape or class ends in one line that names it."""
    with pytest.raises(RequestError) as caught:
        method(convolutional(), **{"images": random_images(6, 8), "labels": LABELS} | wrong)
    assert "\n" not in str(caught.value)
    assert all(name in str(caught.value) for name in names)


@pytest.mark.parametrize(
    ("method", "wrong", "names"),
    [
        (smooth_grad, {"samples": 0}, ["samples=0"]),
        (smooth_grad, {"samples": 2.5}, ["samples=2.5", "whole"]),
        (smooth_grad, {"sigma": 15}, ["sigma=15", "fraction"]),
        (smooth_grad, {"sigma": float("nan")}, ["sigma=nan"]),
        (smooth_grad, {"of": "probability"}, ["'probability'", "logit, loss"]),
        (integrated_gradients, {"steps": -1}, ["steps=-1"]),
        (integrated_gradients, {"of": "probability"}, ["'probability'", "logit, loss"]),
        (integrated_gradients, {"baseline": torch.zeros(3, 4, 4)}, ["baseline", "(3, 4, 4)", "(6, 3, 8, 8)"]),
        (integrated_gradients, {"baseline": torch.zeros(2, 6, 3, 8, 8)}, ["baseline", "(2, 6, 3, 8, 8)"]),
    ],
)
def test_options_that_make_no_sense_are_refused(method, wrong, names):
    """Options of a single method are named where they are wrong, before the model is asked."""
    model = Recorder(convolutional())
    with pytest.raises(RequestError) as caught:
        method(model, random_images(6, 8), LABELS, **wrong)
    assert "\n" not in str(caught.value)
    assert all(name in str(caught.value) for name in names)
    assert not model.sizes
