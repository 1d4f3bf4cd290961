"""Architectures, checkpoints, training, evaluation and late fusion."""

from advlook.models.architectures import build_model
from advlook.models.checkpoint_accuracy import evaluate_checkpoint
from advlook.models.evaluation import Batches, predict, robust_accuracy, topk_accuracy
from advlook.models.external import load_model
from advlook.models.folding import folded, for_inference
from advlook.models.judge import Judge
