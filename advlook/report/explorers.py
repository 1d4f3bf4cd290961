"""Explorers: controls over a picture that shows the STD and the ADV model of a pair side by side.

They are in the last cells of notebooks 02 to 05. In a live kernel (`panel.live`) each returns a widget whose
picture follows its controls; anywhere else (papermill, nbval, a script) a still figure of the first values, without any
widget. Models are left as they were. Nothing is measured here: what a picture suggests is for the tables to settle."""

import math
from collections.abc import Mapping, Sequence
from functools import cached_property, partial

import ipywidgets as widgets
import torch
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from torch import Tensor, nn

from advlook.attacks import NAMED_ATTACKS, pgd
from advlook.core import SETTINGS, evaluating
from advlook.corruptions import gaussian_blur, hybrid, median_filter, reverse_colors, style_transfer, stylize
from advlook.data import to_float
from advlook.data.styles import Styles
from advlook.experiments.stylization.images import NETWORK, study_styles
from advlook.report.panel import ChosenImage, Controls, Explorer, answer, class_of, control, show
from advlook.sensitivity import METHODS, TITLES, by_name, maximise
from advlook.sensitivity.filters import conv_layers
from advlook.sensitivity.units import PARAMETERISATIONS
from advlook.study import Study
from advlook.study.style import brightest, new_figure

SAMPLES = {"smooth_grad": 25, "integrated_gradients": 25}  # copies and steps: few, so that a map is there at once
LABEL, ANSWER = -1, -2  # in place of a class: what the image is, and what the model says it is
Pair = Mapping[str, nn.Module]


class _Attacks(Explorer):
    """Attack an image: the perturbation against each model, and what that model says before and after. An image without
    a label (an upload) is attacked as what the model says it is. Only MI-FGSM goes on where the model is wrong."""

    def controls(self) -> Controls:
        config = self.study.preset.evaluation
        return super().controls() | {
            "attack": control(widgets.Dropdown, "attack", "pgd", options=list(NAMED_ATTACKS)),
            "eps": _radius(self.study, "eps [1/255]", round(255 * config.eps, 1)),
            "steps": control(widgets.IntSlider, "steps", config.pgd_steps, min=1, max=50),
        }

    def adapt(self, controls: Mapping[str, widgets.Widget]) -> None:
        controls["steps"].disabled = controls["attack"].value in ("noise", "fgsm")

    def draw(self, pair: Pair, chosen: ChosenImage, attack: str, eps: float, steps: int) -> Figure:
        figure, axes = new_figure(2, 4, 10, 4.9, width_ratios=(1, 1, 1, 1.2))
        magnified = 255 / (2 * eps) if eps else 0.0
        for row, (setting, model) in enumerate(pair.items()):
            generator = torch.Generator(self.study.device).manual_seed(0)
            label = class_of(model, chosen.image, chosen.label)
            with evaluating(model):
                found = NAMED_ATTACKS[attack](model, chosen.image, label, eps / 255, steps, generator)
            before, after = answer(model, chosen.image), answer(model, found)
            original, noise, attacked, chart = axes[4 * row : 4 * row + 4]
            show(original, chosen.image[0], *self.say(before, chosen), setting=setting)
            show(noise, 0.5 + magnified * (found - chosen.image)[0], f"perturbation x {magnified:.0f}")
            show(attacked, found[0], *self.say(after, chosen))
            self.draw_answers(chart, before, after, setting)
        return figure


