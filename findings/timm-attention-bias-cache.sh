#!/bin/sh
# timm's TinyViT answers with its old attention biases after load_state_dict, and cannot be copied after a gradient.
#
# In eval mode the attention of TinyViT (also of LeViT and EfficientFormer) keeps the biases that it has gathered from its
# parameters in the first forward pass, per device. Nothing but train() throws them away. So, in timm 1.0.31:
#
# - weights loaded into a network that has answered once are used but for the attention biases, which stay the old ones:
#   no error, and other answers than a network gives that was filled before its first pass;
# - biases kept in a pass with gradients carry their graph, and copy.deepcopy of the network raises a RuntimeError:
#   "Only Tensors created explicitly by the user (graph leaves) support the deepcopy protocol".
#
# Seen with timm 1.0.31, torch 2.13.0, two random tiny_vit_5m_224 with drawn biases:
#
#     answers differ by 0.06 of 1.5 from those of the network whose weights were loaded; after train().eval() by 0
#     copy.deepcopy: RuntimeError
#
# So: call train() and eval() after loading weights, after changing parameters in place, and before copying. What puts
# fresh weights into a copy (sanity checks by randomisation, averages of weights) is wrong without it.
#
# Needs Python 3.10 or later, and a network. Exits with 1 if the behaviour is no longer as above.
set -eu
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
trap 'exit 130' INT TERM
python3 -m venv "$folder/venv"
"$folder/venv/bin/pip" install --quiet --disable-pip-version-check torch==2.13.0 torchvision==0.28.0 timm==1.0.31 numpy
"$folder/venv/bin/python" - <<'PYTHON'
import copy
import sys

import torch

try:
    import torchvision  # noqa: F401
except RuntimeError:  # a mirror gave a torch without CUDA and a torchvision with it: timm needs no such operators
    operators = torch.library.Library("torchvision", "FRAGMENT")
    operators.define("nms(Tensor dets, Tensor scores, float iou_threshold) -> Tensor")
    operators.define("qnms(Tensor dets, Tensor scores, float iou_threshold) -> Tensor")
import timm


def network(seed):
    torch.manual_seed(seed)
    made = timm.create_model("tiny_vit_5m_224").eval()
    for name, parameter in made.named_parameters():
        if "attention_bias" in name:
            torch.nn.init.normal_(parameter)
    return made


first, second, images = network(0), network(1), torch.rand(1, 3, 224, 224, generator=torch.Generator().manual_seed(2))
with torch.no_grad():
    first(images)
    wanted = second(images)
    first.load_state_dict(second.state_dict())
    stale = (first(images) - wanted).abs().max().item()
    renewed = (first.train().eval()(images) - wanted).abs().max().item()
print(f"timm {timm.__version__}, torch {torch.__version__}: answers up to {wanted.abs().max():.2f}")
print(f"loaded after a pass: {stale:.3f} from those of the weights' network; after train().eval(): {renewed:.3g}")
first.train().eval()(images)
try:
    copy.deepcopy(first)
    copied = True
except RuntimeError as error:
    copied = False
    print(f"copy.deepcopy: {type(error).__name__}: {str(error)[:80]}")
sys.exit(stale < 1e-3 or renewed > 1e-6 or copied)
PYTHON
