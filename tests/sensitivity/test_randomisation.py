"""Networks with fresh parameters: stages by name, and exactly those changed."""

import pytest
import torch
from helpers import convolutional, random_images, snapshot, used_network
from torch import nn

from advlook.core.errors import RequestError
from advlook.models.architectures import build_model
from advlook.sensitivity import randomisation

ARCHS = ("alexnet_bn", "resnet10")
each_arch = pytest.mark.parametrize("arch", ARCHS)


def state(model, names):
    """All tensors of the modules so named."""
    return [value for name in names for value in model.get_submodule(name).state_dict().values()]


@pytest.mark.parametrize("arch", [*ARCHS, "resnet50"])
def test_stages_cover_every_parameter_once_in_running_order(arch):
    """Each parameter and statistic belongs to one stage, and the stages run in the order in which they are named."""
    model = build_model(arch, 5, stem="tiny", width=8, seed=0).eval()
    stages = randomisation.stages(model)
    held = [id(p) for names in stages.values() for name in names for p in model.get_submodule(name).parameters()]
    assert sorted(held) == sorted(id(p) for p in model.parameters())
    started = []
    for stage, names in stages.items():
        model.get_submodule(names[0]).register_forward_pre_hook(lambda *_, stage=stage: started.append(stage))
    model(random_images(2, 16))
    assert started == list(stages)


def test_stages_have_names_that_a_reader_knows():
    """Groups of blocks for a ResNet, layer by layer for AlexNet; a bare network has the same as a normalised one."""
    resnet, alexnet = (list(randomisation.stages(used_network(arch))) for arch in ("resnet10", "alexnet_bn"))
    assert resnet == ["stem", "layer1", "layer2", "layer3", "layer4", "fc"]
    assert alexnet == [*(f"conv{k}" for k in range(1, 6)), "fc1", "fc2", "fc3"]
    assert randomisation.stages(used_network("resnet10").network)["stem"] == ("conv1", "bn1")


@each_arch
@pytest.mark.parametrize("place", [0, 2, -1])
def test_exactly_the_named_stages_change(arch, place):
    """The rest of the copy, and the whole original, are bit-identical; so is the global random state."""
    model = used_network(arch)
    before, random_state = snapshot(model), torch.get_rng_state()
    stages = randomisation.stages(model)
    chosen = list(stages)[place]
    changed = randomisation.randomised(model, [chosen])
    assert snapshot(model) == before
    assert torch.equal(torch.get_rng_state(), random_state)
    assert changed.training is model.training
    for stage, names in stages.items():
        pairs = zip(state(model, names), state(changed, names), strict=True)
        same = [torch.equal(a, b) for a, b in pairs]
        assert not any(same) if stage == chosen else all(same)


@each_arch
def test_a_stage_gets_the_same_values_whatever_else_is_chosen(arch):
    """Alone or within a cascade, in any order, from one seed; another seed gives others."""
    model = used_network(arch)
    stages = randomisation.stages(model)
    order = list(reversed(stages))
    whole, again, other = (randomisation.randomised(model, order, seed) for seed in (1, 1, 2))
    alone = randomisation.randomised(model, [order[1]], 1)
    assert snapshot(whole) == snapshot(again)
    assert snapshot(whole) != snapshot(other)
    weights = [next(iter(state(some, stages[order[1]]))) for some in (whole, alone, other)]
    assert torch.equal(weights[0], weights[1])
    assert not torch.equal(weights[0], weights[2])


@each_arch
def test_a_whole_cascade_ends_at_an_untrained_model(arch):
    """Layer by layer the values are distributed as in a model that was just built, its statistics the initial ones."""
    fresh = build_model(arch, 5, stem="tiny", width=16, seed=0)
    model = build_model(arch, 5, stem="tiny", width=16, seed=1)
    with torch.no_grad():
        for value in model.network.state_dict().values():
            value.fill_(3)
    ended = randomisation.randomised(model, randomisation.stages(model))
    for (name, expected), value in zip(fresh.state_dict().items(), ended.state_dict().values(), strict=True):
        if expected.numel() < 2 or expected.float().std() == 0:
            assert torch.equal(expected, value), name
        else:
            error = 4 / (2 * expected.numel()) ** 0.5  # four standard errors of a standard deviation
            assert value.std().item() == pytest.approx(expected.std().item(), rel=2**0.5 * error), name
            assert abs(value.mean() - expected.mean()) < 6 * expected.std() / expected.numel() ** 0.5, name


class Transformer(nn.Module):
    """A small one, with parameters that no layer owns."""

    def __init__(self, depth):
        super().__init__()
        self.position = nn.Parameter(torch.randn(1, 4, 8))
        self.patches = nn.Conv2d(3, 8, 8, 8)
        self.blocks = nn.Sequential(*(nn.TransformerEncoderLayer(8, 2, 16, batch_first=True) for _ in range(depth)))
        self.norm = nn.LayerNorm(8)
        self.head = nn.Linear(8, 5)

    def forward(self, images):
        """Logits."""
        tokens = self.patches(images).flatten(2).transpose(1, 2) + self.position
        return self.head(self.norm(self.blocks(tokens)).mean(1))


@pytest.mark.parametrize("depth", [2, 3, 12])
def test_any_network_has_stages_that_cover_it(depth):
    """Of a network of another kind each tensor is in one stage; there are few, from the first layer to the last, which
    stand alone; fresh stages change what they name, and nothing else."""
    model = Transformer(depth).eval()
    stages = randomisation.stages(model)
    names = [name for group in stages.values() for name in group]
    for key in model.state_dict():
        assert sum(key == name or key.startswith(f"{name}.") for name in names) == 1, key
    assert len(stages) <= randomisation.MOST
    assert next(iter(stages)).startswith("patches")
    assert list(stages)[-1] == "head"
    assert stages["head"] == ("head",)
    for chosen, group in stages.items():
        changed = randomisation.randomised(model, [chosen]).state_dict()
        for key, value in model.state_dict().items():
            mine = key in group or key.startswith(tuple(f"{name}." for name in group))
            assert mine or torch.equal(value, changed[key]), key
            if mine and value.ndim > 1:  # vectors of layers may begin at 0 or 1
                assert not torch.equal(value, changed[key]), key
    shuffled = randomisation.randomised(model, [next(iter(stages))]).position
    assert torch.equal(shuffled.flatten().sort().values, model.position.flatten().sort().values)


REFUSED = {
    "a Flatten has no layers with parameters": lambda: randomisation.stages(nn.Flatten()),
    "stage 'fc' does not exist": lambda: randomisation.randomised(convolutional(), ["fc"]),
    "stage 'layer5' does not exist; the network has stem, layer1": lambda: randomisation.randomised(
        used_network("resnet10"), ["layer5"]
    ),
}


@pytest.mark.parametrize("message", REFUSED)
def test_what_cannot_be_randomised_is_refused_in_one_line(message):
    """The line names what was given."""
    with pytest.raises(RequestError, match=message) as error:
        REFUSED[message]()
    assert "\n" not in str(error.value)
