"""What all explorers share: when there is one, the image that is looked at, the controls and the picture over them."""

import os
from abc import ABC, abstractmethod
from collections.abc import Mapping
from dataclasses import dataclass
from functools import cached_property
from html import escape
from io import BytesIO
from typing import Any

import ipywidgets as widgets
import torch
import torch.nn.functional as F
from IPython import get_ipython
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from torch import Tensor, nn

from advlook.core.errors import RequestError
from advlook.core.gradients import evaluating
from advlook.core.names import ARCH_NAMES
from advlook.core.presets import SETTINGS
from advlook.data.image_sets import ImageSet, read_image, to_float
from advlook.study.study import Study
from advlook.study.style import COLORS

SHOWN = 200  # test images to choose from; the first ones are those of notebook 02's figure
DPI, STILL_DPI = 110, 72
STILL = "A still: in a live kernel, such as JupyterLab's, it has controls and takes images of your own."
INK, RIGHT, WRONG = "#222222", "#1B7F3B", "#B00020"
Controls = dict[str, widgets.Widget]


def live() -> bool:
    """Whether somebody can move a slider: whether a notebook that is open in front of a person runs here.

    A Jupyter server (JupyterLab, Notebook, JupyterHub) tells the kernel of an open notebook its path in
    JPY_SESSION_NAME, and VS Code leaves `__vsc_ipynb_file__` among the kernel's variables; papermill, nbclient and
    nbval do neither. But what is started from an open notebook inherits the former, and other front ends may do
    neither: ADVLOOK_LIVE, 0 or 1, overrides. Raises RequestError where that is something else.
    """
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
class Sample:
    """An image to look at, `(1, 3, S, S)` on the study's device; its class, where that is known; and its name."""

    image: Tensor
    label: int | None
    name: str


class Explorer(ABC):
    """What is explored: the controls, their first values, and the picture for any choice of values."""

    takes_image = True

    def __init__(self, study: Study) -> None:
        self.study = study
        self.uploaded: Sample | None = None

    def shown(self) -> widgets.Widget | Figure:
        """What a cell is to show: in a live kernel a panel, else the picture of the first values, and no widget."""
        if live():
            return Panel(self)
        figure = self.figure(self.defaults())
        figure.supxlabel(STILL, fontsize=9, color="#777777")
        figure.set_dpi(STILL_DPI)
        return figure

    def defaults(self) -> dict[str, Any]:
        """The value that each control starts with."""
        preset = self.study.preset
        return {"arch": preset.archs[-1], "seed": preset.seeds[0]} | ({"image": 0} if self.takes_image else {})

    def controls(self) -> Controls:
        """A control for each of the values."""
        preset = self.study.preset
        networks = [(ARCH_NAMES[arch], arch) for arch in preset.archs]
        made: Controls = {
            "arch": widgets.Dropdown(options=networks, description="network"),
            "seed": widgets.Dropdown(options=preset.seeds, description="seed"),
        }
        if self.takes_image:
            made["image"] = widgets.IntSlider(max=len(self.images) - 1, description="image")
        return made

    def adapt(self, controls: Controls) -> None:  # noqa: B027 (most have nothing to adapt)
        """Fit the controls to each other's values."""

    @abstractmethod
    def draw(self, pair: Mapping[str, nn.Module], **values: Any) -> Figure:
        """The picture of the models, by setting; with a `sample` where images are taken, and the other values."""

    def figure(self, values: Mapping[str, Any]) -> Figure:
        """The picture for a value of each control, under a title."""
        own = dict(values)
        arch, seed = own.pop("arch"), own.pop("seed")
        title = f"{ARCH_NAMES[arch]}, seed {seed}"
        if self.takes_image:
            chosen = self._test_image(own.pop("image"))
            own["sample"] = self.uploaded or chosen
            title = f"{own['sample'].name}; {title}"
        figure = self.draw({setting: self.study.model(arch, setting, seed) for setting in SETTINGS}, **own)
        figure.suptitle(title, fontsize=11)
        return figure

    def take(self, name: str, content: bytes | memoryview) -> None:
        """From now on look at an uploaded file: its centre, at the size of the study's images.

        Raises RequestError where it is no image; then nothing changes.
        """
        data = self.study.preset.data
        try:
            pixels = torch.tensor(read_image(BytesIO(content), data.size, data.test_store))
        except RequestError:
            raise RequestError(f"file {name!r} cannot be read as an image; upload a PNG or a JPEG") from None
        self.uploaded = self._sample(pixels.permute(2, 0, 1)[None], None, f"{name} (uploaded)")

    @cached_property
    def images(self) -> ImageSet:
        """The test images to choose from."""
        return self.study.test.subset(SHOWN, seed=1)

    @property
    def classes(self) -> tuple[str, ...]:
        """Their names."""
        return self.study.test.classes

    def say(self, answer: Tensor, sample: Sample) -> tuple[str, str]:
        """An answer in words and in a colour: green where it is right, red where it is wrong."""
        best = int(answer.argmax())
        color = INK if sample.label is None else RIGHT if best == sample.label else WRONG
        return f"{self.classes[best]} {100 * answer[best]:.0f}%", color

    def draw_answers(self, axis: Axes, before: Tensor, after: Tensor, setting: str) -> None:
        """The classes that come first, and their probabilities: pale before, full after."""
        first = torch.maximum(before, after).topk(min(5, len(after))).indices
        first = first[after[first].argsort(descending=True)].tolist()
        for answer, shift, alpha in ((before, -0.2, 0.35), (after, 0.2, 1.0)):
            places = [place + shift for place in range(len(first))]
            axis.barh(places, [100 * float(answer[k]) for k in first], 0.38, color=COLORS[setting], alpha=alpha)
        names = [self.classes[k] for k in first]
        axis.set(yticks=range(len(first)), yticklabels=names, xlim=(0, 100), xlabel="probability [%], pale: before")
        axis.tick_params(labelsize=9)
        axis.xaxis.label.set_size(9)
        axis.invert_yaxis()
        axis.grid(visible=False, axis="y")

    def _test_image(self, index: int) -> Sample:
        chosen = self.images[index : index + 1]
        label = int(chosen.labels)
        return self._sample(chosen.images, label, f"test image {index}: {self.classes[label]}")

    def _sample(self, pixels: Tensor, label: int | None, name: str) -> Sample:
        return Sample(to_float(pixels.to(self.study.device)), label, name)


