"""Architectures, checkpoints, training, evaluation and late fusion."""

from advlook.models.architectures import build_model, folded
from advlook.models.evaluation import Batches, evaluate_checkpoint, predict, robust_accuracy, topk_accuracy
from advlook.models.external import load_model
from advlook.models.judge import Judge
