"""Several processes compute together what one computes, and a death costs an epoch at most."""

import elastic
import pytest
import together
import torch
from safetensors.torch import load_file
from torch.distributed.elastic.multiprocessing.errors import ChildFailedError

from advlook.core.distributed import ALONE, Group, joined
from advlook.core.errors import RequestError
from advlook.models.checkpoints import load_state, read_metadata
from advlook.models.training import Trainer


def launch(folder, task, processes, restarts=0):
    """Run a task of together.py in so many processes."""
    elastic.launch(folder, together.main, task, folder, processes=processes, restarts=restarts)


@pytest.fixture(scope="module")
def alone():
    """What one process computes."""
    return {name: together.epoch(*what) for name, what in together.EPOCHS.items()} | {
        "accuracies": together.accuracies()
    }


@pytest.fixture(scope="module", params=[2, 3])
def shared(request, tmp_path_factory):
    """What two and three processes compute; 8 images are 3, 3 and 2."""
    folder = tmp_path_factory.mktemp("together")
    launch(folder, "compute", request.param)
    return torch.load(folder / f"{request.param}.pt")


@pytest.mark.parametrize("name", together.EPOCHS)
def test_gradients_are_those_of_one_process(alone, shared, name):
    """The gradient of a batch that processes share is that of the whole batch, batch normalisation included."""
    for one, other in zip(alone[name]["gradients"], shared[name]["gradients"], strict=True):
        torch.testing.assert_close(one, other, atol=1e-5, rtol=0)


@pytest.mark.parametrize("name", together.EPOCHS)
def test_an_epoch_is_that_of_one_process(alone, shared, name):
    """After an epoch weights, averaged weights and running statistics are the same, and so is what is recorded."""
    for kind in ("weights", "average"):
        for key, value in alone[name][kind].items():
            torch.testing.assert_close(value, shared[name][kind][key], atol=1e-5, rtol=1e-5, msg=f"{kind} {key}")
    assert shared[name]["loss"] == pytest.approx(alone[name]["loss"], abs=1e-5)
    assert shared[name]["accuracy"] == alone[name]["accuracy"]


@pytest.mark.parametrize("name", [name for name, (setting, *_) in together.EPOCHS.items() if setting == "adv"])
def test_adversarial_examples_are_those_of_one_process(alone, shared, name):
    """Every process attacks its own images, by the gradient of the whole batch's loss."""
    assert len(alone[name]["attacked"]) == len(shared[name]["attacked"]) > 0
    for one, other in zip(alone[name]["attacked"], shared[name]["attacked"], strict=True):
        torch.testing.assert_close(one, other, atol=1e-6, rtol=0)


def test_parts_change_the_statistics_alone(alone):
    """A batch in parts has another gradient than in one: each part is normalised by itself. It is no other batch."""
    whole, parts = alone["adv"], alone["adv in parts"]
    assert not torch.allclose(whole["gradients"][0], parts["gradients"][0], atol=1e-5)
    assert len(parts["attacked"]) == 2 * len(whole["attacked"])


def test_accuracies_are_those_of_one_process(alone, shared):
    """Not one image is counted twice, and random starts do not depend on the number of processes."""
    assert shared["accuracies"] == alone["accuracies"]


@pytest.fixture(scope="module")
def uninterrupted(tmp_path_factory):
    """What two processes train in one go."""
    folder = tmp_path_factory.mktemp("whole")
    launch(folder, "train", 2)
    return folder / "model.safetensors"


def test_death_of_one_process(uninterrupted, tmp_path):
    """One of two processes dies in the third epoch: torchrun starts both again, and they end in the same bits."""
    launch(tmp_path, "one dies", 2, restarts=1)
    assert (tmp_path / "killed 1").exists()
    whole, broken = (load_file(path) for path in (uninterrupted, tmp_path / "model.safetensors"))
    assert all(torch.equal(whole[name], broken[name]) for name in whole)
    accuracy, again = (read_metadata(p)["accuracy"] for p in (uninterrupted, tmp_path / "model.safetensors"))
    assert accuracy == again
    assert not (tmp_path / "model.state").exists()


def test_death_of_all_and_another_number_of_processes(uninterrupted, tmp_path):
    """Two processes die, three go on with the third epoch: they end in the same weights, but for rounding."""
    with pytest.raises(ChildFailedError):
        launch(tmp_path, "all die", 2)
    state = load_state(tmp_path / "model.state")
    assert len(state["history"]) == 2
    launch(tmp_path, "train", 3)
    metadata = read_metadata(tmp_path / "model.safetensors")
    assert metadata["history"][:2] == state["history"]
    assert metadata["accuracy"] == read_metadata(uninterrupted)["accuracy"]
    whole, resumed = (load_file(path) for path in (uninterrupted, tmp_path / "model.safetensors"))
    for name in whole:
        torch.testing.assert_close(whole[name].float(), resumed[name].float(), atol=2e-3, rtol=2e-3, msg=name)


@pytest.mark.parametrize(("count", "size"), [(8, 3), (2, 2), (7, 1), (3, 5)])
def test_shares_cover_everything_once(count, size):
    """Shares of a batch follow each other, cover it, and differ by one at most."""
    shares = [list(range(count))[Group(rank, size).share(count)] for rank in range(size)]
    assert [place for share in shares for place in share] == list(range(count))
    assert max(map(len, shares)) - min(map(len, shares)) <= 1


@pytest.mark.parametrize(("count", "batch", "size"), [(29, 4, 2), (8, 4, 3), (3, 5, 2), (0, 4, 2)])
def test_batches_are_dealt_whole(count, batch, size):
    """Every image belongs to one process, and stays in the batch that one process would have made."""
    batches = {tuple(part.tolist()) for part in torch.arange(count).split(batch)}
    dealt = [Group(rank, size).dealt(count, batch) for rank in range(size)]
    assert sorted(torch.cat(dealt).tolist()) == list(range(count))
    found = {tuple(part.tolist()) for places in dealt for part in places.split(batch)}
    assert found - {()} == batches - {()}


def test_a_process_alone(monkeypatch):
    """Without torchrun there is no group to join, and everything stays where it is."""
    monkeypatch.delenv("WORLD_SIZE", raising=False)
    with joined() as group:
        assert group == ALONE
        assert not torch.distributed.is_initialized()
    values = torch.tensor([1.0, 2.0])
    assert group.total(values) is values
    assert (group.gathered(3), group.told("x"), group.leads) == ([3], "x", True)


def test_more_processes_than_images():
    """A batch that cannot be shared is refused before anything is trained."""
    with pytest.raises(RequestError, match=r"9 processes cannot share 8 images .*batch_size = 8"):
        Trainer(together.preset(), "resnet10", "std", 0, torch.device("cpu"), group=Group(0, 9))


def test_an_error_is_said_once(tmp_path):
    """Of several processes that are asked for what cannot be done, one says so."""
    with pytest.raises(ChildFailedError):
        elastic.launch(tmp_path, together.command, ["train", "--arch", "resnet10", "--setting", "none"], processes=2)
    said = elastic.printed(tmp_path, "stderr")
    assert len(said) == 2
    assert "".join(said).count("advlook: setting 'none' cannot be trained") == 1
