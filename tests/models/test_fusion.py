"""Ensembles: what they are made of, that features may be computed before, and how they are trained."""

import dataclasses

import pytest
import torch
from helpers import image_set, small_preset, snapshot
from torch import nn
from torchvision.models import mobilenet_v3_small, resnet18

from advlook.core.errors import RequestError
from advlook.core.presets import EnsemblesConfig
from advlook.models import fusion
from advlook.models.architectures import Normalized, preset_model, split_last_layer
from advlook.models.evaluation import correct, predict
from advlook.models.fusion import COMBINATIONS, Ensemble, fine_tune, members, new_ensemble, tuning_preset
from advlook.models.probes import Probes, shuffled_folds

CONFIG = EnsemblesConfig(
    targets=("noise",),
    images=32,
    test_images=24,
    degraded=("noise",),
    sides=(4, 8),
    fine_tuned=("noise",),
    fine_tuned_images=32,
    fine_tuned_test_images=24,
    epochs=2,
    learning_rate=0.01,
    runs=2,
)
PRESET = dataclasses.replace(small_preset(), ensembles=CONFIG)
ARCHS = ("alexnet_bn", "resnet10")


def models(arch, count=2):
    """Untrained models in eval mode, with statistics of batch normalisation that are not those of a new layer."""
    found = [preset_model(PRESET, arch, seed) for seed in range(count)]
    for seed, model in enumerate(found):
        model(torch.rand(16, 3, 16, 16, generator=torch.Generator().manual_seed(seed)))
    return [model.eval() for model in found]


def joined(parts, images):
    """Features of all backbones, computed one after another."""
    return torch.cat([predict(split_last_layer(model)[0], images) for model in parts], dim=1)


@pytest.mark.parametrize("seeds", [(0, 1), (0, 1, 2), (5, 3)])
def test_no_pair_holds_a_checkpoint_twice(seeds):
    """The two members of a pair are of different training seeds, in every run, and all seeds take part."""
    for combination, settings in COMBINATIONS.items():
        runs = [members(combination, seeds, run) for run in range(2 * len(seeds))]
        for chosen in runs:
            assert [setting for setting, _ in chosen] == list(settings)
            assert len({seed for _, seed in chosen}) == len(settings)
        assert {chosen[0][1] for chosen in runs} == set(seeds)


def test_one_seed_has_no_pairs_of_a_kind():
    """With a single seed STD+ADV is of that seed, and pairs of a kind are not there."""
    assert members("STD+ADV", (0,), 3) == (("std", 0), ("adv", 0))
    assert members("STD+STD", (0,), 0) == members("ADV+ADV", (0,), 1) == ()


@pytest.mark.parametrize("arch", ARCHS)
def test_backbone_and_last_layer_are_the_model(arch):
    """The last layer on the features gives the model's logits, and the model itself is left as it was."""
    (model,), images = models(arch, 1), torch.rand(5, 3, 16, 16)
    before = snapshot(model)
    backbone, last = split_last_layer(model)
    assert backbone(images).shape == (5, last.in_features)
    torch.testing.assert_close(last(backbone(images)), model(images))
    assert snapshot(model) == before


def test_only_models_of_images_are_split():
    """Of a model that cannot be run on images nobody knows the last layer."""
    with pytest.raises(RequestError, match="the last layer cannot run Sequential on an image of 64"):
        split_last_layer(nn.Sequential(nn.Linear(2, 2)))


def test_ensembles_of_any_network():
    """A network from elsewhere joins one of ours, with the features that its last layer sees."""
    torch.manual_seed(0)
    theirs = mobilenet_v3_small(num_classes=4).eval()
    (ours,), images = models("resnet10", 1), torch.rand(2, 3, 32, 32)
    width = split_last_layer(ours)[1].in_features + 1024
    fused = new_ensemble([ours, theirs], 5, seed=0, size=32).eval()
    assert fused.classifier.in_features == width
    features = [split_last_layer(model, 32)[0](images) for model in (ours, theirs)]
    torch.testing.assert_close(fused(images), fused.classifier(torch.cat(features, 1)))


def test_a_resnet_of_torchvision_is_split():
    """torchvision's own ResNet behind a normalisation has a last layer that is known, also with another head."""
    model = Normalized(resnet18(num_classes=4), (0.5, 0.5, 0.5), (0.2, 0.2, 0.2)).eval()
    images = torch.rand(2, 3, 32, 32)
    backbone, last = split_last_layer(model)
    torch.testing.assert_close(last(backbone(images)), model(images))
    model.network.fc = nn.Sequential(nn.Dropout(), nn.Linear(512, 4))
    backbone, last = split_last_layer(model.eval())
    torch.testing.assert_close(last(backbone(images)), model(images))


