"""The explorers without a browser: what they show, how they follow their controls, and what they leave alone."""

import dataclasses
import datetime
import io
from types import SimpleNamespace

import ipywidgets
import numpy as np
import pytest
import torch
from helpers import convolutional, image_set, random_images, small_preset, snapshot
from matplotlib.figure import Figure
from PIL import Image

from advlook.core import RequestError
from advlook.report import explorers, panel
from advlook.study import Study

SIDE = 20  # pixels: the least that textures need
OTHER = {"arch": "alexnet_bn", "seed": 1}
CHANGES = {
    "attacks": OTHER | {"image": 3, "eps": 9.0, "steps": 1, "attack": "noise"},
    "maps": OTHER | {"image": 3, "method": "smooth_grad", "of": 1, "sigma": 1.0, "eps": 8.0, "shared": True},
    "layers": OTHER | {"layer": "0", "unit": 2, "parameterisation": "fourier", "jitter": 2, "steps": 1},
    "corruptions": OTHER | {"image": 3, "sigma": 0.25, "times": 2, "reversed": True},
    "hybrids": OTHER | {"image": 3, "fine": 2, "cutoff": 0.25},
    "styles": OTHER | {"image": 3, "style": 2, "strength": 0.5},
}


@pytest.fixture
def study(tmp_path):
    """A study of two architectures and two seeds, all of whose models are small networks."""
    preset = small_preset(
        data={"size": SIDE, "test_store": SIDE},
        stylization={"engine": "optimised", "styles": ("generated",), "steps": 2},
    )
    few = dataclasses.replace(preset.visualize, steps=4, starts=1)
    study = Study(dataclasses.replace(preset, visualize=few), output=tmp_path, data=tmp_path, progress=False)
    keys = [(arch, setting, seed) for arch in study.preset.archs for setting in ("std", "adv") for seed in (0, 1)]
    study._models = {key: convolutional(seed=number).eval() for number, key in enumerate(keys)}
    study.__dict__["test"] = image_set(40, SIDE)
    return study


@pytest.fixture
def alive(monkeypatch):
    """As in a live kernel, with coarse pictures, which are drawn faster."""
    monkeypatch.setenv("ADVLOOK_LIVE", "1")
    monkeypatch.setattr(panel, "DPI", 20)


def upload(shown, name, content):
    """What the browser sends when a file was chosen."""
    file = {"name": name, "type": "image/png", "size": len(content), "last_modified": datetime.datetime.now()}
    shown.upload.value = ({**file, "content": memoryview(content)},)


