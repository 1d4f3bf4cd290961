"""Accuracies, in percent: clean, top-k, under attack. What shows images to a model takes the fields of `Batches`; a
model as `core.Classifier` does, and raises the same RequestErrors; and an image set, or a pair of float images
`(N, 3, H, W)` in [0, 1] and labels."""

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from functools import partial
from itertools import count
from pathlib import Path
from typing import Any

import pandas as pd
import torch
from torch import Generator, Tensor, nn

from advlook import attacks
from advlook.attacks import NAMED_ATTACKS, percent
from advlook.attacks.suite import undefined
from advlook.core import ALONE, Classifier, Device, Group, RequestError, check_choice, evaluating, mixed_seed, tqdm
from advlook.core.classifier import Model
from advlook.data.streaming import Images, StreamedImages
from advlook.data.tensors import Shown, TensorImages, as_image_set
from advlook.models.asked import Picked, classes_asked, images_asked
from advlook.models.external import Loaded, load_model
from advlook.models.folding import for_inference

# (model, images, labels, the generator of all that it draws) -> adversarial images
Attack = Callable[[nn.Module, Tensor, Tensor, Generator], Tensor]
Judge = Callable[[Tensor, Tensor], Tensor]  # (logits, labels) -> bool (n,)


@dataclass(frozen=True)
class Batches:
    """How images are shown to a model: so many at once, on a device, and each batch by one process of a group."""

    batch_size: int = 250
    device: Device = "cpu"
    group: Group = ALONE
    title: str | None = None  # of a progress bar; None: no bar

    def dealt(
        self, images: Images | TensorImages, numbers: Tensor | None = None
    ) -> Iterator[tuple[int, Tensor, Tensor, Tensor]]:
        """This process's batches of the images `numbers` (None: all): a batch's number, its numbers, images, labels."""
        numbers = torch.arange(len(images)) if numbers is None else numbers
        mine = numbers[self.group.dealt(len(numbers), self.batch_size)]
        if not len(mine):
            return
        shown = images.batches(self.batch_size, self.device, mine)
        places = count(self.group.rank, self.group.size)
        hidden = self.title is None or not self.group.leads
        with tqdm(total=len(numbers), desc=self.title, unit=" images", leave=False, disable=hidden) as bar:
            for number, chosen, (batch, labels) in zip(places, mine.split(self.batch_size), shown, strict=False):
                yield number, chosen, batch, labels
                bar.update(min(self.batch_size * self.group.size, len(numbers) - bar.n))  # others are about as far

    def joined(self, found: Tensor) -> Tensor:
        """What all processes have found, bool, where each has False in the places of the others."""
        return self.group.total(found.to(self.device, torch.uint8)).cpu().bool()


def as_classifier(model: Model, labels: Tensor | None = None) -> Classifier:
    """A model as this package asks it (`core.Classifier`), with batch normalisation folded in where it is one of ours.
    labels: what it is to answer."""
    model = model.model if isinstance(model, Classifier) else model
    return Classifier(for_inference(model) if isinstance(model, nn.Module) else model, labels=labels)


@torch.no_grad()
def predict(model: Model, images: Shown, *, batch_size: int = 250, device: Device = "cpu") -> Tensor:
    """Logits `(N, classes)` of every image, on the CPU, in eval mode."""
    with evaluating(as_classifier(model)) as fast:
        batches = as_image_set(images).batches(batch_size, device)
        return torch.cat([fast(batch).float().cpu() for batch, _ in batches])


def _among_best(logits: Tensor, labels: Tensor, k: int) -> Tensor:
    k = min(k, logits.shape[1])
    return (logits.topk(k, dim=1).indices == labels[:, None]).any(1)


def top_k(logits: Tensor, labels: Tensor, k: int = 1) -> float:
    """Share, in percent, of images whose label is among the `k` largest logits."""
    return percent(_among_best(logits, labels, k))


def found_among(model: Model, images: Shown, ks: Sequence[int], **batches: object) -> Tensor:
    """Which images have their label among the k largest logits, for each of `ks`: bool `(N, len(ks))`."""
    return _judged(model, images, [partial(_among_best, k=k) for k in ks], **batches)


