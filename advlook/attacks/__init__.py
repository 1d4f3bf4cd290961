"""Attacks on image classifiers in the L-infinity and L2 ball: FGSM, PGD, MI-FGSM, APGD, and several in turn.

All of them ask autograd for the gradient of the loss with respect to the images alone, and leave the model's mode,
parameters, gradients and BatchNorm statistics as they were. FGSM is PGD with one step of size eps. An image that is
lost leaves the batch: no more work goes into it. A random start is drawn for the whole batch, so that what happens to
an image does not depend on which others are lost.
"""

from advlook.attacks.apgd import apgd, dlr, targeted_dlr
from advlook.attacks.fgsm import fgsm
from advlook.attacks.mi_fgsm import mi_fgsm
from advlook.attacks.noise import random_noise
from advlook.attacks.pgd import pgd
from advlook.attacks.suite import SUITE, SuiteResult, attack_suite

__all__ = [
    "SUITE",
    "SuiteResult",
    "apgd",
    "attack_suite",
    "dlr",
    "fgsm",
    "mi_fgsm",
    "pgd",
    "random_noise",
    "targeted_dlr",
]
