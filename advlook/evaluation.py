"""Accuracies, in percent: clean, top-k, and under attack."""

from collections.abc import Callable, Iterator
from contextlib import contextmanager

import torch
from torch import Tensor, nn

from advlook import attacks
from advlook.datasets import ImageSet

Attack = Callable[[nn.Module, Tensor, Tensor], Tensor]


@contextmanager
def evaluating(model: nn.Module) -> Iterator[nn.Module]:
    """Within the block the model is in eval mode; afterwards every module has its own mode back."""
    modes = [(module, module.training) for module in model.modules()]
    model.eval()
    try:
        yield model
    finally:
        for module, mode in modes:
            module.training = mode


@torch.no_grad()
def predict(model: nn.Module, images: ImageSet, *, batch_size: int = 250, device: torch.device | str = "cpu") -> Tensor:
    """Logits `(N, classes)` of every image, on the CPU, in eval mode."""
    with evaluating(model):
        return torch.cat([model(batch).float().cpu() for batch, _ in images.batches(batch_size, device)])


def top_k(logits: Tensor, labels: Tensor, k: int = 1) -> float:
    """Share, in percent, of images whose label is among the `k` largest logits."""
    k = min(k, logits.shape[1])
    return 100 * (logits.topk(k, dim=1).indices == labels[:, None]).any(1).double().mean().item()


def topk_accuracy(
    model: nn.Module, images: ImageSet, k: int = 5, *, batch_size: int = 250, device: torch.device | str = "cpu"
) -> dict[str, float]:
    """`{"top1": ..., "top5": ...}` in percent; the second key is always "top5", of `k` where there are fewer classes."""
    logits = predict(model, images, batch_size=batch_size, device=device)
    return {"top1": top_k(logits, images.labels), "top5": top_k(logits, images.labels, k)}


def survivors(
    model: nn.Module, images: ImageSet, attack: Attack, *, batch_size: int = 250, device: torch.device | str = "cpu"
) -> Tensor:
    """Which images `(N,) bool` are right before and after `attack(model, images, labels)`.

    Images that are wrong without an attack are not attacked: no perturbation is needed to lose them.
    """
    alive = []
    with evaluating(model):
        for batch, labels in images.batches(batch_size, device):
            with torch.no_grad():
                right = model(batch).argmax(1) == labels
                if right.any():
                    with torch.enable_grad():
                        attacked = attack(model, batch[right], labels[right])
                    right[right.clone()] = model(attacked).argmax(1) == labels[right]
            alive.append(right.cpu())
    return torch.cat(alive)


def accuracy_under(
    model: nn.Module, images: ImageSet, attack: Attack, *, batch_size: int = 250, device: torch.device | str = "cpu"
) -> float:
    """Accuracy in percent under an attack."""
    return 100 * survivors(model, images, attack, batch_size=batch_size, device=device).double().mean().item()


def robust_accuracy(
    model: nn.Module, images: ImageSet, eps: float, *, steps: int = 10, restarts: int = 1, seed: int = 0,
    batch_size: int = 250, device: torch.device | str = "cpu",
) -> dict[str, float]:  # fmt: skip
    """Accuracies in percent, clean and within the L-infinity ball: `{"clean", "fgsm", "pgd"}`.

    FGSM without random start, PGD with one; their random draws come from `seed`.
    """
    generator = torch.Generator(device).manual_seed(seed)
    nothing = accuracy_under(model, images, lambda m, x, y: x, batch_size=batch_size, device=device)

    def pgd(m: nn.Module, x: Tensor, y: Tensor) -> Tensor:
        return attacks.pgd(m, x, y, eps, steps=steps, restarts=restarts, generator=generator)

    return {
        "clean": nothing,
        "fgsm": accuracy_under(
            model, images, lambda m, x, y: attacks.fgsm(m, x, y, eps), batch_size=batch_size, device=device
        ),
        "pgd": accuracy_under(model, images, pgd, batch_size=batch_size, device=device),
    }
