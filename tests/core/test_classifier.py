"""What is taken for the logits of a model, and which models, images and labels are refused in one line."""

from dataclasses import dataclass

import pytest
import torch
from helpers import Linear, convolutional, random_images
from torch import nn

from advlook.core.classifier import Classifier, check_batch, check_finite, in_train_mode
from advlook.core.errors import RequestError
from advlook.core.gradients import cross_entropy, input_gradient

IMAGES, LABELS = random_images(8), torch.arange(8) % 2


@dataclass
class Output:
    """What the networks of `transformers` return."""

    logits: torch.Tensor
    hidden: torch.Tensor


def line_of(function, *arguments, **options):
    """The line of the RequestError that a call ends in."""
    with pytest.raises(RequestError) as caught:
        function(*arguments, **options)
    assert "\n" not in str(caught.value)
    return str(caught.value)


@pytest.mark.parametrize(
    "packed",
    [
        lambda z: z,
        lambda z: {"logits": z, "features": z[:, :1]},
        lambda z: Output(z, z[:, :1]),
        lambda z: z.double(),
        lambda z: z.half(),
    ],
)
@pytest.mark.parametrize("as_module", [True, False])
def test_logits_are_taken_where_it_is_plain_which_they_are(packed, as_module):
    """A tensor, a dictionary or an object with logits, of a module or a function, gives them in at least float32."""
    linear = Linear()

    class Packing(nn.Module):
        def forward(self, images):
            return packed(linear(images))

    model = Packing() if as_module else lambda images: packed(linear(images))
    found = Classifier(model)(IMAGES)
    assert found.dtype in (torch.float32, torch.float64)
    torch.testing.assert_close(found.float(), linear(IMAGES), atol=1e-2, rtol=1e-3)


@pytest.mark.parametrize(
    ("packed", "names"),
    [
        (lambda z: (z, z), ["a tuple", "function from images"]),
        (lambda z: {"out": z, "aux": z}, ["the keys out, aux", "function from images"]),
        (lambda z: None, ["NoneType"]),
        (lambda z: z.argmax(1), ["int64 (8,)"]),
        (lambda z: z[:, :, None, None], ["(8, 2, 1, 1) for 8 images"]),
        (lambda z: z[:4], ["(4, 2) for 8 images"]),
        (lambda z: z[:, 0], ["one output", "(8,)", "give two", "torch.stack"]),
        (lambda z: z[:, :1], ["one output", "(8, 1)", "give two"]),
        (lambda z: z + torch.tensor([[0.0, torch.nan]]), ["not finite for 8 of 8 images", "weights"]),
        (lambda z: torch.cat([z[:7], z[7:] / 0]), ["not finite for 1 of 8 images"]),
    ],
)
def test_answers_that_are_no_logits_are_refused(packed, names):
    """One line says what the model returns, and what it should."""
    model, found = Linear(), None
    found = line_of(Classifier(lambda images: packed(model(images))), IMAGES)
    assert all(name in found for name in names), found


def test_the_remedy_for_one_output_keeps_its_probability():
    """Two logits made of one as the message says give the probability of its sigmoid."""
    z = torch.linspace(-3, 3, 8)
    torch.testing.assert_close(torch.stack([torch.zeros_like(z), z], 1).softmax(1)[:, 1], z.sigmoid())


@pytest.mark.parametrize(
    ("model", "says"), [(None, "NoneType"), ("resnet18", "str"), ({}, "dict"), (Linear, "the class Linear")]
)
def test_what_is_no_model_is_refused(model, says):
    """A name, a state dict or a class in place of a model is named."""
    assert says in line_of(Classifier, model)


def test_a_classifier_of_a_classifier_has_its_model():
    """A classifier of a classifier has the same model, mode and type, and checks labels of its own."""
    inner = Classifier(convolutional().double().eval(), labels=torch.tensor([7]))
    outer = Classifier(inner, labels=LABELS)
    assert outer.model is inner.model
    assert not in_train_mode(outer)
    assert outer(IMAGES).dtype == torch.float64


@pytest.mark.parametrize("dtype", [torch.float64, torch.bfloat16])
def test_images_are_cast_at_the_model(dtype):
    """A model of another type takes float32 images, whose gradient is float32."""
    images = IMAGES.clone().requires_grad_()
    found = Classifier(Linear().to(dtype))(images)
    found[:, 0].sum().backward()
    assert images.grad.dtype == torch.float32
    torch.testing.assert_close(found.float(), Linear()(IMAGES), atol=0.05, rtol=0.05)


