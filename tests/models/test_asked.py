"""What `evaluate` asks about: classes by their names, in any order, or some of them; and the images held out."""

import pytest
import torch
from helpers import small_preset, write_folder
from torch import Tensor, nn

from advlook.__main__ import main
from advlook.core.errors import RequestError
from advlook.data.class_names import imagenet_classes
from advlook.data.image_sets import listing_digest
from advlook.data.layouts import class_folders
from advlook.models.architectures import build_model, preset_model
from advlook.models.asked import Picked
from advlook.models.checkpoint_accuracy import evaluate_checkpoint
from advlook.models.checkpoints import save_checkpoint

SIZE = {"size": 32, "resize": 32, "progress": False}


def biased(classes: int, best: int, second: int = 0) -> nn.Module:
    """A network whose answer is always the same two classes."""
    model = build_model("resnet10", classes, stem="imagenet", width=8, seed=0)
    with torch.no_grad():
        model.network.fc.weight.zero_()
        model.network.fc.bias.zero_()
        model.network.fc.bias[second] = 1
        model.network.fc.bias[best] = 2
    return model


def saved(path, model, **metadata):
    save_checkpoint(path, model, metadata)
    return path


def asked(path, data, **options):
    return evaluate_checkpoint(path, "resnet10", data, **SIZE | options)


def test_a_renamed_folder_is_an_error(tmp_path):
    """A class folder that the checkpoint does not know is named, where its number alone would have moved the others."""
    path = saved(tmp_path / "m.safetensors", biased(3, 1), classes=["cat", "dog", "fox"])
    photos = write_folder(tmp_path / "photos", ("cat", "dog", "fox"))
    row = asked(path, photos)
    assert row["top1"].item() == pytest.approx(100 / 3)
    assert row[["classes", "names"]].values.tolist() == [["3 of 3", "file"]]
    assert not [note for note in row.attrs["notes"] if "classes" in note]
    (photos / "dog").rename(photos / "zdog")
    with pytest.raises(RequestError, match=r"photos has folders that .*: zdog; it knows cat, dog, fox; .*--classes"):
        asked(path, photos)


def test_classes_in_another_order_are_matched_by_name(tmp_path):
    """Folders are in the order of the alphabet; the checkpoint's logits need not be."""
    photos = write_folder(tmp_path / "photos", ("cat", "dog"), count=2)
    write_folder(tmp_path / "more", ("cat",), count=4)
    for file in (tmp_path / "more" / "cat").iterdir():
        file.rename(photos / "cat" / f"more {file.name}")
    for place, order in enumerate((["dog", "cat"], ["cat", "dog"])):
        path = saved(
            tmp_path / f"{place}.safetensors", biased(2, order.index("dog"), order.index("cat")), classes=order
        )
        assert asked(path, photos)["top1"].item() == 25  # it says "dog" of all, and two of eight are


def test_a_model_of_a_thousand_classes_is_asked_about_some(tmp_path):
    """Folders by wnid or name pick their logits of ImageNet's thousand; the others do not compete."""
    wnids = list(imagenet_classes())
    path = tmp_path / "imagenet.pt"
    model = biased(1000, best=7, second=wnids.index("n02102040"))  # among all, logit 7 would win
    torch.save(model.network.state_dict(), path)
    for name, folders in (("wnids", ("n02102040", "n03445777")), ("names", ("springer", "golf_ball"))):
        row = asked(path, write_folder(tmp_path / name, folders), attack="pgd", steps=1)
        assert row["top1"].item() == 50
        assert row["classes"].item() == "2 of 1000"
        assert row["names"].item() == "imagenet"
        assert any("taken for those of ImageNet" in note for note in row.attrs["notes"])
    with pytest.raises(RequestError, match="none of the model's classes: alpha, beta; it knows n01440764"):
        asked(path, write_folder(tmp_path / "others", ("alpha", "beta")))


