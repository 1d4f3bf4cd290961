"""A model up to one of its layers, and which axis of that layer's output its units are on."""

import torch
from torch import Tensor, nn

from advlook.core.errors import RequestError
from advlook.core.probing import Reached, blank_image, check_visible, run_blank

_FIRST = (nn.modules.conv._ConvNd, nn.modules.batchnorm._NormBase, nn.GroupNorm)  # channels on axis 1
_LAST = (nn.Linear, nn.LayerNorm)  # channels on the last axis


class Truncated(nn.Module):
    """A model up to one of its layers; what is behind it does not run. RequestError for a layer that is unknown."""

    def __init__(self, model: nn.Module, layer: str) -> None:
        check_visible(model, "maximise")
        super().__init__()
        self.model, self.layer, self.dtype = model, layer, blank_image(model, 1).dtype
        self.axis = 1  # of the channels in the layer's output; `channels` finds it
        try:
            model.get_submodule(layer)
        except AttributeError:
            names = [name for name, module in model.named_modules() if isinstance(module, nn.Conv2d | nn.Linear)]
            some = names if len(names) < 6 else [*names[:3], "...", *names[-2:]]
            raise RequestError(f"layer {layer!r} is unknown; the model has, for example, {', '.join(some)}") from None

    def forward(self, images: Tensor) -> Tensor:
        """Output of the layer, its channels on axis 1: `(N, C, ...)`."""

        def stop(_module: nn.Module, _inputs: object, output: Tensor) -> None:
            raise Reached(output)

        # Nothing behind the layer runs, so no in-place ReLU overwrites its output.
        with self.model.get_submodule(self.layer).register_forward_hook(stop):
            try:
                self.model(images.to(self.dtype))
            except Reached as reached:
                output = reached.values
                return output if self.axis == 1 else output.movedim(self.axis, 1)
        raise RequestError(f"layer {self.layer!r} does not run in the model's forward pass; choose another")

    def channels(self, size: int) -> int:
        """How many units the layer has, on images of `size` pixels a side. Which axis they are on is known from the
        layer's type, else from a run at twice the size (the others grow), else from the convolution or linear layer
        that ran last. RequestError for an output that has no units."""
        last: list[nn.Module] = []  # the latest convolution or linear layer
        hooks = [
            module.register_forward_hook(lambda module, *_: last.__setitem__(slice(None), [module]))
            for module in self.model.modules()
            if isinstance(module, nn.modules.conv._ConvNd | nn.Linear)
        ]
        try:
            output = run_blank(self, size)
        finally:
            for hook in hooks:
                hook.remove()
        there = f"layer {self.layer!r} gives"
        if not isinstance(output, Tensor) or output.dim() not in (2, 3, 4):
            kind = f"shape {tuple(output.shape)}" if isinstance(output, Tensor) else f"type {type(output).__name__}"
            raise RequestError(f"{there} {kind}, not (N, C, H, W), (N, H, W, C), (N, L, C) or (N, C); choose another")
        shape = tuple(output.shape)
        if shape[0] != 1:
            kind = f"{shape[0]} windows of shape {shape[1:]}"
            raise RequestError(f"{there} {kind} for one image, not a map of units; choose another")
        axis = self._axis(shape, size, last[0] if last else None)
        if axis is None:
            raise RequestError(f"{there} shape {shape}, in which the axis of channels cannot be told; choose another")
        self.axis = axis
        return shape[axis]

    def _axis(self, shape: tuple[int, ...], size: int, last: nn.Module | None) -> int | None:
        module, end = self.model.get_submodule(self.layer), len(shape) - 1
        if end == 1 or isinstance(module, _FIRST):
            return 1
        if type(module) in _LAST:  # subclasses, such as torchvision's LayerNorm2d, may move the channels
            return end
        axes = [axis for axis in range(1, end + 1) if shape[axis] > 1]
        if (larger := self._shape(2 * size)) and len(larger) == len(shape):
            axes = [axis for axis in axes if larger[axis] == shape[axis]]
        if len(axes) != 1 and last is not None:
            width = last.out_features if isinstance(last, nn.Linear) else last.out_channels
            axes = [axis for axis in axes if shape[axis] == width]
        return axes[0] if len(axes) == 1 else None

    def _shape(self, size: int) -> tuple[int, ...] | None:
        """Shape of the output on images of that size, if the model takes them."""
        try:
            with torch.no_grad():
                return tuple(self(blank_image(self.model, size)).shape)
        except Exception:  # each network says in its own way that it is made for another size
            return None