def test_a_model_that_casts_by_itself_sees_float32():
    """Where a model takes float32 images and casts behind its normalisation, they are not rounded before it."""
    half, seen = Linear().bfloat16(), []

    class Casting(nn.Module):
        def __init__(self):
            super().__init__()
            self.network = half

        def forward(self, images):
            seen.append(images.dtype)
            return self.network(images.bfloat16())

    Classifier(Casting())(IMAGES)
    assert seen == [torch.float32]


def test_images_that_the_model_does_not_take_are_told():
    """Images of another size end in a line with their shape and torch's reason, which stays behind it."""
    with pytest.raises(
        RequestError, match=r"does not take torch.float32 \(8, 3, 8, 8\) on cpu \(mat1 and mat2"
    ) as caught:
        Classifier(Linear())(random_images(8, 8))
    assert isinstance(caught.value.__cause__, RuntimeError)


def test_a_model_that_asserts_its_size_is_told_as_well():
    """Transformers of timm and torchvision assert the size of images: one line, with their words."""

    class Fixed(nn.Module):
        def forward(self, images):
            assert images.shape[-1] == 224, "Input height (8) doesn't match model (224)."

    with pytest.raises(RequestError, match=r"does not take .* \(Input height \(8\) doesn't match"):
        Classifier(Fixed())(IMAGES)


def test_what_a_model_says_by_a_request_error_is_not_told_as_another():
    """An error of ours that a model raises, such as one inside another, reaches the user in its own words."""

    class Refusing(nn.Module):
        def forward(self, images):
            raise RequestError("its own words")

    with pytest.raises(RequestError, match=r"^its own words$"):
        Classifier(Refusing())(IMAGES)


@pytest.mark.parametrize("margin", [0.0, 20.0, 60.0])
def test_gradients_of_sure_answers_survive_half_precision(margin):
    """The gradient of the loss is that of float32 where, in float16 alone, it would be 0; that of a logit stays."""
    linear, zeros = Linear(side=4, margin=margin), torch.zeros(8, dtype=torch.int64)
    losses = (lambda z: cross_entropy(z, zeros).sum(), lambda z: z[:, 1].sum())
    for loss in losses:
        exact, _ = input_gradient(linear, IMAGES, loss)
        found, _ = input_gradient(Classifier(Linear(side=4, margin=margin).half()), IMAGES, loss)
        assert exact.abs().amin() > 0
        torch.testing.assert_close(found, exact, rtol=0.05, atol=0.02 * exact.abs().max().item())


@pytest.mark.parametrize("wrong", [-1, 2, 255])
def test_labels_are_compared_at_the_first_answer(wrong):
    """A label that the model does not know is refused with its name, whatever the other labels are."""
    labels = LABELS.clone()
    labels[3] = wrong
    found = line_of(Classifier(Linear(), targets=LABELS, labels=labels), IMAGES[:2])
    assert f"{wrong}" in found
    assert "labels" in found
    assert "2 classes" in found


@pytest.mark.parametrize(
    ("images", "labels", "names"),
    [
        ((IMAGES * 255).to(torch.uint8), LABELS, ["uint8 (8, 3, 4, 4)", "float tensor"]),
        (IMAGES[0], LABELS, ["(3, 4, 4)", "(N, 3, H, W)"]),
        (IMAGES.numpy(), LABELS, ["ndarray", "float tensor"]),
        (IMAGES, LABELS.tolist(), ["a list", "int64"]),
        (IMAGES, None, ["labels", "NoneType"]),
        (IMAGES, LABELS.to("meta"), ["labels are on meta, images on cpu"]),
    ],
)
def test_batches_that_are_none_are_refused(images, labels, names):
    """Bytes, one image, an array, a list and tensors on two devices are named."""
    found = line_of(check_batch, images, labels)
    assert all(name in found for name in names), found


def test_finite_values_pass_whose_sum_overflows():
    """Values near the end of float32 are finite; one infinite value among them is not."""
    values = torch.full((4, 3), 3e38)
    check_finite(values)
    values[2, 1] = torch.inf
    assert "1 of 4 images" in line_of(check_finite, values)
