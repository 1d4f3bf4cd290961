"""AdaIN with an encoder of random weights: its moments, its shapes, its training, and what it refuses."""

import pytest
import torch
from helpers import image_set, random_images, write_folder
from torch import nn

from advlook.core.errors import RequestError
from advlook.corruptions import adain as module
from advlook.corruptions.adain import AdaIN, Encoder, adain, decoder, decoder_loss, train_decoder
from advlook.corruptions.stylization import stylize
from advlook.data.layouts import list_images
from advlook.data.streaming import StreamedImages
from advlook.data.styles import Styles, generate_textures


def features(width=4):
    """VGG-19's layers up to relu4_1 in their order, with few channels and random weights; 512 at the end."""
    with torch.random.fork_rng():
        torch.manual_seed(0)
        layers, channels = [], 3
        for item in (1, 1, "pool", 2, 2, "pool", 4, 4, 4, 4, "pool", 512):
            if item == "pool":
                layers.append(nn.MaxPool2d(2))
                continue
            wide = 512 if item == 512 else width * item
            layers += [nn.Conv2d(channels, wide, 3, padding=1), nn.ReLU(inplace=True)]
            channels = wide
    return nn.Sequential(*layers)


@pytest.fixture
def encoder():
    return Encoder(features())


@pytest.fixture
def network(encoder):
    with torch.random.fork_rng():
        torch.manual_seed(1)
        return AdaIN(encoder, decoder())


def test_adain_has_exactly_the_styles_moments():
    generator = torch.Generator().manual_seed(0)
    content, style = (torch.randn(3, 5, 8, side, generator=generator, dtype=torch.float64) * 3 + 1 for side in (8, 11))
    moved = adain(content, style)
    for own, wanted in zip(torch.std_mean(moved, (2, 3)), torch.std_mean(style, (2, 3)), strict=True):
        assert own.shape == wanted.shape
    torch.testing.assert_close(moved.mean((2, 3)), style.mean((2, 3)))
    torch.testing.assert_close(moved.var((2, 3), correction=0), style.var((2, 3), correction=0))
    # Within a channel it is the content still: the same order, the same shape.
    normal = (content - content.mean((2, 3), keepdim=True)) / content.std((2, 3), correction=0, keepdim=True)
    again = (moved - moved.mean((2, 3), keepdim=True)) / moved.std((2, 3), correction=0, keepdim=True)
    torch.testing.assert_close(normal, again)


def test_adain_of_itself_and_of_constants():
    content = torch.randn(2, 3, 6, 6, generator=torch.Generator().manual_seed(0))
    torch.testing.assert_close(adain(content, content), content)
    flat = adain(torch.ones(2, 3, 6, 6), content)
    torch.testing.assert_close(flat, content.mean((2, 3), keepdim=True).expand_as(flat))
    with pytest.raises(RequestError, match="differ in images"):
        adain(content, content[:1])


def test_stages_end_where_vgg_says():
    """In torchvision's network the stages end in the ReLUs before which 64, 128, 256 and 512 channels were made."""
    from torchvision.models import vgg19

    with torch.device("meta"):
        layers = vgg19(weights=None).features
    for end, channels in zip(module.STAGES, (64, 128, 256, 512), strict=True):
        assert isinstance(layers[end - 1], nn.ReLU)
        assert layers[end - 2].out_channels == channels
        assert layers[end - 2].in_channels < channels


def test_encoder_and_decoder_fit(encoder, network):
    found = encoder(random_images(2, 32))
    assert [tuple(one.shape[1:]) for one in found] == [(4, 32, 32), (8, 16, 16), (16, 8, 8), (512, 4, 4)]
    made = network(random_images(2, 32), random_images(2, 48, seed=1))
    assert made.shape == (2, 3, 32, 32)
    assert made.min() >= 0
    assert made.max() <= 1


