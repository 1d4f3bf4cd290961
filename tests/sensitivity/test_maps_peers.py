"""Sensitivity maps against those of captum, a library of its own: what both agree on is unlikely to be a mistake of
either."""

import copy

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from captum.attr import GuidedBackprop, IntegratedGradients, NoiseTunnel, Saliency
from helpers import random_images
from map_methods import seeded
from torch import nn
from torchvision.models.resnet import BasicBlock

from advlook.models.architectures import build_model
from advlook.sensitivity.maps import METHODS, guided_backprop, vanilla_gradient


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
