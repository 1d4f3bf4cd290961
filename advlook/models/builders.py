"""Networks of any origin by name: `timm:NAME`, `torchvision:NAME`, `PATH.py:FUNCTION`, `package.module:FUNCTION`.

A function that a user names is the user's code, and is run. A checkpoint still never runs any: only the tensors in it
are read. Networks are built without weights."""

import importlib
import importlib.util
import inspect
import sys
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from difflib import get_close_matches
from pathlib import Path
from types import ModuleType

import torch
from torch import Tensor, nn
from torchvision import models as torchvision_models

from advlook.core import FORMS, RequestError, digest
from advlook.core.errors import reason

IMAGENET_MEAN, IMAGENET_STD = (0.485, 0.456, 0.406), (0.229, 0.224, 0.225)
NORMALISATIONS = (("mean", "std"), ("mu", "sigma"), ("new_mean", "new_std"))  # what others call them
ROLES = {name: role for pair in NORMALISATIONS for name, role in zip(pair, NORMALISATIONS[0], strict=True)}
_CLASSES = ("num_classes", "classes", "n_classes")  # by which functions are told the number of classes
_SIDES = ("img_size", "image_size")  # and, where they ask for it, of pixels a side
Channels = tuple[float, float, float]


@dataclass(frozen=True)
class Builder:
    """How a named network is made, and what its source says of it.

    make: the function that makes it. about: where it comes from, for reports. mean, std: the normalisation that its
    source states. size: pixels a side that it was made for; resize: of the short side of test images."""

    name: str
    make: Callable[..., nn.Module]
    about: str
    mean: Channels | None = None
    std: Channels | None = None
    size: int | None = None
    resize: int | None = None

    def __call__(self, classes: int | None = None, size: int | None = None) -> nn.Module:
        """The untrained network in eval mode; of as many classes and pixels a side as its source has by default.
        Raises RequestError where it cannot be made, or is no nn.Module."""
        taken = inspect.signature(self.make).parameters
        open_ended = any(each.kind is each.VAR_KEYWORD for each in taken.values())
        options = {}
        if classes is not None and (key := _first(_CLASSES, taken, open_ended)):
            options[key] = classes
        if size is not None and (key := _first(_SIDES, taken, False)):
            options[key] = size
        try:
            network = self.make(**options)
        except RequestError:
            raise
        except Exception as error:  # whatever the user's function does, it ends in one line
            raise RequestError(f"arch {self.name!r} cannot be built ({reason(error)})") from None
        if not isinstance(network, nn.Module):
            raise RequestError(f"arch {self.name!r} gives a {type(network).__name__}; it has to return an nn.Module")
        return network.eval()

    def drawn(self, seed: int, classes: int | None = None, size: int | None = None) -> nn.Module:
        """The network with the initial weights of a seed; the global random state is left as it was."""
        with torch.random.fork_rng(devices=[]):
            torch.default_generator.manual_seed(seed)
            return self(classes, size)


def _first(names: tuple[str, ...], taken: Mapping[str, object], open_ended: bool) -> str | None:
    found = [name for name in names if name in taken]
    return found[0] if found else names[0] if open_ended else None


def is_built(arch: str) -> bool:
    """Whether an architecture is named by a builder, and not one of the study's five."""
    return ":" in arch


def builder_file(arch: str) -> Path | None:
    """The file of Python that holds the function of a name; None where a package does, or there is no such file."""
    source, _, _ = arch.rpartition(":")
    path = Path(source).expanduser()
    return path if source.endswith(".py") and path.is_file() else None


def builder(arch: str) -> Builder:
    """The builder of a name in one of FORMS. Raises RequestError where there is no such package, file, function or
    network; timm is the extra `advlook[timm]`."""
    source, _, name = arch.rpartition(":")
    if not source or not name:
        raise RequestError(f"arch {arch!r} is unknown; give {FORMS}")
    if source == "torchvision":
        return _of_torchvision(arch, name)
    if source == "timm":
        return _of_timm(arch, name)
    module = _file(Path(source).expanduser()) if source.endswith(".py") else _package(source)
    make = getattr(module, name, None)
    if not callable(make):
        own = [each for each, value in vars(module).items() if getattr(value, "__module__", "") == module.__name__]
        raise RequestError(f"arch {arch!r}: {source} has no function {name!r}{_similar(name, own)}")
    return Builder(arch, make, f"{name} of {source}")


