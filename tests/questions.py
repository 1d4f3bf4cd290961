"""What every network is asked: each public function once, and its answer held against a plain definition.

A question takes an `Asked`, fails by AssertionError where an answer is wrong, and lets errors through: NotDefinedError
and RequestError are the package's own words, any other is a traceback of which a user would read."""

from collections.abc import Callable
from contextlib import contextmanager
from dataclasses import dataclass
from functools import cached_property
from unittest import mock

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from advlook import attacks
from advlook.attacks.checks import REMEDIES, run_checks
from advlook.core.copies import copied, set_weights
from advlook.core.errors import NotDefinedError, RequestError, reason
from advlook.experiments.defined import unit_layers
from advlook.models import folded, predict, robust_accuracy, topk_accuracy
from advlook.models.architectures import split_last_layer
from advlook.sensitivity import by_name, first_filters, fourier_sensitivity, maximise, randomised, stages
from advlook.sensitivity.filters import first_layer
from advlook.sensitivity.strength import check_strength
from advlook.sensitivity.truncated import Truncated

EPS = 4 / 255
CLASSES = 10


@dataclass(frozen=True)
class Asked:
    """A network, images of `size` pixels that suit it, and its own answers as labels."""

    model: nn.Module
    size: int

    @cached_property
    def images(self) -> Tensor:
        return torch.rand(2, 3, self.size, self.size, generator=torch.Generator().manual_seed(0))

    @cached_property
    def logits(self) -> Tensor:
        return self.answers(self.images)

    @property
    def labels(self) -> Tensor:
        return self.logits.argmax(1)

    @torch.no_grad()
    def answers(self, images: Tensor, model: nn.Module | None = None) -> Tensor:
        return torch.cat([(model or self.model)(image[None]).float() for image in images])

    def gradient(self, images: Tensor, of: str = "logit") -> Tensor:
        """By a plain loop."""
        found = []
        for image, label in zip(images, self.labels, strict=True):
            given = image[None].clone().requires_grad_()
            logits = self.model(given)
            value = logits[0, label] if of == "logit" else F.cross_entropy(logits.double(), label[None])
            found.append(torch.autograd.grad(value, given)[0])
        return torch.cat(found)


def close(found: Tensor, expected: Tensor, tolerance: float = 1e-3) -> None:
    """Both are finite, and differ by no more than a share of the largest value."""
    assert found.isfinite().all()
    difference, largest = (found - expected).abs().max().item(), expected.abs().max().item()
    assert difference <= tolerance * largest, f"{difference:.2g} of {largest:.2g}"


def gradients(asked: Asked) -> None:
    """Vanilla and loss gradients are those of a plain loop."""
    given = asked.model, asked.images, asked.labels
    for name, of in (("vanilla_gradient", "logit"), ("loss_gradient", "loss")):
        close(
            torch.cat([by_name(name, asked.model, *one) for one in one_by_one(*given[1:])]),
            asked.gradient(asked.images, of),
        )


def one_by_one(*tensors: Tensor) -> list[tuple[Tensor, ...]]:
    """Batches of one, in which rounding is that of a plain loop."""
    return list(zip(*(tensor.split(1) for tensor in tensors), strict=True))


def averaged(asked: Asked) -> None:
    """SmoothGrad of one copy is the gradient at it, and integrated gradients of one step that at half the image."""
    image, label = asked.images[:1], asked.labels[:1]
    only = Asked(asked.model, asked.size)
    only.__dict__.update(images=image, logits=asked.logits[:1])
    noise = torch.randn(3, asked.size, asked.size, generator=torch.Generator().manual_seed(1))
    noisy = image + 0.15 * (image.max() - image.min()) * noise
    drawn = torch.Generator().manual_seed(1)
    close(by_name("smooth_grad", asked.model, image, label, samples=1, generator=drawn), only.gradient(noisy))
    close(by_name("integrated_gradients", asked.model, image, label, samples=1), only.gradient(image / 2) * image)


class _Guided(torch.autograd.Function):
    @staticmethod
    def forward(context: object, values: Tensor) -> Tensor:
        context.save_for_backward(values)
        return values.clamp(min=0)

    @staticmethod
    def backward(context: object, gradient: Tensor) -> Tensor:
        return gradient.clamp(min=0) * (context.saved_tensors[0] > 0)


