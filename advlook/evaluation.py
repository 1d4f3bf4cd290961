"""Accuracies, in percent: clean, top-k, and under attack."""

from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path

import pandas as pd
import torch
from torch import Tensor, nn

from advlook import attacks
from advlook.datasets import ImageSet, list_images, load_folder
from advlook.errors import RequestError
from advlook.external import Loaded, load_model
from advlook.models import folded

Attack = Callable[[nn.Module, Tensor, Tensor], Tensor]

# The attacks by the names that the command line knows: (model, images, labels, eps, steps, generator) -> images.
NAMED_ATTACKS: dict[str, Callable[..., Tensor]] = {
    "noise": lambda m, x, y, eps, steps, g: attacks.random_noise(m, x, y, eps, generator=g),
    "fgsm": lambda m, x, y, eps, steps, g: attacks.fgsm(m, x, y, eps),
    "pgd": lambda m, x, y, eps, steps, g: attacks.pgd(m, x, y, eps, steps=steps, generator=g, precision="auto"),
    "mi-fgsm": lambda m, x, y, eps, steps, g: attacks.mi_fgsm(m, x, y, eps, steps=steps),
    "apgd-ce": lambda m, x, y, eps, steps, g: attacks.apgd(m, x, y, eps, steps=steps, generator=g),
    "apgd-dlr": lambda m, x, y, eps, steps, g: attacks.apgd(m, x, y, eps, steps=steps, loss="dlr", generator=g),
    "suite": lambda m, x, y, eps, steps, g: attacks.attack_suite(m, x, y, eps, steps=steps, generator=g).attacked,
}


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
    with evaluating(folded(model)) as fast:
        return torch.cat([fast(batch).float().cpu() for batch, _ in images.batches(batch_size, device)])


def percent(chosen: Tensor) -> float:
    """Share of True, in percent."""
    return 100 * chosen.double().mean().item()


def top_k(logits: Tensor, labels: Tensor, k: int = 1) -> float:
    """Share, in percent, of images whose label is among the `k` largest logits."""
    k = min(k, logits.shape[1])
    return percent((logits.topk(k, dim=1).indices == labels[:, None]).any(1))


def topk_accuracy(
    model: nn.Module, images: ImageSet, k: int = 5, *, batch_size: int = 250, device: torch.device | str = "cpu"
) -> dict[str, float]:
    """`{"top1": ..., "top5": ...}` in percent; "top5" counts the `k` best classes."""
    logits = predict(model, images, batch_size=batch_size, device=device)
    return {"top1": top_k(logits, images.labels), "top5": top_k(logits, images.labels, k)}


def survivors(
    model: nn.Module, images: ImageSet, attack: Attack, *, right: Tensor | None = None, batch_size: int = 250,
    device: torch.device | str = "cpu",
) -> Tensor:  # fmt: skip
    """Which images `(N,) bool` are right before and after `attack(model, images, labels)`.

    Images that are wrong without an attack are lost, whatever an attack would make of them, and are not attacked.
    right: bool `(N,)`, which those are not, where that is known already.
    """
    with evaluating(folded(model)) as fast:
        if right is None:
            right = correct(fast, images, batch_size=batch_size, device=device)
        alive, left = right.clone(), right.nonzero()[:, 0]
        for chosen, (batch, labels) in zip(
            left.split(batch_size), images[left].batches(batch_size, device), strict=True
        ):
            attacked = attack(fast, batch, labels)
            with torch.no_grad():
                alive[chosen] = (fast(attacked).argmax(1) == labels).cpu()
    return alive


def correct(model: nn.Module, images: ImageSet, *, batch_size: int = 250, device: torch.device | str = "cpu") -> Tensor:
    """Which images `(N,) bool` the model is right about, without an attack."""
    return predict(model, images, batch_size=batch_size, device=device).argmax(1) == images.labels


def accuracy_under(
    model: nn.Module, images: ImageSet, attack: Attack, *, right: Tensor | None = None, batch_size: int = 250,
    device: torch.device | str = "cpu",
) -> float:  # fmt: skip
    """Accuracy in percent under an attack; arguments as of `survivors`."""
    return percent(survivors(model, images, attack, right=right, batch_size=batch_size, device=device))


def suite_accuracy(
    model: nn.Module, images: ImageSet, eps: float, *, norm: str = "linf", steps: int = 100, seed: int = 0,
    right: Tensor | None = None, batch_size: int = 250, device: torch.device | str = "cpu",
) -> dict[str, float]:  # fmt: skip
    """Accuracy in percent after each attack of `attacks.attack_suite` in turn: `{"pgd", "apgd-ce", "apgd-dlr"}`."""
    generator = torch.Generator(device).manual_seed(seed)
    survived: dict[str, list[Tensor]] = {name: [] for name in attacks.SUITE}

    def suite(m: nn.Module, x: Tensor, y: Tensor) -> Tensor:
        result = attacks.attack_suite(m, x, y, eps, norm=norm, steps=steps, generator=generator)
        for name, left in survived.items():
            left.append(result.survived[name].cpu())
        return result.attacked

    survivors(model, images, suite, right=right, batch_size=batch_size, device=device)
    return {name: 100 * sum(int(part.sum()) for part in left) / len(images) for name, left in survived.items()}


