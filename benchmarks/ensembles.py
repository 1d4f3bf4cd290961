"""What ensembles cost: fine-tuning a pair against a single model, and classifiers on frozen features against a pass.

    python benchmarks/ensembles.py [--arch resnet10] [--preset imagenette] [--steps 10] [--rounds 3]

All is measured in one run, in interleaved rounds after a warm-up, on untrained models and random images; read the
ratios, not the rates. The goals: to fine-tune a pair costs at most 2.1 times as much as a single model; and the 30
epochs of a linear classifier on features that are known cost less than one pass over the images to find them.
"""

import argparse
import resource
import statistics
import time
from collections.abc import Callable

import torch
from torch import nn

from advlook.core.memory import keep_freed_memory
from advlook.core.presets import Preset, available, load_preset
from advlook.data.image_sets import ImageSet
from advlook.models.architectures import preset_model, split_last_layer
from advlook.models.evaluation import predict
from advlook.models.fusion import fit_classifier, new_ensemble, tuning_preset
from advlook.models.training import Trainer


def random_images(preset: Preset, side: int, count: int) -> ImageSet:
    """Noise of ten classes: what images show costs nothing."""
    images = torch.randint(0, 256, (count, side, side, 3), dtype=torch.uint8).permute(0, 3, 1, 2)
    return ImageSet(images, torch.arange(count) % 10, tuple("0123456789"))


def seconds(work: Callable[[], object]) -> float:
    started = time.perf_counter()
    work()
    if torch.cuda.is_available():
        torch.cuda.synchronize()
    return time.perf_counter() - started


def main() -> None:
    parser = argparse.ArgumentParser(description="Measure what ensembles cost; the docstring says how to read it.")
    parser.add_argument("--arch", default="resnet10")
    parser.add_argument("--preset", default="imagenette", help=f"one of {', '.join(available())}, or a .toml")
    parser.add_argument("--steps", type=int, default=10, help="of fine-tuning, a round")
    parser.add_argument("--rounds", type=int, default=3)
    arguments = parser.parse_args()
    preset, arch = load_preset(arguments.preset), arguments.arch
    device = torch.device("cuda" if torch.cuda.is_available() else "cpu")
    keep_freed_memory()
    models = [preset_model(preset, arch, seed).to(device) for seed in (0, 1)]
    width = split_last_layer(models[0])[1].in_features
    count = arguments.steps * preset.training.batch_size
    stored, shown = (random_images(preset, side, count) for side in (preset.data.store, preset.data.size))

    def tuning(chosen: list[nn.Module]) -> Callable[[], object]:
        trainer = Trainer(tuning_preset(preset, arch), arch, "std", 0, device, new_ensemble(chosen, 10, seed=0))
        return lambda: trainer.train_epoch(stored, lambda images: None)

    def classifier(features: torch.Tensor) -> Callable[[], object]:
        return lambda: fit_classifier(features, shown.labels, 10, preset, seed=0)

    works = {
        "single": tuning(models[:1]),
        "pair": tuning(models),
        "pass": lambda: [predict(split_last_layer(model)[0], shown, device=device) for model in models],
        "classifier": classifier(torch.rand(count, 2 * width)),
    }
    for work in works.values():
        work()  # warm-up
    measured = [{name: seconds(work) for name, work in works.items()} for _ in range(arguments.rounds)]

    def ratio(over: str, under: str) -> str:
        each = [times[over] / times[under] for times in measured]
        return f"{statistics.median(each):5.2f}  ({min(each):.2f} to {max(each):.2f})"

    single, pair = (count / statistics.median(times[name] for times in measured) for name in ("single", "pair"))
    print(
        f"{arch}, preset {preset.name}: {preset.data.size} px, batch {preset.training.batch_size}, {device.type}, "
        f"{torch.get_num_threads()} threads; median (and range) of {arguments.rounds} rounds of {count} images"
    )
    print(f"fine-tuning, images/s         single {single:.0f}   pair {pair:.0f}")
    print(f"pair / single                 {ratio('pair', 'single')}   goal: at most 2.1")
    print(f"classifier / pass             {ratio('classifier', 'pass')}   goal: below 1")
    print(f"peak memory                   {resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 2**20:5.2f} GiB")


if __name__ == "__main__":
    main()