@pytest.mark.parametrize("arch", ARCHS)
@pytest.mark.parametrize("silent", [0, 1])
def test_ensemble_without_one_backbone_is_the_other(arch, silent):
    """With one backbone's part of the classifier at zero it answers as the single model with the other part does."""
    parts, images = models(arch), torch.rand(6, 3, 16, 16)
    lasts = [split_last_layer(model)[1] for model in parts]
    weights = [last.weight if place != silent else torch.zeros_like(last.weight) for place, last in enumerate(lasts)]
    classifier = nn.Linear(sum(weight.shape[1] for weight in weights), len(lasts[0].bias))
    classifier.load_state_dict({"weight": torch.cat(weights, dim=1), "bias": lasts[1 - silent].bias})
    fused = Ensemble(parts, classifier).eval()
    torch.testing.assert_close(fused(images), parts[1 - silent](images))
    assert not torch.allclose(fused(images), parts[silent](images))


@pytest.mark.parametrize("arch", ARCHS)
def test_features_may_be_computed_before(arch):
    """A classifier on features computed once gives the logits of the ensemble that it belongs to."""
    parts, images = models(arch), image_set(20, 16)
    features = joined(parts, images)
    classifier = Probes(features, images.labels, 3, shuffled_folds(images.labels)).fitted()
    fused = Ensemble(parts, classifier)
    torch.testing.assert_close(predict(fused, images), classifier(features).detach(), atol=1e-4, rtol=1e-4)


def test_parameters_are_those_of_backbones_and_classifier():
    """A pair has two backbones and one classifier of twice the width."""
    parts = models("resnet10")
    (backbone, last), width = split_last_layer(parts[0]), split_last_layer(parts[0])[1].in_features
    single, pair = (Ensemble(parts[:n], nn.Linear(n * width, 3)) for n in (1, 2))
    assert fusion.parameters(single) == fusion.parameters(backbone) + fusion.parameters(last)
    assert fusion.parameters(pair) == 2 * fusion.parameters(single) - 3  # one bias


def test_tuning_is_training_at_a_constant_rate():
    """Fine-tuning has its own epochs and rate, which never falls, and shares all else with training."""
    tuned = tuning_preset(PRESET, "resnet10")
    assert (tuned.models["resnet10"].epochs_std, tuned.models["resnet10"].learning_rate) == (2, 0.01)
    assert tuned.models["alexnet_bn"] == PRESET.models["alexnet_bn"]
    changed = {"schedule": "step", "step_epochs": 2, "average": 0.0}
    assert dataclasses.asdict(tuned.training) == dataclasses.asdict(PRESET.training) | changed
    assert dataclasses.replace(tuned, training=PRESET.training, models=PRESET.models) == PRESET


def tuned(arch="resnet10", seed=0):
    parts, images = models(arch), image_set(32, 16)
    fused = new_ensemble(parts, 3, seed)
    before = [parameter.detach().clone() for parameter in fused.parameters()]
    counts = []
    after = fine_tune(fused, PRESET, arch, images, seed, device="cpu", progressed=counts.append)
    return parts, before, after, counts


@pytest.mark.parametrize("arch", ARCHS)
def test_fine_tuning_trains_every_part(arch):
    """Both backbones and the classifier move, the models they were copied from do not, and every step is told."""
    parts, before, after, counts = tuned(arch)
    assert all((old != new).any() for old, new in zip(before, after.parameters(), strict=True))
    assert snapshot(parts[0]) == snapshot(models(arch)[0])
    assert counts == [8] * 4 * CONFIG.epochs
    assert not after.training


def test_fine_tuning_learns():
    """Images whose brightness is the class are learned, and by more than chance."""
    *_, after, _ = tuned()
    assert correct(after, image_set(30, 16, seed=5)).float().mean() > 0.6


def test_fine_tuning_depends_on_its_seed_alone():
    """The same seed gives the same bits, whatever was drawn before."""
    first, (*_, second, _), (*_, other, _) = tuned()[2], (torch.rand(5), tuned())[1], tuned(seed=1)
    assert all(torch.equal(a, b) for a, b in zip(first.parameters(), second.parameters(), strict=True))
    assert not torch.equal(first.classifier.weight, other.classifier.weight)
