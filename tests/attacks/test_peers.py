"""The attacks against those of torchattacks: as strong, on models that were trained and images that they get right.

torchattacks is a library of its own, so what both agree on is unlikely to be a mistake of either. `make test` sets
ADVLOOK_PEERS, and then it has to be there; otherwise these tests are skipped without it.
"""

import importlib.metadata
import os
from dataclasses import replace
from pathlib import Path
from typing import NamedTuple

import pytest
import torch
from packaging.requirements import Requirement
from packaging.utils import canonicalize_name
from torch import Tensor, nn

from advlook.attacks.apgd import apgd
from advlook.attacks.fgsm import fgsm
from advlook.attacks.mi_fgsm import mi_fgsm
from advlook.attacks.pgd import pgd
from advlook.core.gradients import cross_entropy, input_gradient
from advlook.core.preset_files import load_preset
from advlook.core.presets import ArchConfig
from advlook.data.test_bed import FreshImages, generate
from advlook.models.folding import for_inference
from advlook.models.training import Trainer

if os.environ.get("ADVLOOK_PEERS"):
    import torchattacks
else:
    torchattacks = pytest.importorskip("torchattacks")

IMAGES, SIDE, CLASSES = 500, 16, 10
ONE_IMAGE = 100 / IMAGES  # in points: an image whose logits tie may fall either way by rounding alone
EPS = {"std": {"linf": 2 / 255, "l2": 0.1}, "adv": {"linf": 4 / 255, "l2": 0.2}}  # each about halves the accuracy


class Victim(NamedTuple):
    """A trained model, images that it gets right, and the radii that it is attacked at."""

    model: nn.Module
    images: Tensor
    labels: Tensor
    eps: dict[str, float]


@pytest.fixture(scope="session", params=["std", "adv"])
def victim(request):
    """Trained by the project's own code, for seconds, on the embedded test-bed."""
    setting, smoke = request.param, load_preset("smoke")
    preset = replace(
        smoke,
        data=replace(smoke.data, size=SIDE, store=SIDE, test_store=SIDE, train_images=5000),
        models={"resnet10": ArchConfig(stem="small", width=8, learning_rate=0.2, epochs_std=3, epochs_adv=3)},
        training=replace(smoke.training, batch_size=50, sizes=(SIDE,), average=0.0, precision="float32"),
        adversary=replace(smoke.adversary, eps=3 / 255, step_size=3 / 255),
    )
    with torch.random.fork_rng(devices=[]):
        trainer = Trainer(preset, "resnet10", setting, 0, torch.device("cpu"))
        for _ in range(trainer.epochs):
            trainer.train_epoch(FreshImages(5000, SIDE), lambda count: None)
    # Contiguous, because torchattacks' PGDL2 fails on the gradients of a channels-last model.
    model = for_inference(trainer.model).to(memory_format=torch.contiguous_format)
    drawn = generate(4 * IMAGES, SIDE, seed=0)
    images, labels = drawn.images.float() / 255, drawn.labels
    # What both libraries draw at random is the same only if none of the images is lost before the attack.
    known = (answers(model, images) == labels).nonzero()[:IMAGES, 0]
    assert len(known) == IMAGES
    return Victim(model, images[known], labels[known], EPS[setting])


@torch.no_grad()
def answers(model, images):
    """What the model takes each image for."""
    return model(images).argmax(1)


def seeded(attack, *arguments, **options):
    """Run an attack that draws from the global random state, from a state of its own."""
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        return attack(*arguments, **options)


ATTACKS = {
    "fgsm": ("linf", fgsm, {}, "FGSM", {}),
    "pgd": ("linf", pgd, {"steps": 10, "random_start": False}, "PGD", {"steps": 10, "random_start": False}),
    "pgd, random start": ("linf", pgd, {"steps": 10}, "PGD", {"steps": 10}),
    "pgd, bfloat16": ("linf", pgd, {"steps": 10, "precision": "bfloat16"}, "PGD", {"steps": 10}),
    "pgd l2": ("l2", pgd, {"steps": 10, "random_start": False}, "PGDL2", {"steps": 10, "random_start": False}),
    "pgd l2, random start": ("l2", pgd, {"steps": 20}, "PGDL2", {"steps": 20}),
    "mi-fgsm": ("linf", mi_fgsm, {"steps": 10, "decay": 0.9}, "MIFGSM", {"steps": 10, "decay": 0.9}),
    "apgd": ("linf", apgd, {"steps": 100}, "APGD", {"steps": 100}),
}


@pytest.mark.parametrize(("norm", "ours", "our_options", "theirs", "their_options"), ATTACKS.values(), ids=ATTACKS)
def test_as_strong_as_torchattacks(victim, norm, ours, our_options, theirs, their_options):
    """At equal settings accuracy is at most 0.5 points below theirs, and never above."""
    model, images, labels, eps = victim
    if ours is not fgsm:
        our_options = our_options | {"norm": norm}
    if theirs in ("PGD", "PGDL2", "MIFGSM"):
        step = eps[norm] / (10 if theirs == "MIFGSM" else 5)
        our_options, their_options = our_options | {"step_size": step}, their_options | {"alpha": step}
    attacked = seeded(ours, model, images, labels, eps[norm], **our_options)
    by_them = seeded(getattr(torchattacks, theirs)(model, eps=eps[norm], **their_options), images, labels)
    left, left_by_them = (100 * (answers(model, x) == labels).double().mean().item() for x in (attacked, by_them))
    assert 10 <= left_by_them <= 90, "an accuracy at either end would agree whatever the attack does"
    assert -ONE_IMAGE - 1e-9 <= left_by_them - left <= 0.5 + 1e-9


