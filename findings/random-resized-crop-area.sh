#!/bin/sh
# torchvision's RandomResizedCrop(scale=(s, 1)) does not draw areas uniformly from [s, 1].
#
# Documented (torchvision 0.28.0): "scale: Specifies the lower and upper bounds for the random area of the crop [...] A
# crop of a random area [...] is made." Area and aspect ratio are drawn uniformly, but a draw that is wider or higher
# than the image is rejected and drawn again. Large areas fit at few aspects only, so they are under-represented.
#
# Seen with torchvision 0.28.0, torch 2.13.0, 40,000 draws on a square image of 1000 px at scale (0.25, 1):
#
#     mean area 0.564, not 0.625; 0.3% of crops have a side at full length; 2.9% have an area above 0.9, not 13.3%
#
# So a pipeline that clips such draws to the image in place of rejecting them (mean area 0.619, every sixth crop with a
# full side) trains on another augmentation under the same name.
#
# Needs Python 3.10 or later, and a network. Exits with 1 if the behaviour is no longer as above.
set -eu
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
trap 'exit 130' INT TERM
python3 -m venv "$folder/venv"
"$folder/venv/bin/pip" install --quiet --disable-pip-version-check torch==2.13.0 torchvision==0.28.0 numpy
"$folder/venv/bin/python" - <<'PYTHON'
import sys

import torch

try:
    import torchvision
except RuntimeError:  # a mirror gave a torch without CUDA and a torchvision with it: the crop needs no such operators
    operators = torch.library.Library("torchvision", "FRAGMENT")
    operators.define("nms(Tensor dets, Tensor scores, float iou_threshold) -> Tensor")
    operators.define("qnms(Tensor dets, Tensor scores, float iou_threshold) -> Tensor")
    import torchvision
from torchvision.transforms import RandomResizedCrop

SIDE, LEAST, DRAWS = 1000, 0.25, 40_000
torch.manual_seed(0)
image = torch.empty(1).expand(3, SIDE, SIDE)
boxes = torch.tensor([RandomResizedCrop.get_params(image, [LEAST, 1.0], [3 / 4, 4 / 3]) for _ in range(DRAWS)])
sides = boxes[:, 2:].double() / SIDE
area = sides.prod(1)
mean, full, large = area.mean().item(), (sides == 1).any(1).double().mean().item(), (area > 0.9).double().mean().item()
print(f"torch {torch.__version__}, torchvision {torchvision.__version__}: {DRAWS:,} draws, scale ({LEAST}, 1)")
print(f"mean area {mean:.3f}; {100 * full:.1f}% have a side at full length; {100 * large:.1f}% an area above 0.9")
print(f"uniform areas would have mean {(LEAST + 1) / 2:.3f}, and {100 * 0.1 / (1 - LEAST):.1f}% above 0.9")
sys.exit(abs(mean - 0.565) > 0.01 or full > 0.01 or large > 0.08)
PYTHON