class _Maps(Explorer):
    """Sensitivity maps of an image, which may be blurred first, and then attacked by PGD against each model. Beside
    each map is its magnitude, summed over the colours. Each model has its own scale, or both share the larger."""

    def controls(self) -> Controls:
        titles = [(f"{TITLES[name]} ({SAMPLES[name]})" if name in SAMPLES else TITLES[name], name) for name in METHODS]
        classes = [("the label", LABEL), ("its answer", ANSWER)]
        classes += [(name, number) for number, name in enumerate(self.classes)]
        return super().controls() | {
            "method": control(widgets.Dropdown, "method", "loss_gradient", options=titles),
            "of": control(widgets.Dropdown, "class", LABEL, options=classes),
            "sigma": _blur(self.study, 0.0),
            "eps": _radius(self.study, "PGD [1/255]", 0.0),
            "shared": control(widgets.Checkbox, "one scale for both", False),
        }

    def draw(self, pair: Pair, chosen: ChosenImage, method: str, of: int, shared: bool, **changes: float) -> Figure:
        seen = {setting: self._seen(model, chosen, **changes) for setting, model in pair.items()}
        wanted = {LABEL: chosen.label, ANSWER: None}.get(of, of)
        explained = {setting: class_of(model, seen[setting], wanted) for setting, model in pair.items()}
        map_of = partial(by_name, method, samples=SAMPLES.get(method, 1))
        found = {setting: map_of(model, seen[setting], explained[setting])[0] for setting, model in pair.items()}
        limits = torch.stack([torch.stack([brightest(each), brightest(each.abs().sum(0))]) for each in found.values()])
        limits = limits.amax(0, keepdim=True).expand(2, 2) if shared else limits
        figure, axes = new_figure(2, 3, 6.8, 4.6)
        for row, (setting, each) in enumerate(found.items()):
            signed, size = limits[row].tolist()
            image, colours, magnitude = axes[3 * row : 3 * row + 3]
            show(image, seen[setting][0], *self.say(answer(pair[setting], seen[setting]), chosen), setting=setting)
            show(colours, 0.5 + each / (2 * signed), f"{TITLES[method]}, {self.classes[int(explained[setting])]}")
            show(magnitude, each.abs().sum(0) / size, f"magnitude, up to {size:.2g}")
        return figure

    def _seen(self, model: nn.Module, chosen: ChosenImage, sigma: float, eps: float) -> Tensor:
        blurred = gaussian_blur(chosen.image, sigma)
        if not eps:
            return blurred
        steps, generator = self.study.preset.evaluation.pgd_steps, torch.Generator(self.study.device).manual_seed(0)
        with evaluating(model):
            label = class_of(model, blurred, chosen.label)
            return pgd(model, blurred, label, eps / 255, steps=steps, generator=generator)


class _Layers(Explorer):
    """Activation maximisation of a unit of any convolution, or of the linear layer that answers."""

    takes_image = False

    def controls(self) -> Controls:
        units, steps = self._units(self.study.preset.archs[-1]), self.study.preset.visualize.steps
        layer, slider = _typical(units), partial(control, widgets.IntSlider, continuous_update=False)
        return super().controls() | {
            "layer": control(widgets.Dropdown, "layer", layer, options=_named(units)),
            "unit": slider("unit", 0, max=units[layer] - 1),
            "parameterisation": control(widgets.Dropdown, "steps in", "pixels", options=PARAMETERISATIONS),
            "jitter": slider("jitter [px]", 0, max=4),
            "steps": slider("steps", steps, min=1, max=max(200, steps)),
        }

    def adapt(self, controls: Mapping[str, widgets.Widget]) -> None:
        units, layer = self._units(controls["arch"].value), controls["layer"]
        if layer.options != _named(units):
            layer.options = _named(units)
            layer.value = _typical(units)
        controls["unit"].max = units[layer.value] - 1

    def draw(self, pair: Pair, layer: str, unit: int, **options: object) -> Figure:
        figure, axes = new_figure(1, 2, 6.8, 3.9)
        options |= {"size": self.study.preset.data.size, "starts": self.study.preset.visualize.starts}
        options |= {"precision": "auto", "progress": self.study.progress}
        for axis, (setting, model) in zip(axes, pair.items(), strict=True):
            best = maximise(model, layer, [unit], generator=torch.Generator().manual_seed(0), **options)
            began, reached = float(best.start_activations), float(best.activations)
            show(axis, best.images[0], f"activation from {began:.2g} to {reached:.2g}", setting=setting)
            answers = isinstance(model.get_submodule(layer), nn.Linear)
            name = f"{layer.removeprefix('network.')}, unit {unit}"
            axis.set_xlabel(f"{name}: {self.classes[unit]}" if answers else name)
        return figure

    def _units(self, arch: str) -> dict[str, int]:
        model = self.study.model(arch, SETTINGS[0], self.study.preset.seeds[0])
        names = conv_layers(model, size=self.study.preset.data.size)
        last = [name for name, module in model.named_modules() if isinstance(module, nn.Linear)][-1:]
        return {name: len(model.get_submodule(name).weight) for name in [*names, *last]}


class _Corruptions(Explorer):
    """Take detail and colour from an image by blur, then median, then reversal, and see what each model still says."""

    def controls(self) -> Controls:
        return super().controls() | {
            "sigma": _blur(self.study, 1.0),
            "times": control(widgets.IntSlider, "3x3 medians", 0, max=10),
            "reversed": control(widgets.Checkbox, "colours reversed", False),
        }

    def draw(self, pair: Pair, chosen: ChosenImage, sigma: float, times: int, reversed: bool) -> Figure:
        left = median_filter(gaussian_blur(chosen.image, sigma), times)
        left = reverse_colors(left) if reversed else left
        figure, axes = _side_by_side({"original": chosen.image, "what is left of it": left})
        _said(self, axes, pair, chosen, left)
        return figure


