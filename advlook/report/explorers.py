"""Explorers: controls over a picture that shows the STD and the ADV model of a pair side by side.

`attacks`, `maps`, `layers` and `corruptions` stand in the last cells of notebooks 02, 03 and 04. In a live kernel they
return a widget whose picture follows its controls; anywhere else (papermill, nbval, a script) one still figure of the
first values, and no widget is made (`panel.live` tells which). Models are left as they were. Nothing is measured here:
what a picture suggests is for the tables to settle.
"""

import math
from collections.abc import Mapping
from typing import Any

import ipywidgets as widgets
import torch
from matplotlib.figure import Figure
from torch import Tensor, nn

from advlook.attacks.pgd import pgd
from advlook.attacks.suite import NAMED_ATTACKS
from advlook.core.gradients import evaluating
from advlook.core.presets import SETTINGS
from advlook.corruptions.filters import gaussian_blur, median_filter, reverse_colors
from advlook.report.panel import Controls, Explorer, Sample, answer, class_of, show
from advlook.sensitivity.maps import METHODS, TITLES, by_name
from advlook.sensitivity.units import PARAMETERISATIONS, conv_layers, maximise
from advlook.study.study import Study
from advlook.study.style import brightest, new_figure

SAMPLES = {"smooth_grad": 25, "integrated_gradients": 25}  # copies and steps: few, so that a map is there at once
LABEL, ANSWER = -1, -2  # in place of a class: what the image is, and what the model says it is
Pair = Mapping[str, nn.Module]


def attacks(study: Study) -> widgets.Widget | Figure:
    """Attack an image: the perturbation against either model, and what that model says before and after.

    An image without a label (an upload) is attacked as what the model says it is. PGD and APGD stop where the model is
    wrong, MI-FGSM drives on.
    """
    return _Attacks(study).shown()


def maps(study: Study) -> widgets.Widget | Figure:
    """Sensitivity maps of an image, which may be blurred first, and then attacked by PGD against either model.

    Beside each map stands its magnitude, summed over the colours. Each model has a scale of its own, or both share the
    larger one, which shows how much stronger one of them reacts.
    """
    return _Maps(study).shown()


def layers(study: Study) -> widgets.Widget | Figure:
    """What most excites a unit: activation maximisation, with a progress bar.

    Layers are the convolutions in the order in which they run, and the linear one that answers.
    """
    return _Layers(study).shown()


def corruptions(study: Study) -> widgets.Widget | Figure:
    """Take detail and colour from an image: blur, then median, then reversal; and see what either model still says."""
    return _Corruptions(study).shown()


class _Attacks(Explorer):
    def defaults(self) -> dict[str, Any]:
        config = self.study.preset.evaluation
        return super().defaults() | {"attack": "pgd", "eps": round(255 * config.eps, 1), "steps": config.pgd_steps}

    def controls(self) -> Controls:
        return super().controls() | {
            "attack": widgets.Dropdown(options=list(NAMED_ATTACKS), description="attack"),
            "eps": _radius(self.study),
            "steps": widgets.IntSlider(min=1, max=50, description="steps"),
        }

    def adapt(self, controls: Controls) -> None:
        controls["steps"].disabled = controls["attack"].value in ("noise", "fgsm")

    def draw(self, pair: Pair, sample: Sample, attack: str, eps: float, steps: int) -> Figure:
        figure, axes = new_figure(2, 4, 10, 4.9, width_ratios=(1, 1, 1, 1.2))
        magnified = 255 / (2 * eps) if eps else 0.0
        for row, (setting, model) in enumerate(pair.items()):
            generator = torch.Generator(self.study.device).manual_seed(0)
            label = class_of(model, sample.image, sample.label)
            with evaluating(model):
                found = NAMED_ATTACKS[attack](model, sample.image, label, eps / 255, steps, generator)
            before, after = answer(model, sample.image), answer(model, found)
            original, noise, attacked, chart = axes[4 * row : 4 * row + 4]
            show(original, sample.image[0], *self.say(before, sample), setting=setting)
            show(noise, 0.5 + magnified * (found - sample.image)[0], f"perturbation x {magnified:.0f}")
            show(attacked, found[0], *self.say(after, sample))
            self.draw_answers(chart, before, after, setting)
        return figure


