"""Any checkpoint on any folder of photographs: what `advlook evaluate` measures."""

from pathlib import Path
from typing import Any

import pandas as pd
import torch

from advlook import attacks
from advlook.attacks import NAMED_ATTACKS, percent
from advlook.attacks.suite import undefined
from advlook.core import ALONE, Group, RequestError, check_choice
from advlook.core.copies import channels_last
from advlook.core.errors import UNSUITED
from advlook.data.streaming import StreamedImages
from advlook.models import normalisation
from advlook.models.asked import Picked, classes_asked, images_asked
from advlook.models.evaluation import accuracy_under, found_among
from advlook.models.external import Loaded, load_model
from advlook.models.folding import for_inference


def evaluate_checkpoint(
    checkpoint: Path,
    arch: str,
    data: Path,
    *,
    attack: str = "none",
    eps: float = 4 / 255,
    steps: int = 20,
    size: int | None = None,
    resize: int | None = None,
    limit: int = 0,
    classes: Path | None = None,
    split: str = "all",
    group: Group = ALONE,
    progress: bool = True,
    **described: Any,
) -> pd.DataFrame:
    """One row: accuracy in percent of any checkpoint on a folder of class folders, clean and under an attack; all
    processes of the group return the same. limit: so many images, drawn by a fixed seed; 0: all. split: "all" images of
    the folder, or those "held-out" from training (`asked.images_asked`). classes: a file that names the class of every
    logit, one a line; folders are matched with classes by name, and only the logits of these count ("classes" and
    "names" in the row: as of `asked.classes_asked`). described: stem, mean, std and weights as of
    `external.load_model`; "normalisation" in the row: as of `external.Loaded`. Images are streamed, resized to `resize`
    pixels on the short side (as in training, else size / 0.875), and cut to the central `size` (as in training, else
    224 for the published stem). The table's attrs["notes"] are lines for the user on what was assumed. Raises
    RequestError as `load_model`, `images_asked` and `classes_asked` do, and where the size does not suit."""
    check_choice("attack", attack, ("none", *NAMED_ATTACKS))
    loaded = load_model(checkpoint, arch, size=size, **described)
    side, short = image_size(loaded, checkpoint, size, resize)
    listing, notes = images_asked(checkpoint, data, split)
    places, source, more = classes_asked(loaded, listing.classes, checkpoint, data, classes)
    left_out = undefined(attacks.SUITE if attack == "suite" else (attack,), len(places))
    device = torch.device("cuda" if torch.cuda.is_available() else "cpu")
    model = channels_last(loaded.model.to(device))
    if places != list(range(loaded.classes)):
        model = Picked(for_inference(model), places).to(device)
    images = StreamedImages(listing.subset(limit), side, short)
    # What an attack keeps in memory grows with the pixels: a GPU is filled with 250, a laptop need not be.
    batch_size = 250 if device.type == "cuda" else max(1, min(250, 250 * 64**2 // side**2))
    shown = {"batch_size": batch_size, "device": device}
    how = shown | {"group": group}
    notes += [*more, *normalisation.notes(loaded, checkpoint, images.subset(normalisation.TRIED), places, **shown)]
    first, best = found_among(model, images, (1, 5), **how, title="clean" if progress else None).unbind(1)
    row = {"checkpoint": checkpoint.name, "images": len(images), "pixels": f"{side} of {short}"}
    row |= {"normalisation": loaded.normalisation, "classes": f"{len(places)} of {loaded.classes}", "names": source}
    row |= {"top1": percent(first), "top5": percent(best)}
    if attack != "none":
        name = f"{attack}, eps {eps * 255:g}/255" + ("" if attack in ("noise", "fgsm") else f", {steps} steps")
        name += f", without {', '.join(left_out)}" if left_out else ""
        how |= {"right": first, "title": attack if progress else None}
        chosen = NAMED_ATTACKS[attack]
        row[name] = accuracy_under(model, images, lambda m, x, y, g: chosen(m, x, y, eps, steps, g), **how)
    table = pd.DataFrame([row])
    table.attrs["notes"] = notes
    return table


def image_size(loaded: Loaded, checkpoint: Path, size: int | None, resize: int | None) -> tuple[int, int]:
    """Pixels to show, and pixels of the short side that they are cut out of: as asked for, else as in training."""
    side = size or loaded.size or (224 if loaded.stem == "imagenet" else None)
    if side is None:
        raise RequestError(f"checkpoint {checkpoint} does not say the size of its images; give --size in pixels")
    short = resize or (loaded.resize if side == loaded.size else None) or round(side / 0.875)
    if short < side:
        raise RequestError(f"resize={short} is below size={side}: the images would be smaller than what is shown")
    try:
        with torch.no_grad():
            loaded.model(torch.zeros(1, 3, side, side))
    except UNSUITED:
        network = f"this network with stem {loaded.stem!r}" if loaded.stem else "this network"
        raise RequestError(f"size={side} does not suit {network}; give another") from None
    return side, short
