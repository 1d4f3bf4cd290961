"""Sensitivity maps: closed forms, a network computed by hand, captum, and a model left as it was."""

import copy

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from captum.attr import GuidedBackprop, IntegratedGradients, NoiseTunnel, Saliency
from helpers import FailingHead, Linear, Recorder, convolutional, random_images, snapshot, used_model
from torch import nn
from torchvision.models.resnet import BasicBlock

from advlook import sensitivity
from advlook.core.errors import RequestError
from advlook.core.gradients import cross_entropy, input_gradient
from advlook.models.architectures import build_model
from advlook.sensitivity.maps import (
    METHODS,
    TITLES,
    guided_backprop,
    integrated_gradients,
    loss_gradient,
    smooth_grad,
    vanilla_gradient,
)

each_method = pytest.mark.parametrize("method", METHODS.values(), ids=METHODS.keys())
LABELS = torch.arange(6) % 3


def seeded(method, seed=0):
    """The same method, whose draws, where it makes any, are those of one seed."""
    if method is not smooth_grad:
        return method
    return lambda *args, **kwargs: smooth_grad(*args, generator=torch.Generator().manual_seed(seed), **kwargs)


class Smooth(nn.Module):
    """A small network without kinks, so that quadrature converges fast."""

    def __init__(self):
        super().__init__()
        self.first, self.last = Linear(classes=5, seed=1), nn.Linear(5, 3)
        with torch.no_grad():
            self.first.layer.weight *= 0.3
            self.last.weight.copy_(torch.linspace(-2, 2, 15).view(3, 5))
        self.double()

    def forward(self, images):
        return self.last(torch.tanh(self.first(images)))


class Points(nn.Module):
    """Linear in the pixels, and keeps every point that it is asked at."""

    def __init__(self):
        super().__init__()
        self.linear, self.seen = Linear(classes=3), []

    def forward(self, images):
        self.seen.append(images.detach())
        return self.linear(images)


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


def test_equal_under_a_fixed_generator():
    """The draws come from the generator alone: the same seed gives the same bits, another seed others."""
    model, images = convolutional(), random_images(6, 8)
    torch.manual_seed(11)
    state = torch.get_rng_state()
    first, again, other = (seeded(smooth_grad, seed)(model, images, LABELS, samples=2) for seed in (0, 0, 1))
    assert torch.equal(torch.get_rng_state(), state)
    assert torch.equal(first, again)
    assert not torch.equal(first, other)
    smooth_grad(model, images, LABELS, samples=2)
    assert not torch.equal(torch.get_rng_state(), state)


# What all five promise.


@each_method
@pytest.mark.parametrize("mode", ["train", "eval", "mixed"])
def test_model_is_left_as_it_was(method, mode):
    """Mode, parameters, gradients, requires_grad, statistics and hooks survive, as do the images; no graph is left."""
    model, images = used_model(mode), random_images(6, 8)
    before, own, pixels = snapshot(model), [set(vars(m)) for m in model.modules()], images.clone()
    with torch.no_grad():  # the caller's mode must not matter either
        found = method(model, images, LABELS)
        assert not torch.is_grad_enabled()
    assert found.shape == images.shape
    assert not found.requires_grad
    assert found.abs().amax((1, 2, 3)).min() > 0
    assert snapshot(model) == before
    assert [set(vars(m)) for m in model.modules()] == own
    assert not any(m._forward_hooks or m._forward_pre_hooks or m._backward_hooks for m in model.modules())
    assert torch.equal(images, pixels)
    assert not images.requires_grad


@each_method
@pytest.mark.parametrize("call", [1, 2])
def test_model_is_left_as_it_was_after_an_exception(method, call):
    """A model that fails in the middle of a map is left as it was, its ReLUs ordinary ones again."""
    model = nn.Sequential(convolutional(), FailingHead(call)).train()
    before, images = snapshot(model), random_images(6, 8)
    with pytest.raises(ArithmeticError):
        method(model, images, LABELS, batch_size=3)
    assert snapshot(model) == before
    assert not any("forward" in vars(module) for module in model.modules())
    torch.testing.assert_close(  # the head fails no longer
        vanilla_gradient(model[0], images, LABELS), vanilla_gradient(convolutional(), images, LABELS)
    )


@each_method
def test_asked_in_eval_mode(method):
    """Maps are those of the model in eval mode, whatever mode it is handed over in."""
    model, images = nn.Sequential(nn.Dropout(0.5), convolutional()), random_images(6, 8)
    found = [seeded(method)(model.train(training), images, LABELS) for training in (True, False)]
    torch.testing.assert_close(*found, atol=0, rtol=0)


@each_method
def test_images_do_not_depend_on_each_other(method):
    """The map of an image is the same alone and in company."""
    model, images = convolutional(), random_images(6, 8)
    together = seeded(method)(model, images, LABELS)
    torch.testing.assert_close(seeded(method)(model, images[:1], LABELS[:1]), together[:1])
    if method is not smooth_grad:  # its later images have other draws when they come first
        torch.testing.assert_close(method(model, images[3:5], LABELS[3:5]), together[3:5])


@each_method
def test_chunks_bound_the_forward_pass_and_change_nothing(method):
    """However few images fit a forward pass, none holds more, and the maps are the same to rounding."""
    model, images = Recorder(convolutional().double()), random_images(6, 8).double()
    whole = seeded(method)(model, images, LABELS, batch_size=1000)
    assert len(model.sizes) == 1
    for batch_size in (1, 7, 60, 101):
        model.sizes.clear()
        found = seeded(method)(model, images, LABELS, batch_size=batch_size)
        assert max(model.sizes) <= batch_size
        assert sum(model.sizes) == (300 if method in (smooth_grad, integrated_gradients) else 6)
        torch.testing.assert_close(found, whole, atol=1e-12, rtol=1e-9)


