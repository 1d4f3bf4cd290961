"""Does the normalisation fit? What is known of it, and the accuracies of a model behind each of the usual ones."""

from collections.abc import Sequence
from pathlib import Path

import torch
from torch import Tensor

from advlook.attacks import percent
from advlook.data.tensors import Shown, as_image_set
from advlook.models.architectures import Normalized
from advlook.models.builders import IMAGENET_MEAN, IMAGENET_STD
from advlook.models.evaluation import predict
from advlook.models.external import Channels, Loaded

TRIED = 200  # images that every normalisation is tried on
SOURCES = {  # of `external.Loaded.normalisation`, in words
    "given": "given",
    "file": "stored in the checkpoint",
    "network": "by the network itself",
    "builder": "as its builder states it",
    "assumed": "assumed",
}
USUAL: dict[str, Channels] = {
    "ImageNet's": (IMAGENET_MEAN, IMAGENET_STD),
    "mean 0.5, std 0.5": ((0.5, 0.5, 0.5), (0.5, 0.5, 0.5)),
    "CLIP's": ((0.4815, 0.4578, 0.4082), (0.2686, 0.2613, 0.2758)),
    "CIFAR-10's": ((0.4914, 0.4822, 0.4465), (0.2470, 0.2435, 0.2616)),
    "none": ((0.0, 0.0, 0.0), (1.0, 1.0, 1.0)),
}


def described(loaded: Loaded) -> str:
    """Mean and standard deviation in front of a loaded network, and where they come from."""
    if not isinstance(loaded.model, Normalized):
        return SOURCES["network"]
    mean, std = (_shown(values.flatten().tolist()) for values in (loaded.model.mean, loaded.model.std))
    return f"mean {mean}, std {std} ({SOURCES[loaded.normalisation]})"


def notes(loaded: Loaded, path: Path, images: Shown, places: Sequence[int], **batches: object) -> list[str]:
    """Lines for the user on a normalisation that neither they, nor the file, nor the network tells: which is taken, and
    whether another of the USUAL ones makes the model right about clearly more of the images: by more than two standard
    errors of the difference, and by at least two in a hundred. All classes of the model compete: among the few that a
    folder has, a wrong normalisation costs little. places: as of `asked.classes_asked`; batches: as of `predict`."""
    if loaded.normalisation not in ("assumed", "builder"):
        return []
    silent = f"{path} does not say its normalisation; taken: {described(loaded)}"

    def right(model: Normalized) -> Tensor:
        labels = torch.tensor(places)[torch.as_tensor(as_image_set(images).labels)]
        return predict(model, images, **batches).argmax(1) == labels

    now, found = right(loaded.model), {}
    for name, channels in USUAL.items():
        other = right(_behind(loaded.model, channels))
        gained, lost = (other & ~now).sum().item(), (now & ~other).sum().item()
        if gained - lost > max(2 * (gained + lost) ** 0.5, len(now) / 50):
            found[name] = gained - lost
    if not found:
        return [f"{silent}; give --mean and --std where it is another"]
    best = max(found, key=found.__getitem__)
    share, more = f"{percent(now):.0f}% of {len(now)} images are right", 100 * found[best] / len(now)
    mean, std = map(_shown, USUAL[best])
    return [f"{silent}: {share}, {best} gives {more:.0f} points more; try --mean {mean} --std {std}"]


def _behind(model: Normalized, channels: Channels) -> Normalized:
    device = model.mean.device
    return Normalized(model.network, *channels).to(device).eval()


def _shown(values: Sequence[float]) -> str:
    return ",".join(f"{value:.4g}" for value in values)
