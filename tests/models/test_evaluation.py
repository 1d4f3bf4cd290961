"""Accuracies: counted right, wrong images lost for good, modes restored."""

import os
import re
import subprocess
import sys

import elastic
import pytest
import torch
from helpers import Recorder, convolutional, image_set, random_images, small_preset, write_folder
from together import command
from torch import nn

from advlook import attacks
from advlook.__main__ import main
from advlook.core.distributed import ALONE, Group
from advlook.core.gradients import evaluating
from advlook.data import streaming
from advlook.data.decoding import read_image
from advlook.data.image_sets import ImageSet, to_float
from advlook.data.layouts import list_images
from advlook.models.architectures import build_model, preset_model
from advlook.models.checkpoint_accuracy import evaluate_checkpoint
from advlook.models.checkpoints import save_checkpoint
from advlook.models.evaluation import (
    accuracy_under,
    correct,
    predict,
    robust_accuracy,
    suite_accuracy,
    survivors,
    top_k,
    topk_accuracy,
)
from advlook.study.folders import ROOT

IMAGES = image_set(30, 8)


def labelled_by(model, wrong=0):
    """Images with the labels that a model gives them, but for the first `wrong`."""
    answers = model.eval()(to_float(IMAGES.images)).argmax(1)
    answers[:wrong] = (answers[:wrong] + 1) % 3
    return ImageSet(IMAGES.images, answers, IMAGES.classes)


def test_top_k_by_hand():
    """Top-k equals a count by hand."""
    logits = torch.tensor([[3.0, 2, 1, 0], [0, 1, 2, 3], [1, 3, 2, 0], [2, 0, 3, 1]])
    labels = torch.tensor([0, 0, 2, 3])  # in places 1, 4, 2 and 3
    assert [top_k(logits, labels, k) for k in (1, 2, 3, 4, 9)] == [25, 50, 75, 100, 100]


def test_topk_accuracy_names_both():
    """Both accuracies come in percent, of the same answers."""
    model = convolutional()
    result = topk_accuracy(model, labelled_by(model, wrong=6), 2, batch_size=7)
    assert set(result) == {"top1", "top5"}
    assert result["top1"] == pytest.approx(80)
    assert result["top1"] <= result["top5"] <= 100


def test_predictions_do_not_depend_on_the_batch():
    """Logits are those of the whole set at once, on the CPU and without a graph."""
    model = convolutional()
    whole, parts = predict(model, IMAGES), predict(model, IMAGES, batch_size=4)
    assert whole.shape == (30, 3)
    assert not whole.requires_grad
    torch.testing.assert_close(whole, parts)
    torch.testing.assert_close(whole, model.eval()(to_float(IMAGES.images)).detach())


def test_attack_that_does_nothing_leaves_clean_accuracy():
    """The survivors of no attack are the images that were right."""
    model = convolutional()
    images = labelled_by(model, wrong=9)
    alive = survivors(model, images, lambda m, x, y, g: x, batch_size=7)
    assert alive.tolist() == [False] * 9 + [True] * 21
    assert accuracy_under(model, images, lambda m, x, y, g: x) == pytest.approx(70)


def test_wrong_images_never_survive():
    """An image that is wrong from the start is lost, even where the attack happens to make it right."""
    model = convolutional()
    images = labelled_by(model, wrong=9)
    predicted = predict(model, images).argmax(1)
    examples = torch.stack([to_float(images.images[predicted == k])[0] for k in range(3)])

    def helpful(m, x, y, g):
        assert (m(examples[y]).argmax(1) == y).all()
        return examples[y]

    assert survivors(model, images, helpful, batch_size=10).tolist() == [False] * 9 + [True] * 21


def test_survivors_are_those_that_stay_right():
    """Of the images attacked those remain that are right afterwards, each in its place."""
    model = convolutional()
    images = labelled_by(model, wrong=4)
    pixels, answers = to_float(images.images), images.labels
    expected = (model(pixels).argmax(1) == answers) & (model(1 - pixels).argmax(1) == answers)
    assert 0 < expected.sum() < 26
    found = survivors(model, images, lambda m, x, y, g: 1 - x, batch_size=8)
    assert torch.equal(found, expected)


def test_robust_accuracy_is_ordered_and_repeatable():
    """PGD is no weaker than FGSM and FGSM than nothing; the same seed gives the same numbers, in any batch size."""
    model = convolutional()
    images = labelled_by(model, wrong=3)
    first = robust_accuracy(model, images, 0.02, steps=5)
    assert first["clean"] == pytest.approx(90)
    assert first["pgd"] <= first["fgsm"] < first["clean"]
    assert robust_accuracy(model, images, 0.02, steps=5) == first
    assert robust_accuracy(model, images, 0.0) == dict.fromkeys(("clean", "fgsm", "pgd"), first["clean"])