def test_alpha_0_is_a_reconstruction(network):
    images, styles = random_images(2, 32), random_images(2, 32, seed=1)
    plain = network.decoder(network.encoder(images)[-1]).clamp(0, 1)
    torch.testing.assert_close(network(images, styles, 0.0), plain)
    assert not torch.allclose(network(images, styles, 1.0), plain)


def test_stylize_takes_the_network(network):
    images, styles = random_images(2, 32), random_images(2, 32, seed=1)
    assert torch.equal(stylize(images, styles, network=network, strength=0.5), network(images, styles, 0.5))
    assert stylize(images, styles, network=network, strength=0.0) is images


def test_sides_must_suit(network):
    with pytest.raises(RequestError, match="multiples of 8"):
        network(random_images(1, 30), random_images(1, 32))


def trained(encoder, path, steps, contents=None):
    contents, styles = contents or image_set(12, 16), Styles(generate_textures(4, 24), ("a", "b", "c", "d"))
    return train_decoder(encoder, contents, styles, steps, path, size=16, progress=False)


def test_training_lowers_the_loss(encoder, tmp_path, monkeypatch):
    monkeypatch.setattr(module, "LEARNING_RATE", 1e-3)
    images, styles = image_set(8, 16).images.float().div(255), generate_textures(8, 16).float().div(255)
    losses = []
    for steps in (0, 12):
        network = trained(encoder, tmp_path / f"{steps}.pt", steps)
        with torch.no_grad():
            losses.append(decoder_loss(encoder, network, images, styles).item())
    assert losses[1] < 0.9 * losses[0]


@pytest.mark.parametrize("streamed", [False, True])
def test_training_goes_on_to_the_same_bits(encoder, tmp_path, monkeypatch, streamed):
    monkeypatch.setenv("ADVLOOK_WORKERS", "0")
    root = write_folder(tmp_path / "files", count=4)
    contents = StreamedImages(list_images(root), 16, 16) if streamed else image_set(12, 16)
    monkeypatch.setattr(module, "KEEP_EVERY", 2)
    straight = trained(encoder, tmp_path / "straight.pt", 4, contents)
    loss, calls = module.decoder_loss, []

    def failing(*arguments):
        calls.append(1)
        if len(calls) == 4:
            raise KeyboardInterrupt
        return loss(*arguments)

    monkeypatch.setattr(module, "decoder_loss", failing)
    with pytest.raises(KeyboardInterrupt):
        trained(encoder, tmp_path / "broken.pt", 4, contents)
    resumed = trained(encoder, tmp_path / "broken.pt", 4, contents)
    assert len(calls) == 6  # the third step was lost, and done again
    for name, value in resumed.state_dict().items():
        assert torch.equal(value, straight.state_dict()[name])


def test_the_decoder_is_trained_as_published(encoder):
    """Batches of 8, a rate of 1e-4 that decays by 5e-5 a step for 160,000 steps, and ten times the style's loss."""
    recipe = module.BATCH_SIZE, module.LEARNING_RATE, module.RATE_DECAY, module.DECODER_STEPS, module.STYLE_WEIGHT
    assert recipe == (8, 1e-4, 5e-5, 160_000, 10.0)


def test_small_images_are_refused(encoder, tmp_path):
    styles = Styles(generate_textures(2, 24), ("a", "b"))
    for side, size in ((8, 16), (24, 12)):
        with pytest.raises(RequestError, match=f"crops of {size}"):
            train_decoder(encoder, image_set(4, side), styles, 1, tmp_path / "x.pt", size=size, progress=False)


def test_weights_that_cannot_be_downloaded_end_in_one_line(monkeypatch):
    def offline(*arguments, **options):
        raise OSError("no network\nat all")

    monkeypatch.setattr(module, "vgg19", offline)
    with pytest.raises(RequestError, match="could not be downloaded") as refused:
        Encoder()
    assert "\n" not in str(refused.value)
    assert "vgg19" in str(refused.value)


def test_digest_tells_weights_apart(network):
    before = network.digest()
    assert before == network.digest()
    with torch.no_grad():
        network.decoder[0].bias += 1
    assert network.digest() != before
