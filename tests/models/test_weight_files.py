"""Files of weights are told by their content; what is none is called what it is, and what a line advises is safe."""

import gzip
import tarfile
import zipfile

import pytest
import torch
from helpers import random_images
from safetensors.torch import save_file
from torch import nn

from advlook.core.errors import RequestError
from advlook.models.architectures import build_model
from advlook.models.checkpoints import load_checkpoint, load_state, read_metadata, save_checkpoint
from advlook.models.external import load_model, stored_metadata

MODEL = build_model("resnet10", 3, stem="imagenet", width=8, seed=1).eval()
IMAGES = random_images(2, 32)
POINTER = b"version https://git-lfs.github.com/spec/v1\noid sha256:4d7a\nsize 102530333\n"
PAGE = b"\n<!DOCTYPE html>\n<html><head><title>Sign in</title></head></html>"


def scripted(path):
    torch.jit.save(torch.jit.script(nn.Linear(2, 2)), str(path))


def zipped(path):
    with zipfile.ZipFile(path, "w") as archive:
        archive.writestr("weights.pt", "inside")


def tarred(path):
    with tarfile.open(path, "w") as archive:
        archive.addfile(tarfile.TarInfo("weights.pt"))


INSTEAD = {
    "a Git LFS pointer": (lambda path: path.write_bytes(POINTER), ["Git LFS pointer", "git lfs pull"]),
    "a web page": (lambda path: path.write_bytes(PAGE), ["web page", "download"]),
    "an error of a store": (lambda path: path.write_bytes(b"<?xml version='1.0'?><Error/>"), ["web page"]),
    "text": (lambda path: path.write_bytes(b'{"message": "Not Found"}'), ["text file", "Not Found"]),
    "empty": (lambda path: path.write_bytes(b""), ["empty"]),
    "TorchScript": (scripted, ["TorchScript", "torch.jit.load"]),
    "an exported program": (
        lambda path: torch.export.save(torch.export.export(nn.Linear(2, 2), (torch.ones(1, 2),)), path.open("wb")),
        ["torch.export", "save its weights alone"],
    ),
    "a tar archive": (tarred, ["archive", "unpack"]),
    "a zip archive": (zipped, ["zip archive", "unpack"]),
    "gzip": (lambda path: path.write_bytes(gzip.compress(b"weights")), ["gzip", "unpack"]),
    "bytes": (lambda path: path.write_bytes(b"\x93NUMPY\x01\x00" * 99), ["no file of weights"]),
    "a broken pickle": (lambda path: path.write_bytes(b"\x80\x02"), ["file of weights"]),
}


@pytest.mark.parametrize(("write", "named"), INSTEAD.values(), ids=INSTEAD.keys())
@pytest.mark.parametrize("name", ["theirs.pth", "theirs.safetensors"])
def test_what_is_no_file_of_weights_is_called_what_it_is(tmp_path, write, named, name, recwarn):
    """One line says what the file is and what to do, whatever its suffix, and not that it "could run code"."""
    write(tmp_path / name)
    recwarn.clear()
    with pytest.raises(RequestError) as caught:
        load_model(tmp_path / name, "resnet10")
    message = str(caught.value)
    assert name in message
    assert all(each in message for each in named)
    assert not any(each in message for each in ("\n", "could run code", "weights_only"))
    assert not recwarn


@pytest.mark.parametrize("read", [read_metadata, lambda path: load_checkpoint(path, MODEL)])
def test_our_own_checkpoints_say_so_as_well(tmp_path, read):
    """Where a shipped checkpoint is a pointer or a page, the reason is told."""
    for content, reason in ((POINTER, "Git LFS pointer"), (PAGE, "web page")):
        (tmp_path / "ours.safetensors").write_bytes(content)
        with pytest.raises(RequestError, match=f"not a readable safetensors file.*{reason}"):
            read(tmp_path / "ours.safetensors")


@pytest.mark.parametrize("write", [scripted, lambda path: torch.save({"model": MODEL}, path)])
def test_a_training_state_advises_nothing_unsafe(tmp_path, write):
    """A state that holds code is to be removed, and not to be loaded with `weights_only=False`, as torch advises."""
    write(tmp_path / "a.state")
    with pytest.raises(RequestError, match=r"a\.state cannot be read.*remove it") as caught:
        load_state(tmp_path / "a.state")
    assert "weights_only" not in str(caught.value)
    assert "\n" not in str(caught.value)


def test_the_suffix_of_a_file_does_not_matter(tmp_path):
    """safetensors renamed to .pth, and a file of torch renamed to .safetensors, load, with what they tell."""
    state = {name: value.contiguous() for name, value in MODEL.state_dict().items()}
    save_file(state, tmp_path / "a.safetensors")
    (tmp_path / "a.safetensors").rename(tmp_path / "a.pth")
    torch.save(MODEL.state_dict(), tmp_path / "b.safetensors")
    for name in ("a.pth", "b.safetensors"):
        loaded = load_model(tmp_path / name, "resnet10")
        assert torch.equal(loaded.model(IMAGES), MODEL(IMAGES))
    save_checkpoint(tmp_path / "ours.safetensors", MODEL, {"accuracy": {"top1": 1.0}})
    (tmp_path / "ours.safetensors").rename(tmp_path / "ours.bin")
    assert stored_metadata(tmp_path / "ours.bin") == {"accuracy": {"top1": 1.0}}


def test_what_cannot_be_opened_is_named(tmp_path):
    """A file that is not there, and a folder, are told as such."""
    with pytest.raises(RequestError, match=r"absent\.pt does not exist"):
        load_model(tmp_path / "absent.pt", "resnet10")
    with pytest.raises(RequestError, match="cannot be read"):
        load_model(tmp_path, "resnet10")


UNUSABLE = {
    "quantised; save": lambda value: (10 * value).to(torch.int8),
    "sparse tensor; save": lambda value: value.to_sparse(),
    "without values; save": lambda value: value.to("meta"),
}


@pytest.mark.parametrize("says", UNUSABLE)
def test_tensors_that_are_no_plain_weights_are_refused(tmp_path, says):
    """Integers without their scale would load as weights ten times as large; sparse and empty ones would not load."""
    state = MODEL.network.state_dict()
    torch.save(state | {"fc.weight": UNUSABLE[says](state["fc.weight"])}, tmp_path / "theirs.pt")
    with pytest.raises(RequestError, match=f"has 'fc.weight' .*{says}"):
        load_model(tmp_path / "theirs.pt", "resnet10")
