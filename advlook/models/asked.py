"""What a checkpoint is asked about: which images of a folder, and which of its classes the class folders are."""

from collections.abc import Callable, Sequence
from pathlib import Path

import torch
from torch import Tensor, nn

from advlook.core import Preset, RequestError, check_choice
from advlook.core.copies import set_weights
from advlook.data.class_names import find_classes, imagenet_classes, listed, read_names, same_classes
from advlook.data.image_sets import listing_digest
from advlook.data.layouts import Listing, class_folders, list_images
from advlook.models.architectures import Normalized
from advlook.models.external import Loaded, load_model, stored_metadata, untrained

SPLITS = ("all", "held-out")


class Picked(nn.Module):
    """A model that knows some of its classes alone: images `(N, 3, H, W)` to the logits `(N, len(places))` at `places`,
    in their order."""

    def __init__(self, model: nn.Module, places: Sequence[int]) -> None:
        super().__init__()
        self.model = model
        self.register_buffer("places", torch.tensor(places))

    def forward(self, images: Tensor) -> Tensor:
        """Logits of the classes picked."""
        return self.model(images).index_select(1, self.places)


def images_asked(checkpoint: Path, data: Path, split: str) -> tuple[Listing, list[str]]:
    """The images of a folder of class folders, and lines for the user: with split "all" every image, with "held-out"
    those that training leaves alone: `test/` or `val/`, or of class folders alone the automatic part. Raises
    RequestError where the folder does not lie so, or where it has changed since the checkpoint was trained on it."""
    check_choice("split", split, SPLITS)
    held_out = stored_metadata(checkpoint).get("test_images")
    if split == "held-out":
        listing = class_folders(data, "test")
        if held_out and listing_digest(listing) != held_out:
            what = f"the test images of {data} are not those that were held out when {checkpoint} was trained"
            raise RequestError(
                f"{what}: it has changed, or is another set; leave --split out to take all of its images"
            )
        return listing, []
    if test := next((name for name in ("test", "val") if (data / "train").is_dir() and (data / name).is_dir()), None):
        raise RequestError(f"{data} holds splits, not classes; give --data {data / test}, or --split held-out")
    listing = list_images(data)
    if held_out and listing_digest(class_folders(data, "test")) == held_out:
        line = f"{checkpoint} was trained on four in five of the images in {data}; --split held-out leaves them out"
        return listing, [line]
    trained = stored_metadata(checkpoint).get("training", {}).get("data", {}).get("name", "")
    if held_out and Path(trained).name == data.resolve().name:
        changed = f"{checkpoint} was trained on {trained}: where that is this folder, changed since, most of its images"
        return listing, [f"{changed} were trained on"]
    return listing, []


def classes_asked(
    loaded: Loaded, folders: Sequence[str], checkpoint: Path, data: Path, given: Path | None
) -> tuple[list[int], str, list[str]]:
    """For each class folder the place of its logit; where the classes of the logits are known from ("given" in a file
    of names, "file", "imagenet" for 1,000 of them, or "none": the folders in their order); and lines for the user.
    Raises RequestError for folders that are no classes of the model, and another number where names are not known."""
    silent = f"{checkpoint} does not say its classes"
    if len(folders) == 1:
        raise RequestError(f"{data} has one class folder, {folders[0]!r}; of one class every answer is right: give two")
    if given is not None:
        names = read_names(given)
        if len(names) != loaded.classes:
            counts = f"names {len(names)}, but {checkpoint} knows {loaded.classes:,}"
            raise RequestError(f"classes {given} {counts}; name the class of every logit, in their order")
        other = loaded.names and not same_classes(names, loaded.names)
        lines = (
            [f"{checkpoint} tells its classes as {listed(loaded.names)}, but those in {given} are taken"]
            if other
            else []
        )
        return find_classes(folders, names, str(data)), "given", lines
    if loaded.names:
        return find_classes(folders, loaded.names, str(data)), "file", []
    if loaded.classes == len(imagenet_classes()):
        try:
            places = find_classes(folders, tuple(imagenet_classes()), str(data))
            return places, "imagenet", [f"{silent}: its {loaded.classes:,} logits are taken for those of ImageNet"]
        except RequestError:
            if len(folders) != loaded.classes:
                raise
    if len(folders) != loaded.classes:
        found = f"{data} holds {len(folders)} classes, but {checkpoint} knows {loaded.classes:,}"
        raise RequestError(f"{found} and does not say which; name them in the order of its logits, --classes names.txt")
    order = f"its logits are taken in the order of the folders ({listed(folders)})"
    return list(range(len(folders))), "none", [f"{silent}: {order}; give --classes names.txt where it is another"]


def checkpoint_of(preset: Preset, arch: str, setting: str, path: Path) -> Loaded:
    """What `path` holds, as a preset names it in place of training `arch`."""
    data, external, described = preset.data, preset.external[arch], preset.models.get(arch)
    how = {"weights": getattr(external, f"{setting}_weights") or None, "fallback": (data.mean, data.std)}
    how |= {"mean": external.mean, "std": external.standard_deviation}
    stem = described.stem if described else external.stem or None
    return load_model(path, external.arch or arch, stem=stem, size=data.size, **how)


def external_model(
    preset: Preset, arch: str, setting: str, path: Path, classes: Callable[[], Sequence[str]], fresh: int | None = None
) -> nn.Module:
    """The model in `path`, named by a preset in place of training `arch`. classes: gives the names of the images'
    classes; where the file tells its own, the model has the logits of these, in their order. fresh: the seed of initial
    weights in place of those in the file. Raises RequestError where file and preset do not agree."""
    data, external, described = preset.data, preset.external[arch], preset.models.get(arch)
    names = external.names_file
    loaded = checkpoint_of(preset, arch, setting, path)
    if described and loaded.width not in (None, described.width):
        stated = f"preset {preset.name} says {described.width}"
        raise RequestError(f"checkpoint {path} needs models.{arch}.width = {loaded.width}, but {stated}")
    places = list(range(data.classes))
    if names or loaded.names or loaded.classes == len(imagenet_classes()):
        places, _, _ = classes_asked(loaded, classes(), path, Path(data.name), names)
    elif loaded.classes != data.classes:
        stated = f"preset {preset.name} says {data.classes}"
        raise RequestError(f"checkpoint {path} needs data.classes = {loaded.classes}, but {stated}")
    if fresh is not None:
        network = loaded.model.network if isinstance(loaded.model, Normalized) else loaded.model
        set_weights(network, untrained(external.arch or arch, loaded, data.size, fresh).state_dict())
    return loaded.model if places == list(range(loaded.classes)) else Picked(loaded.model, places)