class _Maps(Explorer):
    def defaults(self) -> dict[str, Any]:
        own = {"method": "loss_gradient", "of": LABEL, "sigma": 0.0, "eps": 0.0, "shared": False}
        return super().defaults() | own

    def controls(self) -> Controls:
        titles = {name: f"{TITLES[name]} ({SAMPLES[name]})" if name in SAMPLES else TITLES[name] for name in METHODS}
        classes = [(name, number) for number, name in enumerate(self.classes)]
        return super().controls() | {
            "method": widgets.Dropdown(options=[(titles[name], name) for name in METHODS], description="method"),
            "of": widgets.Dropdown(
                options=[("the label", LABEL), ("its answer", ANSWER), *classes], description="class"
            ),
            "sigma": _blur(self.study),
            "eps": _radius(self.study, "PGD [1/255]"),
            "shared": widgets.Checkbox(description="one scale for both"),
        }

    def draw(self, pair: Pair, sample: Sample, method: str, of: int, sigma: float, eps: float, shared: bool) -> Figure:
        seen = {setting: self._seen(model, sample, sigma, eps) for setting, model in pair.items()}
        wanted = {LABEL: sample.label, ANSWER: None}.get(of, of)
        explained = {setting: class_of(model, seen[setting], wanted) for setting, model in pair.items()}
        found = {
            setting: by_name(method, model, seen[setting], explained[setting], samples=SAMPLES.get(method, 1))[0]
            for setting, model in pair.items()
        }
        limits = torch.stack([torch.stack([brightest(each), brightest(each.abs().sum(0))]) for each in found.values()])
        limits = limits.amax(0, keepdim=True).expand(2, 2) if shared else limits
        figure, axes = new_figure(2, 3, 6.8, 4.6)
        for row, (setting, each) in enumerate(found.items()):
            signed, size = limits[row].tolist()
            image, colours, magnitude = axes[3 * row : 3 * row + 3]
            show(image, seen[setting][0], *self.say(answer(pair[setting], seen[setting]), sample), setting=setting)
            show(colours, 0.5 + each / (2 * signed), f"{TITLES[method]}, {self.classes[int(explained[setting])]}")
            show(magnitude, each.abs().sum(0) / size, f"magnitude, up to {size:.2g}")
        return figure

    def _seen(self, model: nn.Module, sample: Sample, sigma: float, eps: float) -> Tensor:
        """What the model is shown: the image blurred, then attacked."""
        blurred = gaussian_blur(sample.image, sigma)
        if not eps:
            return blurred
        steps, generator = self.study.preset.evaluation.pgd_steps, torch.Generator(self.study.device).manual_seed(0)
        with evaluating(model):
            label = class_of(model, blurred, sample.label)
            return pgd(model, blurred, label, eps / 255, steps=steps, generator=generator)


