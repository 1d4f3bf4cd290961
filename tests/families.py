"""Small networks of many families, as torchvision and timm build them: by the name of a builder, or, where the smallest
that has a name is large, from the same classes with fewer channels and blocks."""

from functools import partial

import torch
from torch import nn
from torchvision import models
from torchvision.models import convnext, densenet, efficientnet, maxvit, resnet, swin_transformer, vision_transformer

from advlook.models.architectures import IMAGENET_MEAN, IMAGENET_STD, Normalized
from advlook.models.builders import Builder, builder


def vgg(num_classes):
    """VGG-11 with a small classifier, which holds most of its parameters."""
    network = models.VGG(models.vgg.make_layers([8, "M", 16, "M", 16, 16, "M", 32, "M", 512], True), 2, False)
    network.avgpool, network.classifier = nn.AdaptiveAvgPool2d(1), _dense(512, num_classes)
    return network


def alexnet(num_classes):
    """AlexNet with a small classifier."""
    network = models.AlexNet(num_classes)
    network.avgpool, network.classifier = nn.AdaptiveAvgPool2d(1), _dense(256, num_classes)
    return network


def _dense(width, classes):
    return nn.Sequential(nn.Dropout(), nn.Linear(width, 32), nn.ReLU(True), nn.Linear(32, classes))


def bottlenecks(num_classes, groups=1, width=64):
    """A ResNet of one block a group: ResNeXt with groups, Wide ResNet with a width."""
    return resnet.ResNet(resnet.Bottleneck, [1, 1, 1, 1], num_classes, groups=groups, width_per_group=width)


def dense(num_classes):
    """DenseNet of few layers."""
    return densenet.DenseNet(8, (2, 2, 2, 2), 16, num_classes=num_classes)


def efficient(num_classes, second=False):
    """EfficientNet of two blocks, or its second version, the first of whose blocks is fused."""
    first = (
        efficientnet.FusedMBConvConfig(1, 3, 1, 16, 16, 1)
        if second
        else efficientnet.MBConvConfig(1, 3, 1, 16, 16, 1, 1, 1)
    )
    blocks = [first, efficientnet.MBConvConfig(4, 3, 2, 16, 24, 2, 1.0, 1.0)]
    norm = partial(nn.BatchNorm2d, eps=1e-3)
    return efficientnet.EfficientNet(blocks, 0.0, num_classes=num_classes, norm_layer=norm, last_channel=64)


def vit(num_classes, image_size=32):
    """ViT of three blocks."""
    return vision_transformer.VisionTransformer(image_size, 8, 3, 2, 32, 64, num_classes=num_classes)


def swin(num_classes, second=False):
    """Swin of four stages, or its second version."""
    parts = {"block": swin_transformer.SwinTransformerBlockV2, "downsample_layer": swin_transformer.PatchMergingV2}
    args = [4, 4], 24, [1, 1, 2, 1], [1, 2, 4, 8], [4, 4]
    return swin_transformer.SwinTransformer(*args, num_classes=num_classes, **(parts if second else {}))


def convnext_small(num_classes):
    """ConvNeXt of three stages."""
    settings = [convnext.CNBlockConfig(a, b, 1) for a, b in ((16, 32), (32, 64), (64, None))]
    return convnext.ConvNeXt(settings, num_classes=num_classes)


def maxvit_small(num_classes):
    """MaxViT of two stages."""
    sizes = {"input_size": (64, 64), "stem_channels": 16, "partition_size": 4, "head_dim": 8}
    return maxvit.MaxVit(
        **sizes, block_channels=[16, 32], block_layers=[1, 1], stochastic_depth_prob=0.0, num_classes=num_classes
    )


def convmixer(num_classes):
    """ConvMixer of three blocks."""
    from timm.models.convmixer import ConvMixer

    return ConvMixer(32, 3, num_classes=num_classes)


def mixer(num_classes, img_size):
    """MLP-Mixer of two blocks."""
    from timm.models.mlp_mixer import MlpMixer

    return MlpMixer(num_classes, img_size, num_blocks=2, embed_dim=32)


def poolformer(num_classes):
    """PoolFormer of four blocks."""
    from timm.layers import GroupNorm1
    from timm.models.metaformer import MetaFormer

    sizes = {"num_classes": num_classes, "depths": (1, 1, 1, 1), "dims": (16, 24, 32, 48)}
    how = {"norm_layers": GroupNorm1, "downsample_norm": None, "mlp_act": nn.GELU, "use_mlp_head": False}
    return MetaFormer(**sizes, **how)


def tiny_vit(num_classes):
    """TinyViT of one block a stage."""
    from timm.models.tiny_vit import TinyVit

    sizes = {"embed_dims": (16, 24, 32, 48), "depths": (1, 1, 1, 1), "num_heads": (1, 1, 2, 2)}
    return TinyVit(num_classes=num_classes, window_sizes=(4, 4, 4, 2), **sizes)


