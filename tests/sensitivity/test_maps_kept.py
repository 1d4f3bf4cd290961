"""Sensitivity maps: what they leave as it was, and what may not matter to them."""

import pytest
import torch
import torch.nn.functional as F
from helpers import FailingHead, Recorder, convolutional, random_images, snapshot, used_model
from map_methods import LABELS, each_method, seeded
from torch import nn

from advlook.models.architectures import build_model
from advlook.sensitivity.maps import integrated_gradients, smooth_grad, vanilla_gradient


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
