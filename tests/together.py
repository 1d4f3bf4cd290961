"""What the processes of a group do in core/test_distributed.py and models/test_evaluation.py."""

import os
import signal
import sys

import torch
from helpers import image_set, small_preset

import advlook.study.study  # noqa: F401 (commands import it when they are called)
from advlook.__main__ import main as command_line
from advlook.core.distributed import ALONE, joined
from advlook.models import training
from advlook.models.architectures import preset_model
from advlook.models.evaluation import robust_accuracy, topk_accuracy
from advlook.models.training import Trainer, train

CPU = torch.device("cpu")
IMAGES, TEST = image_set(34), image_set(29, seed=1)
# By name: setting, in double precision, accumulated parts. 34 images make four batches of 8.
EPOCHS = {
    "std": ("std", False, 1),
    "std in parts": ("std", True, 2),
    "adv": ("adv", True, 1),
    "adv in parts": ("adv", True, 2),
}


def preset(parts=1):
    return small_preset(training={"accumulate": parts}, data={"shift": 2}, model={"epochs_std": 4, "epochs_adv": 4})


def epoch(setting, double, parts, group=ALONE):
    """One epoch of ResNet-10: gradients of the first step, attacked images, weights and history afterwards."""
    model = preset_model(preset(parts), "resnet10", 0)
    trainer = Trainer(preset(parts), "resnet10", setting, 0, CPU, model.double() if double else model, group)
    gradients, attacked, attack, step = [], [], training.training_attack, trainer.optimizer.step

    def recording_attack(*args):
        attacked.append(attack(*args))
        return attacked[-1]

    def recording_step():
        gradients.append([p.grad.clone() for p in trainer.model.parameters()])
        step()

    trainer.optimizer.step, training.training_attack = recording_step, recording_attack
    try:
        entry = trainer.train_epoch(IMAGES, lambda images: None)
    finally:
        training.training_attack = attack
    batches = [torch.cat(parts) for parts in zip(*group.gathered(attacked), strict=True)]
    return {
        "gradients": gradients[0],
        "attacked": batches,
        "weights": trainer.model.state_dict(),
        "average": trainer.average.state_dict(),
        "loss": entry["loss"],
        "accuracy": entry["training_accuracy"],
    }


def accuracies(group=ALONE):
    """Clean accuracies and those under attack of an untrained model."""
    model = preset_model(preset(), "resnet10", 3).eval()
    where = {"batch_size": 4, "group": group}
    return topk_accuracy(model, TEST, 2, **where) | robust_accuracy(model, TEST, 2 / 255, steps=3, **where)


class Deadly:
    """Images that kill the processes `ranks` in the third epoch, if they have never done it in `folder` before."""

    def __init__(self, folder, ranks):
        self.folder, self.ranks = folder, ranks

    def __len__(self):
        return len(IMAGES)

    def training_batches(self, config, batch_size, generator, device, group):
        state = group.told(training.load_state(self.folder / "model.state") if group.leads else None)
        third = state is not None and len(state["history"]) == 2
        for number, batch in enumerate(IMAGES.training_batches(config, batch_size, generator, device, group)):
            mark = self.folder / f"killed {group.rank}"
            if third and number == 1 and group.rank in self.ranks and not mark.exists():
                mark.touch()
                os.kill(os.getpid(), signal.SIGKILL)
            yield batch


def command(arguments):
    """The command line, reading images in one worker."""
    torch.set_num_threads(1)
    os.environ["ADVLOOK_WORKERS"] = "1"
    sys.exit(command_line(arguments))


def main(task, folder):
    torch.set_num_threads(1)
    with joined() as group:
        if task == "compute":
            found = {name: epoch(*what, group) for name, what in EPOCHS.items()} | {"accuracies": accuracies(group)}
            if group.leads:
                torch.save(found, folder / f"{group.size}.pt")
        else:
            images = {"train": IMAGES, "one dies": Deadly(folder, {1}), "all die": Deadly(folder, {0, 1})}[task]
            target = folder / "model.safetensors"
            train(preset(), "resnet10", "adv", 0, images, TEST, target, progress=False, group=group)