def png(side=40, seed=5):
    """A PNG of noise, wider than high."""
    noise = (255 * random_images(1, side, seed=seed)[0]).byte().permute(1, 2, 0).numpy()
    drawn = io.BytesIO()
    Image.fromarray(noise[: side // 2]).save(drawn, "PNG")
    return drawn.getvalue()


def content(figure):
    """All that can be seen on a figure: its images, its bars, what is written."""
    images = [image.get_array().tobytes() for axis in figure.axes for image in axis.images]
    return [*images, *(bar.get_width() for axis in figure.axes for bar in axis.patches), texts(figure)]


def texts(figure):
    """Everything that is written on a figure."""
    return "\n".join(text.get_text() for text in figure.findobj(lambda artist: hasattr(artist, "get_text")))


@pytest.mark.parametrize("name", CHANGES)
def test_a_still_outside_a_live_kernel(name, study, monkeypatch):
    """One figure of both models that says what it is, small as a file, and no widget."""
    monkeypatch.delenv("ADVLOOK_LIVE", raising=False)
    monkeypatch.setattr(ipywidgets.Widget, "open", lambda *_: pytest.fail("made a widget"))
    figure = getattr(explorers, name)(study)
    assert isinstance(figure, Figure)
    assert {"STD", "ADV"} <= set(texts(figure).replace(":", "\n").splitlines())
    assert panel.STILL in texts(figure)
    drawn = io.BytesIO()
    figure.savefig(drawn)
    assert len(drawn.getvalue()) < 300_000


@pytest.mark.parametrize("name", CHANGES)
def test_every_control_changes_the_picture(name, study, alive):
    """One after the other; none is left out. And the models are left as they were."""
    models = {key: snapshot(model) for key, model in study._models.items()}
    shown = getattr(explorers, name)(study)
    assert isinstance(shown, ipywidgets.VBox)
    assert set(shown.controls) == set(CHANGES[name])
    pictures = [bytes(shown.picture.value)]
    for control, value in CHANGES[name].items():
        shown.controls[control].value = value
        pictures.append(bytes(shown.picture.value))
        assert pictures[-1].startswith(b"\x89PNG")
        assert pictures[-1] not in pictures[:-1], control
        assert shown.message.value == ""
    assert {key: snapshot(model) for key, model in study._models.items()} == models


@pytest.mark.parametrize("name", CHANGES)
@pytest.mark.parametrize("setting", ["std", "adv"])
def test_both_models_are_shown(name, setting, study):
    """Another model in the place of either changes the picture."""
    explorer = getattr(explorers, f"_{name.capitalize()}")(study)

    def drawn():
        return content(explorer.figure(**explorer.defaults()))

    before = drawn()
    assert drawn() == before
    study._models[study.preset.archs[-1], setting, 0] = convolutional(seed=99).eval()
    assert drawn() != before


@pytest.mark.parametrize("attack", explorers.NAMED_ATTACKS)
def test_every_attack_is_drawn(attack, study):
    """With few steps; and with a radius of nothing, which is another picture."""
    explorer = explorers._Attacks(study)
    values = explorer.defaults() | {"attack": attack, "steps": 2}
    assert content(explorer.figure(**values)) != content(explorer.figure(**values | {"eps": 0.0}))


@pytest.mark.parametrize("method", explorers.METHODS)
def test_every_map_is_drawn(method, study):
    """Of the label, of the answer and of a class, which its title names."""
    explorer = explorers._Maps(study)
    values = explorer.defaults() | {"method": method}
    for of, name in ((explorers.LABEL, "class 0"), (explorers.ANSWER, "class"), (2, "class 2")):
        assert f"{explorers.TITLES[method]}, {name}" in texts(explorer.figure(**values | {"of": of}))


def test_steps_only_where_an_attack_takes_them(study, alive):
    """The slider of an attack without steps is off."""
    shown = explorers.attacks(study)
    for attack, disabled in (("fgsm", True), ("pgd", False), ("noise", True)):
        shown.controls["attack"].value = attack
        assert shown.controls["steps"].disabled is disabled


def test_layers_and_units_follow_the_network(study, alive):
    """Another network has other layers and fewer units; one picture is drawn for all that changes at once."""
    study._models["alexnet_bn", "std", 0] = study._models["alexnet_bn", "adv", 0] = convolutional(width=2).eval()
    shown = explorers.layers(study)
    shown.controls["layer"].value = "3"
    shown.controls["unit"].value = 5
    drawn, draw = [], shown.explorer.draw
    shown.explorer.draw = lambda *a, **k: drawn.append(k) or draw(*a, **k)
    shown.controls["arch"].value = "alexnet_bn"
    assert (shown.controls["unit"].max, shown.controls["unit"].value) == (1, 1)
    assert [(k["layer"], k["unit"]) for k in drawn] == [("3", 1)]
    shown.controls["layer"].value = "8"
    assert shown.controls["unit"].max == 2
    values = {name: control.value for name, control in shown.controls.items()}
    assert "8, unit 1: class 1" in texts(shown.explorer.figure(**values))


def test_photographs_are_stylized_by_the_network(study, monkeypatch):
    """Where the preset says so: the picture is the one that the network gives back."""
    config = dataclasses.replace(study.preset.stylization, engine="network")
    explorer = explorers._Styles(Study(dataclasses.replace(study.preset, stylization=config), data=study.data))
    explorer.study._models, explorer.study.__dict__["test"] = study._models, study.test
    given = []

    def redrawn(images, styles, strength):
        given.append((styles.shape, strength))
        return 1 - images

    monkeypatch.setattr(explorers, "style_transfer", redrawn)
    figure = explorer.figure(**explorer.defaults() | {"strength": 0.25})
    original, _, both = (axis.images[0].get_array() for axis in figure.axes[:3])
    np.testing.assert_allclose(original + both, 1, atol=1e-6)
    assert given == [((1, 3, 256, 256), 0.25)]


@pytest.mark.parametrize("name", ["attacks", "maps", "corruptions", "hybrids", "styles"])
def test_an_upload_is_looked_at(name, study, alive):
    """Cropped to the study's size, without a label; moving the slider goes back to the test images."""
    shown = getattr(explorers, name)(study)
    first = bytes(shown.picture.value)
    upload(shown, "own.png", png())
    own = bytes(shown.picture.value)
    assert own != first
    assert shown.upload.value == ()
    assert shown.message.value == ""
    sample = shown.explorer.uploaded
    assert sample.image.shape == (1, 3, SIDE, SIDE)
    assert sample.label is None
    expected = Image.open(io.BytesIO(png())).resize((2 * SIDE, SIDE), Image.Resampling.BICUBIC)
    expected = expected.crop((SIDE // 2, 0, 3 * SIDE // 2, SIDE))
    assert (255 * sample.image[0].permute(1, 2, 0)).round().byte().numpy().tobytes() == expected.tobytes()
    upload(shown, "own.png", png())  # the same file once more
    assert bytes(shown.picture.value) == own
    shown.controls["image"].value = 1
    shown.controls["image"].value = 0
    assert bytes(shown.picture.value) == first


def test_an_upload_stands_upright_and_on_white(study, alive):
    """A phone photograph is turned as its EXIF orientation says, and a transparent picture lies on white."""
    shown = explorers.corruptions(study)
    turned, exif, drawn = Image.open(io.BytesIO(png(40))), Image.Exif(), io.BytesIO()
    exif[0x0112] = 6
    turned.transpose(Image.Transpose.ROTATE_90).save(drawn, "PNG", exif=exif)
    upload(shown, "phone.png", drawn.getvalue())
    photograph = shown.explorer.uploaded.image
    upload(shown, "own.png", png(40))
    assert torch.equal(photograph, shown.explorer.uploaded.image)
    drawn = io.BytesIO()
    Image.new("RGBA", (40, 40), (0, 0, 0, 0)).save(drawn, "PNG")
    upload(shown, "logo.png", drawn.getvalue())
    assert (shown.explorer.uploaded.image == 1).all()


@pytest.mark.parametrize("content", [b"", b"no image <b>at all</b>", png()[:300]], ids=["empty", "text", "cut off"])
def test_a_corrupt_upload_is_told(content, study, alive):
    """In one line in the widget, and the picture stays; the next change clears it."""
    shown = explorers.corruptions(study)
    upload(shown, "own.png", png())
    before = bytes(shown.picture.value)
    upload(shown, "<i>.png", content)
    assert "file &#x27;&lt;i&gt;.png&#x27; cannot be read as an image; upload a PNG or a JPEG" in shown.message.value
    assert "\n" not in shown.message.value
    assert bytes(shown.picture.value) == before
    shown.controls["times"].value = 1
    assert shown.message.value == ""
    assert bytes(shown.picture.value) != before


def test_errors_are_not_swallowed(study, alive, monkeypatch):
    """What a user can mend is told in the widget; anything else goes on to the output that shows tracebacks."""
    shown = explorers.attacks(study)

    def refuse(*_args):
        raise RequestError("eps is <odd>")

    monkeypatch.setitem(explorers.NAMED_ATTACKS, "pgd", refuse)
    shown.controls["eps"].value = 1.0
    assert "eps is &lt;odd&gt;" in shown.message.value

    def fail(*_args):
        raise ArithmeticError("made to fail")

    monkeypatch.setitem(explorers.NAMED_ATTACKS, "pgd", fail)
    with pytest.raises(ArithmeticError, match="made to fail"):
        shown.controls["eps"].value = 2.0
    monkeypatch.undo()
    before = bytes(shown.picture.value)
    shown.controls["image"].value = 7
    assert bytes(shown.picture.value) != before


def test_perturbations_are_magnified_to_the_grey_scale(study):
    """An L-infinity step of eps shows as black or white, and none as grey."""
    explorer = explorers._Attacks(study)
    values = explorer.defaults() | {"attack": "noise", "eps": 4.0}
    noise = explorer.figure(**values).axes[1].images[0].get_array()
    inside = (noise > 0.01) & (noise < 0.99)
    assert inside.mean() < 0.2  # where the step was cut at 0 or 1
    still = explorer.figure(**values | {"eps": 0.0}).axes[1].images[0].get_array()
    assert still.min() == still.max() == pytest.approx(0.5)


@pytest.mark.parametrize(
    ("kernel", "environment", "variables", "expected"),
    [
        (True, {"JPY_SESSION_NAME": "a.ipynb"}, {}, True),
        (True, {}, {"__vsc_ipynb_file__": "a.ipynb"}, True),
        (True, {}, {}, False),  # papermill, nbval
        (True, {"JPY_SESSION_NAME": ""}, {}, False),
        (True, {"JPY_SESSION_NAME": "a.ipynb", "ADVLOOK_LIVE": "0"}, {}, False),
        (True, {"ADVLOOK_LIVE": "1"}, {}, True),
        (True, {"ADVLOOK_LIVE": ""}, {}, False),
        (False, {"JPY_SESSION_NAME": "a.ipynb"}, {}, False),  # a script started from a notebook
        (False, {"ADVLOOK_LIVE": "1"}, {}, True),
    ],
)
def test_live(kernel, environment, variables, expected, monkeypatch):
    """Only in a kernel that a front end has opened, unless ADVLOOK_LIVE says otherwise."""
    shell = SimpleNamespace(kernel=object(), user_ns=variables) if kernel else None
    monkeypatch.setattr(panel, "get_ipython", lambda: shell)
    for name in ("JPY_SESSION_NAME", "ADVLOOK_LIVE"):
        monkeypatch.delenv(name, raising=False)
    for name, value in environment.items():
        monkeypatch.setenv(name, value)
    assert panel.live() is expected


def test_live_is_0_or_1(monkeypatch):
    """Anything else is refused, not guessed at."""
    monkeypatch.setenv("ADVLOOK_LIVE", "yes")
    with pytest.raises(RequestError, match="ADVLOOK_LIVE='yes' is neither 0 nor 1"):
        panel.live()
