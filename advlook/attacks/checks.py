"""Can an accuracy under attack be believed? Seven checks of a model, each with the numbers behind it and a remedy.

They look for gradient masking and for broken evaluations, by the symptoms of Athalye et al. 2018 (Obfuscated gradients
give a false sense of security), Carlini et al. 2019 (On evaluating adversarial robustness) and AutoAttack (Croce and
Hein 2020). To pass is no proof of robustness; to fail means that accuracies under attack are too high, or do not mean
what they seem to. Accuracies are in percent of all images, right only if they are right without the attack too."""

import tomllib
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from importlib.resources import files

import torch
from torch import Tensor

from advlook import attacks
from advlook.attacks.ball import prepared
from advlook.attacks.suite import percent
from advlook.core import Classifier, Model, RequestError, cross_entropy, evaluating, input_gradient, warn_of_train_mode

# An attack counts as weaker than another beyond both margins: a point, and two standard deviations of chance. Of two
# equally strong attacks, chance decides which loses an image that only one of them loses (McNemar's test).
MARGIN_POINTS = 1.0
MARGIN_DEVIATIONS = 2.0

FAR_EPS = 0.5  # within it every image can become plain grey, and no classifier is right on two classes of grey images
MAX_FAR_POINTS = 2.0  # ten steps left sound models no image; a few stubborn images are no proof of masking
MAX_UNUSABLE_POINTS = 1.0  # images without a usable gradient may survive for that reason: their share bounds the error
SUM_TOLERANCE = 1e-2  # on a row of probabilities that sums to 1: bfloat16 misses 1 by less, logits by more
QUERIES = 100  # of random search for each image: by then it has found some of what masked gradients hide
RANDOM_TOLERANCE = 1e-4  # of the largest logit: rounding changes logits by 1e-6 of it, dropout or noise by more

# What to do where a check fails, by the name of the check.
REMEDIES: dict[str, str] = tomllib.loads(files("advlook.attacks").joinpath("remedies.toml").read_text("utf-8"))
_FGSM, _FAR, _TRANSFER, _SEARCH, _GRADIENTS, _LOGITS, _RANDOM = REMEDIES


@dataclass(frozen=True)
class Check:
    """The outcome of a check: `passed` is None where it was not run or could not decide; `finding` says why."""

    name: str
    passed: bool | None
    finding: str

    @property
    def remedy(self) -> str:
        """What to do where the check fails."""
        return REMEDIES[self.name]

    def as_row(self) -> dict[str, str]:
        """A row of a table: `{"check", "passed": "yes", "no" or "not run", "finding"}`."""
        passed = {True: "yes", False: "no", None: "not run"}[self.passed]
        return {"check": self.name, "passed": passed, "finding": self.finding}


def run_checks(
    model: Model,
    images: Tensor,
    labels: Tensor,
    eps: float,
    *,
    source: Model | None = None,
    steps: int = 10,
    batch_size: int = 250,
    seed: int = 0,
) -> list[Check]:
    """All seven checks, in the order of REMEDIES.

    images: float `(N, 3, H, W)` in [0, 1], on the model's device; labels: int64 `(N,)`; eps: L-infinity radius in pixel
    units of [0, 1]; source: another model of the same classes, usually the STD one, for the check of transfer. PGD
    takes `steps` steps from a random start, FGSM starts from the image; all draws come from `seed`. Both models run in
    eval mode and are left as they were; one in train mode brings a warning. Where the input gradient is not finite, the
    four checks that attack are not run. The cost is about that of six accuracies under PGD. Raises RequestError
    for no images, labels of another number, and as the attacks do."""
    if isinstance(images, Tensor) and isinstance(labels, Tensor) and (not len(images) or len(images) != len(labels)):
        raise RequestError(f"{len(images)} images with {len(labels)} labels: give one image or more, a label to each")
    model, images, eps = prepared(model, images, labels, eps, steps=steps, batch_size=batch_size)
    source = model if source is None else Classifier(source, labels=labels)
    for each in dict.fromkeys([model, source]):
        warn_of_train_mode(each)
    batches = list(zip(images.split(batch_size), labels.split(batch_size), strict=True))
    with evaluating(model), evaluating(source):
        clean = torch.cat([_logits(model, x) for x, _ in batches])
        zero, finite, again = (torch.cat(part) for part in zip(*(_probe(model, x, y) for x, y in batches), strict=True))
        if finite.all():
            under_attack = _under_attack(model, None if source is model else source, batches, clean, eps, steps, seed)
        else:
            why = "its attacks need a finite gradient"
            under_attack = [Check(name, None, why) for name in (_FGSM, _FAR, _TRANSFER, _SEARCH)]
    return [*under_attack, usable_gradients(zero, finite), logits_wanted(clean), same_answers(clean, again)]


def _under_attack(
    model: Classifier,
    source: Classifier | None,
    batches: Sequence[tuple[Tensor, Tensor]],
    clean: Tensor,
    eps: float,
    steps: int,
    seed: int,
) -> list[Check]:
    """The four checks that attack batches of images and labels, whose logits without an attack are `clean`."""
    labels = torch.cat([y for _, y in batches])
    right, generator = clean.argmax(1) == labels, torch.Generator(labels.device).manual_seed(seed)

    def survivors(attack: Callable[[Tensor, Tensor], Tensor]) -> Tensor:
        return right & torch.cat([_logits(model, attack(x, y)).argmax(1) == y for x, y in batches])

    fgsm = survivors(lambda x, y: attacks.fgsm(model, x, y, eps))
    pgd = survivors(lambda x, y: attacks.pgd(model, x, y, eps, steps=steps, generator=generator))
    far = survivors(lambda x, y: attacks.pgd(model, x, y, FAR_EPS, steps=steps, generator=generator))
    # MI-FGSM, because PGD stops where the source is fooled, and so rarely fools another model (Dong et al. 2018).
    transfer = None if source is None else survivors(lambda x, y: attacks.mi_fgsm(source, x, y, eps, steps=steps))
    search = survivors(lambda x, y: attacks.square(model, x, y, eps, queries=QUERIES, generator=generator))
    grey = _logits(model, torch.full_like(batches[0][0][:1], 0.5)).argmax(1)
    return [
        fgsm_against_pgd(fgsm, pgd),
        falls_to_zero(right, far, fooled_by_grey=labels != grey),
        transfer_against_pgd(transfer, pgd),
        search_against_pgd(search, pgd),
    ]