def topk_accuracy(model: Model, images: Shown, k: int = 5, **batches: object) -> dict[str, float]:
    """`{"top1": ..., "top5": ...}` in percent; "top5" counts the `k` best classes."""
    first, best = found_among(model, images, (1, k), **batches).unbind(1)
    return {"top1": percent(first), "top5": percent(best)}


def correct(model: Model, images: Shown, **batches: object) -> Tensor:
    """Which images `(N,) bool` the model is right about, without an attack."""
    return _judged(model, images, [lambda logits, labels: logits.argmax(1) == labels], **batches)[:, 0]


@torch.no_grad()
def _judged(model: Model, images: Shown, judges: Sequence[Judge], **batches: object) -> Tensor:
    """What every judge says of the answer to every image: bool `(N, len(judges))`."""
    how, images = Batches(**batches), as_image_set(images)
    found = torch.zeros(len(images), len(judges), dtype=torch.bool)
    with evaluating(as_classifier(model, images.labels)) as fast:
        for _, chosen, batch, labels in how.dealt(images):
            logits = fast(batch).float()
            found[chosen] = torch.stack([judge(logits, labels) for judge in judges], 1).cpu()
    return how.joined(found)


def survivors(
    model: Model, images: Shown, attack: Attack, *, seed: int = 0, right: Tensor | None = None, **batches: object
) -> Tensor:
    """Which images `(N,) bool` are right before and after `attack(model, images, labels, generator)`. The generator of
    a batch depends on `seed` and the batch's number alone, so the result does not depend on the number of processes;
    all of them get the whole. right: bool `(N,)`, which images are right without an attack, where known."""
    how, images = Batches(**batches), as_image_set(images)
    with evaluating(as_classifier(model, images.labels)) as fast:
        if right is None:
            right = correct(fast, images, **batches | {"title": None})
        alive = torch.zeros_like(right)
        for number, chosen, batch, labels in how.dealt(images, right.nonzero()[:, 0]):
            generator = torch.Generator(how.device).manual_seed(mixed_seed(seed, number))
            attacked = attack(fast, batch, labels, generator)
            with torch.no_grad():
                alive[chosen] = (fast(attacked).argmax(1) == labels).cpu()
    return how.joined(alive)


def accuracy_under(model: Model, images: Shown, attack: Attack, **options: object) -> float:
    """Accuracy in percent under an attack; options as of `survivors`."""
    return percent(survivors(model, images, attack, **options))


def suite_accuracy(
    model: Model, images: Shown, eps: float, *, steps: int = 100, right: Tensor | None = None, **how: Any
) -> dict[str, float]:
    """Accuracy in percent after each attack of `attacks.attack_suite` in turn: `{"pgd", "apgd-ce", "apgd-dlr"}`,
    without those that it leaves out; right as of `survivors`."""
    where, images = Batches(**how), as_image_set(images)
    left, ran = torch.zeros(2, len(attacks.SUITE), dtype=torch.int64, device=where.device)

    def suite(m: nn.Module, x: Tensor, y: Tensor, generator: Generator) -> Tensor:
        result = attacks.attack_suite(m, x, y, eps, steps=steps, generator=generator)
        for place, name in enumerate(attacks.SUITE):
            if name in result.survived:
                ran[place] += 1
                left[place] += result.survived[name].sum()
        return result.attacked

    survivors(model, images, suite, right=right, **how)
    left, ran = where.group.total(torch.stack([left, ran]))
    shares = zip(attacks.SUITE, (100 * left.double() / len(images)).tolist(), ran.tolist(), strict=True)
    return {name: share for name, share, some in shares if some or not ran.any()}  # none ran: no image was right


def robust_accuracy(model: Model, images: Shown, eps: float, *, steps: int = 10, **how: Any) -> dict[str, float]:
    """Accuracies in percent, `{"clean", "fgsm", "pgd"}`, in the L-infinity ball; PGD with a random start."""
    right = correct(model, images, **how)
    under = robust_survivors(model, images, eps, steps=steps, right=right, **how)
    return {"clean": percent(right)} | {name: percent(alive) for name, alive in under.items()}