def robust_accuracy(
    model: nn.Module, images: ImageSet, eps: float, *, steps: int = 10, restarts: int = 1, seed: int = 0,
    batch_size: int = 250, device: torch.device | str = "cpu",
) -> dict[str, float]:  # fmt: skip
    """Accuracies in percent, clean and within the L-infinity ball: `{"clean", "fgsm", "pgd"}`.

    FGSM without random start, PGD with one; their random draws come from `seed`.
    """
    generator = torch.Generator(device).manual_seed(seed)
    right = correct(model, images, batch_size=batch_size, device=device)

    def fgsm(m: nn.Module, x: Tensor, y: Tensor) -> Tensor:
        return attacks.fgsm(m, x, y, eps)

    def pgd(m: nn.Module, x: Tensor, y: Tensor) -> Tensor:
        return attacks.pgd(m, x, y, eps, steps=steps, restarts=restarts, generator=generator, precision="auto")

    under = {
        name: accuracy_under(model, images, attack, right=right, batch_size=batch_size, device=device)
        for name, attack in {"fgsm": fgsm, "pgd": pgd}.items()
    }
    return {"clean": percent(right), **under}


def evaluate_checkpoint(
    checkpoint: Path, arch: str, data: Path, *, attack: str = "none", eps: float = 4 / 255, steps: int = 20,
    stem: str | None = None, mean: Sequence[float] | None = None, std: Sequence[float] | None = None,
    size: int | None = None, resize: int | None = None,
) -> pd.DataFrame:  # fmt: skip
    """One row: accuracy in percent of any checkpoint on a folder of class folders, clean and under an attack.

    stem, mean and std are needed where the checkpoint does not say them (see `external.load_model`); "normalisation" in
    the row tells where mean and std came from: "given", "file", or "assumed" to be ImageNet's. Images are resized to
    `resize` pixels on the short side (as in training, else size / 0.875), and the central `size` pixels are shown (as
    in training, else 224 for the published stem).
    Raises RequestError where the checkpoint is unreadable or of another architecture, the size is not known or does not
    suit, or the folder's classes do not match.
    """
    if attack not in ("none", *NAMED_ATTACKS):
        raise RequestError(f"attack {attack!r} is unknown; choose from none, {', '.join(NAMED_ATTACKS)}")
    loaded = load_model(checkpoint, arch, stem=stem, mean=mean, std=std)
    side, short = _image_size(loaded, checkpoint, size, resize)
    classes = list_images(data)[2]
    if len(classes) != loaded.classes:
        raise RequestError(f"{data} holds {len(classes)} classes, but the checkpoint knows {loaded.classes}")
    device = torch.device("cuda" if torch.cuda.is_available() else "cpu")
    model = loaded.model.to(device, memory_format=torch.channels_last)
    images = load_folder(data, side, short)
    batch_size = max(1, min(250, 250 * 64**2 // side**2))  # what an attack keeps in memory grows with the pixels
    row = {
        "checkpoint": checkpoint.name, "images": len(images), "pixels": f"{side} of {short}",
        "normalisation": loaded.normalisation,
    }  # fmt: skip
    row |= topk_accuracy(model, images, batch_size=batch_size, device=device)
    if attack != "none":
        generator = torch.Generator(device).manual_seed(0)

        def chosen(m: nn.Module, x: Tensor, y: Tensor) -> Tensor:
            return NAMED_ATTACKS[attack](m, x, y, eps, steps, generator)

        name = f"{attack}, eps {eps * 255:g}/255" + ("" if attack in ("noise", "fgsm") else f", {steps} steps")
        row[name] = accuracy_under(model, images, chosen, batch_size=batch_size, device=device)
    return pd.DataFrame([row])


def _image_size(loaded: Loaded, checkpoint: Path, size: int | None, resize: int | None) -> tuple[int, int]:
    """Pixels to show, and pixels of the short side that they are cut out of: as asked for, else as in training."""
    side = size or loaded.size or (224 if loaded.stem == "imagenet" else None)
    if side is None:
        raise RequestError(f"checkpoint {checkpoint} does not say the size of its images; give --size in pixels")
    short = resize or (loaded.resize if side == loaded.size else None) or round(side / 0.875)
    if short < side:
        raise RequestError(f"resize={short} is below size={side}: the images would be smaller than what is shown")
    try:
        with torch.no_grad():
            loaded.model(torch.zeros(1, 3, side, side))
    except RuntimeError:
        raise RequestError(f"size={side} does not suit this network with stem {loaded.stem!r}; give another") from None
    return side, short
