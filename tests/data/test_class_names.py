"""Names of classes: folders find their class by name, wnid or a spelling of it, and never a wrong one."""

import pytest
from torchvision.models import ResNet18_Weights

from advlook.core.errors import RequestError
from advlook.data import class_names, layouts
from advlook.data.class_names import find_classes, imagenet_classes, names_of_set, read_names, readable, same_classes
from advlook.models.judge import IMAGENET_PLACES

WNIDS, NAMES = tuple(imagenet_classes()), tuple(imagenet_classes().values())


def test_imagenet_has_its_classes_in_their_order():
    """A thousand wnids in ascending order, under torchvision's names, with Imagenette's where the judge has them."""
    assert len(WNIDS) == 1000
    assert list(WNIDS) == sorted(set(WNIDS))
    assert list(NAMES) == ResNet18_Weights.IMAGENET1K_V1.meta["categories"]
    assert {wnid: WNIDS.index(wnid) for wnid in IMAGENET_PLACES} == IMAGENET_PLACES


@pytest.mark.parametrize("folders", [WNIDS, NAMES], ids=["wnids", "names"])
@pytest.mark.parametrize("classes", [WNIDS, NAMES], ids=["wnids", "names"])
def test_every_class_of_imagenet_is_found(folders, classes):
    """Folders by wnid or name find each of the thousand, but for two pairs of one name, which are refused."""
    unclear = {"Cardigan", "cardigan", "crane", "maillot"} if folders is NAMES and classes is WNIDS else set()
    clear = [place for place in range(1000) if folders[place] not in unclear]
    assert find_classes([folders[place] for place in clear], classes, "photos") == clear
    for name in unclear:
        with pytest.raises(RequestError, match=rf"'{name}', which may be any of n\d+, n\d+"):
            find_classes([name], classes, "photos")


def test_imagenette_is_ten_of_imagenet_and_the_other_way_round():
    """Imagenette's own names, and its wnids, are found among ImageNet's logits, in the places of the judge."""
    for folders in (names_of_set("imagenette"), tuple(layouts.IMAGENETTE_CLASSES)):
        assert find_classes(folders, WNIDS, "photos") == list(IMAGENET_PLACES.values())
        assert find_classes(folders[::-1], names_of_set("imagenette"), "photos") == list(range(10))[::-1]


@pytest.mark.parametrize(
    ("folder", "name"),
    [
        ("French_horn", "French horn"),
        ("french-horn", "French horn"),
        ("n02085620-Chihuahua", "Chihuahua"),
        ("n02085620", "n02085620-Chihuahua"),
        ("001.Black_footed_Albatross", "Black footed Albatross"),
        ("Tinca tinca", "n01440764 tench, Tinca tinca"),
        ("english springer", "springer"),
        ("7", "7"),
        ("Überraschung", "überraschung"),
    ],
)
def test_spellings_of_one_class_are_one(folder, name):
    """Capitals, underlines, numbers in front and lists of words do not hide a class."""
    assert find_classes([folder], ["something else", name], "photos") == [1]


def test_capitals_tell_apart_what_nothing_else_does():
    """Names that differ in their capitals alone are two classes."""
    assert find_classes(["polish", "Polish"], ["Polish", "polish"], "photos") == [1, 0]


@pytest.mark.parametrize(
    ("folders", "classes", "named"),
    [
        (["cat", "zdog"], ["cat", "dog"], ["none of the model's classes: zdog;", "knows cat, dog;", "--classes"]),
        (["small"], ["cat, small", "dog, small"], ["'small'", "any of cat, small, dog, small"]),
        (["tench", "n01440764"], WNIDS, ["'tench' and 'n01440764'", "both"]),
        (["unknown"], WNIDS, ["unknown", "(1,000 in all)"]),
    ],
)
def test_what_is_no_class_or_several_is_refused(folders, classes, named):
    """One line with the folder and what the model knows."""
    with pytest.raises(RequestError, match=r"^photos has ") as caught:
        find_classes(folders, classes, "photos")
    assert "\n" not in str(caught.value)
    assert len(str(caught.value)) < 500
    assert all(name in str(caught.value) for name in named)


def test_known_sets_have_as_many_names_as_classes():
    """Sets whose names are known without their files have all of them; of others nothing is said."""
    for name in ("cifar10", "imagenette", "imagenette2-160", "synthetic", "imagenet"):
        assert len(names_of_set(name)) == class_names.lookup(name).classes
    assert names_of_set("cub200") == names_of_set("/home/me/photos") == ()


def test_same_classes_are_the_same_in_the_same_order():
    """Synonyms count as equal; another order, number or name does not."""
    assert same_classes(["n01440764", "golf_ball"], ["tench", "golf ball"])
    assert not same_classes(["golf ball", "tench"], ["tench", "golf ball"])
    assert not same_classes(["tench"], ["tench", "golf ball"])
    assert not same_classes(["tench", "cat"], ["tench", "golf ball"])


def test_a_file_of_names(tmp_path):
    """One name a line; a file that is none, or has an empty line, is refused by name."""
    path = tmp_path / "names.txt"
    path.write_text("\ufeffant\nbee colony \n", encoding="utf-8")
    assert read_names(path) == ("ant", "bee colony")
    for content in (b"", b"ant\n\nbee\n", b"\xff\xfe\x00"):
        path.write_bytes(content)
        with pytest.raises(RequestError, match=r"names\.txt"):
            read_names(path)
    with pytest.raises(RequestError, match=r"absent\.txt cannot be read"):
        read_names(tmp_path / "absent.txt")


def test_wnids_are_shown_as_names():
    """Figures name a class by ImageNet's word for its wnid, which is found again among ImageNet's classes."""
    assert readable(("n01440764", "my dog")) == ("tench", "my dog")
    assert readable(("n01440764", "tench")) == ("n01440764", "tench")
    assert readable(WNIDS) == NAMES
    assert find_classes(NAMES, NAMES, "photos") == list(range(1000))
