"""Accuracies, in percent: clean, top-k, under attack. What shows images to a model takes the fields of `Batches`; a
model as `core.Classifier` does, and raises the same RequestErrors; and an image set, or a pair of float images
`(N, 3, H, W)` in [0, 1] and labels."""

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from functools import partial
from itertools import count
from typing import Any

import torch
from torch import Generator, Tensor, nn

from advlook import attacks
from advlook.attacks import percent
from advlook.core import ALONE, Classifier, Device, Group, evaluating, mixed_seed, tqdm
from advlook.core.classifier import Model
from advlook.data.streaming import Images
from advlook.data.tensors import Shown, TensorImages, as_image_set
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
