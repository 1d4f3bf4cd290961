"""The last layer of any network: found by running it, whatever it is called; and what has none says so."""

import pytest
import torch
from helpers import Linear, convolutional, random_images, snapshot
from torch import nn

from advlook.core.errors import NotDefinedError, RequestError
from advlook.models.architectures import split_last_layer
from advlook.models.last_layer import without_last_layer


class Backwards(nn.Module):
    """Its layers are registered in another order than they run in, and the last has two names."""

    def __init__(self, head):
        super().__init__()
        self.head = self.alias = head
        self.first, self.unused = nn.Conv2d(3, 4, 3), nn.Linear(4, 2)

    def forward(self, images):
        return self.head(self.first(images).mean((2, 3)))


def test_last_layer_is_the_last_that_runs():
    """Its features, and the layer on them, give the logits; the model stays as it was, and its copy has no head."""
    model, images = Backwards(nn.Linear(4, 5)), random_images(3, 8)
    before = snapshot(model)
    backbone, last = split_last_layer(model, 8)
    assert backbone(images).shape == (3, 4)
    torch.testing.assert_close(last(backbone(images)), model(images))
    assert snapshot(model) == before
    assert not {id(parameter) for parameter in last.parameters()} & {id(each) for each in backbone.parameters()}


def test_features_are_trained():
    """The gradient of a loss on features reaches the layers before."""
    backbone, last = without_last_layer(convolutional(), 8)
    last(backbone(random_images(3, 8))).sum().backward()
    assert next(backbone.parameters()).grad.any()


@pytest.mark.parametrize("tokens", [False, True])
def test_heads_on_maps_and_tokens_see_means(tokens):
    """A convolution of one pixel, or a linear layer on tokens, whose answers are averaged: features are averages."""
    stem, head = nn.Conv2d(3, 4, 2, 2), nn.Linear(4, 5) if tokens else nn.Conv2d(4, 5, 1)
    before = [nn.Flatten(2), Transposed()] if tokens else []
    model = nn.Sequential(stem, *before, head, Averaged(1 if tokens else (2, 3)))
    backbone, last = without_last_layer(model, 8)
    images = random_images(3, 8)
    assert backbone(images).shape == (3, 4)
    assert isinstance(last, nn.Linear)
    torch.testing.assert_close(last(backbone(images)), model(images))


class Transposed(nn.Module):
    """Channels last."""

    def forward(self, values):
        return values.transpose(1, 2)


class Averaged(nn.Module):
    """The mean over axes."""

    def __init__(self, axes):
        super().__init__()
        self.axes = axes

    def forward(self, values):
        return values.mean(self.axes)


class Cosine(nn.Module):
    """Logits by weights that are no layer."""

    def __init__(self):
        super().__init__()
        self.hidden, self.classes = Linear(4, side=8), nn.Parameter(torch.randn(3, 4))

    def forward(self, images):
        return nn.functional.normalize(self.hidden(images)) @ self.classes.T


class Twice(nn.Module):
    """Its last layer runs two times."""

    def __init__(self):
        super().__init__()
        self.first, self.last = Linear(4, side=8), nn.Linear(4, 4)

    def forward(self, images):
        return self.last(self.last(self.first(images)))


UNDEFINED = {
    "no linear layer runs": lambda: nn.Sequential(nn.Conv2d(3, 4, 8), nn.Flatten()),
    "other weights lie behind 'hidden.layer'": Cosine,
    "'last' runs 2 times": Twice,
}


@pytest.mark.parametrize("why", UNDEFINED)
def test_what_has_no_last_layer_says_so(why):
    """In a few words, and one line."""
    with pytest.raises(NotDefinedError, match=r"the last layer of .* is not defined") as error:
        split_last_layer(UNDEFINED[why](), 8)
    assert error.value.why == why
    assert "\n" not in str(error.value)


def test_another_size_is_refused():
    """The line asks for a size that suits."""
    with pytest.raises(RequestError, match=r"cannot run Linear on an image of 9 px .* give its size"):
        split_last_layer(Linear(side=8), 9)
