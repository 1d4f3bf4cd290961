"""The parts that all explorers share: when there is one, the image that is looked at, the controls and the picture."""

import os
from abc import ABC, abstractmethod
from collections.abc import Mapping
from dataclasses import dataclass
from functools import cached_property, partial
from html import escape
from io import BytesIO
from typing import Any

import ipywidgets as widgets
import numpy as np
import torch
import torch.nn.functional as F
from IPython import get_ipython
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from torch import Tensor, nn

from advlook.core import ARCH_NAMES, SETTINGS, Classifier, RequestError, evaluating
from advlook.data.image_sets import ImageSet, read_image, to_float
from advlook.study import Study
from advlook.study.style import COLORS, INK, RIGHT, WRONG, bare

SHOWN = 200  # test images to choose from; the first ones are those of notebook 02's figure
DPI, STILL_DPI = 110, 72
STILL = "A still: in a live kernel, such as JupyterLab's, it has controls and takes images of your own."
Controls = dict[str, partial[widgets.Widget]]  # by argument of `Explorer.draw`; each has the keyword `value`


def control(kind: type[widgets.Widget], description: str, value: object, **options: object) -> partial[widgets.Widget]:
    """What makes a control that starts with a value; no widget is made before it is called."""
    look = {"layout": {"width": "300px"}, "style": {"description_width": "90px"}}
    return partial(kind, description=description, value=value, **look, **options)


def live() -> bool:
    """Whether the code runs in a notebook that is open in a front end, where a person can move a slider.

    A Jupyter server tells the kernel of an open notebook its path in JPY_SESSION_NAME, and VS Code leaves
    `__vsc_ipynb_file__` among the kernel's variables; papermill, nbclient and nbval do neither. ADVLOOK_LIVE (0 or 1,
    else RequestError) overrides, for other front ends and for programs started from an open notebook."""
    wish = os.environ.get("ADVLOOK_LIVE", "")
    if wish not in ("", "0", "1"):
        raise RequestError(f"ADVLOOK_LIVE={wish!r} is neither 0 nor 1; set it to one of them, or not at all")
    if wish:
        return wish == "1"
    shell = get_ipython()
    if getattr(shell, "kernel", None) is None:
        return False
    return bool(os.environ.get("JPY_SESSION_NAME")) or "__vsc_ipynb_file__" in shell.user_ns


@dataclass(frozen=True)
class ChosenImage:
    """The image to look at, `(1, 3, S, S)` on the study's device; its class, where that is known; and its name."""

    image: Tensor
    label: int | None
    name: str


class Explorer(ABC):
    """What is explored: the controls, and the picture for any choice of their values."""

    takes_image = True

    def __init__(self, study: Study) -> None:
        self.study = study
        self.uploaded: ChosenImage | None = None

    @classmethod
    def shown(cls, study: Study) -> widgets.Widget | Figure:
        """What a cell shows: in a live kernel a panel, else the picture of the first values, without any widget."""
        explorer = cls(study)
        if live():
            return Panel(explorer)
        figure = explorer.figure(**explorer.defaults())
        figure.supxlabel(STILL, fontsize=9, color="#777777")
        figure.set_dpi(STILL_DPI)
        return figure

    def defaults(self) -> dict[str, Any]:
        """The value that each control starts with."""
        return {name: make.keywords["value"] for name, make in self.controls().items()}

    def controls(self) -> Controls:
        """What makes the control of each value."""
        preset = self.study.preset
        networks = [(ARCH_NAMES[arch], arch) for arch in preset.archs]
        made = {"arch": control(widgets.Dropdown, "network", preset.archs[-1], options=networks)}
        made["seed"] = control(widgets.Dropdown, "seed", preset.seeds[0], options=preset.seeds)
        if self.takes_image:
            made["image"] = control(widgets.IntSlider, "image", 0, max=len(self.images) - 1)
        return made

    def adapt(self, controls: Mapping[str, widgets.Widget]) -> None:  # noqa: B027 (most have nothing to adapt)
        """Fit the controls to each other's values."""

    @abstractmethod
    def draw(self, pair: Mapping[str, nn.Module], **values: Any) -> Figure:
        """The picture of the models, by setting; with `chosen`, where images are taken, and the other values."""

    def figure(self, arch: str, seed: int, image: int = 0, **values: Any) -> Figure:
        """The picture for a value of each control, under a title."""
        title = ", ".join(filter(None, [ARCH_NAMES[arch], self.study.preset.run_name(arch, seed)]))
        if self.takes_image:
            values["chosen"] = self.uploaded or self.test_image(image)
            title = f"{values['chosen'].name}; {title}"
        figure = self.draw({setting: self.study.model(arch, setting, seed) for setting in SETTINGS}, **values)
        figure.suptitle(title, fontsize=11)
        return figure

    def take(self, name: str, content: bytes | memoryview) -> None:
        """From now on look at an uploaded file, upright and on white: its centre, at the size of the study's images.
        Raises RequestError where it is no image; then nothing changes."""
        data = self.study.preset.data
        try:
            pixels = torch.tensor(read_image(BytesIO(content), data.size, data.test_store))
        except RequestError:
            raise RequestError(f"file {name!r} cannot be read as an image; upload a PNG or a JPEG") from None
        self.uploaded = self._chosen(pixels.permute(2, 0, 1)[None], None, f"{name} (uploaded)")

    @cached_property
    def images(self) -> ImageSet:
        """The test images to choose from."""
        return self.study.test.subset(SHOWN, seed=1)

    @property
    def classes(self) -> tuple[str, ...]:
        """Their names."""
        return self.study.test.classes

    def say(self, answer: Tensor, chosen: ChosenImage) -> tuple[str, str]:
        """An answer in words and in a colour: green where it is right, red where it is wrong."""
        best = int(answer.argmax())
        color = INK if chosen.label is None else RIGHT if best == chosen.label else WRONG
        return f"{self.classes[best]} {100 * answer[best]:.0f}%", color

    def draw_answers(self, axis: Axes, before: Tensor, after: Tensor, setting: str) -> None:
        """The most probable classes and their probabilities: pale before, full after."""
        first = torch.maximum(before, after).topk(min(5, len(after))).indices
        first = first[after[first].argsort(descending=True)]
        places = np.arange(len(first))
        for answer, shift, alpha in ((before, -0.2, 0.35), (after, 0.2, 1.0)):
            axis.barh(places + shift, 100 * answer[first].numpy(), 0.38, color=COLORS[setting], alpha=alpha)
        axis.set_yticks(places, [self.classes[k] for k in first])
        axis.set_xlim(0, 100)
        axis.set_xlabel("probability [%], pale: before", fontsize=9)
        axis.tick_params(labelsize=9)
        axis.invert_yaxis()
        axis.grid(visible=False, axis="y")

    def test_image(self, index: int) -> ChosenImage:
        """One of `images`."""
        label = int(self.images.labels[index])
        return self._chosen(self.images.images[[index]], label, f"test image {index}: {self.classes[label]}")

    def _chosen(self, pixels: Tensor, label: int | None, name: str) -> ChosenImage:
        return ChosenImage(to_float(pixels.to(self.study.device)), label, name)


