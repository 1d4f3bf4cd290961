"""Training that was interrupted goes on to the same bits."""

import os
import signal
import subprocess
import sys
from pathlib import Path

import pytest
import torch
from helpers import small_preset
from small_training import run, same_weights, without_times

from advlook.models import training
from advlook.models.checkpoints import load_state
from advlook.models.training import Trainer


class Interruption(Exception):
    """Stands for whatever ends a process."""


RUNS = [
    ("resnet10", "std", 0.0, {}),
    ("resnet10", "std", 0.9, {"schedule": "step", "step_epochs": 1, "precision": "bfloat16"}),
    ("resnet10", "adv", 0.9, {"sizes": (12, 16)}),
    ("alexnet_bn", "adv", 0.9, {}),  # has dropout
]


@pytest.mark.parametrize(("arch", "setting", "average", "options"), RUNS)
def test_resuming_gives_the_same_bits(tmp_path, monkeypatch, arch, setting, average, options):
    """Interrupted after every epoch and in the middle of one, training ends with the weights of one go."""
    preset = small_preset(
        training={"average": average, "check_every": 2, **options}, adversary={"random_start": True, "ramp_share": 0.3}
    )
    whole, broken = tmp_path / "whole.safetensors", tmp_path / "broken.safetensors"
    run(preset, whole, arch, setting)
    train_epoch, save = Trainer.train_epoch, training.save_state
    calls = []

    def stop_midway(trainer, images, progressed):
        calls.append(len(trainer.history))
        if len(calls) % 2 == 0:
            return train_epoch(trainer, images, progressed)

        def interrupt(count):
            raise Interruption

        return train_epoch(trainer, images, interrupt)

    def save_and_stop(path, state):
        save(path, state)
        raise Interruption

    monkeypatch.setattr(Trainer, "train_epoch", stop_midway)
    monkeypatch.setattr(training, "save_state", save_and_stop)
    for _ in range(6):
        torch.rand(7)  # another process has drawn something else
        with pytest.raises(Interruption):
            run(preset, broken, arch, setting)
        assert not broken.exists()
    run(preset, broken, arch, setting)
    assert calls == [0, 0, 1, 1, 2, 2]
    assert same_weights(whole, broken)
    assert without_times(whole) == without_times(broken)


def test_killed_process_resumes_to_the_same_bits(tmp_path):
    """A process killed by SIGKILL in the middle of an epoch leaves a state from which the same weights come."""
    script = tmp_path / "killed.py"
    script.write_text(
        """
import os, signal, sys, torch
from pathlib import Path
from helpers import small_preset
from test_training import IMAGES, run

class Deadly:
    steps = 0
    def __len__(self):
        return len(IMAGES)
    def training_batches(self, *args, **options):
        for batch in IMAGES.training_batches(*args, **options):
            self.steps += 1
            if self.steps == 7:  # the third step of the second epoch
                os.kill(os.getpid(), signal.SIGKILL)
            yield batch

torch.set_num_threads(1)
run(small_preset(), Path(sys.argv[1]), setting="adv", images=Deadly())
"""
    )
    whole, broken = tmp_path / "whole.safetensors", tmp_path / "broken.safetensors"
    environment = os.environ | {"PYTHONPATH": os.pathsep.join([str(Path(__file__).parent), *sys.path])}
    killed = subprocess.run([sys.executable, script, broken], env=environment, capture_output=True, text=True)
    assert killed.returncode == -signal.SIGKILL, killed.stderr
    assert len(load_state(broken.with_suffix(".state"))["history"]) == 1
    assert not broken.exists()
    for path in (whole, broken):
        run(small_preset(), path, setting="adv")
    assert same_weights(whole, broken)
    assert not broken.with_suffix(".state").exists()


def test_state_of_another_configuration_is_ignored(tmp_path, monkeypatch):
    """A state left by other settings does not leak into this training."""
    target, clean = tmp_path / "model.safetensors", tmp_path / "clean.safetensors"
    save = training.save_state

    def save_and_stop(path, state):
        save(path, state)
        raise Interruption

    with monkeypatch.context() as patch:
        patch.setattr(training, "save_state", save_and_stop)
        with pytest.raises(Interruption):
            run(small_preset(training={"momentum": 0.5}), target)
    run(small_preset(), target)
    run(small_preset(), clean)
    assert same_weights(target, clean)
