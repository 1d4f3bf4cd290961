"""A model in train mode is warned of, and left as it was: every buffer, of whatever layer."""

from functools import partial

import pytest
import torch
from helpers import convolutional, random_images
from torch import nn

from advlook import attacks, checks

IMAGES, LABELS, EPS = random_images(12, 8), torch.arange(12) % 3, 4 / 255
EXAMINED = {
    "suite": partial(attacks.attack_suite, eps=EPS, steps=2),
    "checks": partial(checks.run_checks, eps=EPS, steps=2),
}
ATTACKS = {
    "fgsm": partial(attacks.fgsm, eps=EPS),
    "pgd": partial(attacks.pgd, eps=EPS, steps=2),
    "mi-fgsm": partial(attacks.mi_fgsm, eps=EPS, steps=2),
    "apgd": partial(attacks.apgd, eps=EPS, steps=2),
}


@pytest.mark.parametrize("ask", EXAMINED.values(), ids=EXAMINED)
def test_train_mode_brings_a_warning(ask):
    """A model in train mode, or a part of it, is warned of where the caller stands; one in eval mode is not."""
    with pytest.warns(UserWarning, match=r"train mode.*model\.eval\(\)") as caught:
        ask(convolutional().train(), IMAGES, LABELS)
    assert caught[0].filename == __file__
    part = convolutional().eval()
    part[1].train()
    with pytest.warns(UserWarning, match="train mode"):
        ask(part, IMAGES, LABELS)


HELD = convolutional().train()
BEHIND = {
    "a method": lambda model: model.forward,
    "a partial": partial,
    "a partial of a method": lambda model: partial(model.forward),
    "a closure": lambda model: lambda images: model(images),
    "a global": lambda model: lambda images: HELD(images),
}


@pytest.mark.parametrize("behind", BEHIND.values(), ids=BEHIND)
def test_a_model_behind_a_function_is_seen(behind):
    """The mode and the buffers of a module that a function calls are those of a model given as it is."""
    model = HELD if behind is BEHIND["a global"] else Drifting().train()
    model(IMAGES)
    before = {key: value.clone() for key, value in model.named_buffers()}
    with pytest.warns(UserWarning, match="train mode"):
        attacks.attack_suite(behind(model), IMAGES, LABELS, EPS, attacks="pgd")
    assert all(torch.equal(value, before[key]) for key, value in model.named_buffers())
    assert model.training


class Drifting(nn.Module):
    """Layers that change buffers in train mode: statistics, vectors of power iteration, a counter of its own."""

    def __init__(self):
        super().__init__()
        convolutions = [nn.Conv2d(3 if k == 0 else 4, 4, 3, padding=1) for k in range(3)]
        old, new = nn.utils.spectral_norm(convolutions[1]), nn.utils.parametrizations.spectral_norm(convolutions[2])
        norms = [nn.BatchNorm2d(4), nn.InstanceNorm2d(4, track_running_stats=True)]
        self.layers = nn.Sequential(
            convolutions[0], norms[0], old, norms[1], nn.ReLU(), new, nn.Flatten(), nn.Linear(256, 3)
        )
        self.register_buffer("calls", torch.zeros(()))
        self.register_buffer("gains", torch.ones(3))  # which a backward pass needs

    def forward(self, images):
        if self.training:
            self.calls = self.calls + 1  # another tensor, where the other buffers are changed in place
        return self.layers(images) * self.gains


@pytest.mark.parametrize("ask", (ATTACKS | EXAMINED).values(), ids=ATTACKS | EXAMINED)
@pytest.mark.filterwarnings("ignore:the model is in train mode")
@pytest.mark.filterwarnings("ignore::FutureWarning")
def test_every_buffer_is_left_as_it_was(ask):
    """In train mode statistics of InstanceNorm, vectors of spectral norm and buffers of one's own stay, too."""
    model = Drifting().train()
    model(IMAGES)
    before = {key: (value, value.clone()) for key, value in model.named_buffers()}
    ask(model, IMAGES, LABELS)
    after = dict(model.named_buffers())
    assert all(after[key] is value and torch.equal(value, copy) for key, (value, copy) in before.items())
    assert all(module.training for module in model.modules())


def test_a_graph_of_the_caller_outlives_an_attack():
    """Training may attack between its forward and backward pass: buffers that the graph rests on are not touched."""
    model = Drifting().train()
    loss = model(IMAGES).sum()
    attacks.pgd(model, IMAGES, LABELS, EPS, steps=1)
    loss.backward()


@pytest.mark.filterwarnings("ignore::DeprecationWarning")
@pytest.mark.filterwarnings("ignore:the model is in train mode")
@pytest.mark.parametrize("frozen", [False, True])
def test_torchscript_is_attacked(frozen):
    """A frozen script is attacked as its model is; one in train mode keeps its buffers."""
    model = convolutional().eval()
    labels = model(IMAGES).argmax(1)
    script = torch.jit.script(model)
    script = torch.jit.freeze(script) if frozen else script.train()
    before = {name: value.clone() for name, value in script.state_dict().items()}
    found = attacks.pgd(script, IMAGES, labels, 0.03, random_start=False)
    assert all(torch.equal(value, before[name]) for name, value in script.state_dict().items())
    if frozen:
        torch.testing.assert_close(found, attacks.pgd(model, IMAGES, labels, 0.03, random_start=False))