def fgsm_against_pgd(fgsm: Tensor, pgd: Tensor) -> Check:
    """From the survivors `(N,) bool` of FGSM and of PGD, which must do as much (Athalye et al. 2018)."""
    finding = f"{percent(fgsm):.1f}% right under FGSM, {percent(pgd):.1f}% under PGD, {len(pgd)} images"
    return Check(_FGSM, not _weaker(pgd, fgsm), finding)


def falls_to_zero(right: Tensor, far: Tensor, fooled_by_grey: Tensor) -> Check:
    """From the images `(N,) bool` that are right, that survive PGD at FAR_EPS, and that plain grey would fool.

    An unbounded attack must succeed (Athalye et al. 2018). Plain grey lies within FAR_EPS of every image, so a survivor
    that grey would fool is a failure of the attack; where no image but of the class that the model sees in grey is
    right, the check does not decide."""
    before, after = percent(right), percent(far)
    if not (right & fooled_by_grey).any():
        found = f"{before:.1f}% right, {after:.1f}% under PGD at eps {FAR_EPS}, all of one class"
        return Check(_FAR, None, f"{found}, which the model sees in plain grey too: perhaps it has no other answer")
    proven = percent(far & fooled_by_grey)
    finding = f"{after:.1f}% right under PGD at eps {FAR_EPS}, {proven:.1f}% where plain grey would fool the model"
    return Check(_FAR, proven <= MAX_FAR_POINTS, finding)


def transfer_against_pgd(transfer: Tensor | None, pgd: Tensor) -> Check:
    """From the survivors `(N,) bool` of a transferred attack (None: no source) and of PGD (Carlini et al. 2019)."""
    if transfer is None:
        return Check(_TRANSFER, None, "no source model was given")
    finding = f"{percent(transfer):.1f}% right under MI-FGSM on the source, {percent(pgd):.1f}% under PGD"
    return Check(_TRANSFER, not _weaker(pgd, transfer), finding)


def search_against_pgd(search: Tensor, pgd: Tensor) -> Check:
    """From the survivors `(N,) bool` of random search and of PGD, which must do as much (Athalye et al. 2018)."""
    finding = f"{percent(search):.1f}% right after {QUERIES} queries of Square, {percent(pgd):.1f}% under PGD"
    return Check(_SEARCH, not _weaker(pgd, search), finding)


def usable_gradients(zero: Tensor, finite: Tensor) -> Check:
    """From the images `(N,) bool` whose input gradient is zero, and finite, in every pixel (Athalye et al. 2018)."""
    finding = f"input gradient exactly zero on {percent(zero):.1f}%, not finite on {percent(~finite):.1f}% of images"
    return Check(_GRADIENTS, percent(zero | ~finite) <= MAX_UNUSABLE_POINTS, finding)


def logits_wanted(outputs: Tensor) -> Check:
    """From outputs `(N, classes)`: probabilities sum to 1; log-probabilities serve as well as logits."""
    sums, least = outputs.sum(1), outputs.min().item()
    probabilities = least >= 0 and ((sums - 1).abs() <= SUM_TOLERANCE).all().item()
    finding = f"least output {least:.3g}; outputs of an image sum to {sums.min().item():.4g} to {sums.max().item():.4g}"
    return Check(_LOGITS, not probabilities, finding)


def same_answers(first: Tensor, second: Tensor) -> Check:
    """From the logits `(N, classes)` of two passes on the same images: stochastic gradients (Athalye et al. 2018)."""
    changed = percent(first.argmax(1) != second.argmax(1))
    first, second = (x.nan_to_num(posinf=0.0, neginf=0.0) for x in (first, second))
    apart, largest = (first - second).abs().max().item(), first.abs().max().item()
    differ = f"logits up to {largest:.3g} differ by up to {apart:.2g} between two passes"
    return Check(_RANDOM, apart <= RANDOM_TOLERANCE * largest, f"{differ}; {changed:.1f}% of answers change")


def _weaker(attack: Tensor, other: Tensor) -> bool:
    """Whether an attack leaves more survivors `(N,) bool` than another, by more than both margins."""
    gap, differing = (attack.sum() - other.sum()).item(), (attack ^ other).sum().item()
    return gap > max(MARGIN_POINTS / 100 * len(attack), MARGIN_DEVIATIONS * differing**0.5)


@torch.no_grad()
def _logits(model: Classifier, images: Tensor) -> Tensor:
    return model(images)


def _probe(model: Classifier, images: Tensor, labels: Tensor) -> tuple[Tensor, Tensor, Tensor]:
    """Which input gradients are zero and which finite, each `(N,) bool`, and the logits of that pass `(N, classes)`."""
    gradient, logits = input_gradient(model, images, lambda z: cross_entropy(z, labels).sum())
    gradient = gradient.flatten(1)
    return (gradient == 0).all(1), gradient.isfinite().all(1), logits