def test_a_file_of_names_goes_before_the_checkpoint(tmp_path):
    """`classes` names every logit as the folders are called, in any language; one line a logit."""
    path = saved(tmp_path / "m.safetensors", biased(3, 1, 2), classes=["cat", "dog", "fox"])
    photos = write_folder(tmp_path / "photos", ("Fuchs", "Katze"))
    names = tmp_path / "names.txt"
    names.write_text("Katze\nHund\nFuchs\n")
    row = asked(path, photos, classes=names)
    assert row[["top1", "classes", "names"]].values.tolist() == [[50, "2 of 3", "given"]]
    names.write_text("fox\ncat\ndog\n")
    assert any(
        "tells its classes as cat, dog, fox" in note
        for note in asked(path, write_folder(tmp_path / "pets", ("cat", "dog")), classes=names).attrs["notes"]
    )
    names.write_text("Katze\nHund\n")
    with pytest.raises(RequestError, match=r"names\.txt names 2, but .*m\.safetensors knows 3"):
        asked(path, photos, classes=names)


def test_where_nothing_names_the_classes_their_number_is_compared(tmp_path):
    """Folders are taken in their order, which is said; another number is refused with the remedy."""
    torch.save(biased(3, 1).network.state_dict(), tmp_path / "silent.pt")
    row = asked(tmp_path / "silent.pt", write_folder(tmp_path / "photos", ("ant", "bee", "cat")))
    assert row[["classes", "names"]].values.tolist() == [["3 of 3", "none"]]
    assert any("in the order of the folders (ant, bee, cat)" in note for note in row.attrs["notes"])
    with pytest.raises(RequestError, match=r"holds 2 classes, but .*silent\.pt knows 3.*--classes names\.txt"):
        asked(tmp_path / "silent.pt", write_folder(tmp_path / "two", ("ant", "bee")))


def test_one_class_alone_is_no_question(tmp_path):
    """Of one logit the largest is always right: such an accuracy is not given."""
    path = saved(tmp_path / "m.safetensors", biased(3, 1), classes=["cat", "dog", "fox"])
    with pytest.raises(RequestError, match="photos has one class folder, 'cat'"):
        asked(path, write_folder(tmp_path / "photos", ("cat",)))


@pytest.mark.parametrize(
    "told", [{"classes": ["cat", "ant"]}, {"class_names": ("cat", "ant")}, {"class_to_idx": {"ant": 1, "cat": 0}}]
)
def test_names_in_files_of_torch_are_heeded(tmp_path, told):
    """What others save beside their weights names the classes as well."""
    torch.save({"state_dict": biased(2, 0, 1).network.state_dict()} | told, tmp_path / "theirs.pt")
    photos = write_folder(tmp_path / "photos", ("ant", "cat"))
    (photos / "ant" / "1.png").rename(photos / "cat" / "2.png")
    row = asked(tmp_path / "theirs.pt", photos)
    assert row[["top1", "classes", "names"]].values.tolist() == [[75, "2 of 2", "file"]]


def test_shipped_checkpoints_know_the_classes_of_their_set(tmp_path):
    """A checkpoint without names knows those of the set that it says it was trained on; its file is left as it is."""
    preset = small_preset(data={"classes": 10, "name": "cifar10"})
    key = preset.training_key("resnet10", "std", 0)
    path = saved(tmp_path / "m.safetensors", preset_model(preset, "resnet10", 0), training=key)
    row = asked(path, write_folder(tmp_path / "pets", ("dog", "cat")))
    assert row[["classes", "names"]].values.tolist() == [["2 of 10", "file"]]
    with pytest.raises(RequestError, match="zdog; it knows airplane, automobile, bird"):
        asked(path, write_folder(tmp_path / "photos", ("cat", "zdog")))