class _Hybrids(Explorer):
    """Low frequencies of one image, high frequencies of a test image, and which of the two each model names."""

    def controls(self) -> Controls:
        most = len(self.images) - 1
        cutoff = partial(widgets.FloatLogSlider, base=2, min=-7, max=-1, step=0.25, readout_format=".3f")
        return super().controls() | {
            "fine": control(widgets.IntSlider, "fine image", min(1, most), max=most),
            "cutoff": control(cutoff, "cut-off", 2**-3.5),
        }

    def draw(self, pair: Pair, chosen: ChosenImage, fine: int, cutoff: float) -> Figure:
        other = self.test_image(fine)
        mixed = hybrid(chosen.image, other.image, cutoff)
        coarse, name = f"coarse: {chosen.name}", f"fine: {other.name}"
        pictures = {each.replace("test image ", ""): of.image for each, of in ((coarse, chosen), (name, other))}
        figure, axes = _side_by_side(pictures | {f"hybrid, {cutoff:.3f} cycles/px": mixed})
        for axis, (setting, model) in zip(axes, pair.items(), strict=True):
            before, after = answer(model, chosen.image), answer(model, mixed)
            self.draw_answers(axis, before, after, setting)
            axis.set_xlabel("probability [%], pale: of the coarse image", fontsize=9)
            best = int(after.argmax())
            named = {chosen.label: " (the coarse one)", other.label: " (the fine one)"}.get(best, "")
            axis.set_title(f"{setting.upper()}: {self.classes[best]}{named}", fontsize=10)
        return figure


class _Styles(Explorer):
    """An image in another texture, made as the study makes it, and what each model still says."""

    @cached_property
    def styles(self) -> Styles:
        """Those of the study."""
        return study_styles(self.study)

    def controls(self) -> Controls:
        return super().controls() | {
            "style": control(widgets.IntSlider, "style", 0, max=len(self.styles) - 1),
            "strength": control(widgets.FloatSlider, "strength", 1.0, max=1.0, step=0.25),
        }

    def draw(self, pair: Pair, chosen: ChosenImage, style: int, strength: float) -> Figure:
        config, texture = self.study.preset.stylization, to_float(self.styles.images[[style]]).to(chosen.image)
        if config.engine == NETWORK:
            made = style_transfer(chosen.image, texture, strength=strength)
        else:
            made = stylize(chosen.image, texture, strength=strength, steps=config.steps)
        pictures = {"original": chosen.image, self.styles.names[style]: texture, f"both, strength {strength:g}": made}
        figure, axes = _side_by_side(pictures)
        _said(self, axes, pair, chosen, made)
        return figure


def _side_by_side(pictures: Mapping[str, Tensor]) -> tuple[Figure, Sequence[Axes]]:
    """Images, each by its title, and right of them a place for what each model of a pair says."""
    ratios = [1] * len(pictures) + [1.1] * 2
    figure, axes = new_figure(1, len(ratios), 2.5 * len(ratios), 3, width_ratios=ratios)
    figure.get_layout_engine().set(w_pad=0.1)
    for axis, (title, image) in zip(axes, pictures.items(), strict=False):
        show(axis, image[0], title)
    return figure, axes[len(pictures) :]


def _said(explorer: Explorer, axes: Sequence[Axes], pair: Pair, chosen: ChosenImage, changed: Tensor) -> None:
    """What each model says of an image before and after a change, a panel each."""
    for axis, (setting, model) in zip(axes, pair.items(), strict=True):
        before, after = answer(model, chosen.image), answer(model, changed)
        explorer.draw_answers(axis, before, after, setting)
        text, color = explorer.say(after, chosen)
        axis.set_title(f"{setting.upper()}: {text}", color=color, fontsize=10)


# What the notebooks call with a study.
attacks, maps, layers = _Attacks.shown, _Maps.shown, _Layers.shown
corruptions, hybrids, styles = _Corruptions.shown, _Hybrids.shown, _Styles.shown


def _radius(study: Study, description: str, value: float) -> partial[widgets.FloatSlider]:
    most = max(16.0, 510 * study.preset.evaluation.eps)
    return control(widgets.FloatSlider, description, value, max=most, step=0.5, readout_format=".1f")


def _blur(study: Study, value: float) -> partial[widgets.FloatSlider]:
    return control(widgets.FloatSlider, "blur [px]", value, max=math.ceil(study.preset.data.size / 16), step=0.25)


def _named(units: Mapping[str, int]) -> tuple[tuple[str, str], ...]:
    return tuple((name.removeprefix("network."), name) for name in units)


def _typical(units: Mapping[str, int]) -> str:
    """The layer to start with: deep enough for more than an edge, not yet the last."""
    return list(units)[3 * len(units) // 5]
