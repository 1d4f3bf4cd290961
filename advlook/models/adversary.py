"""The adversary inside adversarial training (paper: FGSM in the L-infinity ball; controls: PGD, the L2 ball)."""

from contextlib import nullcontext

import torch.nn.functional as F
from torch import Generator, Tensor
from torch.nn import Module

from advlook.attacks.ball import ascend, project, random_in_ball
from advlook.core import AdversaryConfig, frozen_buffers, input_gradient


def ramped_eps(config: AdversaryConfig, epoch: int, epochs: int) -> float:
    """Radius in epoch 0, 1, ... of `epochs`: it rises in equal steps and is full when the ramp is over."""
    return config.eps * min(1.0, (epoch + 1) / (config.ramp_epochs(epochs) + 1))


def training_attack(
    model: Module, images: Tensor, labels: Tensor, how: AdversaryConfig, eps: float, noise: Generator, weight: float = 1
) -> Tensor:
    """Adversarial images to train on, within `eps` of `images`, float `(N, 3, H, W)` in [0, 1]. The model stays in
    train mode: the attack sees the function that the next update sees. Without random start, FGSM is one step of size
    eps (the paper's attack); with one, its step is `how.step_size`, as in Wong et al. 2020. weight: of these images'
    mean loss in that of a batch which several processes share."""
    one_step = how.method == "fgsm"
    step = eps if one_step and not how.random_start else how.step_size / how.eps * eps
    attacked = random_in_ball(images, eps, how.norm, noise) if how.random_start else images
    with nullcontext() if how.updates_batchnorm else frozen_buffers(model):
        for _ in range(1 if one_step else how.steps):
            gradient, _ = input_gradient(model, attacked, lambda z: F.cross_entropy(z.float(), labels) * weight)
            attacked = project(ascend(attacked, gradient, step, how.norm), images, eps, how.norm)
    return attacked


def overfits_catastrophically(history: list[dict[str, float]]) -> bool:
    """Whether PGD accuracy has collapsed below half of FGSM accuracy and of its best (Wong et al. 2020)."""
    checks = [entry for entry in history if "pgd" in entry]
    best = max((entry["pgd"] for entry in checks), default=0)
    return best >= 5 and checks[-1]["pgd"] < 0.5 * min(best, checks[-1]["fgsm"])
