"""Folding batch normalisation into convolutions: the answers stay, filters get their strength, or it is refused."""

import pytest
import torch
import torchvision.models
from helpers import Recorder, convolutional, random_images, snapshot
from torch import nn
from torchvision.ops import FrozenBatchNorm2d

from advlook.core.errors import RequestError
from advlook.core.presets import ARCHITECTURES
from advlook.models.architectures import build_model
from advlook.models.folding import folded, for_inference
from advlook.sensitivity.filters import first_filters


def used(model, seed=0):
    """The model in double precision, with statistics and factors of batch normalisation unlike the initial ones."""
    generator = torch.Generator().manual_seed(seed)
    for name, value in model.double().state_dict().items():
        if value.dim() == 1 and value.is_floating_point() and not name.startswith("fc"):
            value.copy_(0.5 + torch.rand(value.shape, generator=generator))
    return model


def norms(model):
    return [name for name, module in model.named_modules() if isinstance(module, nn.BatchNorm2d | FrozenBatchNorm2d)]


@pytest.mark.parametrize("arch", ARCHITECTURES)
def test_folded_model_answers_the_same(arch):
    """Folding removes every batch normalisation, keeps the logits and input gradients, and leaves the model alone."""
    model = build_model(arch, 5, stem="small", width=8).double()  # in single precision rounding flips ReLUs
    for low in (0.0, 0.3):
        model(random_images(16, 64, low, 0.6).double())  # statistics that are not those of the initialisation
    fold, images = folded(model), random_images(4, 64).double().requires_grad_()
    assert not any(isinstance(module, nn.BatchNorm2d) for module in fold.modules())
    assert not fold.training
    assert model.training
    assert any(isinstance(module, nn.BatchNorm2d) for module in model.modules())
    logits = [m(images) for m in (model.eval(), fold)]
    gradients = [torch.autograd.grad(z.logsumexp(1).sum(), images)[0] for z in logits]
    for plain, other in (logits, gradients):
        torch.testing.assert_close(other, plain, rtol=1e-6, atol=1e-9 * plain.abs().max().item())


FOREIGN = {
    "resnet18": (32, 0),
    "mobilenet_v2": (32, 0),
    "shufflenet_v2_x0_5": (64, 0),
    "regnet_x_400mf": (32, 0),
    "densenet121": (32, 62),  # normalisations in front of convolutions
    "efficientnet_b0": (32, 0),
}


@pytest.mark.parametrize("name", FOREIGN)
def test_any_network_is_folded(name):
    """Networks that were not built here have the same answers, and no batch normalisation behind a convolution."""
    size, left = FOREIGN[name]
    model = used(getattr(torchvision.models, name)(weights=None, num_classes=5)).eval()
    fold, images = folded(model, size=size), random_images(2, size).double()
    assert len(norms(fold)) == left
    with torch.no_grad():
        plain = model(images)
        torch.testing.assert_close(fold(images), plain, rtol=1e-6, atol=1e-9 * plain.abs().max().item())


def test_folded_models_stay_in_their_mode():
    """What stands in for a normalisation is in eval mode where the model is, so that nothing warns of train mode."""
    model = build_model("resnet10", 5)
    assert not any(module.training for module in folded(model.eval()).modules())


def test_filters_are_as_strong_whoever_built_the_network():
    """torchvision's ResNet-18 and ours with the same weights have the same folded filters, unlike the stored ones."""
    theirs = used(torchvision.models.resnet18(weights=None, num_classes=5)).float()
    ours = build_model("resnet18", 5)
    ours.network.load_state_dict(theirs.state_dict())
    torch.testing.assert_close(first_filters(folded(theirs)), first_filters(folded(ours)), rtol=0, atol=0)
    assert (first_filters(folded(theirs)) - first_filters(theirs)).abs().max() > 0.01


class Normalising(nn.BatchNorm2d):
    """Normalises and, like timm's BatchNormAct2d, applies a ReLU."""

    def forward(self, values):
        return super().forward(values).relu()


@pytest.mark.parametrize("kind", [nn.BatchNorm2d, Normalising, FrozenBatchNorm2d, nn.SyncBatchNorm])
@pytest.mark.parametrize("shared", [False, True])
def test_what_a_normalisation_does_besides_stays(kind, shared):
    """Of a subclass only the normalisation is folded; a pair that is called twice, or has two names, is folded once."""
    layer = nn.Sequential(nn.Conv2d(3, 3, 3, padding=1), kind(3))
    model = nn.Sequential(layer, nn.Tanh(), layer if shared else nn.Identity(), nn.Flatten(), nn.Linear(192, 2))
    model = used(model).eval()
    images = random_images(2, 8).double()
    with torch.no_grad():
        torch.testing.assert_close(folded(model, size=8)(images), model(images))
    assert not torch.equal(folded(model, size=8)[0][0].weight, layer[0].weight)


