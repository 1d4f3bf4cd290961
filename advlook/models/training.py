"""Standard (STD) and adversarial (ADV) training, resumable to the same bits.

Every epoch starts from a random state that depends on the seed and the epoch alone, so the remaining epochs depend only
on what is kept after each: weights, momentum, average and history. Several processes train a model as one
(`distributed.Group`): their number changes only the rounding of sums, the masks of dropout, and the adversary's random
starts."""

import math
import time
import warnings
from collections.abc import Callable, Mapping, Sequence
from contextlib import nullcontext
from dataclasses import replace
from itertools import islice
from pathlib import Path
from types import MappingProxyType

import torch
import torch.nn.functional as F
from torch import Generator, Tensor, nn
from torch.nn.parallel import DistributedDataParallel
from torchvision.transforms.v2.functional import gaussian_blur

from advlook.core import Preset, RequestError, TrainingConfig, autocast, digest, mixed_seed, tqdm
from advlook.core.copies import copied, set_weights
from advlook.core.distributed import ALONE, Group, share_statistics
from advlook.data import ImageSet, TrainingImages
from advlook.models.adversary import overfits_catastrophically, ramped_eps, training_attack
from advlook.models.architectures import preset_model
from advlook.models.checkpoints import half_precision, load_state, save_checkpoint, save_state
from advlook.models.evaluation import robust_accuracy, topk_accuracy

LOOK_EVERY = 20  # steps between looks at the loss on a GPU, which has to finish its work for each


class NonFiniteLossError(RuntimeError):
    """The loss became infinite or nan; the message names the epoch, the step and what to try."""


