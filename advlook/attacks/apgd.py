"""Auto-PGD (Croce and Hein 2020): an attack that finds its step size by itself, and the losses made for it."""

import math
from dataclasses import dataclass, fields

import torch
from torch import Tensor, nn

from advlook.attacks.active_batch import Search, check_counts
from advlook.attacks.ball import ascend, check_request, project, random_in_ball
from advlook.core.errors import RequestError
from advlook.core.gradients import at_least_float32, cross_entropy, frozen_batchnorm, per_image

LOSSES = ("ce", "dlr", "dlr-targeted")


def apgd(
    model: nn.Module,
    images: Tensor,
    labels: Tensor,
    eps: float,
    *,
    norm: str = "linf",
    steps: int = 100,
    loss: str = "ce",
    restarts: int = 1,
    generator: torch.Generator | None = None,
) -> Tensor:
    """Auto-PGD (Croce and Hein 2020, algorithm 1): the step size is found along the way, for every image by itself.

    Arguments as in `pgd`. loss: "ce" (cross-entropy), "dlr", or "dlr-targeted", which in restart 1, 2, ... aims at the
    most likely wrong class, the second most likely, ... (9 restarts are the APGD-T of AutoAttack); lost is an image
    as soon as it is misclassified, whatever was aimed at. Steps are of length 2 eps at first, with momentum 0.75; at
    checkpoints that come ever closer an image that has stopped to improve goes back to its best point and halves
    them. Returns adversarial images of the same shape, detached, the best of each. Raises RequestError as `pgd` does,
    and for an unknown loss.
    """
    eps = check_request(images, labels, eps, norm)
    check_counts(steps, restarts)
    if loss not in LOSSES:
        raise RequestError(f"loss {loss!r} is unknown; choose from {', '.join(LOSSES)}")
    if not len(images):
        return images.detach().clone()
    ranking = None
    if loss == "dlr-targeted":
        with torch.no_grad(), frozen_batchnorm(model):
            ranking = model(images).scatter(1, labels[:, None], -torch.inf).argsort(1, descending=True)[:, :-1]
    search = Search(model, images, labels, {"ce": cross_entropy, "dlr": dlr, "dlr-targeted": targeted_dlr}[loss])
    with frozen_batchnorm(model):
        for restart in range(restarts):
            if ranking is not None:
                search.aims = ranking[:, restart % ranking.shape[1]]
            current = search.start(random_in_ball(images, eps, norm, generator))
            if not len(search.alive):
                break
            _climb(search, images, current, eps, norm, steps)
    return search.best


def dlr(logits: Tensor, labels: Tensor) -> Tensor:
    """Difference of logits ratio of each image `(N,)` (Croce and Hein 2020, equation 6).

    -(z_y - max_{i != y} z_i) / (z_(1) - z_(3)), with z_(1) >= z_(2) >= ... the sorted logits: positive where the image
    is misclassified, and unchanged when the logits are shifted or scaled, which defeats a model that hides its gradient
    behind their size. Raises RequestError for fewer than three classes.
    """
    ordered = _sorted_logits(logits, 3)
    of_label, rival = _label_and_rival(logits, labels)
    return (rival - of_label) / (ordered[:, 0] - ordered[:, 2]).clamp_min(1e-12)


def targeted_dlr(logits: Tensor, labels: Tensor, targets: Tensor) -> Tensor:
    """Targeted difference of logits ratio of each image `(N,)` (Croce and Hein 2020, equation 7).

    -(z_y - z_t) / (z_(1) - (z_(3) + z_(4)) / 2). Raises RequestError for fewer than four classes.
    """
    ordered = _sorted_logits(logits, 4)
    of_label, of_target = (at_least_float32(logits).gather(1, chosen[:, None])[:, 0] for chosen in (labels, targets))
    return (of_target - of_label) / (ordered[:, 0] - (ordered[:, 2] + ordered[:, 3]) / 2).clamp_min(1e-12)


