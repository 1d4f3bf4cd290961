"""Attacks on image classifiers in the L-infinity and L2 ball: FGSM, PGD, MI-FGSM, APGD, minimum margin, Square, and a
suite of several.

Attacks take the gradient of the loss with respect to the images alone, and leave the model's mode, parameters,
gradients and buffers as they were. A model is any that `core.Classifier` takes; images of half precision are attacked
in float32, which adversarial images then have, and cast to the model's type wherever it is asked. In PGD and APGD an
image that is lost leaves the batch. A random start is drawn for the whole batch: the result for an image does not
depend on which others are lost."""

from advlook.attacks.apgd import apgd, dlr, targeted_dlr
from advlook.attacks.ball import check_counts, check_length, random_noise
from advlook.attacks.fgsm import fgsm
from advlook.attacks.margin import margin_attack
from advlook.attacks.mi_fgsm import mi_fgsm
from advlook.attacks.pgd import pgd
from advlook.attacks.square import square
from advlook.attacks.suite import NAMED_ATTACKS, SUITE, SUITE_PGD_STEPS, SuiteResult, attack_suite, percent
