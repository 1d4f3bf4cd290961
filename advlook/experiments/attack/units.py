"""What of notebook 02 can be measured again alone."""

import random
from collections.abc import Iterator
from functools import partial

from advlook.attacks.suite import SUITE
from advlook.experiments.attack import measure
from advlook.models.evaluation import Attack, accuracy_under
from advlook.study.study import ModelKey, Study
from advlook.study.verification import ATTACKED, Row, Unit, who

MANY = 10_000  # gradients of images: a unit that takes more takes minutes


def units(study: Study, rng: random.Random) -> Iterator[Unit]:
    """Every attack on every model, transfer from one model to another, smallest radii, and the checks."""
    models, config = list(study.each_model()), study.preset.evaluation
    images = len(study.test.subset(config.curve_images))
    for key in models:
        for about, attack in measure.attack_cells(study):
            slow = about["steps"] * about["restarts"] * images > MANY
            again = partial(_accuracy, study, key, attack)
            yield Unit("02_attacks", who(key) | about, again, allowed=ATTACKED, slow=slow)
        for target in models:
            names = dict(zip(("target_arch", "target_setting", "target_seed"), target, strict=True))
            again = partial(measure.transfer, study, key, [target])
            slow = config.pgd_steps * images > MANY
            yield Unit("02_transfer", who(key) | names, again, allowed=ATTACKED, slow=slow)
        radii = partial(measure.smallest_radii, study, key)
        yield Unit("02_radii", who(key), radii, ("eps",), allowed=ATTACKED, slow=True)
        yield Unit("02_checks", who(key), partial(_checks, study, key), ("check",), slow=True)
        whole = partial(_suite, study, key)
        yield Unit("02_attacks", who(key), whole, ("attack",), allowed=ATTACKED, slow=True)


def _accuracy(study: Study, key: ModelKey, attack: Attack) -> Iterator[Row]:
    config = study.preset.evaluation
    images, where = study.test.subset(config.curve_images), {"batch_size": config.batch_size, "device": study.device}
    yield {"top1": accuracy_under(study.model(*key), images, attack, **where), "images": len(images)}


def _checks(study: Study, key: ModelKey) -> Iterator[Row]:
    """Without the findings, whose numbers another processor may round otherwise."""
    return ({"check": row["check"], "passed": row["passed"]} for row in measure.trust(study, key))


def _suite(study: Study, key: ModelKey) -> Iterator[Row]:
    return (row for row in measure.attack_rows(study, key) if str(row["attack"]).endswith(SUITE))
