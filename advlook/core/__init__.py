"""What every room rests on: errors, files, presets, gradients with respect to images, processes."""

from advlook.core.classifier import Classifier, check_batch, check_finite, finite_gradient
from advlook.core.classifier import Model as Model
from advlook.core.classifier import in_train_mode as in_train_mode
from advlook.core.classifier import warn_of_train_mode as warn_of_train_mode
from advlook.core.distributed import ALONE, Device, Group, joined, share_statistics
from advlook.core.errors import RequestError, check_choice
from advlook.core.files import digest, file_hash, mixed_seed, read_json, write_atomically
from advlook.core.gradients import at_least_float32, cross_entropy, evaluating, frozen_buffers, input_gradient
from advlook.core.gradients import logit_of as logit_of
from advlook.core.gradients import per_image as per_image
from advlook.core.names import ARCH_NAMES, FORMS, NAMES, eps_label
from advlook.core.precision import PRECISIONS, autocast
from advlook.core.presets import ARCHITECTURES, SETTINGS, STEMS, AdversaryConfig, DataConfig, Preset, TrainingConfig
from advlook.core.processes import run_all, worker_count
from advlook.core.progress import tqdm
from advlook.core.radius import check_eps, parse_eps