@contextmanager
def relus(function: Callable[[Tensor], Tensor]) -> object:
    """Within the block every ReLU is this function."""
    names = [(F, "relu"), (F, "relu_"), (torch, "relu"), (torch, "relu_"), (Tensor, "relu"), (Tensor, "relu_")]
    patches = [mock.patch.object(owner, name, lambda values, inplace=False: function(values)) for owner, name in names]
    capped = mock.patch.object(F, "relu6", lambda values, inplace=False: function(values).clamp(max=6))
    with mock.patch.object(F, "hardtanh", lambda values, low, high, inplace=False: function(values).clamp(max=high)):
        for patch in [*patches, capped]:
            patch.start()
        try:
            yield
        finally:
            for patch in [*patches, capped]:
                patch.stop()


def guided(asked: Asked) -> None:
    """Guided backpropagation is the gradient through ReLUs that pass on positive gradients alone."""
    found = torch.cat([by_name("guided_backprop", asked.model, *one) for one in one_by_one(asked.images, asked.labels)])
    with relus(_Guided.apply):
        close(found, asked.gradient(asked.images))


def steps(asked: Asked) -> None:
    """FGSM goes a step along the sign of a plain loop's gradient; PGD and APGD move images within the ball."""
    gradient = asked.gradient(asked.images, "loss")
    plain = (asked.images + EPS * gradient.sign()).clamp(0, 1)
    found = torch.cat([attacks.fgsm(asked.model, *one, EPS) for one in one_by_one(asked.images, asked.labels)])
    sure = gradient.abs() > 1e-3 * gradient.abs().amax((1, 2, 3), keepdim=True)
    assert torch.equal(found[sure].isclose(plain[sure]), torch.ones_like(found[sure]).bool())
    options = {"steps": 2, "random_start": False}
    for made in (
        attacks.pgd(asked.model, asked.images, asked.labels, EPS, **options),
        attacks.apgd(asked.model, asked.images, asked.labels, EPS, steps=2),
    ):
        assert (made - asked.images).abs().max() <= EPS + 1e-6
        assert made.min() >= 0
        assert made.max() <= 1
        assert not torch.equal(made, asked.images)


def evaluation(asked: Asked) -> None:
    """Logits, accuracies and checks are of the labels that the network itself gives."""
    close(predict(asked.model, (asked.images, asked.labels), batch_size=1), asked.logits)
    images = asked.images[:1], asked.labels[:1]
    assert topk_accuracy(asked.model, images)["top1"] == 100
    assert robust_accuracy(asked.model, images, EPS, steps=1)["clean"] == 100
    assert len(run_checks(asked.model, *images, EPS, steps=1)) == len(REMEDIES)


