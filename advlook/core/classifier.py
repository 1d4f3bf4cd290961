"""The checks of a model, images and labels that every attack, map, check and measure shares.

An error is one line, and comes before the model is asked, or, where only its answer shows the fault, at the first
answer."""

import warnings
from collections.abc import Callable, Mapping
from contextlib import suppress
from functools import partial
from inspect import getclosurevars
from types import FunctionType, MethodType
from typing import Any

import torch
from torch import Tensor, nn

from advlook.core.errors import UNSUITED, RequestError
from advlook.core.gradients import at_least_float32, input_gradient

Model = nn.Module | Callable[[Tensor], Any]
WANTED = "images (N, 3, H, W) to logits (N, classes)"
BROKEN = "look for nan in the weights, overflow in float16, or a class masked by infinity"


class Classifier(nn.Module):
    """A model as this package asks it: images `(N, 3, H, W)` to finite logits `(N, classes)` in at least float32.

    model: a module, or any function of images. Images that it does not take as they are, because its parameters are of
    another floating-point type, are cast to that type; of an answer with `.logits` or `["logits"]` these are taken.
    classes: labels and the like by name, int64 `(N,)` or None, which the first answer has to know. Raises RequestError
    for what is no model, and when asked for answers that are no logits, of a single class, or not finite, and for
    labels that are no class of the model."""

    def __init__(self, model: Model, **classes: Tensor | None) -> None:
        super().__init__()
        if isinstance(model, type) or not callable(model):
            kind = f"the class {model.__name__}" if isinstance(model, type) else f"of type {type(model).__name__}"
            raise RequestError(f"the model is {kind}; give an nn.Module, or a function, from {WANTED}")
        again = isinstance(model, Classifier)
        self.model, self.dtype = (model.model, model.dtype) if again else (model, None)
        self.behind = nn.ModuleList(modules_behind(self.model))  # so that modes and buffers are seen and kept
        self.training = self.behind.training = getattr(model, "training", False)
        self.unchecked = {name: numbers for name, numbers in classes.items() if numbers is not None}

    def forward(self, images: Tensor) -> Tensor:
        """Logits `(N, classes)` of images `(N, 3, H, W)` in [0, 1]."""
        logits = _logits_of(self._answer(images), len(images))
        while self.unchecked:
            _check_classes(*self.unchecked.popitem(), logits.shape[1])
        if logits.dtype == torch.float16 and images.requires_grad:
            return _widened(images, logits)
        return at_least_float32(logits)

    def _answer(self, images: Tensor) -> object:
        if self.dtype is not None:
            return self.model(images.to(self.dtype))
        own = next((each.dtype for each in self.parameters() if each.is_floating_point()), images.dtype)
        for dtype in dict.fromkeys((images.dtype, own)):  # its own last: it may normalise in float32 and cast by itself
            try:
                answer = self.model(images.to(dtype))
            except (torch.OutOfMemoryError, RequestError):
                raise
            except UNSUITED as error:
                failed = error
            else:
                self.dtype = dtype
                return answer
        reason = str(failed).partition("\n")[0]
        raise RequestError(f"the model does not take {_kind(images)} on {images.device} ({reason})") from failed


def modules_behind(function: Model) -> list[nn.Module]:
    """The modules that a function calls, as far as it shows them: of a method its object, of a partial what it holds,
    and of a plain function those that it names."""
    held: list[Any] = []
    if isinstance(function, partial):
        held = [function.func, *function.args, *function.keywords.values(), *modules_behind(function.func)]
    elif isinstance(function, MethodType):
        held = [function.__self__]
    elif isinstance(function, FunctionType):
        with suppress(ValueError):  # a name that has no value yet
            named = getclosurevars(function)
            held = [*named.nonlocals.values(), *named.globals.values()]
    return [each for each in held if isinstance(each, nn.Module) and not isinstance(each, torch.jit.ScriptModule)]


def check_batch(images: Tensor, labels: Tensor, targets: Tensor | None = None) -> None:
    """RequestError where these are not float images `(N, 3, H, W)` in [0, 1], with labels (and targets) int64 `(N,)`
    on their device."""
    if not isinstance(images, Tensor) or not images.is_floating_point() or images.dim() != 4:
        raise RequestError(f"images are {_kind(images)}; give a float tensor (N, 3, H, W) with values in [0, 1]")
    if len(images) and not (images.amin() >= -1e-4 and images.amax() <= 1 + 1e-4):
        span = f"[{images.amin():.3g}, {images.amax():.3g}]"
        raise RequestError(f"images span {span}, not [0, 1]: give them unnormalised, with normalisation in the model")
    for name, classes in (("labels", labels), ("targets", targets)):
        if classes is None and name == "targets":
            continue
        if not isinstance(classes, Tensor) or classes.shape != images.shape[:1] or classes.dtype != torch.int64:
            raise RequestError(f"{name} must be int64 of shape ({len(images)},), not {_kind(classes)}")
        if classes.device != images.device:
            raise RequestError(f"{name} are on {classes.device}, images on {images.device}; move them: {name}.to(...)")


