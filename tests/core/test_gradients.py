"""Gradients with respect to images, and batch normalisation that keeps its statistics meanwhile."""

import torch
import torch.nn.functional as F
from helpers import convolutional, random_images

from advlook.core.gradients import cross_entropy, frozen_buffers, input_gradient


def test_frozen_buffers_normalises_by_the_batch():
    """Frozen batch normalisation gives train mode's outputs, and in eval mode changes nothing."""
    images = random_images(6, 8)
    for training in (True, False):
        model = convolutional().train(training)
        with frozen_buffers(model):
            frozen = model(images)
        assert model[1].num_batches_tracked == 0
        torch.testing.assert_close(frozen, model(images), atol=0, rtol=0)


def test_cross_entropy_is_the_usual_one():
    """The loss that attacks raise equals torch's, as does its gradient where float32 can hold it."""
    logits = 5 * torch.randn(20, 7, generator=torch.Generator().manual_seed(0)).requires_grad_()
    labels = torch.arange(20) % 7
    ours, theirs = cross_entropy(logits, labels), F.cross_entropy(logits, labels, reduction="none")
    torch.testing.assert_close(ours, theirs)
    torch.testing.assert_close(*(torch.autograd.grad(loss.sum(), logits)[0] for loss in (ours, theirs)))


def test_input_gradient_is_the_gradient():
    """The gradient equals that of an ordinary backward pass, without one for any parameter."""
    model, images, labels = convolutional().eval(), random_images(6, 8), torch.arange(6) % 3
    gradient, logits = input_gradient(model, images, lambda z: F.cross_entropy(z, labels))
    assert all(p.grad is None for p in model.parameters())
    watched = images.clone().requires_grad_()
    expected = model(watched)
    F.cross_entropy(expected, labels).backward()
    torch.testing.assert_close(gradient, watched.grad)
    torch.testing.assert_close(logits, expected.detach())
    assert not logits.requires_grad