def learning_rate(config: TrainingConfig, base: float, epochs: int, progress: float) -> float:
    """Rate at `progress` epochs (fractional): divided by 10 every `step_epochs`, or one rise and one linear fall."""
    if config.schedule == "step":
        return base * 0.1 ** (int(progress) // config.step_epochs)
    peak = config.warmup * epochs
    return base * (progress / peak if progress < peak else max(0.0, (epochs - progress) / (epochs - peak)))


def epoch_images(preset: Preset, images: TrainingImages) -> int:
    """Images that one epoch of the preset shows, in full batches."""
    count = min(len(images), preset.data.train_images or len(images))
    return count // preset.training.batch_size * preset.training.batch_size


def update(optimizer: torch.optim.Optimizer, rate: float) -> None:
    """One step of an optimiser at this learning rate, by the gradients that are there; these are then dropped."""
    for parameters in optimizer.param_groups:
        parameters["lr"] = rate
    optimizer.step()
    optimizer.zero_grad(set_to_none=True)


class Trainer:
    """One model in training: its weights, momentum, averaged weights and history, and what one epoch does to them.
    model: in place of the preset's untrained one. group: the processes that share every batch; each has a trainer of
    its own, and all hold the same. Raises RequestError where a batch has fewer images than there are processes."""

    def __init__(
        self,
        preset: Preset,
        arch: str,
        setting: str,
        seed: int,
        device: torch.device,
        model: nn.Module | None = None,
        group: Group = ALONE,
    ) -> None:
        preset, like = preset.variant(setting)
        config = preset.training
        self.preset, self.config, self.device, self.seed, self.group = preset, config, device, seed, group
        if (at_once := config.batch_size // config.accumulate) < group.size:
            stated = f"training.batch_size = {config.batch_size}, accumulate = {config.accumulate}"
            raise RequestError(f"{group.size} processes cannot share {at_once} images ({stated}); start fewer")
        self.epochs = getattr(preset.models[arch], f"epochs_{like}")
        self.adversary = preset.adversary if like == "adv" else None
        scale = config.batch_size / config.rate_for_batch if config.rate_for_batch else 1
        self.base_rate = preset.models[arch].learning_rate * scale
        self.key = preset.training_key(arch, like, seed)
        self.model = preset_model(preset, arch, seed) if model is None else model
        self.model.to(device)
        self.average = copied(self.model) if config.average else None
        self.step_model = self.attacked_model = self.model
        if group.size > 1:
            share_statistics(self.model, device)
            own = [torch.cuda.current_device()] if device.type == "cuda" else None
            with warnings.catch_warnings():  # newer versions of torch have another name for it, which others lack
                warnings.filterwarnings("ignore", "`broadcast_buffers` is deprecated", FutureWarning)
                options = {"broadcast_buffers": False, "gradient_as_bucket_view": True}
                self.step_model = DistributedDataParallel(self.model, own, **options)
        if config.compile:
            self.step_model, self.attacked_model = torch.compile(self.step_model), torch.compile(self.model)
        # Gains and biases are not decayed: it buys nothing, and pulls BatchNorm's scale to 0.
        weights, others = ([p for p in self.model.parameters() if (p.ndim > 1) == many] for many in (True, False))
        groups = [{"params": weights, "weight_decay": config.weight_decay}, {"params": others, "weight_decay": 0.0}]
        self.optimizer = torch.optim.SGD(groups, lr=0.0, momentum=config.momentum)
        self.history: list[dict[str, float]] = []

    @property
    def batches(self) -> dict[str, object]:
        """Options of what measures accuracies: batch_size, device and group."""
        return {"batch_size": self.preset.evaluation.batch_size, "device": self.device, "group": self.group}

    @property
    def result(self) -> nn.Module:
        """The model that training is for: the averaged one where the preset asks for it."""
        return self.model if self.average is None else self.average

    def state(self) -> dict[str, object]:
        """All that the remaining epochs depend on."""
        parts = {name: getattr(self, name) for name in ("model", "optimizer", "average")}
        state = {name: part.state_dict() for name, part in parts.items() if part is not None}
        made_by = {"threads": torch.get_num_threads(), "processes": self.group.size}
        return {"key": digest(self.key)} | state | {"history": self.history} | made_by

    def resume(self, path: Path, classes: Sequence[str] = ()) -> None:
        """Go on from the state that the leading process finds there, if it is of the same configuration and classes."""
        state = self.group.told(load_state(path) if self.group.leads else None)
        if state is None or state.get("key") != digest(self.key) or state.get("classes", [*classes]) != [*classes]:
            return
        for name in ("model", "optimizer", "average"):
            if getattr(self, name) is not None:
                getattr(self, name).load_state_dict(state[name])
        self.history = state["history"]
        if self.history and state.get("processes", 1) == self.group.size:
            torch.set_num_threads(state["threads"])

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
        data = replace(self.preset.data, size=config.sizes[epoch * len(config.sizes) // self.epochs])
        sums, count, rate = torch.zeros(2, dtype=torch.float64, device=self.device), 0, 0.0
        started = time.perf_counter()
        self.model.train()
        batches = iter(images.training_batches(data, at_once, order, self.device, self.group))
        for step in range(steps):
            rate = learning_rate(config, self.base_rate, self.epochs, epoch + step / steps)
            parts = [(self.degraded(part, noise), labels) for part, labels in islice(batches, config.accumulate)]
            for place, (batch, labels) in enumerate(parts, 1):
                weight = len(labels) * self.group.size / (at_once * len(parts))
                sums += self._learn(batch, labels, eps, noise, weight, place == len(parts))
            update(self.optimizer, rate)
            if self.average is not None:
                _move_average(self.average, self.model, config.average)
            looks = self.device.type == "cpu" or step % LOOK_EVERY == LOOK_EVERY - 1 or step == steps - 1
            if looks and not math.isfinite(value := sums[0].item()):
                where = f"epoch {epoch + 1}, step {step + 1}"
                remedy = f"lower the learning rate ({rate:.3g}) in the preset"
                raise NonFiniteLossError(f"the loss became {value} in {where}; {remedy}")
            count += at_once * len(parts)
            progressed(at_once * len(parts))
        loss, right = self.group.total(sums).tolist()
        entry = {"epoch": epoch + 1, "learning_rate": rate, "eps": eps, "loss": loss / count}
        # Of the images trained on: in adversarial training, of adversarial ones.
        return entry | {"training_accuracy": 100 * right / count, "seconds": time.perf_counter() - started}

    def degraded(self, batch: Tensor, noise: Generator) -> Tensor:
        """Images `(N, 3, H, W)` with the blur and the noise that the preset asks for, in [0, 1]. Each eighth of a batch
        has a strength of its own, drawn from 0 to the preset's: the model sees sharp images too."""
        config = self.config
        if not (config.blur or config.noise):
            return batch
        size, parts = batch.shape[-1] / self.preset.data.size, batch.chunk(8)
        shares = torch.rand(len(parts), generator=noise, device=noise.device).tolist()
        strengths = [(share * config.blur * size, share * config.noise) for share in shares]
        return torch.cat([_degraded(part, *each, noise) for part, each in zip(parts, strengths, strict=True)])

    @property
    def finished(self) -> bool:
        """Whether all epochs are done, or the last has reached the accuracy at which training stops."""
        stop_at = self.config.stop_at
        reached = stop_at and self.history and self.history[-1]["top1"] >= stop_at
        return len(self.history) >= self.epochs or bool(reached)

    def watch(self, test: ImageSet) -> dict[str, float]:
        """What the history tells of an epoch besides its loss: now and then accuracies clean and under attack of the
        first `check_images`; where training stops at an accuracy, that of all test images."""
        config, adversary, epoch = self.config, self.preset.adversary, len(self.history) + 1
        found = {}
        if epoch % config.check_every == 0 or epoch == self.epochs:
            eps = adversary.eps if adversary.norm == "linf" else self.preset.evaluation.eps
            found |= robust_accuracy(self.result, test.subset(config.check_images), eps, **self.batches)
        if config.stop_at:
            found["top1"] = topk_accuracy(self.result, test, 1, **self.batches)["top1"]
        return found

    def _learn(self, batch: Tensor, labels: Tensor, eps: float, noise: Generator, weight: float, last: bool) -> Tensor:
        """Add the gradients of these images to the step's. Returns `(2,)`: the sum of losses, how many are right."""
        alone = self.group.size == 1
        with nullcontext() if alone or last else self.step_model.no_sync():
            with autocast(self.config.precision, self.device):
                if self.adversary:
                    batch = training_attack(self.attacked_model, batch, labels, self.adversary, eps, noise, weight)
                logits = self.step_model(batch).float()
            loss = F.cross_entropy(logits, labels, label_smoothing=self.config.label_smoothing)
            (loss * weight).backward()
        return torch.stack([loss.detach().double() * len(labels), (logits.argmax(1) == labels).sum().double()])


def _degraded(images: Tensor, blur: float, noise: float, draws: Generator) -> Tensor:
    """Images blurred by `blur` pixels, then with Gaussian noise of the standard deviation `noise`, in [0, 1]."""
    if blur:
        images = gaussian_blur(images, [2 * math.ceil(3 * blur) + 1] * 2, [blur, blur])
    if noise:
        images = images.add(torch.empty_like(images).normal_(generator=draws), alpha=noise).clamp_(0, 1)
    return images


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
    noted: Mapping[str, object] = MappingProxyType({}),
) -> Path:
    """Train one model of the preset and write its checkpoint to `target`; resume where a state lies beside it. Every
    process of a group calls this; the leading one reads and writes the files. `test` chooses nothing: it serves for the
    accuracies watched and recorded. `progressed` is told the images of every step, and at first those done already.
    noted: what else the checkpoint is to tell. Returns `target`. Raises NonFiniteLossError, and RequestError where no
    batch is full."""
    trainer = Trainer(preset, arch, setting, seed, torch.device(device), group=group)
    an_epoch = epoch_images(preset, images)
    if not an_epoch:
        there = f"training images ({len(images)}; data.train_images = {preset.data.train_images})"
        raise RequestError(f"{there} do not fill a batch of {preset.training.batch_size}")
    state_path = target.with_suffix(".state")
    trainer.resume(state_path, test.classes)
    name = f"{preset.name} {arch} {setting.upper()} seed {seed}"
    total, done = (epochs * an_epoch for epochs in (trainer.epochs, len(trainer.history)))
    shown = {"unit": " images", "smoothing": 0.05, "mininterval": 1, "disable": not progress}
    with tqdm(desc=name, total=total, initial=done, **shown) as bar:
        progressed(done)
        while not trainer.finished:
            entry = trainer.train_epoch(images, lambda count: (bar.update(count), progressed(count)))
            watched = trainer.watch(test)
            if watched:
                bar.set_postfix({key: f"{value:.1f}" for key, value in watched.items()})
            entry |= watched
            trainer.history.append(entry)
            if group.leads and trainer.adversary and "pgd" in entry and overfits_catastrophically(trainer.history):
                found = f"FGSM accuracy is {entry['fgsm']:.1f}, but PGD accuracy {entry['pgd']:.1f}"
                bar.write(f"{name}, epoch {entry['epoch']}: catastrophic overfitting: {found}")
            if group.leads:
                save_state(state_path, trainer.state() | {"classes": [*test.classes]})
    _save_result(trainer, test, target, noted)
    if group.leads:
        state_path.unlink(missing_ok=True)
    group.gathered(None)  # nobody goes on before the file is there
    return target


def _save_result(trainer: Trainer, test: ImageSet, target: Path, noted: Mapping[str, object]) -> None:
    """Write the trained model and, in its metadata, how it was trained, on which classes, and how accurate it is."""
    final, preset = trainer.result.eval(), trainer.preset
    # Rounded first, so that the accuracies belong to the very weights in the file.
    set_weights(final, {name: value.to(trainer.device) for name, value in half_precision(final).items()})
    reduced = isinstance(autocast(preset.training.precision, trainer.device), torch.autocast)
    metadata = {"training": trainer.key, "digest": digest(trainer.key), "preset": preset.name}
    metadata |= {"classes": test.classes, "test_store": preset.data.test_store, "history": trainer.history, **noted}
    metadata["accuracy"] = topk_accuracy(final, test, preset.evaluation.top_k, **trainer.batches)
    metadata["arithmetic"] = "bfloat16" if reduced else "float32"
    if trainer.group.leads:
        save_checkpoint(target, final, metadata)


@torch.no_grad()
def _move_average(average: nn.Module, model: nn.Module, decay: float) -> None:
    torch._foreach_lerp_(list(average.parameters()), list(model.parameters()), 1 - decay)
    for ours, theirs in zip(average.buffers(), model.buffers(), strict=True):
        if ours.is_floating_point():
            ours.lerp_(theirs, 1 - decay)
