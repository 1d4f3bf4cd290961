"""Names for people."""

import pytest

from advlook.core.names import layer_name


@pytest.mark.parametrize(
    ("layer", "arch", "name"),
    [
        ("network.conv1", "resnet10", "first conv"),
        ("network.layer4.0.conv2", "resnet10", "stage 4, conv 2"),
        ("network.layer4.1.conv2", "resnet18", "stage 4, block 2, conv 2"),
        ("network.features.14", "alexnet_bn", "conv 5"),
        ("network.features.8", "vgg11", "features.8"),
        ("blocks.3.mlp.fc1", "mine", "blocks.3.mlp.fc1"),
    ],
)
def test_layers_have_the_names_that_readers_know(layer, arch, name):
    """Of our own networks by stage or number; of any other the name of the module, without that of the wrapper."""
    assert layer_name(layer, arch) == name