def finite_gradient(model: nn.Module, images: Tensor, loss: Callable[[Tensor], Tensor]) -> tuple[Tensor, Tensor]:
    """`input_gradient`; RequestError where it is not finite: its sign would be 0, and the model pass for robust."""
    gradient, answers = input_gradient(model, images, loss)
    remedy = "mend what divides by 0 or takes the root of 0 (sqrt(x + 1e-12) in place of sqrt(x)), or leave float16"
    check_finite(gradient, "the gradient with respect to the images", remedy)
    return gradient, answers


def check_finite(values: Tensor, what: str = "the answer of the model", remedy: str = BROKEN) -> None:
    """RequestError where some of the values `(N, ...)` are nan or infinite."""
    # A sum costs least, and is finite only if all values are; finite values may overflow in it.
    if not values.detach().sum().isfinite() and not (finite := values.isfinite().reshape(len(values), -1).all(1)).all():
        raise RequestError(f"{what} is not finite for {(~finite).sum()} of {len(values)} images; {remedy}")


def in_train_mode(model: nn.Module) -> bool:
    """Whether a part of the model is in train mode, where an answer may depend on the batch, or on chance."""
    return any(getattr(module, "training", False) for module in model.modules())  # frozen TorchScript has no mode


def warn_of_train_mode(model: nn.Module) -> None:
    """Warn the caller's caller where accuracies would not be those of the model in use."""
    if in_train_mode(model):
        text = "the model is in train mode, or a part of it, where dropout and batch statistics change answers"
        warnings.warn(f"{text}; call model.eval() first", stacklevel=3)


def _logits_of(answer: object, count: int) -> Tensor:
    """The logits of `count` images in what a model returns; RequestError where there are none."""
    logits = answer
    if not isinstance(answer, Tensor):
        logits = answer.get("logits") if isinstance(answer, Mapping) else getattr(answer, "logits", None)
    if not isinstance(logits, Tensor) or not logits.is_floating_point():
        raise RequestError(f"the model returns {_kind(answer)}; wrap it in a function from {WANTED}")
    if logits.shape in ((count,), (count, 1)):
        remedy = "give two, such as torch.stack([torch.zeros_like(z), z], 1) of the output z (N,)"
        raise RequestError(f"the model has one output, {tuple(logits.shape)}, of which no loss can be taken; {remedy}")
    if logits.dim() != 2 or len(logits) != count:
        shape = f"{tuple(logits.shape)} for {count} images"
        raise RequestError(f"the model returns {shape}; wrap it in a function from {WANTED}")
    check_finite(logits)
    return logits


def _widened(images: Tensor, logits: Tensor) -> Tensor:
    """Logits in float32, whose gradients go back through float16 with a largest value of 1 an image, and get their size
    back at the images: the gradient of a sure answer's loss would underflow, and the model pass for robust."""
    logits, sizes = logits.float(), []

    def scale(gradient: Tensor) -> Tensor:
        size = gradient.abs().amax(1, keepdim=True)
        sizes.append(torch.where(size > 0, size, 1.0))
        return gradient / sizes[-1]

    logits.register_hook(scale)
    images.register_hook(lambda gradient: gradient * sizes.pop().view(-1, *[1] * (gradient.dim() - 1)))
    return logits


def _check_classes(name: str, numbers: Tensor, count: int) -> None:
    if len(numbers) and (numbers.amin() < 0 or numbers.amax() >= count):
        span = f"[{numbers.amin()}, {numbers.amax()}]"
        raise RequestError(f"{name} span {span}, but the model's {count} classes count from 0")


def _kind(value: object) -> str:
    """A value for an error's line: type and shape."""
    if isinstance(value, Tensor):
        return f"{value.dtype} {tuple(value.shape)}"
    if isinstance(value, Mapping):
        return f"a {type(value).__name__} with the keys {', '.join(map(str, value))}"
    return f"a {type(value).__name__}"
