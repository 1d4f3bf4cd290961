"""Linear probes: against ridge regression by another road, and what may not decide them."""

import numpy as np
import pytest
import torch
import torch.nn.functional as F

from advlook.models import probes
from advlook.models.probes import FOLDS, PENALTIES, Probes, shuffled_folds


def blobs(count=300, classes=4, width=12, spread=1.5, seed=0):
    """Features of classes around random centres, of very different scales and offsets, and their labels."""
    generator = torch.Generator().manual_seed(seed)
    labels = torch.arange(count) % classes
    centres = torch.randn(classes, width, generator=generator)
    features = centres[labels] + spread * torch.randn(count, width, generator=generator)
    return 10.0 ** torch.linspace(-2, 2, width) * features + 5, labels


def probes_of(features, labels, folds=FOLDS):
    return Probes(features, labels, int(labels.max()) + 1, shuffled_folds(labels, folds))


def by_least_squares(features, labels, penalty):
    """Ridge regression on standardised features, as least squares with rows added for the penalty: the logits."""
    scaled = (features - features.mean(0)) / features.std(0, correction=0)
    targets = F.one_hot(labels).double()
    rows = torch.cat([scaled, (len(scaled) * penalty) ** 0.5 * torch.eye(scaled.shape[1])])
    wanted = torch.cat([targets - targets.mean(0), torch.zeros(scaled.shape[1], targets.shape[1])])
    return scaled @ torch.linalg.lstsq(rows, wanted).solution + targets.mean(0)


@pytest.mark.parametrize("penalty", [PENALTIES[0], 0.1, PENALTIES[-1]])
def test_a_classifier_is_ridge_regression(penalty, monkeypatch):
    """Its logits are those of least squares on standardised features with the penalty as further rows."""
    monkeypatch.setattr(probes, "PENALTIES", (penalty,))
    features, labels = (each.double() if each.is_floating_point() else each for each in blobs())
    found = probes_of(features, labels).fitted()
    torch.testing.assert_close(
        found(features.float()).double(), by_least_squares(features, labels, penalty), rtol=0, atol=1e-4
    )


def test_scales_and_offsets_of_features_do_not_matter():
    """Features in other units, and a constant one more, give the same answers."""
    features, labels = blobs()
    other = torch.cat([3 * features - 7, torch.full((len(features), 1), 2.5)], dim=1)
    one, two = probes_of(features, labels).fitted(), probes_of(other, labels).fitted()
    torch.testing.assert_close(one(features), two(other), rtol=0, atol=1e-3)
    other[:, -1] += 100  # what never changed says nothing when it does
    torch.testing.assert_close(one(features), two(other), rtol=0, atol=1e-3)


def test_noise_asks_for_a_larger_penalty(monkeypatch):
    """Where features are many and mostly noise, the penalty chosen is larger than where each tells the class."""

    def chosen(features, labels):
        taken = []
        solutions = Probes._solutions
        monkeypatch.setattr(Probes, "_solutions", lambda self, *given: taken.append(given) or solutions(self, *given))
        probes_of(features, labels).fitted()
        return taken[-1][1][0]

    features, labels = blobs(120, spread=0.3)
    noise = torch.randn(len(labels), 100, generator=torch.Generator().manual_seed(1))
    assert chosen(torch.cat([features, 3 * noise], dim=1), labels) > chosen(features[:, :3], labels)


def test_an_image_is_never_answered_by_a_classifier_that_saw_it():
    """With random labels crossed answers are right by chance, where a classifier knows most images it was fitted to."""
    generator = torch.Generator().manual_seed(0)
    features, labels = torch.randn(400, 200, generator=generator), torch.randint(4, (400,), generator=generator)
    found = probes_of(features, labels)
    crossed = (found.crossed().argmax(1) == labels).double().mean()
    assert abs(crossed - 0.25) < 0.08
    assert (found.fitted()(features).argmax(1) == labels).double().mean() > 0.5


def test_crossed_answers_are_those_of_the_other_folds():
    """The logits of a fold are those of the classifier on all others, whatever the fold's own labels are."""
    features, labels = blobs()
    folds = shuffled_folds(labels)
    wrong = labels.clone()
    wrong[folds == 2] = (wrong[folds == 2] + 1) % 4
    one, two = (Probes(features, each, 4, folds).crossed() for each in (labels, wrong))
    torch.testing.assert_close(one[folds == 2], two[folds == 2])
    assert (one[folds != 2] - two[folds != 2]).abs().max() > 0.01


@pytest.mark.parametrize(("count", "folds"), [(300, 5), (303, 5), (10, 3)])
def test_folds_hold_equal_parts_of_every_class(count, folds):
    """Every fold has its share of every class, to within one image, and the draw is that of the seed."""
    labels = torch.arange(count) % 4
    found = shuffled_folds(labels, folds)
    counts = np.array([[int(((found == fold) & (labels == each)).sum()) for fold in range(folds)] for each in range(4)])
    assert (counts.max(1) - counts.min(1) <= 1).all()
    assert (found == shuffled_folds(labels, folds)).all()
    assert (found != shuffled_folds(labels, folds, seed=1)).any()
