#!/bin/sh
# Some image classifiers of timm have weights of five dimensions, which torch's Module.to(memory_format) refuses.
#
# `model.to(memory_format=torch.channels_last)` is the usual way to have convolutions run faster, and is documented to
# lay out parameters of four dimensions. It tries those of five as well, for which torch has another format, and raises.
# A classifier of images seems to have none: but timm's LambdaNetworks embed relative positions by an nn.Conv3d. So, in
# timm 1.0.31 with torch 2.13.0:
#
#     lambda_resnet26t: a weight of shape (16, 1, 9, 9, 1)
#     Module.to: RuntimeError: required rank 4 tensor to use channels_last format
#     tensor by tensor, those of four dimensions alone: answers differ by 2e-7 of the largest
#
# timm's lamhalobotnet50ts_256 and lambda_resnet50ts are alike; lambda_resnet26rpt_256, which embeds them otherwise, is
# not.
#
# So: where a network may be any network, lay out `parameter.data` of four dimensions only, in a loop.
#
# Needs Python 3.10 or later, and a network. Exits with 1 if the behaviour is no longer as above.
set -eu
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
trap 'exit 130' INT TERM
python3 -m venv "$folder/venv"
"$folder/venv/bin/pip" install --quiet --disable-pip-version-check torch==2.13.0 torchvision==0.28.0 timm==1.0.31 numpy
"$folder/venv/bin/python" - <<'PYTHON'
import sys

import torch

try:
    import torchvision  # noqa: F401
except RuntimeError:  # a mirror gave a torch without CUDA and a torchvision with it: timm needs no such operators
    operators = torch.library.Library("torchvision", "FRAGMENT")
    operators.define("nms(Tensor dets, Tensor scores, float iou_threshold) -> Tensor")
    operators.define("qnms(Tensor dets, Tensor scores, float iou_threshold) -> Tensor")
import timm

refused = {}
for name in ("lambda_resnet26t", "lambda_resnet50ts", "lamhalobotnet50ts_256", "lambda_resnet26rpt_256"):
    torch.manual_seed(0)
    model = timm.create_model(name).eval()
    print(name, {tuple(each.shape) for each in model.parameters() if each.dim() == 5})
    try:
        model.to(memory_format=torch.channels_last)
        refused[name] = False
    except RuntimeError as error:
        refused[name] = "required rank 4 tensor" in str(error)
        print(f"  Module.to: {type(error).__name__}: {error}")
torch.manual_seed(0)
model = timm.create_model("lambda_resnet26t").eval()
images = torch.rand(1, 3, 256, 256)
with torch.no_grad():
    before = model(images)
    for parameter in model.parameters():
        if parameter.dim() == 4:
            parameter.data = parameter.data.contiguous(memory_format=torch.channels_last)
    change = ((model(images) - before).abs().max() / before.abs().max()).item()
print(f"tensor by tensor: answers differ by {change:.1g} of the largest")
sys.exit(list(refused.values()) != [True, True, True, False] or change > 1e-3)
PYTHON