# By family: the name of a builder or what builds it, and pixels a side.
TORCHVISION = {
    "AlexNet": (alexnet, 64),
    "ConvNeXt": (convnext_small, 32),
    "DenseNet": (dense, 32),
    "EfficientNet": (efficient, 32),
    "EfficientNet v2": (partial(efficient, second=True), 32),
    "GoogLeNet": ("torchvision:googlenet", 32),
    "Inception v3": ("torchvision:inception_v3", 80),
    "MaxViT": (maxvit_small, 64),
    "MnasNet": ("torchvision:mnasnet0_5", 32),
    "MobileNet v2": ("torchvision:mobilenet_v2", 32),
    "MobileNet v3": ("torchvision:mobilenet_v3_small", 32),
    "RegNet": ("torchvision:regnet_y_400mf", 32),
    "ResNet": ("torchvision:resnet18", 32),
    "ResNeXt": (partial(bottlenecks, groups=4, width=16), 32),
    "ShuffleNet v2": ("torchvision:shufflenet_v2_x0_5", 32),
    "SqueezeNet": ("torchvision:squeezenet1_1", 32),
    "Swin": (swin, 64),
    "Swin v2": (partial(swin, second=True), 64),
    "VGG": (vgg, 32),
    "ViT": (vit, 32),
    "Wide ResNet": (partial(bottlenecks, width=96), 32),
}
SMALL = {"depth": 3, "embed_dim": 48, "num_heads": 2}  # a transformer without stages
TIMM = {
    "BEiT": ("beit_base_patch16_224", 64, SMALL),
    "BYOBNet": ("test_byobnet", 64, {}),
    "CaiT": ("cait_xxs24_224", 64, {"depth": 2}),
    "CoAtNet": ("test_coatnet", 64, {}),
    "ConvMixer": (convmixer, 64),
    "ConvNeXt": ("test_convnext", 64, {}),
    "DeiT, distilled": ("deit_tiny_distilled_patch16_224", 64, SMALL),
    "DeiT III": ("deit3_small_patch16_224", 64, SMALL),
    "EdgeNeXt": ("edgenext_xx_small", 64, {}),
    "EfficientFormer": ("efficientformer_l1", 224, {"embed_dims": (16, 16, 24, 32), "depths": (1, 1, 1, 2)}),
    "EfficientNet": ("test_efficientnet", 64, {}),
    "EVA-02": ("eva02_tiny_patch14_224", 56, SMALL),
    "FastViT": ("fastvit_t8", 64, {"layers": (1, 1, 1, 1), "embed_dims": (24, 48, 96, 192)}),
    "GhostNet": ("ghostnet_050", 64, {}),
    "HGNet v2": ("hgnetv2_b0", 64, {}),
    "LeViT": ("levit_128s", 224, {}),
    "MambaOut": ("test_mambaout", 64, {}),
    "MaxViT": ("test_maxvit", 64, {}),
    "MLP-Mixer": (mixer, 64),
    "MobileNet v4": ("mobilenetv4_conv_small_035", 160, {}),
    "MobileViT": ("mobilevit_xxs", 64, {}),
    "NFNet": ("test_nfnet", 64, {}),
    "PoolFormer": (poolformer, 64),
    "PVT v2": ("pvt_v2_b0", 64, {}),
    "RegNet": ("regnetx_002", 64, {}),
    "RepVGG": ("repvgg_a0", 64, {}),
    "ResNet v2": ("resnetv2_50", 64, {"layers": (1, 1, 1, 1), "channels": (16, 32, 64, 96)}),
    "TinyViT": (tiny_vit, 64),
    "ViT": ("test_vit", 64, {}),
    "XCiT": ("xcit_nano_12_p16_224", 64, {"depth": 2}),
}


def build(made, size, **options):
    """The network of CLASSES classes by its builder, behind ImageNet's normalisation, with statistics of noise."""
    if isinstance(made, str) and options:
        import timm

        known = builder(f"timm:{made}")  # the name is one; what it builds is large
        made = Builder(known.name, partial(_sized, timm.create_model, made, options), known.about)
    elif isinstance(made, str):
        made = builder(made if ":" in made else f"timm:{made}")
    else:
        made = Builder(made.__name__ if hasattr(made, "__name__") else made.func.__name__, made, "")
    return used(Normalized(made(10, size), IMAGENET_MEAN, IMAGENET_STD), size)


def _sized(create, name, options, num_classes, img_size=None):
    try:
        return create(name, num_classes=num_classes, img_size=img_size, **options)
    except TypeError:  # as in the builder
        return create(name, num_classes=num_classes, **options)


def used(model, size):
    """In eval mode, with statistics and factors of batch normalisation unlike the initial ones."""
    norms = [module for module in model.modules() if isinstance(module, nn.modules.batchnorm._BatchNorm)]
    for norm in norms:
        norm.momentum = 1.0
        if norm.weight is not None:
            nn.init.uniform_(norm.weight, 0.5, 1.5)
    model.train()  # what it returns is None of timm's LeViT
    with torch.no_grad():
        if norms:
            model(torch.rand(4, 3, size, size, generator=torch.Generator().manual_seed(7)))
    for norm in norms:
        norm.running_var.clamp_(min=0.01)  # of few images that of some channels is almost 0
    for module in model.modules():  # heads that begin at zero, for which all classes are alike
        if isinstance(module, nn.Linear) and not module.weight.any():
            nn.init.normal_(module.weight, std=0.1)
    for parameter in model.parameters():  # blocks that begin at almost nothing
        if parameter.numel() > 1 and 0 < parameter.max() < 0.01 and (parameter == parameter.max()).all():
            nn.init.constant_(parameter, 0.5)
    return _settled(model.eval(), size)


@torch.no_grad()
def _settled(model, size):
    """With last layers so small that logits differ by a few units at most. Those of a random network may differ by
    thousands; of softmax then nothing is left but 0 and 1, the gradient of the loss is 0, and its sign is rounding."""
    logits = model(torch.rand(2, 3, size, size, generator=torch.Generator().manual_seed(8)))
    spread = logits.std().item() if isinstance(logits, torch.Tensor) else 0.0
    for module in model.modules() if spread > 3 else ():
        if getattr(module, "out_features", getattr(module, "out_channels", 0)) == logits.shape[1]:
            for parameter in module.parameters(recurse=False):
                parameter /= spread
    return model
