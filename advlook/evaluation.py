"""Accuracies, in percent: clean, top-k, and under attack."""

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import pandas as pd
import torch
from torch import Tensor, nn

from advlook import attacks
from advlook.checkpoints import load_checkpoint, read_metadata
from advlook.datasets import ImageSet, load_folder
from advlook.errors import RequestError
from advlook.models import build_model

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
    """`{"top1": ..., "top5": ...}` in percent; "top5" counts the `k` best classes."""
    logits = predict(model, images, batch_size=batch_size, device=device)
    return {"top1": top_k(logits, images.labels), "top5": top_k(logits, images.labels, k)}


def survivors(
    model: nn.Module, images: ImageSet, attack: Attack, *, batch_size: int = 250, device: torch.device | str = "cpu"
) -> Tensor:
    """Which images `(N,) bool` are right before and after `attack(model, images, labels)`.

    Images that are wrong without an attack are lost, whatever the attack makes of them.
    """
    alive = []
    with evaluating(model):
        for batch, labels in images.batches(batch_size, device):
            attacked = attack(model, batch, labels)
            with torch.no_grad():
                alive.append(((model(batch).argmax(1) == labels) & (model(attacked).argmax(1) == labels)).cpu())
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
    logits = predict(model, images, batch_size=batch_size, device=device)

    def pgd(m: nn.Module, x: Tensor, y: Tensor) -> Tensor:
        return attacks.pgd(m, x, y, eps, steps=steps, restarts=restarts, generator=generator)

    return {
        "clean": top_k(logits, images.labels),
        "fgsm": accuracy_under(
            model, images, lambda m, x, y: attacks.fgsm(m, x, y, eps), batch_size=batch_size, device=device
        ),
        "pgd": accuracy_under(model, images, pgd, batch_size=batch_size, device=device),
    }


def evaluate_checkpoint(
    checkpoint: Path, arch: str, data: Path, *, attack: str = "none", eps: float = 4 / 255, steps: int = 20
) -> pd.DataFrame:
    """One row: accuracy in percent of a checkpoint on a folder of class folders, clean and under an attack.

    The checkpoint is one that training wrote: width, stem, normalisation and image size are read from its metadata.
    Raises RequestError where it is unreadable or of another architecture, or the folder's classes do not match.
    """
    metadata = read_metadata(checkpoint)
    made = metadata.get("training")
    if not isinstance(made, dict):
        raise RequestError(f"checkpoint {checkpoint} does not say how it was trained; use one that advlook train wrote")
    if made["arch"] != arch:
        raise RequestError(
            f"checkpoint {checkpoint} is of arch {made['arch']!r}, not {arch!r}; give --arch {made['arch']}"
        )
    config = made["data"]
    model = build_model(
        arch,
        config["classes"],
        stem=made["model"]["stem"],
        width=made["model"]["width"],
        mean=config["mean"],
        std=config["std"],
    )
    load_checkpoint(checkpoint, model)
    device = torch.device("cuda" if torch.cuda.is_available() else "cpu")
    images = load_folder(data, config["size"], metadata["test_store"])
    if len(images.classes) != config["classes"]:
        raise RequestError(f"{data} holds {len(images.classes)} classes, but the checkpoint knows {config['classes']}")
    row = {"checkpoint": checkpoint.name, "images": len(images)}
    row |= topk_accuracy(model.to(device), images, device=device)
    if attack != "none":
        generator = torch.Generator(device).manual_seed(0)
        chosen: Attack = {
            "fgsm": lambda m, x, y: attacks.fgsm(m, x, y, eps),
            "pgd": lambda m, x, y: attacks.pgd(m, x, y, eps, steps=steps, generator=generator),
        }[attack]
        name = f"{attack}, eps {eps * 255:g}/255" + (f", {steps} steps" if attack == "pgd" else "")
        row[name] = accuracy_under(model, images, chosen, device=device)
    return pd.DataFrame([row])
