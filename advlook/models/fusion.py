"""Late fusion (paper, section 4.2): the last features of trained backbones joined, and one new linear classifier."""

from collections.abc import Callable, Sequence
from dataclasses import replace

import torch
from torch import Tensor, nn

from advlook.core import Device, Preset
from advlook.core.presets import ArchConfig
from advlook.data.image_sets import ImageSet
from advlook.models.architectures import split_last_layer
from advlook.models.training import Trainer

COMBINATIONS: dict[str, tuple[str, ...]] = {
    "STD": ("std",),
    "ADV": ("adv",),
    "STD+STD": ("std", "std"),
    "ADV+ADV": ("adv", "adv"),
    "STD+ADV": ("std", "adv"),
}
Member = tuple[str, int]  # setting and training seed of a checkpoint
Progress = Callable[[int], object]  # is told how many images were done


def members(combination: str, seeds: Sequence[int], run: int) -> tuple[Member, ...]:
    """The checkpoints that run 0, 1, ... of a combination joins; none where it would need one checkpoint twice. A run
    starts at the next of the preset's seeds, and the second of a pair has the seed after that of the first: a preset
    with a single seed has no pairs of equals, and its STD+ADV is of one seed."""
    settings = COMBINATIONS[combination]
    found = tuple((setting, seeds[(run + place) % len(seeds)]) for place, setting in enumerate(settings))
    return found if len(set(found)) == len(found) else ()


class Ensemble(nn.Module):
    """Backbones side by side, of models without their last layers (`split_last_layer`, at `size`), and a linear
    classifier on their joined features."""

    def __init__(self, models: Sequence[nn.Module], classifier: nn.Linear, size: int | None = None) -> None:
        super().__init__()
        self.backbones = nn.ModuleList(split_last_layer(model, size)[0] for model in models)
        self.classifier = classifier

    def forward(self, images: Tensor) -> Tensor:
        """Logits `(N, classes)` of images `(N, 3, H, W)`."""
        return self.classifier(torch.cat([backbone(images) for backbone in self.backbones], dim=1))


def new_ensemble(models: Sequence[nn.Module], classes: int, seed: int, size: int | None = None) -> Ensemble:
    """An ensemble to be fine-tuned: of trained models and a random classifier, drawn by `seed`."""
    # A classifier trained on frozen features is a worse start: its large weights wreck some backbones in a few steps.
    width = sum(split_last_layer(model, size)[1].in_features for model in models)
    with torch.random.fork_rng(devices=[]):
        torch.default_generator.manual_seed(seed)
        return Ensemble(models, nn.Linear(width, classes), size)


def parameters(model: nn.Module) -> int:
    """How many numbers of a model are trained."""
    return sum(parameter.numel() for parameter in model.parameters())


def tuning_preset(preset: Preset, arch: str) -> Preset:
    """The preset as fine-tuning uses it: the paper's 30 epochs, its constant rate, and the rest as in training."""
    config = preset.ensembles
    model = ArchConfig(config.learning_rate, epochs_std=config.epochs, epochs_adv=config.epochs)
    training = replace(preset.training, schedule="step", step_epochs=config.epochs, average=0.0, rate_for_batch=0)
    data = replace(preset.data, train_images=0)
    return replace(preset, data=data, models=preset.models | {arch: model}, training=training)


def fine_tune(
    ensemble: Ensemble, preset: Preset, arch: str, images: ImageSet, seed: int, *, device: Device, progressed: Progress
) -> nn.Module:
    """Train all of an ensemble on images of `data.store` pixels by its `tuning_preset`, and return it in eval mode."""
    trainer = Trainer(tuning_preset(preset, arch), arch, "std", seed, torch.device(device), ensemble)
    images = replace(images, clipped=True)  # the committed tables rest on ensembles that were trained on such crops
    for _ in range(trainer.epochs):
        trainer.history.append(trainer.train_epoch(images, progressed))
    return trainer.result.eval()
