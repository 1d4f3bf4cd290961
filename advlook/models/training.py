"""Standard (STD) and adversarial (ADV) training, resumable to the same bits.

Every epoch starts from a random state that depends on the seed and the epoch alone, so what is kept after an epoch
(weights, momentum, average, history) is all that the rest depends on.

Several processes train a model as one (`distributed.Group`): each takes its share of every batch, gradients are
summed, and batch normalisation is over the whole batch. How many they are changes no more than the rounding of sums,
and what is drawn on the way: the masks of dropout, and the random starts of an adversary that has them.
"""

import copy
import math
import time
import warnings
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, nullcontext
from dataclasses import replace
from itertools import islice
from pathlib import Path
from typing import Protocol

import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torch.nn.parallel import DistributedDataParallel

from advlook.attacks.ball import ascend, project, random_in_ball
from advlook.core.distributed import ALONE, Group, share_statistics
from advlook.core.errors import RequestError
from advlook.core.files import digest, mixed_seed
from advlook.core.gradients import frozen_batchnorm, input_gradient
from advlook.core.precision import autocast
from advlook.core.presets import AdversaryConfig, DataConfig, Preset, TrainingConfig
from advlook.core.progress import tqdm
from advlook.data.image_sets import ImageSet
from advlook.models.architectures import preset_model
from advlook.models.checkpoints import half_precision, load_state, save_checkpoint, save_state
from advlook.models.evaluation import robust_accuracy, topk_accuracy

LOOK_EVERY = 20  # steps between looks at the loss on a GPU, which has to finish its work for each


class TrainingImages(Protocol):
    """Whatever yields the augmented batches of one epoch: an `ImageSet`, or a generator of fresh images."""

    def training_batches(
        self,
        config: DataConfig,
        batch_size: int,
        generator: torch.Generator,
        device: torch.device | str = "cpu",
        group: Group = ALONE,
    ) -> Iterator[tuple[Tensor, Tensor]]:
        """The batches of one epoch, float32 in [0, 1] with labels; all that is random is drawn from `generator`.

        Each process of a group is given its share of every batch, the same images whatever the others do.
        """
        ...

    def __len__(self) -> int: ...


class NonFiniteLossError(RuntimeError):
    """Training left the numbers; the message names the epoch, the step and what to try."""


def training_attack(
    model: nn.Module,
    images: Tensor,
    labels: Tensor,
    config: AdversaryConfig,
    eps: float,
    generator: torch.Generator,
    weight: float = 1.0,
) -> Tensor:
    """Adversarial images to train on, at the radius `eps` that the ramp has reached.

    The model stays in train mode: the attack sees the function that the next update sees. The paper's wording
    ("generates adversarial examples to the original training data during the training stage") asks for no more; whether
    these forward passes also count in BatchNorm's running statistics it leaves open, and here they do not unless
    `config.updates_batchnorm` says so. Without random start, FGSM is one step of size eps (the paper's attack); with
    one, its step is `config.step_size`, as in Wong et al. 2020. `weight` is that of these images' mean loss in the loss
    of a batch that several processes share: through batch normalisation an image changes the loss of all.
    """
    one_step = config.method == "fgsm"
    step = eps if one_step and not config.random_start else config.step_size / config.eps * eps
    frozen = nullcontext() if config.updates_batchnorm else frozen_batchnorm(model)
    attacked = random_in_ball(images, eps, "linf", generator) if config.random_start else images
    with frozen:
        for _ in range(1 if one_step else config.steps):
            gradient, _ = input_gradient(model, attacked, lambda z: F.cross_entropy(z.float(), labels) * weight)
            attacked = project(ascend(attacked, gradient, step, "linf"), images, eps, "linf")
    return attacked


def ramped_eps(config: AdversaryConfig, epoch: int, epochs: int) -> float:
    """Training radius in epoch 0, 1, ... of `epochs`: up in equal steps, full when the ramp is over."""
    return config.eps * min(1.0, (epoch + 1) / (config.ramp_epochs(epochs) + 1))