class Shortcut(nn.Module):
    """A convolution whose output goes through normalisation and past it."""

    def __init__(self):
        super().__init__()
        self.first, self.conv, self.norm = nn.Conv2d(3, 4, 3), nn.Conv2d(4, 4, 3), nn.BatchNorm2d(4)

    def forward(self, images):
        values = self.conv(self.first(images))
        return (values + self.norm(values)).mean((2, 3))


class Rescaling(nn.Conv2d):
    """Standardises its weights, so that a factor in them means nothing."""

    def forward(self, values):
        return self._conv_forward(values, self.weight / self.weight.std(), self.bias)


class Doubling(nn.Conv2d):
    """Adds its bias twice, which only the answers show."""

    def forward(self, values):
        return self._conv_forward(values, self.weight, 2 * self.bias)


def stack(first, second):
    return nn.Sequential(first, second, nn.Flatten(), nn.Linear(4 * 36, 2))


UNFOLDABLE = {
    "shortcut": (Shortcut, "'norm' into 'conv': one of the two has other uses"),
    "changed in between": (
        lambda: stack(nn.Sequential(nn.Conv2d(3, 4, 3), nn.ReLU(inplace=True)), nn.BatchNorm2d(4)),
        "other uses",
    ),
    "parametrised": (
        lambda: stack(nn.utils.parametrizations.weight_norm(nn.Conv2d(3, 4, 3)), nn.BatchNorm2d(4)),
        "'1' into '0': its weight is computed",
    ),
    "no statistics": (
        lambda: stack(nn.Conv2d(3, 4, 3), nn.BatchNorm2d(4, track_running_stats=False)),
        "running statistics",
    ),
    "rescaling": (lambda: stack(Rescaling(3, 4, 3), nn.BatchNorm2d(4)), "'1' into '0': its weights are standardised"),
    "overlooked": (lambda: stack(Doubling(3, 4, 3), nn.BatchNorm2d(4)), "changes the answers of Sequential"),
    "another size": (lambda: stack(nn.Conv2d(3, 4, 5), nn.BatchNorm2d(4)), "8 px .* give its size"),
}


@pytest.mark.parametrize(("build", "says"), UNFOLDABLE.values(), ids=UNFOLDABLE)
def test_what_cannot_be_folded_is_refused(build, says):
    """A pair that is not one layer ends in one line that names it, and the model stays as it was."""
    model = used(build())
    before = snapshot(model)
    with pytest.raises(RequestError, match=says) as caught:
        folded(model, size=8)
    assert "\n" not in str(caught.value)
    assert snapshot(model) == before


def test_what_is_not_required_may_stay():
    """Where another convolution's filters are asked for, a normalisation that cannot be folded stays, and is right."""
    model, images = used(Shortcut()).eval(), random_images(2, 8).double()
    fold = folded(model, size=8, required=["first"])
    assert norms(fold) == ["norm"]
    torch.testing.assert_close(fold(images), model(images))
    with pytest.raises(RequestError, match="'conv'"):
        folded(model, size=8, required=["first", "conv"])


def test_a_size_that_suits_is_found():
    """Without a size, one is found that the network takes, and the random state is left alone."""
    model = nn.Sequential(nn.Conv2d(3, 4, 3), nn.BatchNorm2d(4), nn.ReLU(), nn.Flatten(), nn.Linear(4 * 222**2, 2))
    state = torch.get_rng_state()
    assert norms(folded(used(model))) == []
    assert torch.equal(torch.get_rng_state(), state)


def test_nothing_to_fold():
    """A network without batch normalisation is not run: a copy is returned, in eval mode."""
    model = Recorder(nn.Sequential(nn.Conv2d(3, 4, 3), nn.GroupNorm(2, 4))).train()
    fold = folded(model)
    assert fold is not model
    assert not fold.training
    assert not model.sizes


def test_torchscript_is_refused():
    """TorchScript hides its layers: one line, also where only a part of the model is."""
    model = torch.jit.trace(convolutional().eval(), random_images(2, 8))
    for hidden in (model, torch.jit.freeze(model), nn.Sequential(nn.Identity(), model)):
        with pytest.raises(RequestError, match="folded needs layers, which TorchScript hides"):
            folded(hidden)


def test_model_that_keeps_results_is_folded():
    """A model that keeps a result with its graph, as timm's LeViT does, which torch does not copy, is folded too."""
    model = convolutional()
    model.kept = {"bias": model[0].weight * 2}
    assert not norms(folded(model))


def test_evaluation_folds_what_was_built_here():
    """Ours run folded, which is faster; other models as they are, and their answers are theirs to the last digit."""
    model = convolutional()
    assert for_inference(model) is model
    assert not norms(for_inference(build_model("resnet10", 3, stem="tiny", width=8)))