@pytest.mark.parametrize("targeted", [False, True])
def test_fgsm_gives_the_same_images(victim, targeted):
    """FGSM's images are theirs pixel by pixel, but where the gradient is too small for its sign to be known."""
    model, images, labels, eps = victim
    targets = (labels + 1) % CLASSES if targeted else None
    attack = torchattacks.FGSM(model, eps=eps["linf"])
    if targeted:
        attack.set_mode_targeted_by_label(quiet=True)
    theirs = attack(images, targets if targeted else labels)
    ours = fgsm(model, images, labels, eps["linf"], targets=targets)
    aim = targets if targeted else labels
    gradient = input_gradient(model, images, lambda logits: cross_entropy(logits, aim).sum())[0].abs()
    known = gradient > 1e-5 * gradient.amax((1, 2, 3), keepdim=True)
    assert known.double().mean() > 0.99
    torch.testing.assert_close(ours[known], theirs[known], atol=1e-6, rtol=0)


def test_targets_are_hit_as_often(victim):
    """Targeted PGD reaches the target at least as often as theirs, and little more often."""
    model, images, labels, eps = victim
    targets = (labels + 1) % CLASSES
    radius, step = 2 * eps["linf"], eps["linf"] / 5
    attack = torchattacks.PGD(model, eps=radius, alpha=step, steps=10, random_start=False)
    attack.set_mode_targeted_by_label(quiet=True)
    theirs = attack(images, targets)
    ours = pgd(model, images, labels, radius, steps=10, step_size=step, random_start=False, targets=targets)
    hits, their_hits = (100 * (answers(model, x) == targets).double().mean().item() for x in (ours, theirs))
    assert 2 <= their_hits <= 90
    # Ours stays at the target once it is there, theirs may move on.
    assert -ONE_IMAGE - 1e-9 <= hits - their_hits <= 2


@pytest.mark.parametrize(
    ("ours", "theirs", "options"),
    [
        ({"norm": "l2"}, "APGD", {"norm": "L2"}),
        ({"loss": "dlr"}, "APGD", {"loss": "dlr"}),
        ({"loss": "dlr-targeted"}, "APGDT", {"n_classes": 2}),  # so that it aims at one class, the most likely one
    ],
    ids=["l2", "dlr", "dlr-targeted"],
)
def test_apgd_goes_the_same_way(victim, ours, theirs, options):
    """From the same starting points the variants of APGD lose the very same images in 100 steps.

    In 100 steps, because for other numbers torchattacks rounds the checkpoints otherwise than the paper does.
    """
    model, images, labels, eps = victim
    images, labels = images[:50], labels[:50]
    radius = eps[ours.get("norm", "linf")]
    attacked = seeded(apgd, model, images, labels, radius, steps=100, **ours)
    attack = getattr(torchattacks, theirs)(model, eps=radius, steps=100, seed=0, **options)
    kept, kept_by_them = (answers(model, x) == labels for x in (attacked, seeded(attack, images, labels)))
    assert 5 <= kept_by_them.sum() <= 45
    assert (kept != kept_by_them).sum() <= 1


@pytest.mark.parametrize("loss", ["ce", "dlr"])
def test_apgd_is_as_strong_as_the_reference(victim, loss):
    """The authors' own APGD, where the benchmark's requirements are installed, loses as many images in 100 steps."""
    reference = pytest.importorskip("pyautoattack.autopgd_base")
    model, images, labels, eps = victim
    images, labels = images[:200], labels[:200]
    attack = reference.APGDAttack(model, n_iter=100, norm="Linf", eps=eps["linf"], loss=loss, seed=0, device="cpu")
    by_them = seeded(attack.perturb, images, labels)
    attacked = seeded(apgd, model, images, labels, eps["linf"], steps=100, loss=loss)
    left, left_by_them = (int((answers(model, x) == labels).sum()) for x in (attacked, by_them))
    assert 20 <= left_by_them <= 180
    assert -1 <= left_by_them - left <= 1  # 0.5 points


def test_what_torchattacks_asks_for_is_there():
    """It is installed without its requirements, so the constraints must hold all of them but the one it never uses."""
    lines = (Path(__file__).parents[2] / "constraints.txt").read_text().splitlines()
    pinned = (line.split("==") for line in lines if not line.startswith("#"))
    pins = {canonicalize_name(name): version for name, version in pinned}
    assert importlib.metadata.version("torchattacks") == pins["torchattacks"]
    for requirement in map(Requirement, importlib.metadata.requires("torchattacks")):
        if requirement.name != "requests":
            assert requirement.specifier.contains(pins[canonicalize_name(requirement.name)])
    sources = Path(torchattacks.__file__).parent.rglob("*.py")
    assert not any("import requests" in source.read_text(encoding="utf-8") for source in sources)
