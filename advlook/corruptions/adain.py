"""AdaIN (Huang and Belongie 2017): stylization at 224 pixels, the method behind Stylized-ImageNet. torchvision's
VGG-19, trained on ImageNet, encodes content and style; the content's features get the mean and standard deviation of
the style's in every channel; a decoder, trained here, turns them back into an image."""

import hashlib
from itertools import pairwise
from pathlib import Path

import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torchvision.models import VGG19_Weights, vgg19

from advlook.core import Device, RequestError, tqdm
from advlook.data import Images, ImageSet, Styles, to_float
from advlook.models.architectures import IMAGENET_MEAN, IMAGENET_STD
from advlook.models.checkpoints import first_line, load_state, save_state
from advlook.models.training import update

STAGES = (2, 7, 12, 21)  # of torchvision's VGG-19: up to relu1_1, relu2_1, relu3_1 and relu4_1
STYLE_WEIGHT = 10.0  # of the statistics against the content (as published)
LEARNING_RATE = 1e-4
RATE_DECAY = 5e-5  # the rate at step t is LEARNING_RATE / (1 + RATE_DECAY t)
BATCH_SIZE = 8
DECODER_STEPS = 160_000
KEEP_EVERY = 1000  # steps


def adain(content: Tensor, style: Tensor) -> Tensor:
    """Features `(N, C, H, W)` of the content with each channel's mean and (population's) deviation from the style's:
    equation 8 of Huang and Belongie. A constant channel gets the mean alone. RequestError for different N or C."""
    if content.shape[:2] != style.shape[:2]:
        raise RequestError(f"features {tuple(content.shape)} and {tuple(style.shape)} differ in images or channels")
    mean, deviation = _moments(content)
    style_mean, style_deviation = _moments(style)
    return (content - mean) / deviation.clamp_min(1e-6) * style_deviation + style_mean


def _moments(features: Tensor) -> tuple[Tensor, Tensor]:
    deviation, mean = torch.std_mean(features, (2, 3), correction=0, keepdim=True)
    return mean, deviation


class Encoder(nn.Module):
    """VGG-19 up to relu4_1, in four stages; takes images in [0, 1] and normalises them itself. features: as of
    torchvision's `vgg19().features`; None downloads the trained ones, or raises RequestError."""

    def __init__(self, features: nn.Sequential | None = None) -> None:
        super().__init__()
        features = _trained_features() if features is None else features
        self.stages = nn.ModuleList(features[a:b] for a, b in zip((0, *STAGES), STAGES, strict=False))
        for module in self.modules():
            if isinstance(module, nn.ReLU):
                module.inplace = False  # every stage's output is used twice
        self.requires_grad_(False).eval()
        self.register_buffer("mean", torch.tensor(IMAGENET_MEAN).view(1, 3, 1, 1))
        self.register_buffer("std", torch.tensor(IMAGENET_STD).view(1, 3, 1, 1))

    def forward(self, images: Tensor) -> list[Tensor]:
        """Features of all four stages; the last is `(N, 512, H / 8, W / 8)`."""
        shown, found = (images - self.mean) / self.std, []
        for stage in self.stages:
            shown = stage(shown)
            found.append(shown)
        return found


def _trained_features() -> nn.Sequential:
    try:
        return vgg19(weights=VGG19_Weights.IMAGENET1K_V1).features
    except (OSError, RuntimeError) as error:
        target = Path(torch.hub.get_dir()) / "checkpoints" / Path(VGG19_Weights.IMAGENET1K_V1.url).name
        remedy = f'put it at {target}, or write engine = "optimised"'
        raise RequestError(f"VGG-19 could not be downloaded ({first_line(error)}); {remedy}") from None


def decoder() -> nn.Sequential:
    """An untrained decoder, the mirror of the encoder: `(N, 512, h, w)` to images `(N, 3, 8 h, 8 w)`, not yet clamped.
    Nearest upsampling, reflected edges, and no normalisation, which would undo the statistics (section 6.1)."""
    layers: list[nn.Module] = []
    for block in ((512, 256), (256, 256, 256, 256, 128), (128, 128, 64), (64, 64, 3)):
        for channels, wider in pairwise(block):
            layers += [nn.Conv2d(channels, wider, 3, padding=1, padding_mode="reflect"), nn.ReLU()]
        layers.append(nn.Upsample(scale_factor=2))
    return nn.Sequential(*layers[:-2])  # no ReLU and no upsampling behind the last convolution


