"""Batch normalisation folded into the convolutions before it, of any network: pairs are found by running it."""

from collections import Counter, defaultdict
from collections.abc import Collection
from contextlib import ExitStack
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn.modules.batchnorm import _BatchNorm
from torch.nn.utils.fusion import fuse_conv_bn_weights
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_leaves
from torchvision.ops import FrozenBatchNorm2d

from advlook.core import RequestError, check_finite
from advlook.core.copies import channels_last, copied
from advlook.core.errors import NotDefinedError
from advlook.core.probing import at_suited_size, blank_image, check_visible
from advlook.models.architectures import is_ours

_CONVOLUTIONS = (nn.Conv1d, nn.Conv2d, nn.Conv3d)
NORMS = (_BatchNorm, FrozenBatchNorm2d)


def for_inference(model: nn.Module) -> nn.Module:
    """A model as evaluation runs it: of this project's a folded copy, which is faster; any other as it is."""
    return folded(model) if is_ours(model) else model


@torch.no_grad()
def folded(model: nn.Module, *, size: int | None = None, required: Collection[str] | None = None) -> nn.Module:
    """A copy in eval mode in which batch normalisation that follows a convolution is folded into it (answers differ by
    rounding); where none follows, or it follows something else, all stays.

    size: pixels a side of the image that is run to see what follows what; by default the first of `probing.SIZES` that
    suits the model. required: names of convolutions, by default all, of which it raises NotDefinedError where a
    normalisation follows one of them but cannot be folded, because the convolution's output has other uses, say; of
    others it stays. RequestError where the model cannot be run."""
    check_visible(model, "folded")
    fold = channels_last(copied(model).eval())
    names = {module: name for name, module in fold.named_modules()}
    if not all(any(isinstance(module, kinds) for module in names) for kinds in (_CONVOLUTIONS, NORMS)):
        return fold
    image, before, pairs = _traced(fold, size, names, required)
    for convolution, norm in pairs.items():
        given = convolution.weight, convolution.bias, norm.running_mean, norm.running_var, norm.eps
        convolution.weight, convolution.bias = fuse_conv_bn_weights(*given, norm.weight, norm.bias)
    for name, norm in list(fold.named_modules(remove_duplicate=False)):
        if norm in pairs.values():
            _switch_off(fold, name, norm)
    if image.is_meta:  # shapes without values, by which costs are counted
        return fold
    # Whatever was overlooked (a convolution that rescales its weights, say) changes answers by more than this.
    tolerance = 10 * torch.finfo(image.dtype).eps ** 0.5
    for was, now in zip(before, _tensors(fold(image.clone())), strict=True):
        check_finite(was)
        if not torch.allclose(was, now, rtol=tolerance, atol=tolerance * was.abs().max().item()):
            raise RequestError(f"folded changes the answers of {type(model).__name__}; its convolutions are unusual")
    return fold


@torch.no_grad()
def rescales(convolution: nn.Module) -> bool:
    """Whether a convolution changes the scale of its weights as it runs, as those that standardise them do."""
    if type(convolution) in _CONVOLUTIONS or "weight" not in convolution._parameters:
        return False
    probe = copied(convolution)
    if probe.bias is not None:
        probe.bias.zero_()
    sides = [2 * dilation * kernel for dilation, kernel in zip(probe.dilation, probe.kernel_size, strict=True)]
    image = torch.rand(1, probe.in_channels, *sides, generator=torch.Generator().manual_seed(0)).to(probe.weight)
    before = probe(image)
    probe.weight.mul_(2)
    return not torch.allclose(probe(image), 2 * before, rtol=1e-3, atol=1e-3 * before.abs().max().item())


def _switch_off(model: nn.Module, name: str, norm: nn.Module) -> None:
    """Let a normalisation pass on what it gets; what else a subclass of it does, such as a ReLU, it goes on doing."""
    if type(norm) in (nn.BatchNorm1d, nn.BatchNorm2d, nn.BatchNorm3d, FrozenBatchNorm2d):
        parent, _, child = name.rpartition(".")
        setattr(model.get_submodule(parent), child, nn.Identity().train(norm.training))
        return
    norm.eps = 0.0
    norm.running_mean.zero_()
    norm.running_var.fill_(1)
    if norm.weight is not None:
        norm.weight.fill_(1)
        norm.bias.zero_()