def test_robust_accuracy_of_a_model_without_gradient():
    """A constant model keeps its accuracy: an attack that finds no gradient changes nothing for it."""
    constant = nn.Sequential(nn.Flatten(), nn.Linear(3 * 8 * 8, 3))
    nn.init.zeros_(constant[1].weight)
    nn.init.constant_(constant[1].bias, 0)
    with torch.no_grad():
        constant[1].bias[1] = 1
    assert robust_accuracy(constant, IMAGES, 0.1) == dict.fromkeys(("clean", "fgsm", "pgd"), pytest.approx(100 / 3))


def test_modes_are_restored():
    """Every module has its own mode back, also when something fails in between."""
    model = convolutional().train()
    model[1].eval()
    modes = [module.training for module in model.modules()]
    predict(model, IMAGES)
    robust_accuracy(model, IMAGES, 0.01, steps=1)
    with evaluating(model):
        assert not any(module.training for module in model.modules())
    with pytest.raises(ZeroDivisionError):
        accuracy_under(model, IMAGES, lambda m, x, y, g: 1 / 0)
    assert [module.training for module in model.modules()] == modes
    assert model[4].num_batches_tracked == 0


def test_attacks_run_in_eval_mode():
    """The attack meets the model that is measured: running statistics, no dropout."""
    modes = []

    def attack(m, x, y, g):
        modes.append(m.training)
        assert torch.is_grad_enabled()
        return attacks.fgsm(m, x, y, 0.01)

    accuracy_under(Recorder(convolutional()).train(), IMAGES, attack)
    assert modes == [False]


def test_batches_are_float_images():
    """The model is given float images in [0, 1]."""
    seen = []
    model = convolutional()
    model.register_forward_pre_hook(lambda module, inputs: seen.append(inputs[0]))
    predict(model, ImageSet((random_images(4, 8) * 255).to(torch.uint8), torch.zeros(4, dtype=torch.int64), ("a",)))
    assert seen[0].dtype == torch.float32
    assert seen[0].max() <= 1


def test_only_what_is_right_is_attacked():
    """Images that are wrong as they are never reach the attack; which those are may be said beforehand."""
    model = convolutional()
    images = labelled_by(model, wrong=9)
    shown = []

    def counted(m, x, y, g):
        shown.append(len(x))
        return x

    assert survivors(model, images, counted, batch_size=8).sum() == sum(shown) == 21
    right = torch.zeros(30, dtype=torch.bool)
    right[[3, 20]] = True
    shown.clear()
    assert survivors(model, images, counted, right=right).tolist() == [False] * 20 + [True] + [False] * 9
    assert shown == [2]


def test_attacks_meet_the_folded_model():
    """Of the models built here the attack is given the folded copy, and what was passed in is left as it was."""
    model = build_model("resnet10", 3, stem="tiny", width=8, seed=0).train()
    met = []

    def attack(m, x, y, g):
        met.append(m)
        return x

    survivors(model, IMAGES, attack, right=torch.ones(30, dtype=torch.bool))
    assert met[0] is not model
    assert not any(isinstance(module, nn.BatchNorm2d) for module in met[0].modules())
    assert model.training


class Part(Group):
    """A process of a group that is told nothing by the others."""

    def total(self, values):
        """Its own part of the sum."""
        return values


@pytest.mark.parametrize("size", [2, 3, 9])
def test_processes_find_together_what_one_finds_alone(size):
    """Every image is attacked by one process, with the draws that it would have in a process alone."""
    model = convolutional()
    images = labelled_by(model, wrong=3)

    def noise(m, x, y, g):
        return attacks.random_noise(m, x, y, 0.1, generator=g)

    right = predict(model, images).argmax(1) == images.labels
    for measure in (
        lambda group: survivors(model, images, noise, right=right, batch_size=4, group=group),
        lambda group: correct(model, images, batch_size=4, group=group),
    ):
        alone, parts = measure(ALONE), [measure(Part(rank, size)) for rank in range(size)]
        assert 0 < alone.sum() < 30
        assert torch.equal(torch.stack(parts).sum(0), alone.long())
    tops = [topk_accuracy(model, images, 2, batch_size=4, group=Part(rank, size)) for rank in range(size)]
    for name, value in topk_accuracy(model, images, 2, batch_size=4).items():
        assert sum(top[name] for top in tops) == pytest.approx(value)