class _Layers(Explorer):
    takes_image = False

    def defaults(self) -> dict[str, Any]:
        own = super().defaults()
        steps = self.study.preset.visualize.steps
        layer = _typical(self._units(own["arch"]))
        return own | {"layer": layer, "unit": 0, "parameterisation": "pixels", "jitter": 0, "steps": steps}

    def controls(self) -> Controls:
        start = self.defaults()
        units, patient = self._units(start["arch"]), {"continuous_update": False}
        return super().controls() | {
            "layer": widgets.Dropdown(options=_named(units), description="layer"),
            "unit": widgets.IntSlider(max=units[start["layer"]] - 1, description="unit", **patient),
            "parameterisation": widgets.Dropdown(options=PARAMETERISATIONS, description="steps in"),
            "jitter": widgets.IntSlider(max=4, description="jitter [px]", **patient),
            "steps": widgets.IntSlider(min=1, max=max(200, start["steps"]), description="steps", **patient),
        }

    def adapt(self, controls: Controls) -> None:
        units, layer = self._units(controls["arch"].value), controls["layer"]
        if layer.options != _named(units):
            layer.options = _named(units)
            layer.value = _typical(units)
        controls["unit"].max = units[layer.value] - 1

    def draw(self, pair: Pair, layer: str, unit: int, parameterisation: str, jitter: int, steps: int) -> Figure:
        size, starts = self.study.preset.data.size, self.study.preset.visualize.starts
        figure, axes = new_figure(1, 2, 6.8, 3.9)
        for axis, (setting, model) in zip(axes, pair.items(), strict=True):
            best = maximise(
                model,
                layer,
                [unit],
                size=size,
                steps=steps,
                starts=starts,
                parameterisation=parameterisation,
                jitter=jitter,
                generator=torch.Generator().manual_seed(0),
                precision="auto",
                progress=self.study.progress,
            )
            began, reached = float(best.start_activations), float(best.activations)
            show(axis, best.images[0], f"activation from {began:.2g} to {reached:.2g}", setting=setting)
            answers = isinstance(model.get_submodule(layer), nn.Linear)
            axis.set_xlabel(
                f"{layer.removeprefix('network.')}, unit {unit}" + (f": {self.classes[unit]}" if answers else "")
            )
        return figure

    def _units(self, arch: str) -> dict[str, int]:
        """How many units each layer has."""
        model = self.study.model(arch, SETTINGS[0], self.study.preset.seeds[0])
        names = conv_layers(model, size=self.study.preset.data.size)
        last = [name for name, module in model.named_modules() if isinstance(module, nn.Linear)][-1:]
        return {name: len(model.get_submodule(name).weight) for name in [*names, *last]}


class _Corruptions(Explorer):
    def defaults(self) -> dict[str, Any]:
        return super().defaults() | {"sigma": 1.0, "times": 0, "reversed": False}

    def controls(self) -> Controls:
        return super().controls() | {
            "sigma": _blur(self.study),
            "times": widgets.IntSlider(max=10, description="3x3 medians"),
            "reversed": widgets.Checkbox(description="colours reversed"),
        }

    def draw(self, pair: Pair, sample: Sample, sigma: float, times: int, reversed: bool) -> Figure:
        left = median_filter(gaussian_blur(sample.image, sigma), times)
        left = reverse_colors(left) if reversed else left
        figure, axes = new_figure(1, 4, 10.5, 3, width_ratios=(1, 1, 1.1, 1.1))
        figure.get_layout_engine().set(w_pad=0.1)
        show(axes[0], sample.image[0], "original")
        show(axes[1], left[0], "what is left of it")
        for axis, (setting, model) in zip(axes[2:], pair.items(), strict=True):
            before, after = answer(model, sample.image), answer(model, left)
            self.draw_answers(axis, before, after, setting)
            text, color = self.say(after, sample)
            axis.set_title(f"{setting.upper()}: {text}", color=color, fontsize=10)
        return figure


def _radius(study: Study, name: str = "eps [1/255]") -> widgets.FloatSlider:
    most = max(16.0, 510 * study.preset.evaluation.eps)
    return widgets.FloatSlider(max=most, step=0.5, description=name, readout_format=".1f")


def _blur(study: Study) -> widgets.FloatSlider:
    return widgets.FloatSlider(max=math.ceil(study.preset.data.size / 16), step=0.25, description="blur [px]")


def _named(units: Mapping[str, int]) -> tuple[tuple[str, str], ...]:
    """Layers as they are called, and their names; what they all lie in goes without saying."""
    return tuple((name.removeprefix("network."), name) for name in units)


def _typical(units: Mapping[str, int]) -> str:
    """The layer to start with: deep enough for more than an edge, not yet the last."""
    return list(units)[3 * len(units) // 5]
