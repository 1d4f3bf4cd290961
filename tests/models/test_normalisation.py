"""Whether a normalisation fits is found from labelled images."""

from pathlib import Path

import pytest
import torch
from torch import nn

from advlook.models.architectures import Normalized
from advlook.models.builders import IMAGENET_MEAN, IMAGENET_STD
from advlook.models.external import Loaded
from advlook.models.normalisation import USUAL, described, notes


class Brightness(nn.Module):
    """Two classes, dark and bright, with the border at zero."""

    def forward(self, images):
        """Logits."""
        mean = images.mean((1, 2, 3))
        return torch.stack([-mean, mean], 1)


def photographs(border, count=200):
    """Even images, half below a brightness and half above it, and whether they are above."""
    levels = border + torch.linspace(-0.08, 0.08, count)
    return levels[:, None, None, None].expand(-1, 3, 4, 4).contiguous(), (levels > border).long()


def found(channels, border, source="assumed", network=None):
    model = Normalized(network or Brightness(), *channels).eval()
    loaded = Loaded(model, None, None, 2, source, 4, None)
    return notes(loaded, Path("m.pt"), photographs(border), [0, 1], batch_size=50)


def test_a_normalisation_that_fits_better_is_named():
    """Of a model trained with mean 0.5 behind ImageNet's, the line says how many points 0.5 gives, and how to ask for
    it; the points are those of the images between both borders."""
    (line,) = found((IMAGENET_MEAN, IMAGENET_STD), 0.5)
    assert line.startswith("m.pt does not say its normalisation; taken: mean 0.485,0.456,0.406")
    assert "mean 0.5, std 0.5 gives" in line
    assert line.endswith("try --mean 0.5,0.5,0.5 --std 0.5,0.5,0.5")
    images, labels = photographs(0.5)
    wrong = (Normalized(Brightness(), IMAGENET_MEAN, IMAGENET_STD)(images).argmax(1) != labels).double().mean().item()
    assert float(line.split(" points")[0].split()[-1]) == pytest.approx(100 * wrong, abs=0.6)


def test_a_model_that_was_normalised_twice_is_told():
    """Where the network expects images as they are, "none" is named."""
    half = USUAL["mean 0.5, std 0.5"]
    (line,) = found(half, 0.5, network=Normalized(Brightness(), *half))
    assert "none gives 50 points more" in line


def test_a_normalisation_that_fits_is_left():
    """Nothing better is named where the one taken is right, nor where a difference is of a few images."""
    (line,) = found(USUAL["mean 0.5, std 0.5"], 0.5)
    assert "points more" not in line
    (line,) = found(((0.499,) * 3, (0.5,) * 3), 0.5)
    assert "points more" not in line


def test_what_is_known_is_not_doubted():
    """No line where the user or the file gives the normalisation."""
    assert found((IMAGENET_MEAN, IMAGENET_STD), 0.5, "given") == []
    assert found((IMAGENET_MEAN, IMAGENET_STD), 0.5, "file") == []


def test_described():
    """Mean, std and their source in words."""
    loaded = Loaded(Normalized(Brightness(), (0.5,) * 3, (0.25,) * 3), None, None, 2, "builder", 4, None)
    assert described(loaded) == "mean 0.5,0.5,0.5, std 0.25,0.25,0.25 (as its builder states it)"


def test_all_classes_of_the_model_compete():
    """Of folders that are two of three classes, images that go to the third are wrong: the line counts them."""

    class Third(Brightness):
        def forward(self, images):
            return torch.cat([super().forward(images), torch.full((len(images), 1), 0.1)], 1)

    model = Normalized(Third(), (0.3,) * 3, (0.5,) * 3).eval()
    loaded = Loaded(model, None, None, 3, "assumed", 4, None)
    dark = torch.full((100, 3, 4, 4), 0.3), torch.zeros(100, dtype=torch.long)
    (line,) = notes(loaded, Path("m.pt"), dark, [0, 1], batch_size=50)
    assert "0% of 100 images are right" in line
    assert "gives 100 points more" in line