def learning_rate(config: TrainingConfig, base: float, epochs: int, progress: float) -> float:
    """Rate at `progress` epochs (fractional): divided by 10 every `step_epochs`, or one rise and one linear fall."""
    if config.schedule == "step":
        return base * 0.1 ** (int(progress) // config.step_epochs)
    peak = config.warmup * epochs
    return base * (progress / peak if progress < peak else max(0.0, (epochs - progress) / (epochs - peak)))


def overfits_catastrophically(history: list[dict[str, float]]) -> bool:
    """Whether FGSM accuracy has left PGD accuracy behind (Wong et al. 2020): PGD below half of FGSM and of its best.

    The network has then learned to deceive the one step it is trained on.
    """
    checks = [entry for entry in history if "pgd" in entry]
    if not checks:
        return False
    last, best = checks[-1], max(entry["pgd"] for entry in checks)
    return best >= 5 and last["pgd"] < 0.5 * best and last["pgd"] < 0.5 * last["fgsm"]


def epoch_images(preset: Preset, images: TrainingImages) -> int:
    """Images that one epoch of the preset shows, in full batches."""
    count = min(len(images), preset.data.train_images or len(images))
    return count // preset.training.batch_size * preset.training.batch_size


class Trainer:
    """One model in training: its weights, momentum, averaged weights and history, and what one epoch does to them.

    model: trained where it is given, in place of the preset's untrained one. group: the processes that share every
    batch; each has a trainer of its own, and all of these hold the same. watch: told what each stretch of a step is
    spent on (`profiling`). Raises RequestError where a batch has fewer images than there are processes.
    """

    def __init__(
        self,
        preset: Preset,
        arch: str,
        setting: str,
        seed: int,
        device: torch.device,
        model: nn.Module | None = None,
        group: Group = ALONE,
        watch: Callable[[str], AbstractContextManager] = lambda phase: nullcontext(),
    ) -> None:
        config = preset.training
        self.preset, self.config, self.device, self.seed = preset, config, device, seed
        self.group, self.watch = group, watch
        if config.batch_size // config.accumulate < group.size:
            raise RequestError(
                f"{group.size} processes cannot share {config.batch_size // config.accumulate} images at once "
                f"(training.batch_size = {config.batch_size}, accumulate = {config.accumulate}); start fewer"
            )
        described = preset.models[arch]
        self.epochs = described.epochs_std if setting == "std" else described.epochs_adv
        self.adversary = preset.adversary if setting == "adv" else None
        larger = config.batch_size / config.rate_for_batch if config.rate_for_batch else 1
        self.base_rate = described.learning_rate * larger
        self.key = preset.training_key(arch, setting, seed)
        self.model = preset_model(preset, arch, seed) if model is None else model
        self.model.to(device)
        self.average = copy.deepcopy(self.model) if config.average else None
        self.step_model = self.attacked_model = self.model
        if group.size > 1:
            share_statistics(self.model, device)
            own = [torch.cuda.current_device()] if device.type == "cuda" else None
            with warnings.catch_warnings():  # newer versions of torch have another name for it, which others lack
                warnings.filterwarnings("ignore", "`broadcast_buffers` is deprecated", FutureWarning)
                self.step_model = DistributedDataParallel(
                    self.model, own, broadcast_buffers=False, gradient_as_bucket_view=True
                )
        if config.compile:
            self.step_model, self.attacked_model = torch.compile(self.step_model), torch.compile(self.model)
        # Gains and biases are not decayed: it buys nothing, and pulls BatchNorm's scale to 0.
        groups = [
            {"params": [p for p in self.model.parameters() if p.ndim > 1], "weight_decay": config.weight_decay},
            {"params": [p for p in self.model.parameters() if p.ndim <= 1], "weight_decay": 0.0},
        ]
        self.optimizer = torch.optim.SGD(groups, lr=0.0, momentum=config.momentum)
        self.history: list[dict[str, float]] = []

    @property
    def result(self) -> nn.Module:
        """The model that training is for: the averaged one where the preset asks for it."""
        return self.model if self.average is None else self.average

    def state(self) -> dict[str, object]:
        """All that the remaining epochs depend on."""
        state = {"key": digest(self.key), "model": self.model.state_dict(), "optimizer": self.optimizer.state_dict()}
        if self.average is not None:
            state["average"] = self.average.state_dict()
        made_by = {"threads": torch.get_num_threads(), "processes": self.group.size}
        return state | {"history": self.history} | made_by

    def restore(self, state: dict[str, object] | None) -> None:
        """Go on from a state; one of another configuration is ignored."""
        if state is None or state.get("key") != digest(self.key):
            return
        self.model.load_state_dict(state["model"])
        self.optimizer.load_state_dict(state["optimizer"])
        self.history = state["history"]
        if self.average is not None:
            self.average.load_state_dict(state["average"])

    def train_epoch(self, images: TrainingImages, progressed: Callable[[int], object]) -> dict[str, float]:
        """One epoch; `progressed` is told the images of every step. Returns the epoch's entry in the history."""
        config, epoch = self.config, len(self.history)
        eps = ramped_eps(self.adversary, epoch, self.epochs) if self.adversary else 0.0
        steps = max(1, epoch_images(self.preset, images) // config.batch_size)
        at_once = min(config.batch_size // config.accumulate, len(images))
        own = (self.group.rank,) if self.group.size > 1 else ()
        torch.manual_seed(mixed_seed(self.seed, epoch, 0, *own))  # dropout
        order = torch.Generator().manual_seed(mixed_seed(self.seed, epoch, 1))
        noise = torch.Generator(self.device).manual_seed(mixed_seed(self.seed, epoch, 2, *own))
        # Trained on smaller images than it is tested on: resized crops show things larger than whole images do
        # (Touvron et al. 2019).
        size = config.sizes[epoch * len(config.sizes) // self.epochs]
        data = replace(self.preset.data, size=size)
        sums, count, rate = torch.zeros(2, dtype=torch.float64, device=self.device), 0, 0.0
        started = time.perf_counter()
        self.model.train()
        batches = iter(images.training_batches(data, at_once, order, self.device, self.group))
        for step in range(steps):
            rate = learning_rate(config, self.base_rate, self.epochs, epoch + step / steps)
            for parameters in self.optimizer.param_groups:
                parameters["lr"] = rate
            with self.watch("data"):
                parts = list(islice(batches, config.accumulate))
            for place, (batch, labels) in enumerate(parts, 1):
                weight = len(labels) * self.group.size / (at_once * len(parts))
                sums += self._learn(batch, labels, eps, noise, weight, place == len(parts))
            with self.watch("update"):
                self.optimizer.step()
                self.optimizer.zero_grad(set_to_none=True)
                if self.average is not None:
                    _move_average(self.average, self.model, config.average)
            looks = self.device.type == "cpu" or step % LOOK_EVERY == LOOK_EVERY - 1 or step == steps - 1
            if looks and not math.isfinite(value := sums[0].item()):
                raise NonFiniteLossError(
                    f"the loss became {value} in epoch {epoch + 1}, step {step + 1}; "
                    f"lower the learning rate ({rate:.3g}) in the preset"
                )
            count += at_once * len(parts)
            progressed(at_once * len(parts))
        loss, right = self.group.total(sums).tolist()
        return {
            "epoch": epoch + 1,
            "learning_rate": rate,
            "eps": eps,
            "loss": loss / count,
            # Of the images trained on: in adversarial training, of adversarial ones.
            "training_accuracy": 100 * right / count,
            "seconds": time.perf_counter() - started,
        }

    def _learn(
        self, batch: Tensor, labels: Tensor, eps: float, noise: torch.Generator, weight: float, last: bool
    ) -> Tensor:
        """Add the gradients of these images to those of the step, and with its last part share them.

        weight: of the mean loss of these images in the step's. Returns `(2,)`: the sum of losses, how many are right.
        """
        alone = self.group.size == 1
        with nullcontext() if alone or last else self.step_model.no_sync():
            with autocast(self.config.precision, self.device):
                if self.adversary:
                    with self.watch("attack"):
                        batch = training_attack(self.attacked_model, batch, labels, self.adversary, eps, noise, weight)
                with self.watch("forward"):
                    logits = self.step_model(batch).float()
            loss = F.cross_entropy(logits, labels, label_smoothing=self.config.label_smoothing)
            with self.watch("backward"):
                (loss * weight).backward()
        return torch.stack([loss.detach().double() * len(labels), (logits.argmax(1) == labels).sum().double()])


def train(
    preset: Preset,
    arch: str,
    setting: str,
    seed: int,
    images: TrainingImages,
    test: ImageSet,
    target: Path,
    *,
    device: torch.device | str = "cpu",
    progress: bool = True,
    progressed: Callable[[int], object] = lambda images: None,
    group: Group = ALONE,
) -> Path:
    """Train one model of the preset and write its checkpoint to `target`; resume where a state lies beside it.

    With a group, every process of it calls this; the leading one reads and writes the files.

    `test` serves to watch FGSM and PGD accuracy along the way and for the accuracies in the metadata; nothing is
    chosen by it. The state is written after every epoch and removed with the last. Sums of floats depend on how many
    threads share them, so a training that resumes on the CPU takes the number of threads it had. `progressed`
    is told the images of every step, and at first those of the epochs that were done already. Returns `target`.
    Raises NonFiniteLossError where the loss is no number any more, RequestError where the images do not fill a batch.
    """
    device = torch.device(device)
    trainer = Trainer(preset, arch, setting, seed, device, group=group)
    an_epoch = epoch_images(preset, images)
    if not an_epoch:
        raise RequestError(
            f"training images ({len(images)}; data.train_images = {preset.data.train_images}) "
            f"do not fill a batch of {preset.training.batch_size}"
        )
    state_path = target.with_suffix(".state")
    state = group.told(load_state(state_path) if group.leads else None)
    trainer.restore(state)
    if trainer.history and state.get("processes", 1) == group.size:
        torch.set_num_threads(state["threads"])
    watched = test.subset(preset.training.check_images)
    where = {"batch_size": preset.evaluation.batch_size, "device": device, "group": group}
    name = f"{preset.name} {arch} {setting.upper()} seed {seed}"
    with tqdm(
        total=trainer.epochs * an_epoch,
        initial=len(trainer.history) * an_epoch,
        desc=name,
        unit=" images",
        smoothing=0.05,
        mininterval=1,
        disable=not progress,
    ) as bar:
        progressed(bar.n)
        while len(trainer.history) < trainer.epochs:
            entry = trainer.train_epoch(images, lambda count: (bar.update(count), progressed(count)))
            if entry["epoch"] % preset.training.check_every == 0 or entry["epoch"] == trainer.epochs:
                entry |= robust_accuracy(trainer.result, watched, preset.adversary.eps, **where)
                bar.set_postfix({key: f"{entry[key]:.1f}" for key in ("clean", "fgsm", "pgd")})
            trainer.history.append(entry)
            if group.leads and trainer.adversary and "pgd" in entry and overfits_catastrophically(trainer.history):
                bar.write(
                    f"{name}, epoch {entry['epoch']}: catastrophic overfitting: FGSM accuracy is {entry['fgsm']:.1f}, "
                    f"but PGD accuracy {entry['pgd']:.1f}"
                )
            if group.leads:
                save_state(state_path, trainer.state())

    final = trainer.result.eval()
    # Rounded first, so that the accuracies belong to the very weights in the file.
    final.load_state_dict({name: value.to(device) for name, value in half_precision(final).items()})
    metadata = {
        "training": trainer.key,
        "digest": digest(trainer.key),
        "preset": preset.name,
        "test_store": preset.data.test_store,
        "history": trainer.history,
        "accuracy": topk_accuracy(final, test, preset.evaluation.top_k, **where),
        "arithmetic": "bfloat16"
        if isinstance(autocast(preset.training.precision, device), torch.autocast)
        else "float32",
    }
    if group.leads:
        save_checkpoint(target, final, metadata)
        state_path.unlink(missing_ok=True)
    group.gathered(None)  # nobody goes on before the file is there
    return target


@torch.no_grad()
def _move_average(average: nn.Module, model: nn.Module, decay: float) -> None:
    torch._foreach_lerp_(list(average.parameters()), list(model.parameters()), 1 - decay)
    for ours, theirs in zip(average.buffers(), model.buffers(), strict=True):
        if ours.is_floating_point():
            ours.lerp_(theirs, 1 - decay)
