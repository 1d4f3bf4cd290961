"""Checkpoints and training states: whole or absent, exact, and never a way to run code."""

import errno
import pickle

import pytest
import torch
from helpers import convolutional, random_images
from safetensors.torch import save_file

from advlook.core.errors import RequestError
from advlook.core.files import file_hash, write_atomically
from advlook.models.architectures import build_model
from advlook.models.checkpoints import (
    half_precision,
    load_checkpoint,
    load_state,
    read_metadata,
    save_checkpoint,
    save_state,
)


def network(arch="resnet10", classes=3, width=8, seed=0):
    return build_model(arch, classes, stem="tiny", width=width, seed=seed)


@pytest.fixture
def saved(tmp_path):
    """A checkpoint and the model in it, with running statistics that float16 could not hold."""
    model = network()
    model.network.bn1.running_var.fill_(1e6)
    save_checkpoint(tmp_path / "model.safetensors", model, {"accuracy": {"top1": 81.5}, "seeds": [0, 1]})
    return tmp_path / "model.safetensors", model


def test_round_trip(saved):
    """Weights come back within float16's rounding, statistics and constants exactly, in eval mode."""
    path, model = saved
    loaded = load_checkpoint(path, network(seed=1))
    assert not loaded.training
    parameters = dict(model.named_parameters())
    for name, value in loaded.state_dict().items():
        expected = model.state_dict()[name]
        assert value.dtype == expected.dtype
        if name in parameters:
            torch.testing.assert_close(value, expected, rtol=2**-11, atol=2**-24)
        else:
            assert torch.equal(value, expected), name


def test_rounded_model_comes_back_exactly(saved):
    """Rounding is done once: a model that was rounded before it was saved comes back to the bit."""
    path, model = saved
    model.load_state_dict(half_precision(model))
    save_checkpoint(path, model, {})
    loaded = load_checkpoint(path, network(seed=1))
    images = random_images(4, 16)
    assert torch.equal(loaded(images), model.eval()(images))


def test_metadata_round_trip(saved):
    """What is told about a model comes back as it was."""
    path, _ = saved
    assert read_metadata(path) == {"accuracy": {"top1": 81.5}, "seeds": [0, 1]}


def test_foreign_checkpoint_loads(tmp_path):
    """A safetensors file of other origin, with metadata that is no JSON or none, is read as well."""
    model = network()
    for metadata in ({"format": "pt"}, None):
        save_file(half_precision(model), tmp_path / "theirs.safetensors", metadata)
        assert read_metadata(tmp_path / "theirs.safetensors") == (metadata or {})
        load_checkpoint(tmp_path / "theirs.safetensors", network(seed=1))


@pytest.mark.parametrize(
    ("other", "names"),
    [
        ({"classes": 4}, ["network.fc", "(3,)", "(4,)", "class count"]),
        ({"width": 16}, ["shape", "width"]),
        ({"arch": "alexnet_bn"}, ["another architecture"]),
        ({"arch": "resnet18"}, ["lacks", "network.layer1.1", "another architecture"]),
    ],
)
def test_other_model_is_refused(saved, other, names):
    """A checkpoint of another width, class count or architecture is refused, naming the file and the tensor."""
    path, _ = saved
    model = network(**other)
    before = {name: value.clone() for name, value in model.state_dict().items()}
    with pytest.raises(RequestError) as caught:
        load_checkpoint(path, model)
    message = str(caught.value)
    assert "\n" not in message
    assert all(name in message for name in [str(path), *names])
    assert all(torch.equal(value, before[name]) for name, value in model.state_dict().items())