@each_method
@pytest.mark.parametrize("dtype", [torch.float64, torch.bfloat16])
def test_dtype_is_the_images(method, dtype):
    """Maps have the images' dtype, and coarse ones still resemble the exact ones."""
    images = random_images(6, 8).to(dtype)
    found = seeded(method)(convolutional().to(dtype), images, LABELS)
    assert found.dtype == dtype
    if method is not smooth_grad:  # whose draws depend on the dtype
        exact = method(convolutional(), images.float(), LABELS)
        assert F.cosine_similarity(found.flatten(1).float(), exact.flatten(1)).min() > 0.97


@each_method
def test_images_may_carry_a_graph(method):
    """Images that ask for a gradient get none from a map, and the map is cut off from them."""
    images = random_images(6, 8).requires_grad_()
    found = method(convolutional(), images * 1, LABELS)
    assert not found.requires_grad
    assert images.grad is None


@each_method
def test_folding_changes_rounding_alone(method):
    """For the project's own models, which are folded, maps equal those of the same network unfolded."""
    model = build_model("resnet10", 3, stem="tiny", width=8, seed=0).double()
    images = random_images(6, 16).double()
    model.train()(images)
    before = snapshot(model)
    found = seeded(method)(model, images, LABELS)
    assert snapshot(model) == before
    torch.testing.assert_close(found, seeded(method)(nn.Sequential(model), images, LABELS), atol=1e-9, rtol=1e-6)


@each_method
def test_empty_batch(method):
    """No images in, no maps out."""
    found = method(convolutional(), torch.zeros(0, 3, 8, 8), torch.zeros(0, dtype=torch.int64))
    assert found.shape == (0, 3, 8, 8)


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


# captum is a library of its own, so what both agree on is unlikely to be a mistake of either.


@pytest.fixture(scope="module", params=["resnet18", "alexnet_bn"])
def subject(request):
    """A model in double precision with statistics of its images, the images, and their labels."""
    model = build_model(request.param, 5, stem="small", width=8, seed=0).double()
    images = random_images(4, 64).double()
    low, high = images.amin((1, 2, 3), keepdim=True), images.amax((1, 2, 3), keepdim=True)
    images = (images - low) / (high - low)  # all of one range, since captum takes one spread for all
    for module in model.modules():
        if isinstance(module, nn.BatchNorm2d):
            module.momentum = None
    with torch.no_grad():
        model.train()(torch.cat([images, random_images(12, 64, seed=1).double()]))
    return model.eval(), images, torch.tensor([0, 1, 4, 2])


def apart(model):
    """The same network as captum needs it: no ReLU works in place, and none serves twice."""
    model = copy.deepcopy(model)
    for module in model.modules():
        if isinstance(module, nn.ReLU):
            module.inplace = False
    for block in [m for m in model.modules() if isinstance(m, BasicBlock)]:
        # Its forward calls self.relu twice.
        block.relu = _Alternating()
    return model


class _Alternating(nn.Module):
    """One ReLU module for the first of two calls, another for the second."""

    def __init__(self):
        super().__init__()
        self.relus, self.calls = nn.ModuleList([nn.ReLU(), nn.ReLU()]), 0

    def forward(self, values):
        self.calls += 1
        return self.relus[self.calls % 2](values)


def by_captum(name, model, images, labels, steps=12):
    """captum's map by the name of ours."""
    if name == "vanilla_gradient":
        return Saliency(model).attribute(images, labels, abs=False)
    if name == "loss_gradient":
        loss = Saliency(lambda x: F.cross_entropy(model(x), labels, reduction="none"))
        return loss.attribute(images, abs=False)
    if name == "guided_backprop":
        return GuidedBackprop(apart(model)).attribute(images, labels)
    if name == "smooth_grad":
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(0)
            # It draws in the precision of the spread.
            tunnel = NoiseTunnel(Saliency(model))
            return tunnel.attribute(images, nt_samples=steps, stdevs=np.float64(0.15), target=labels, abs=False)
    return IntegratedGradients(model).attribute(images, 0.0, labels, n_steps=steps, method="gausslegendre")


@pytest.mark.filterwarnings("ignore:(Input Tensor|Required|Setting|required_grads)")
@pytest.mark.parametrize("name", METHODS)
def test_agrees_with_captum(subject, name):
    """Maps correlate with captum's by at least 0.999 and have the same signs, noise drawn from the same seed."""
    model, images, labels = subject
    options = {"smooth_grad": {"samples": 12}, "integrated_gradients": {"steps": 12}}.get(name, {})
    ours = seeded(METHODS[name])(model, images, labels, **options)
    theirs = by_captum(name, model, images.clone(), labels).detach()
    for mine, their in zip(ours, theirs, strict=True):
        correlation = torch.corrcoef(torch.stack([mine.flatten(), their.flatten()]))[0, 1]
        assert correlation >= 0.999
        torch.testing.assert_close(mine / their.abs().max(), their / their.abs().max(), atol=1e-6, rtol=0)
        known = their.abs() > 1e-6 * their.abs().max()
        assert known.double().mean() > 0.5
        assert torch.equal(mine[known].sign(), their[known].sign())


def test_captum_tells_guided_from_plain(subject):
    """The comparison can fail: guided and plain gradients of these models do not agree."""
    guided, plain = (method(*subject).flatten() for method in (guided_backprop, vanilla_gradient))
    assert torch.corrcoef(torch.stack([guided, plain]))[0, 1] < 0.9