def test_draws_depend_on_the_seed_and_the_batch_alone():
    """Every batch has a generator of its own, the same at every attack; another seed gives others."""
    model = convolutional()
    right = torch.ones(30, dtype=torch.bool)

    def draws(seed, group=ALONE):
        seen = []

        def attack(m, x, y, g):
            seen.append(g.initial_seed())
            torch.rand(5, generator=g)
            return x

        survivors(model, IMAGES, attack, seed=seed, right=right, batch_size=8, group=group)
        return seen

    assert draws(0) == draws(0)
    assert len({*draws(0), *draws(1)}) == 8
    assert draws(0, Part(0, 2)) == draws(0)[::2]
    assert draws(0, Part(1, 2)) == draws(0)[1::2]


@pytest.fixture
def checkpoint(tmp_path):
    """A network of three classes at 16 px, untrained."""
    preset = small_preset()
    path = tmp_path / "model.safetensors"
    save_checkpoint(path, preset_model(preset, "resnet10", 0), {"training": preset.training_key("resnet10", "std", 0)})
    return path


def test_a_limit_is_a_random_subset_that_the_table_tells(tmp_path, checkpoint, monkeypatch):
    """So many images are decoded, once without an attack, and drawn from all classes; the table says how many."""
    folder = write_folder(tmp_path / "photos", count=8)
    decoded = []

    def record(file, *sizes):
        decoded.append(file)
        return read_image(file, *sizes)

    monkeypatch.setenv("ADVLOOK_WORKERS", "0")
    monkeypatch.setattr(streaming, "read_image", record)
    table = evaluate_checkpoint(checkpoint, "resnet10", folder, limit=9, attack="fgsm", progress=False)
    assert table["images"].item() == 9
    assert decoded[:9] == list(list_images(folder).subset(9).files)
    assert {file.parent.name for file in decoded} == {"ant", "bee", "cat"}
    assert 0 < len(decoded[9:]) == round(0.09 * table["top1"].item()) < 9  # what is right is attacked
    assert evaluate_checkpoint(checkpoint, "resnet10", folder, limit=100, progress=False)["images"].item() == 24


def torchrun(processes, *arguments):
    command = [sys.executable, "-m", "torch.distributed.run", "--standalone", f"--nproc-per-node={processes}"]
    return subprocess.run(
        [*command, "-m", "advlook", *arguments],
        capture_output=True,
        text=True,
        cwd=ROOT,
        env=os.environ | {"OMP_NUM_THREADS": "1", "ADVLOOK_WORKERS": "1"},
    )


def test_several_processes_print_the_table_of_one(tmp_path, checkpoint, capsys):
    """Started by torchrun, `advlook evaluate` prints one table, the same to the last digit; or one line that says why
    not, where one process alone has met a corrupt image."""
    folder = write_folder(tmp_path / "photos", count=200)  # three batches
    options = ["evaluate", "--checkpoint", str(checkpoint), "--arch", "resnet10", "--data", str(folder)]
    options += ["--attack", "pgd", "--eps", "1/255", "--steps", "2"]
    assert main(options) == 0
    alone = capsys.readouterr().out
    elastic.launch(tmp_path / "good", command, options, processes=3)
    assert sorted(elastic.printed(tmp_path / "good")) == ["", "", alone]
    assert alone.count("top1") == 1
    (folder / "bee" / "190.png").write_bytes(b"no image")
    failed = torchrun(2, *options)
    assert failed.returncode != 0
    assert not failed.stdout
    (line,) = [line for line in re.split("[\r\n]", failed.stderr) if line.startswith("advlook: ")]
    assert "bee/190.png cannot be read" in line


def test_suite_accuracy_adds_up_over_batches():
    """The accuracy after each attack is that of the suite on all images, however they are batched."""
    model = convolutional()
    images = labelled_by(model, wrong=4)
    generators = []
    survivors(model, images, lambda m, x, y, g: generators.append(g) or x)  # as the one batch of a suite gets it
    whole = attacks.attack_suite(
        model, to_float(images.images)[4:], images.labels[4:], 0.01, steps=6, generator=generators[0]
    )
    found = suite_accuracy(model, images, 0.01, steps=6)
    assert list(found) == list(attacks.SUITE)
    for name, top1 in found.items():
        assert top1 == pytest.approx(100 * int(whole.survived[name].sum()) / 30)
    assert list(suite_accuracy(model, images, 0.01, steps=6, batch_size=7).values())[-1] <= found["pgd"] + 100 / 30