@pytest.mark.parametrize(
    "damage", [lambda data: b"", lambda data: b"no tensors" * 9, lambda data: data[: len(data) // 2]]
)
def test_corrupt_file_is_named(saved, damage):
    """A file that is empty, something else, or cut off is named."""
    path, model = saved
    path.write_bytes(damage(path.read_bytes()))
    for read in (read_metadata, lambda path: load_checkpoint(path, model)):
        with pytest.raises(RequestError, match=r"model\.safetensors is not a readable safetensors file"):
            read(path)


def test_missing_file_is_named(tmp_path):
    """A file that is not there is named; a folder is no checkpoint."""
    for read in (read_metadata, lambda path: load_checkpoint(path, network())):
        with pytest.raises(RequestError, match=r"absent\.safetensors does not exist"):
            read(tmp_path / "absent.safetensors")
        with pytest.raises(RequestError, match="not a readable safetensors file"):
            read(tmp_path)


def test_state_round_trip(tmp_path):
    """A training state comes back to the bit; where there is none, None."""
    state = {"model": convolutional().state_dict(), "history": [{"epoch": 1, "loss": 0.25}]}
    save_state(tmp_path / "a.state", state)
    loaded = load_state(tmp_path / "a.state")
    assert loaded["history"] == state["history"]
    assert all(torch.equal(loaded["model"][name], value) for name, value in state["model"].items())
    assert load_state(tmp_path / "b.state") is None


class Malice:
    """Writes a file when it is unpickled."""

    def __init__(self, target):
        self.target = target

    def __reduce__(self):
        return (exec, (f"open({str(self.target)!r}, 'w')",))


@pytest.mark.parametrize("write", [torch.save, lambda state, path: path.write_bytes(pickle.dumps(state, 2))])
def test_malicious_state_is_not_executed(tmp_path, write):
    """Code hidden in a training state does not run: the file is refused by name."""
    write({"key": Malice(tmp_path / "run")}, tmp_path / "evil.state")
    with pytest.raises(RequestError, match=r"evil\.state cannot be read.*remove it") as caught:
        load_state(tmp_path / "evil.state")
    assert "\n" not in str(caught.value)
    assert not (tmp_path / "run").exists()


@pytest.mark.parametrize("damage", [lambda data: b"", lambda data: data[: len(data) // 2]])
def test_corrupt_state_is_named(tmp_path, damage):
    """A state that is cut off is named with its remedy."""
    path = tmp_path / "a.state"
    save_state(path, {"model": convolutional().state_dict()})
    path.write_bytes(damage(path.read_bytes()))
    with pytest.raises(RequestError, match=r"a\.state cannot be read.*remove it"):
        load_state(path)


@pytest.mark.parametrize("error", [RuntimeError("half way"), KeyboardInterrupt()])
def test_writing_is_whole_or_not_at_all(tmp_path, error):
    """A writer that fails midway leaves the old file and nothing beside it."""
    path = tmp_path / "deep" / "file.txt"
    write_atomically(path, lambda partial: partial.write_text("old"))

    def fail(partial):
        partial.write_text("new, but only ha")
        raise error

    with pytest.raises(type(error)):
        write_atomically(path, fail)
    assert path.read_text() == "old"
    assert list(path.parent.iterdir()) == [path]


def test_partial_file_keeps_the_suffix(tmp_path):
    """Writers that go by the suffix see the right one, and the target appears only when they are done."""
    path = tmp_path / "figure.png"

    def write(partial):
        assert partial.suffix == ".png"
        assert not path.exists()
        partial.write_bytes(b"png")

    write_atomically(path, write)
    assert path.read_bytes() == b"png"


@pytest.mark.parametrize(
    ("number", "words"), [(errno.ENOSPC, "is full"), (errno.EDQUOT, "is full"), (errno.EROFS, "cannot be written")]
)
@pytest.mark.parametrize(
    "save", [lambda path: save_checkpoint(path, convolutional(), {}), lambda path: save_state(path, {})]
)
def test_full_disk_is_one_line(tmp_path, monkeypatch, number, words, save):
    """A disk that is full or read-only ends in one line with the path, and leaves the earlier file."""
    path = tmp_path / "model.safetensors"
    path.write_text("old")

    def fail(partial, data):
        raise OSError(number, "made to fail", str(partial))

    monkeypatch.setattr("pathlib.Path.write_bytes", fail)
    with pytest.raises(RequestError, match=rf"model\.safetensors.* {words}") as caught:
        save(path)
    assert "\n" not in str(caught.value)
    assert path.read_text() == "old"
    assert list(tmp_path.iterdir()) == [path]


def test_other_errors_keep_their_type(tmp_path):
    """An error that is not about the disk is not disguised as one."""
    with pytest.raises(FileNotFoundError):
        write_atomically(tmp_path / "file.txt", lambda partial: None)


def test_hash_tells_files_apart(tmp_path):
    """Equal content has equal hashes, other content others."""
    for name, content in (("a", b"1"), ("b", b"1"), ("c", b"2")):
        (tmp_path / name).write_bytes(content)
    a, b, c = (file_hash(tmp_path / name) for name in "abc")
    assert a == b != c
    assert len(a) == 16