def robust_survivors(
    model: Model, images: Shown, eps: float, *, steps: int = 10, restarts: int = 1, **options: object
) -> dict[str, Tensor]:
    """Which images `(N,) bool` are right under "fgsm" and "pgd" of `robust_accuracy`; options as of `survivors`."""
    effort = {"steps": steps, "restarts": restarts, "precision": "auto"}
    tried: dict[str, Attack] = {
        "fgsm": lambda m, x, y, generator: attacks.fgsm(m, x, y, eps),
        "pgd": lambda m, x, y, generator: attacks.pgd(m, x, y, eps, generator=generator, **effort),
    }
    return {name: survivors(model, images, attack, **options) for name, attack in tried.items()}


def evaluate_checkpoint(
    checkpoint: Path,
    arch: str,
    data: Path,
    *,
    attack: str = "none",
    eps: float = 4 / 255,
    steps: int = 20,
    size: int | None = None,
    resize: int | None = None,
    limit: int = 0,
    classes: Path | None = None,
    split: str = "all",
    group: Group = ALONE,
    progress: bool = True,
    **described: Any,
) -> pd.DataFrame:
    """One row: accuracy in percent of any checkpoint on a folder of class folders, clean and under an attack; all
    processes of the group return the same. limit: so many images, drawn by a fixed seed; 0: all. split: "all" images of
    the folder, or those "held-out" from training (`asked.images_asked`). classes: a file that names the class of every
    logit, one a line; folders are matched with classes by name, and only the logits of these count ("classes" and
    "names" in the row: as of `asked.classes_asked`). described: stem, mean, std and weights as of
    `external.load_model`; "normalisation" in the row tells where mean and std come from: "given", "file", or "assumed"
    to be ImageNet's. Images are streamed, resized to `resize` pixels on the short side (as in training, else size /
    0.875), and cut to the central `size` (as in training, else 224 for the published stem). The table's attrs["notes"]
    are lines for the user on what was assumed. Raises RequestError as `load_model`, `images_asked` and `classes_asked`
    do, and where the size does not suit."""
    check_choice("attack", attack, ("none", *NAMED_ATTACKS))
    loaded = load_model(checkpoint, arch, **described)
    side, short = _image_size(loaded, checkpoint, size, resize)
    listing, notes = images_asked(checkpoint, data, split)
    places, source, more = classes_asked(loaded, listing.classes, checkpoint, data, classes)
    left_out = undefined(attacks.SUITE if attack == "suite" else (attack,), len(places))
    if loaded.normalisation == "assumed":
        silent = f"{checkpoint} does not say its normalisation, so ImageNet's is assumed"
        notes = [f"{silent}; give --mean and --std where it is another", *notes]
    device = torch.device("cuda" if torch.cuda.is_available() else "cpu")
    model = loaded.model.to(device, memory_format=torch.channels_last)
    if places != list(range(loaded.classes)):
        model = Picked(for_inference(model), places).to(device)
    images = StreamedImages(listing.subset(limit), side, short)
    # What an attack keeps in memory grows with the pixels: a GPU is filled with 250, a laptop need not be.
    batch_size = 250 if device.type == "cuda" else max(1, min(250, 250 * 64**2 // side**2))
    how = {"batch_size": batch_size, "device": device, "group": group}
    first, best = found_among(model, images, (1, 5), **how, title="clean" if progress else None).unbind(1)
    row = {"checkpoint": checkpoint.name, "images": len(images), "pixels": f"{side} of {short}"}
    row |= {"normalisation": loaded.normalisation, "classes": f"{len(places)} of {loaded.classes}", "names": source}
    row |= {"top1": percent(first), "top5": percent(best)}
    if attack != "none":
        name = f"{attack}, eps {eps * 255:g}/255" + ("" if attack in ("noise", "fgsm") else f", {steps} steps")
        name += f", without {', '.join(left_out)}" if left_out else ""
        how |= {"right": first, "title": attack if progress else None}
        chosen = NAMED_ATTACKS[attack]
        row[name] = accuracy_under(model, images, lambda m, x, y, g: chosen(m, x, y, eps, steps, g), **how)
    table = pd.DataFrame([row])
    table.attrs["notes"] = notes + more
    return table


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
