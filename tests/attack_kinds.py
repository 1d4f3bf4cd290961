"""The attacks with the arguments by which tests call them."""

from functools import partial

import pytest
import torch

from advlook.attacks.apgd import apgd
from advlook.attacks.ball import random_noise
from advlook.attacks.fgsm import fgsm
from advlook.attacks.margin import margin_attack
from advlook.attacks.mi_fgsm import mi_fgsm
from advlook.attacks.pgd import pgd
from advlook.attacks.square import square

ATTACKS = {
    "fgsm": (fgsm, "linf"),
    "fgsm, random start": (partial(fgsm, random_start=True), "linf"),
    "pgd linf": (partial(pgd, steps=3, random_start=False), "linf"),
    "pgd linf, random starts": (partial(pgd, steps=3, restarts=2), "linf"),
    "pgd linf, long steps": (partial(pgd, steps=3, step_size=0.7), "linf"),
    "pgd linf, bfloat16": (partial(pgd, steps=3, restarts=2, precision="bfloat16"), "linf"),
    "pgd l2": (partial(pgd, norm="l2", steps=3, random_start=False), "l2"),
    "pgd l2, random starts": (partial(pgd, norm="l2", steps=3, restarts=2), "l2"),
    "pgd l2, long steps": (partial(pgd, norm="l2", steps=3, step_size=3.0), "l2"),
    "mi-fgsm linf": (partial(mi_fgsm, steps=3), "linf"),
    "mi-fgsm l2, long steps": (partial(mi_fgsm, norm="l2", steps=3, step_size=3.0), "l2"),
    "apgd linf": (partial(apgd, steps=8), "linf"),
    "apgd linf, dlr": (partial(apgd, steps=8, loss="dlr", restarts=2), "linf"),
    "apgd l2": (partial(apgd, norm="l2", steps=8), "l2"),
    "apgd l2, dlr": (partial(apgd, norm="l2", steps=8, loss="dlr", restarts=2), "l2"),
    "margin linf": (partial(margin_attack, steps=4, rivals=2), "linf"),
    "margin l2": (partial(margin_attack, norm="l2", steps=4, rivals=2), "l2"),
    "square linf": (partial(square, queries=20), "linf"),
    "square l2": (partial(square, norm="l2", queries=20), "l2"),
    "noise linf": (random_noise, "linf"),
    "noise l2": (partial(random_noise, norm="l2"), "l2"),
}
each_attack = pytest.mark.parametrize(("attack", "norm"), ATTACKS.values(), ids=ATTACKS.keys())


def function(attack):
    """The attack behind a partial."""
    return getattr(attack, "func", attack)


def seeded(attack):
    """The same attack, whose draws, where it makes any, are those of one seed."""
    if function(attack) is mi_fgsm:
        return attack
    return lambda *args, **kwargs: attack(*args, **kwargs, generator=torch.Generator().manual_seed(0))