class Panel(widgets.VBox):
    """An explorer in a live kernel: its controls, an upload where it takes images, and the picture that follows."""

    def __init__(self, explorer: Explorer) -> None:
        self.explorer = explorer
        self.controls = {name: make() for name, make in explorer.controls().items()}
        self.upload = widgets.FileUpload(accept="image/*", description="your image")
        self.message = widgets.HTML()
        fitting = widgets.Layout(max_width="calc(100% - 4px)", align_self="flex-start")  # the margin is 2 px
        self.picture = widgets.Image(format="png", layout=fitting)
        asked = self.controls | ({"upload": self.upload} if explorer.takes_image else {})
        self._adapting = False
        for each in asked.values():  # first, so that what is drawn fits
            each.observe(self._adapt, "value")
        output = widgets.interactive_output(self._draw, asked)  # shows progress bars, and tracebacks
        row = widgets.Box(list(asked.values()), layout=widgets.Layout(flex_flow="row wrap"))
        super().__init__([row, self.message, output, self.picture])
        self.add_class("advlook-explorer")

    def _adapt(self, change: Mapping[str, Any]) -> None:
        """Take an upload and fit the controls to each other; nothing is drawn for the changes that this makes."""
        if self._adapting:
            return
        self._adapting, self.message.value = True, ""
        try:
            if change["owner"] is self.upload:
                (file, *_), self.upload.value = self.upload.value, ()
                self.explorer.take(file["name"], file["content"])
            elif change["owner"] is self.controls.get("image"):
                self.explorer.uploaded = None
            self.explorer.adapt(self.controls)
        except RequestError as error:
            self._refuse(error)
        finally:
            self._adapting = False

    def _draw(self, upload: object = None, **values: Any) -> None:
        """Draw anew, or say why not; the picture then stays."""
        if self._adapting:
            return
        drawn = BytesIO()
        try:
            self.explorer.figure(**values).savefig(drawn, format="png", dpi=DPI)
            self.picture.value = drawn.getvalue()
        except RequestError as error:
            self._refuse(error)

    def _refuse(self, error: RequestError) -> None:
        self.message.value = f'<span style="color: {WRONG}">{escape(str(error))}</span>'


@torch.no_grad()
def answer(model: nn.Module, images: Tensor) -> Tensor:
    """What a model says about an image `(1, 3, H, W)`: the probability of each class, `(classes,)`, on the CPU."""
    with evaluating(Classifier(model)) as asked:
        return F.softmax(asked(images), dim=1)[0].cpu()


def class_of(model: nn.Module, images: Tensor, label: int | None) -> Tensor:
    """The class `(1,)` to be attacked or explained: the label, or where there is none the model's answer."""
    known = int(answer(model, images).argmax()) if label is None else label
    return torch.tensor([known], device=images.device)


def show(axis: Axes, pixels: Tensor, title: str = "", color: str = INK, setting: str | None = None) -> None:
    """An image `(3, H, W)`, or a magnitude `(H, W)`, in [0, 1]; the setting, where given, stands beside it."""
    shown = pixels.clamp(0, 1).cpu().numpy()
    axis.imshow(shown if shown.ndim == 2 else shown.transpose(1, 2, 0), cmap="magma", vmin=0, vmax=1)
    axis.set_title(title, color=color, fontsize=10, fontweight="normal")
    bare([axis])
    if setting:
        axis.set_ylabel(setting.upper(), color=COLORS[setting], fontsize=13, fontweight="bold")
