"""Copies of models, new values for their tensors, and another layout of these.

Some networks keep results of earlier passes in eval mode: timm's LeViT, EfficientFormer and TinyViT the biases of their
attention. With their graph these cannot be copied, and under other weights they are wrong. By convention they are
dropped on the way to train mode."""

import copy
from collections import OrderedDict
from collections.abc import Mapping

import torch
from torch import Tensor, nn
from torch.utils._pytree import tree_leaves


def copied(model: nn.Module) -> nn.Module:
    """A deep copy in the same mode, also of a model that keeps results, which the copy has not."""
    kept = (value for module in model.modules() for value in tree_leaves(list(vars(module).values())))
    memo = {id(value): value.detach() for value in kept if isinstance(value, Tensor) and not value.is_leaf}
    made = copy.deepcopy(model, memo)
    _forget(made)
    return made


def channels_last(model: nn.Module) -> nn.Module:
    """The model itself, its weights of convolutions over images laid out as these are, which is faster on a CPU.
    `Module.to` has that layout too, but ends in a RuntimeError where a model has weights of five dimensions, as those
    of timm's LambdaNetworks."""
    with torch.no_grad():
        for each in (*model.parameters(), *model.buffers()):
            if each.dim() == 4:
                each.data = each.data.contiguous(memory_format=torch.channels_last)
    return model


def set_weights(model: nn.Module, state: Mapping[str, Tensor]) -> None:
    """Give all tensors of a model the values in `state`. A plain dict of them has no versions, without which
    torchvision's MNASNet is not filled: it gets those of the model."""
    versioned = OrderedDict(state)
    versioned._metadata = model.state_dict()._metadata
    model.load_state_dict(versioned)
    _forget(model)


def _forget(model: nn.Module) -> None:
    """Have a model drop the results that it keeps, and leave every module in its mode."""
    mode, modes = model.training, {module: module.training for module in model.modules()}
    model.train()
    model.train(mode)  # by its own method, for what it does on the way
    for module, mode in modes.items():
        module.training = mode