def _of_torchvision(arch: str, name: str) -> Builder:
    known = torchvision_models.list_models(module=torchvision_models)
    if name not in known:
        raise RequestError(f"arch {arch!r}: torchvision has no classifier {name!r}{_similar(name, known)}")
    # Auxiliary classifiers answer in training alone, and both networks that have them draw weights for minutes.
    plain = {"aux_logits": False, "init_weights": False} if name in ("googlenet", "inception_v3") else {}

    def make(num_classes: int = 1000) -> nn.Module:
        return torchvision_models.get_model(name, weights=None, num_classes=num_classes, **plain)

    def sized(num_classes: int = 1000, image_size: int = 224) -> nn.Module:
        return torchvision_models.get_model(name, weights=None, num_classes=num_classes, image_size=image_size)

    size, resize = _torchvision_sizes(name)
    found = sized if name.startswith("vit_") else make
    return Builder(arch, found, f"torchvision {_version('torchvision')}", IMAGENET_MEAN, IMAGENET_STD, size, resize)


def _torchvision_sizes(name: str) -> tuple[int, int]:
    """Pixels shown, and of the short side, in the test of the weights that torchvision would take."""
    weights = torchvision_models.get_model_weights(name).DEFAULT
    test = weights.transforms()
    return test.crop_size[0], test.resize_size[0]


def _of_timm(arch: str, name: str) -> Builder:
    try:
        import timm
    except ImportError:
        raise RequestError(f"arch {arch!r} needs timm, which is absent; pip install 'advlook[timm]'") from None
    plain, _, _ = name.partition(".")  # a tag names weights, which come from the checkpoint
    if not timm.is_model(plain):
        raise RequestError(f"arch {arch!r}: timm has no model {name!r}{_similar(plain, timm.list_models())}")
    config = timm.get_pretrained_cfg(name, allow_unregistered=False) if "." in name else None
    config = config or timm.get_pretrained_cfg(plain)

    def make(num_classes: int = config.num_classes, img_size: int | None = None) -> nn.Module:
        sized = {} if img_size is None else {"img_size": img_size}
        try:
            return timm.create_model(plain, pretrained=False, num_classes=num_classes, **sized)
        except TypeError:  # convolutional networks take no size, and need none
            return timm.create_model(plain, pretrained=False, num_classes=num_classes)

    size = config.input_size[-1]
    resize = round(size / config.crop_pct)
    return Builder(arch, make, f"timm {timm.__version__}", config.mean, config.std, size, resize)


def _similar(name: str, known: list[str]) -> str:
    close = get_close_matches(name, known, cutoff=0.4)
    return f"; it has {', '.join(close)}" if close else ""


def _version(package: str) -> str:
    return getattr(importlib.import_module(package), "__version__", "")


def _file(path: Path) -> ModuleType:
    """The module in a file of Python, run once; its folder is where it imports from."""
    if not path.is_file():
        raise RequestError(f"{path} does not exist; give the path of a Python file as PATH.py:FUNCTION")
    name = f"advlook_builder_{digest(str(path.resolve()))}"
    if name in sys.modules:
        return sys.modules[name]
    spec = importlib.util.spec_from_file_location(name, path)
    module = sys.modules[name] = importlib.util.module_from_spec(spec)
    folder = str(path.resolve().parent)
    sys.path.insert(0, folder)
    try:
        spec.loader.exec_module(module)
    except Exception as error:
        del sys.modules[name]
        raise RequestError(f"{path} cannot be run ({reason(error)})") from None
    finally:
        sys.path.remove(folder)
    return module


def _package(name: str) -> ModuleType:
    try:
        return importlib.import_module(name)
    except ImportError as error:
        raise RequestError(f"module {name!r} cannot be imported ({reason(error)}); give {FORMS}") from None


def classes_in(network: nn.Module, state: Mapping[str, Tensor]) -> int | None:
    """The number of classes that a state dict is of, where it differs from the network's in its last layers alone:
    tensors of as many dimensions, of which only the first differs, all in the same way. None where nothing differs.
    Raises RequestError where the difference is of another kind."""
    own, differing = network.state_dict(), set()
    for name, value in state.items():
        if name in own and own[name].shape != value.shape:
            if own[name].shape[1:] != value.shape[1:] or value.dim() == 0:
                shapes = f"{tuple(value.shape)}, but the network has {tuple(own[name].shape)}"
                raise RequestError(
                    f"{name!r} has shape {shapes}: it is of another architecture, or of another size: give --size"
                )
            differing.add((own[name].shape[0], value.shape[0]))
    if len(differing) > 1:
        raise RequestError("several layers differ in width: it is of another architecture")
    return differing.pop()[1] if differing else None


def normalises_itself(network: nn.Module) -> bool:
    """Whether a network has two buffers or parameters of three values, named as a normalisation is."""
    named = [*network.named_buffers(), *network.named_parameters()]
    ends = {name.rpartition(".")[2] for name, value in named if value.numel() == 3}
    return any(set(pair) <= ends for pair in NORMALISATIONS)