def frequencies(asked: Asked) -> None:
    """Perturbations of no length change no answer."""
    found = fourier_sensitivity(asked.model, (asked.images, asked.labels), 0.0, stride=asked.size // 2)
    assert found.clean == 0
    assert not found.changed.any()


def filters(asked: Asked) -> None:
    """First filters are weights of three channels, copied."""
    found = first_filters(asked.model, size=asked.size)
    assert found.shape[1] == 3
    weight = asked.model.get_submodule(first_layer(asked.model, size=asked.size)).weight
    assert torch.equal(found, weight)
    assert found.data_ptr() != weight.data_ptr()


def strength(asked: Asked) -> None:
    """Where filters have a strength, twice of it makes a difference. Where the layer standardises its weights, or a
    layer's normalisation is behind it, it makes none, and strength is not defined."""
    name = first_layer(asked.model, size=asked.size)

    def change(model: nn.Module) -> float:
        for parameter in model.get_submodule(name).parameters(recurse=False):
            parameter.data.mul_(2)
        return ((asked.answers(asked.images, model) - asked.logits).abs().max() / asked.logits.abs().max()).item()

    try:
        check_strength(asked.model, size=asked.size)
    except NotDefinedError as error:
        if "LayerNorm" in error.why:
            assert change(copied(asked.model).eval()) < 0.01
        raise
    assert change(folded(asked.model, size=asked.size, required=[name])) > 1e-3


def folding(asked: Asked) -> None:
    """A folded model gives the same answers, with no more batch normalisations."""
    fold = folded(asked.model, size=asked.size, required=[])
    close(asked.answers(asked.images, fold), asked.logits)
    moving, left = (sum(_moves(module) for module in model.modules()) for model in (asked.model, fold))
    assert left <= moving


def _moves(module: nn.Module) -> bool:
    return isinstance(module, nn.BatchNorm2d) and bool(module.running_mean.any())


def units(asked: Asked) -> None:
    """Images that excite a unit of the first and of the last layer excite it as much as is said."""
    layers = unit_layers(asked.model, asked.size)
    assert len(layers) >= 2
    for layer in (layers[0], layers[-1]):
        found = maximise(asked.model, layer, [1], size=asked.size, steps=1)
        assert found.activations >= found.start_activations
        target = Truncated(asked.model, layer)
        target.channels(asked.size)
        output = _output(asked.model, layer, found.images)
        close(output.movedim(target.axis, 1)[:, 1].mean()[None], found.activations)


@torch.no_grad()
def _output(model: nn.Module, layer: str, images: Tensor) -> Tensor:
    outputs: list[Tensor] = []
    with model.get_submodule(layer).register_forward_hook(lambda *given: outputs.append(given[2].clone())):
        model(images)
    return outputs[0]


def cascade(asked: Asked) -> None:
    """Every tensor is in one stage; fresh stages change what they name and no more; and the copy answers as a network
    that was filled with its tensors."""
    known = stages(asked.model)
    own, parameters = asked.model.state_dict(), dict(asked.model.named_parameters())
    held = {key: [stage for stage, names in known.items() if _held(key, names)] for key in own}
    plain = {"mean", "std"} if {"mean", "std"} <= set(own) else set()  # the normalisation is no stage
    assert all(len(stages) == 1 for key, stages in held.items() if key not in plain)
    last = list(known)[-1]
    for chosen in ([last], list(known)):
        fresh = randomised(asked.model, chosen)
        for key, value in fresh.state_dict().items():
            mine = bool(set(held[key]) & set(chosen))
            assert mine or torch.equal(value, own[key]), key
            varied = (
                key in parameters and value.ndim > 1 and value.max() > value.min() and own[key].max() > own[key].min()
            )
            assert not mine or not varied or not torch.equal(value, own[key]), key
    assert not torch.allclose(asked.answers(asked.images, fresh), asked.logits)
    filled = copied(asked.model)
    set_weights(filled, fresh.state_dict())
    close(asked.answers(asked.images, filled), asked.answers(asked.images, fresh))


def _held(key: str, names: tuple[str, ...]) -> bool:
    return key in names or key.startswith(tuple(f"{name}." for name in names))


def last_layer(asked: Asked) -> None:
    """The last features are one row an image, as wide as the last layer."""
    features, last = _features(asked)
    assert features.shape == (len(asked.images), last.in_features)
    assert features.isfinite().all()
    assert not torch.equal(features[0], features[1])


def head(asked: Asked) -> None:
    """The last layer on the last features gives the logits, where nothing is behind it."""
    features, last = _features(asked)
    close(last(features).detach(), asked.logits)


@torch.no_grad()
def _features(asked: Asked) -> tuple[Tensor, nn.Linear]:
    backbone, last = split_last_layer(asked.model, asked.size)
    return asked.answers(asked.images, backbone), last


_ALL = (gradients, averaged, guided, steps, evaluation, frequencies, filters, strength, folding, units, cascade)
QUESTIONS: dict[str, Callable[[Asked], None]] = {each.__name__: each for each in (*_ALL, last_layer, head)}


def outcome(question: str, asked: Asked) -> str:
    """What comes of a question: "right", "not defined: ...", "refused: ...", "wrong: ..." or "traceback: ..."."""
    try:
        QUESTIONS[question](asked)
    except NotDefinedError as error:
        return f"not defined: {error.why}"
    except RequestError as error:
        return f"refused: {error}"
    except AssertionError as error:
        return f"wrong: {reason(error)}"
    except Exception as error:
        return f"traceback: {reason(error)}"
    return "right"