def test_what_is_picked_is_the_logits_at_the_places():
    """A picked model answers with the logits in the order asked for, and has their gradients."""
    images = torch.rand(2, 3, 4, 4, requires_grad=True)

    class Sums(nn.Module):
        def forward(self, images: Tensor) -> Tensor:
            return images.flatten(1)[:, :5]

    answers = Picked(Sums(), [4, 1])(images)
    assert torch.equal(answers, images.flatten(1)[:, [4, 1]])
    answers[:, 0].sum().backward()
    assert images.grad.flatten(1)[:, 4].tolist() == [1, 1]
    assert images.grad.sum() == 2


@pytest.fixture
def trained(tmp_path):
    """A folder of class folders, and a checkpoint that says what was held out of it."""
    photos = write_folder(tmp_path / "photos", ("ant", "bee"), count=10)
    told = listing_digest(class_folders(photos, "test"))
    return photos, saved(tmp_path / "m.safetensors", biased(2, 0), classes=["ant", "bee"], test_images=told)


def test_the_held_out_part_is_asked_for(trained):
    """One image in five, none of which training sees; without asking for it all are counted, and a line says so."""
    photos, path = trained
    every, held_out = asked(path, photos), asked(path, photos, split="held-out")
    assert every["images"].item() == 20
    assert any("--split held-out" in note for note in every.attrs["notes"])
    assert held_out["images"].item() == 4
    assert not any("--split" in note for note in held_out.attrs["notes"])
    training = set(class_folders(photos, "train").files)
    assert not training & set(class_folders(photos, "test").files)


def test_a_folder_that_has_changed_since_training_is_refused(trained, tmp_path):
    """The part held out would be another, with images that were trained on."""
    photos, path = trained
    for number in range(10, 14):
        (photos / "ant" / "0.png").with_name(f"{number}.png").write_bytes((photos / "ant" / "0.png").read_bytes())
    with pytest.raises(RequestError, match=r"not those that were held out when .*m\.safetensors was trained"):
        asked(path, photos, split="held-out")


def test_a_folder_of_the_name_of_the_training_images_is_told(tmp_path):
    """With one file added the held-out part is another, but most images were still trained on: a line says so."""
    preset = small_preset(data={"classes": 2, "name": "photos"})
    photos = write_folder(tmp_path / "photos", ("ant", "bee"), count=10)
    told = {"training": preset.training_key("resnet10", "std", 0), "test_images": "of before"}
    path = saved(tmp_path / "m.safetensors", preset_model(preset, "resnet10", 0), classes=["ant", "bee"], **told)
    assert any("most of its images were trained on" in note for note in asked(path, photos).attrs["notes"])


def test_splits_on_disk_are_held_out_as_well(tmp_path):
    """Of `train/` and `test/` the latter; without asking, they are not mistaken for classes."""
    for split, count in (("train", 5), ("val", 2)):
        write_folder(tmp_path / "split" / split, ("ant", "bee"), count=count)
    silent = saved(tmp_path / "silent.safetensors", biased(2, 0))
    assert asked(silent, tmp_path / "split", split="held-out")["images"].item() == 4
    with pytest.raises(RequestError, match=r"holds splits, not classes; give --data .*val, or --split held-out"):
        asked(silent, tmp_path / "split")
    with pytest.raises(RequestError, match="split 'half' is unknown; choose from all, held-out"):
        asked(silent, tmp_path / "split", split="half")


def test_the_command_has_the_options(trained, capsys):
    """`--split` and `--classes` reach the evaluation, and what was assumed is told beside the table."""
    photos, path = trained
    command = f"evaluate --checkpoint {path} --arch resnet10 --data {photos} --size 32 --resize 32"
    assert main(command.split()) == 0
    captured = capsys.readouterr()
    assert captured.out.splitlines()[1].split()[1] == "20"
    assert "was trained on four in five" in captured.err
    assert main([*command.split(), "--split", "held-out"]) == 0
    assert capsys.readouterr().out.splitlines()[1].split()[1] == "4"
    assert main([*command.split(), "--classes", str(photos / "absent.txt")]) == 2
    assert "absent.txt" in capsys.readouterr().err
