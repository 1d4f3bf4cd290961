"""Names as figures and tables show them: architectures, settings, radii."""

import re


class Names(dict[str, str]):
    """Names for people by those in tables; one that it does not hold, which a user chose, stands for itself."""

    def __missing__(self, key: str) -> str:
        return key


NAMES = {"random": "random", "std": "STD", "adv": "ADV"}
ARCH_NAMES = Names(
    {
        "alexnet_bn": "AlexNet (BN)",
        "resnet10": "ResNet-10",
        "resnet18": "ResNet-18",
        "resnet50": "ResNet-50",
        "resnet101": "ResNet-101",
    }
)


def eps_label(eps: float) -> str:
    """A radius as "4/255" where it is a whole number of grey levels, else as a decimal."""
    levels = eps * 255
    return f"{round(levels)}/255" if abs(levels - round(levels)) < 1e-6 else f"{eps:g}"


# What names a network that is none of the five.
FORMS = "timm:NAME, torchvision:NAME, PATH.py:FUNCTION or package.module:FUNCTION"
STANDARD, REVERSED, STYLIZED, CONFLICT = "standard", "reversed", "stylized", "cue conflict"
MAIN = "as they are"  # hybrid images that are no control
FINE_TUNED, FROZEN = "fine-tuned", "frozen"  # how an ensemble learns an image set
LOW = 32  # pixels a side up to which image sets are of low resolution, as those of the paper are
DOSE, CONTROL = "dose", "control"  # kinds of controls: another radius alone, or something else besides

_ALEXNET = ("features.0", "features.4", "features.8", "features.11", "features.14")  # its convolutions


def layer_name(layer: str, arch: str = "") -> str:
    """A convolution as readers know it: "stage 2, conv 1" of a block of a ResNet, "conv 3" of our AlexNet; of any other
    network the name of the module.

    >>> layer_name("network.layer2.0.conv1", "resnet10"), layer_name("network.features.8", "alexnet_bn")
    ('stage 2, conv 1', 'conv 3')
    """
    name = layer.removeprefix("network.")
    if arch == "alexnet_bn" and name in _ALEXNET:
        return f"conv {_ALEXNET.index(name) + 1}"
    if match := re.fullmatch(r"layer(\d+)\.(\d+)\.conv(\d+)", name):
        stage, block, number = match.groups()
        return (
            f"stage {stage}, conv {number}"
            if arch == "resnet10"
            else f"stage {stage}, block {int(block) + 1}, conv {number}"
        )
    return "first conv" if name == "conv1" else name