def _traced(
    model: nn.Module, size: int | None, names: dict[nn.Module, str], required: Collection[str] | None
) -> tuple[Tensor, list[Tensor], dict[nn.Module, nn.Module]]:
    """An image, the model's answer to it, and the normalisation that follows each convolution that has one."""

    def run(side: int) -> tuple[Tensor, list[Tensor], _Trace]:
        noise = torch.rand(3, side, side, generator=torch.Generator().manual_seed(0))
        image = noise[None].to(blank_image(model, side))
        with _Trace(names) as trace:
            return image, _tensors(model(image.clone())), trace  # a copy, for it may be normalised in place

    image, answer, trace = at_suited_size(model, size, "folded", run)
    return image, answer, trace.pairs(required)


def _tensors(answer: object) -> list[Tensor]:
    return [each for each in tree_leaves(answer) if isinstance(each, Tensor)]


class _Trace(TorchDispatchMode):
    """Watches which normalisations get the outputs of which convolutions, and how often each output is used."""

    def __init__(self, names: dict[nn.Module, str]) -> None:
        super().__init__()
        self.names, self.hooks = names, ExitStack()
        self.outputs: dict[int, tuple[Tensor, nn.Module]] = {}  # kept, so that no other tensor gets the same id
        self.uses: Counter[int] = Counter()
        self.sources: dict[nn.Module, list[nn.Module | None]] = defaultdict(list)

    def __enter__(self) -> "_Trace":
        for module in self.names:
            if isinstance(module, _CONVOLUTIONS):
                self.hooks.enter_context(module.register_forward_hook(self._made))
            elif isinstance(module, NORMS):
                self.hooks.enter_context(module.register_forward_pre_hook(self._given))
        return super().__enter__()

    def __exit__(self, *error: object) -> None:
        super().__exit__(*error)
        self.hooks.close()

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        self.uses.update(id(each) for each in tree_leaves((args, kwargs)) if id(each) in self.outputs)
        return func(*args, **(kwargs or {}))

    def _made(self, module: nn.Module, _inputs: object, output: Tensor) -> None:
        self.outputs[id(output)] = output, module

    def _given(self, module: nn.Module, inputs: tuple[Tensor, ...]) -> None:
        self.sources[module].append(self.outputs.get(id(inputs[0]), (None, None))[1])

    def pairs(self, required: Collection[str] | None) -> dict[nn.Module, nn.Module]:
        """The normalisation behind each convolution that has one, where the two can be one layer; RequestError where
        they cannot and the convolution is required."""
        found = {}
        for norm, sources in self.sources.items():
            for convolution in dict.fromkeys(each for each in sources if each is not None):
                name, problem = self.names[convolution], self._problem(convolution, norm)
                if not problem:
                    found[convolution] = norm
                elif required is None or name in required:
                    pair = f"batch normalisation {self.names[norm]!r} into {name!r}"
                    message = f"folded cannot fold {pair}: {problem}; without, the filters have no strength"
                    raise NotDefinedError(message, f"{self.names[norm]!r} cannot be folded, as {problem}")
        return found

    def _problem(self, convolution: nn.Module, norm: nn.Module) -> str | None:
        """Why a convolution and the normalisation behind it cannot be one layer."""
        uses = [self.uses[key] for key, (_, module) in self.outputs.items() if module is convolution]
        if (
            len(set(self.sources[norm])) > 1
            or any(count != 1 for count in uses)
            or len(uses) != len(self.sources[norm])
        ):
            return "one of the two has other uses as well"
        if "weight" not in convolution._parameters:
            return "its weight is computed by a parametrisation"
        if rescales(convolution):
            return "its weights are standardised as it runs"
        return "it keeps no running statistics" if norm.running_mean is None else None
