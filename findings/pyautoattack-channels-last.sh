#!/bin/sh
# pyautoattack attacks images in channels_last with APGD-CE, FAB and Square, and fails with DLR; and it is no drop-in.
#
# Images in channels_last, which torch recommends for convolutional networks, go through the untargeted APGD on
# cross-entropy, FAB and Square of pyautoattack 0.2.0. APGD on DLR, and so the targeted APGD of its standard version, end
# in a RuntimeError (a view of a gradient that is not contiguous). The standard version runs APGD-CE first: it fails after
# that has taken its time, and only where APGD-CE leaves images.
#
# Whoever comes from the reference code (fra31/auto-attack) meets two more differences in run_standard_evaluation:
#
# - it returns the pair (adversarial images, their labels), also without return_labels: `model(result)` fails;
# - the batch size is batch_size, by keyword alone, not bs.
#
# Seen with pyautoattack 0.2.0, torch 2.13.0, a small convolutional network, 12 random images:
#
#     contiguous: every attack runs; channels_last: apgd-dlr and apgd-t raise RuntimeError, the others run
#     the result is a tuple of 2; bs=12 raises TypeError
#
# So: call images.contiguous() before the attack, and unpack the result.
#
# Needs Python 3.10 or later, and a network. Exits with 1 if the behaviour is no longer as above.
set -eu
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
trap 'exit 130' INT TERM
python3 -m venv "$folder/venv"
"$folder/venv/bin/pip" install --quiet --disable-pip-version-check torch==2.13.0 numpy
"$folder/venv/bin/pip" install --quiet --disable-pip-version-check --no-deps pyautoattack==0.2.0
"$folder/venv/bin/python" - <<'PYTHON'
import sys

import pyautoattack
import torch
from torch import nn

torch.manual_seed(0)
layers = [nn.Conv2d(3, 8, 3, 2, 1), nn.ReLU(), nn.Conv2d(8, 8, 3, 2, 1), nn.ReLU(), nn.AdaptiveAvgPool2d(2)]
model = nn.Sequential(*layers, nn.Flatten(), nn.Linear(32, 10)).eval()
images = torch.rand(12, 3, 16, 16)
labels = model(images).argmax(1)
outcomes = {}
for name in ("apgd-ce", "apgd-dlr", "apgd-t", "fab-t", "square"):
    for layout in (torch.contiguous_format, torch.channels_last):
        attack = pyautoattack.AutoAttack(model, norm="Linf", eps=0.002, version="custom", attacks=[name], seed=0)
        attack.verbose = False
        attack.apgd.n_iter = attack.apgd_targeted.n_iter = attack.fab.n_iter = 5
        attack.apgd_targeted.n_target_classes = attack.fab.n_target_classes = 2
        attack.square.n_queries = 50
        try:
            result = attack.run_standard_evaluation(images.contiguous(memory_format=layout), labels, batch_size=12)
            outcome = f"{type(result).__name__} of {len(result)}"
        except RuntimeError as error:
            outcome = type(error).__name__
        outcomes[name, layout] = outcome
        print(f"{name}, {layout}: {outcome}")
try:
    attack.run_standard_evaluation(images, labels, bs=12)
    keyword = "taken"
except TypeError as error:
    keyword = type(error).__name__
print(f"bs=12: {keyword}")
fails = {name for (name, layout), found in outcomes.items() if found == "RuntimeError"}
runs = all(outcomes[name, torch.contiguous_format] == "tuple of 2" for name, _ in outcomes)
sys.exit(fails != {"apgd-dlr", "apgd-t"} or not runs or keyword != "TypeError")
PYTHON