@dataclass
class _Climb:
    """Where each living image of an APGD run stands; every field has one entry an image."""

    current: Tensor
    before: Tensor  # the point of the step before
    loss: Tensor
    gradient: Tensor
    step: Tensor
    best: Tensor
    best_loss: Tensor
    best_gradient: Tensor
    rises: Tensor  # steps since the last checkpoint that raised the loss
    halved: Tensor  # whether the last checkpoint halved the step
    best_at_checkpoint: Tensor

    def keep(self, kept: Tensor) -> None:
        """Forget the images that are lost."""
        if not kept.all():
            for field in fields(self):
                setattr(self, field.name, getattr(self, field.name)[kept])

    def halve(self, window: int) -> None:
        """At a checkpoint, `window` steps after the last: back to the best point, with half the step, where stuck.

        Stuck is an image whose loss rose in fewer than 3/4 of the steps, or whose best point is that of the last
        checkpoint although the step was not halved then (conditions 1 and 2 of Croce and Hein 2020).
        """
        stuck = (self.rises < 0.75 * window) | (~self.halved & (self.best_loss <= self.best_at_checkpoint))
        self.step = torch.where(stuck, self.step / 2, self.step)
        self.current = torch.where(per_image(stuck), self.best, self.current)
        self.gradient = torch.where(per_image(stuck), self.best_gradient, self.gradient)
        self.loss = torch.where(stuck, self.best_loss, self.loss)
        self.rises, self.halved, self.best_at_checkpoint = torch.zeros_like(self.rises), stuck, self.best_loss


def _climb(search: Search, images: Tensor, start: Tensor, eps: float, norm: str, steps: int) -> None:
    """One run of APGD from `start`, of the living images; what it finds is recorded in `search`."""
    kept, loss, gradient = search.look(start)
    run = _Climb(
        current=start,
        before=start,
        loss=loss,
        gradient=gradient,
        step=torch.full_like(loss, 2 * eps),
        best=start,
        best_loss=loss,
        best_gradient=gradient,
        rises=torch.zeros_like(loss),
        halved=torch.ones_like(loss, dtype=torch.bool),
        best_at_checkpoint=loss,
    )
    run.keep(kept)
    checkpoints, last = apgd_checkpoints(steps), 0
    for done in range(1, steps + 1):
        if not len(search.alive):
            return
        centres = images[search.alive]
        ahead = project(ascend(run.current, run.gradient, run.step, norm), centres, eps, norm)
        if done > 1:
            ahead = project(
                run.current + 0.75 * (ahead - run.current) + 0.25 * (run.current - run.before), centres, eps, norm
            )
        kept, loss, gradient = search.look(ahead, gradient=done < steps)
        if done == steps:
            return
        run.rises, run.before, run.current = run.rises + (loss > run.loss), run.current, ahead
        run.loss, run.gradient = loss, gradient
        better = loss > run.best_loss
        run.best_loss = torch.where(better, loss, run.best_loss)
        run.best = torch.where(per_image(better), ahead, run.best)
        run.best_gradient = torch.where(per_image(better), gradient, run.best_gradient)
        run.keep(kept)
        if done in checkpoints:
            run.halve(done - last)
            last = done


def apgd_checkpoints(steps: int) -> list[int]:
    """Steps after which APGD reconsiders its step size (Croce and Hein 2020, section 3): 22, 41, 57, ... of 100."""
    shares = [0.0, 0.22]
    while shares[-1] < 1:
        shares.append(shares[-1] + max(shares[-1] - shares[-2] - 0.03, 0.06))
    return sorted({math.ceil(round(share * steps, 6)) for share in shares if 0 < share <= 1})


def _label_and_rival(logits: Tensor, labels: Tensor) -> tuple[Tensor, Tensor]:
    """The label's logit and the highest of the others, each `(N,)`."""
    logits, labels = at_least_float32(logits), labels[:, None]
    return logits.gather(1, labels)[:, 0], logits.scatter(1, labels, -torch.inf).amax(1)


def _sorted_logits(logits: Tensor, least: int) -> Tensor:
    if logits.shape[1] < least:
        raise RequestError(f"this loss needs at least {least} classes, the model has {logits.shape[1]}; use loss='ce'")
    return at_least_float32(logits).topk(least, dim=1).values