class Panel(widgets.VBox):
    """An explorer in a live kernel: its controls, an upload where it takes images, and the picture that follows."""

    def __init__(self, explorer: Explorer) -> None:
        self.explorer, self.controls = explorer, explorer.controls()
        for name, value in explorer.defaults().items():
            self.controls[name].value = value
            self.controls[name].layout.width, self.controls[name].style.description_width = "300px", "90px"
        self.upload = widgets.FileUpload(accept="image/*", description="your image")
        self.message = widgets.HTML()
        self.output = widgets.Output()  # progress bars, and the traceback of what nobody foresaw
        fitting = widgets.Layout(max_width="calc(100% - 4px)", align_self="flex-start")  # the margin is 2 px
        self.picture = widgets.Image(format="png", layout=fitting)
        asked = [*self.controls.values(), *([self.upload] if explorer.takes_image else [])]
        row = widgets.Box(asked, layout=widgets.Layout(flex_flow="row wrap"))
        super().__init__([row, self.message, self.output, self.picture])
        self.add_class("advlook-explorer")
        self._busy = False
        self._draw()
        for control in asked:
            control.observe(self._changed, "value")

    def _changed(self, change: Mapping[str, Any]) -> None:
        if self._busy:  # one change may bring others with it, and one picture will do
            return
        self._busy = True
        try:
            with self.output:
                self.output.clear_output()
                self._follow(change["owner"])
        finally:
            self._busy = False

    def _follow(self, control: widgets.Widget) -> None:
        """Draw anew, or say why not; the picture then stays."""
        self.message.value = ""
        try:
            if control is self.upload:
                (file, *_), self.upload.value = self.upload.value, ()
                self.explorer.take(file["name"], file["content"])
            elif control is self.controls.get("image"):
                self.explorer.uploaded = None
            self._draw()
        except RequestError as error:
            self.message.value = f'<span style="color: {WRONG}">{escape(str(error))}</span>'

    def _draw(self) -> None:
        self.explorer.adapt(self.controls)
        figure = self.explorer.figure({name: control.value for name, control in self.controls.items()})
        drawn = BytesIO()
        figure.savefig(drawn, format="png", dpi=DPI)
        self.picture.value = drawn.getvalue()


@torch.no_grad()
def answer(model: nn.Module, images: Tensor) -> Tensor:
    """What a model says about an image `(1, 3, H, W)`: the probability of each class, `(classes,)`, on the CPU."""
    with evaluating(model):
        return F.softmax(model(images), dim=1)[0].cpu()


def class_of(model: nn.Module, images: Tensor, label: int | None) -> Tensor:
    """The class `(1,)` to be attacked or explained: the label, or where there is none the model's answer."""
    known = int(answer(model, images).argmax()) if label is None else label
    return torch.tensor([known], device=images.device)


def show(axis: Axes, pixels: Tensor, title: str = "", color: str = INK, setting: str | None = None) -> None:
    """An image `(3, H, W)`, or a magnitude `(H, W)`, in [0, 1]; the setting, where given, stands beside it."""
    shown = pixels.clamp(0, 1).cpu().numpy()
    axis.imshow(shown if shown.ndim == 2 else shown.transpose(1, 2, 0), cmap="magma", vmin=0, vmax=1)
    axis.set_title(title, color=color, fontsize=10, fontweight="normal")
    axis.set(xticks=[], yticks=[])
    axis.grid(visible=False)
    if setting:
        axis.set_ylabel(setting.upper(), color=COLORS[setting], fontsize=13, fontweight="bold")