class AdaIN(nn.Module):
    """Encoder and decoder as one function from images and styles to stylized images."""

    def __init__(self, encoder: Encoder, decoder: nn.Module) -> None:
        super().__init__()
        self.encoder, self.decoder = encoder, decoder

    @torch.no_grad()
    def forward(self, images: Tensor, styles: Tensor, strength: float = 1.0) -> Tensor:
        """Stylized images, float `(N, 3, H, W)` in [0, 1]; `strength` is the paper's alpha: at 0 the decoder gets the
        content's features, at 1 the transferred ones. Raises RequestError for sides that are not multiples of 8."""
        if any(side % 8 for side in images.shape[2:]):
            raise RequestError(f"images of {tuple(images.shape[2:])} pixels: AdaIN needs sides that are multiples of 8")
        content = self.encoder(images)[-1]
        moved = adain(content, self.encoder(styles)[-1])
        return self.decoder(torch.lerp(content, moved, strength)).clamp(0, 1)

    def digest(self) -> str:
        """Hash of all weights."""
        weights = hashlib.sha256()
        for name, value in self.state_dict().items():
            weights.update(name.encode() + value.cpu().contiguous().numpy().tobytes())
        return weights.hexdigest()[:16]


def decoder_loss(encoder: Encoder, decoder: nn.Module, contents: Tensor, styles: Tensor) -> Tensor:
    """Equation 11 of Huang and Belongie: distance to the wanted features, and to the style's moments at all stages."""
    with torch.no_grad():
        wanted = encoder(styles)
        aim = adain(encoder(contents)[-1], wanted[-1])
    found = encoder(decoder(aim))
    stages = (zip(_moments(one), _moments(other), strict=True) for one, other in zip(found, wanted, strict=True))
    return F.mse_loss(found[-1], aim) + STYLE_WEIGHT * sum(F.mse_loss(a, b) for stage in stages for a, b in stage)


def train_decoder(
    encoder: Encoder,
    contents: Images,
    styles: Styles,
    steps: int,
    path: Path,
    *,
    size: int,
    device: Device = "cpu",
    progress: bool = True,
) -> nn.Module:
    """The decoder kept at `path`, trained up to `steps` steps of Adam. Every step takes `BATCH_SIZE` contents, in an
    order drawn at the start, and as many styles, cropped to `size` by a generator of its own: a resumed training ends
    in the same bits. Raises RequestError for images below `size`."""
    side = contents.images.shape[-1] if isinstance(contents, ImageSet) else contents.side
    smallest = min(side, *styles.images.shape[2:])
    if smallest < size or size % 8:
        raise RequestError(f"crops of {size} pixels need images at least as large ({smallest}), and a multiple of 8")
    with torch.random.fork_rng():
        torch.manual_seed(0)
        network = decoder().to(device)
    encoder = encoder.to(device)
    optimizer = torch.optim.Adam(network.parameters(), LEARNING_RATE)
    first = 0
    if state := load_state(path):
        first = state["step"]
        network.load_state_dict(state["network"])
        optimizer.load_state_dict(state["optimizer"])
    order = torch.randint(len(contents), (steps, BATCH_SIZE), generator=torch.Generator().manual_seed(0))[first:]
    left = tqdm(range(first, steps), "training the decoder", initial=first, total=steps, disable=not progress)
    for step, (images, _) in zip(left, contents.batches(BATCH_SIZE, device, order.flatten()), strict=False):
        generator = torch.Generator().manual_seed(step)
        chosen = torch.randint(len(styles), (BATCH_SIZE,), generator=generator)
        pictures = images, to_float(styles.images[chosen].to(device))
        batch = (_crops(some, size, generator) for some in pictures)
        decoder_loss(encoder, network, *batch).backward()
        update(optimizer, LEARNING_RATE / (1 + RATE_DECAY * step))
        if (step + 1) % KEEP_EVERY == 0 or step + 1 == steps:
            done = {"step": step + 1, "network": network.state_dict(), "optimizer": optimizer.state_dict()}
            save_state(path, done)
    return network.requires_grad_(False).eval()


def _crops(images: Tensor, size: int, generator: torch.Generator) -> Tensor:
    room = torch.tensor([length - size + 1 for length in images.shape[2:]])
    places = (torch.rand(len(images), 2, generator=generator) * room).long().tolist()
    return torch.stack([image[:, y : y + size, x : x + size] for image, (y, x) in zip(images, places, strict=True)])
