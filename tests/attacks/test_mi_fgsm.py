"""Momentum: it is kept over steps, and over images that are lost."""

import pytest
import torch
from helpers import Linear, Recorder, convolutional, random_images
from torch import nn

from advlook.attacks.mi_fgsm import mi_fgsm
from advlook.attacks.pgd import pgd
from advlook.core.gradients import cross_entropy


def test_momentum_is_kept():
    """Without momentum MI-FGSM is iterated FGSM; with it, a step that the loss opposes still goes on."""
    model, images = Linear(classes=4), random_images()
    labels = model(images).argmax(1)
    plain = pgd(model, images, labels, 0.001, steps=4, step_size=0.00025, random_start=False)
    kept = (model(plain).argmax(1) == labels).all()
    assert kept  # else PGD would have stopped early
    torch.testing.assert_close(mi_fgsm(model, images, labels, 0.001, steps=4, decay=0.0), plain, atol=1e-7, rtol=0)

    class Bowl(nn.Module):
        """The loss of class 0 grows towards 0.5 from either side, and the steps leap over it."""

        def forward(self, images):
            return torch.stack([(images - 0.5).square().flatten(1).sum(1), torch.zeros(len(images))], 1)

    start = torch.full((1, 3, 1, 1), 0.46)
    ends = [mi_fgsm(Bowl(), start, torch.tensor([0]), 0.2, steps=2, step_size=0.05, decay=d) for d in (0.0, 10.0)]
    assert ends[0].mean().item() == pytest.approx(0.46)
    assert ends[1].mean().item() == pytest.approx(0.56)


def test_momentum_attack_drives_lost_images_on():
    """MI-FGSM spends every step on every image: lost ones get further from the border."""
    model, images = Recorder(convolutional().eval()), random_images(20, 8)
    labels = model(images).argmax(1)
    found = mi_fgsm(model, images, labels, 0.1, steps=5)
    assert model.sizes == [20] * 6
    stopped = pgd(model, images, labels, 0.1, steps=5, step_size=0.02, random_start=False)
    lost = (model(stopped).argmax(1) != labels) & (model(found).argmax(1) != labels)
    gain = cross_entropy(model(found), labels) - cross_entropy(model(stopped), labels)
    assert lost.any()
    assert gain[lost].mean() > 0
