"""Where styles come from, and which image gets which."""

import pytest
import torch
from helpers import write_folder

from advlook.core.errors import RequestError
from advlook.data import styles
from advlook.data.styles import assign, load_styles


def test_styles_of_a_folder(tmp_path):
    write_folder(tmp_path / "pictures", ("a", "b"), 2, side=40)
    found = load_styles(["pictures"], 32, tmp_path)
    assert found.names == ("a/0.png", "a/1.png", "b/0.png", "b/1.png")
    assert found.images.shape == (4, 3, 32, 32)
    assert found.images.dtype == torch.uint8


def test_folders_without_styles_end_in_one_line(tmp_path):
    (tmp_path / "empty").mkdir()
    for name, says in (("nowhere", "does not exist"), ("empty", "holds no pictures")):
        with pytest.raises(RequestError, match=says) as refused:
            load_styles([name], 32, tmp_path)
        assert "\n" not in str(refused.value)


def test_our_paintings_come_with_the_command_that_gets_them(tmp_path):
    """The line that refuses, and the one that lists, say what to run; once they are there, how many they are."""
    with pytest.raises(RequestError, match=r"run `git clone .*paintings`, or put any pictures in it"):
        load_styles(["paintings"], 32, tmp_path)
    assert styles.available(tmp_path).startswith("absent: run `git clone")
    write_folder(tmp_path / "paintings", count=2, side=16)
    assert styles.available(tmp_path) == "6 pictures"


def test_generated_textures_differ_and_are_fixed_by_their_seed(tmp_path):
    found = load_styles(["generated"], 32, tmp_path)
    assert torch.equal(found.images, load_styles(["generated"], 32, tmp_path).images)
    assert len({image.numpy().tobytes() for image in found.images}) == len(found)
    assert (found.images.float().std((2, 3)).amax(1) > 5).all()


def test_generated_textures_are_as_coarse_as_they_were_chosen():
    """Twenty-four of them, whose mean frequencies are 0.2 cycles per pixel on average, and from 0.10 to 0.29."""
    found = load_styles(["generated"], 64, None).images.float().div(255)
    power = torch.fft.rfft2(found - found.mean((2, 3), keepdim=True)).abs().square().sum(1)
    radius = torch.hypot(torch.fft.fftfreq(64)[:, None], torch.fft.rfftfreq(64)[None])
    frequencies = (power * radius).sum((1, 2)) / power.sum((1, 2))
    assert len(found) == 24
    assert frequencies.mean().item() == pytest.approx(0.2014, rel=0.004)
    assert [frequencies.min().item(), frequencies.max().item()] == pytest.approx([0.1036, 0.2874], rel=0.004)
    assert found.std((2, 3)).mean().item() == pytest.approx(0.1811, rel=0.004)


def test_styles_of_several_folders(tmp_path):
    """One after the other, as they are named; of one folder more, another hash."""
    for name, side in (("pictures", 40), ("others", 30)):
        write_folder(tmp_path / name, ("a",), 2, side=side)
    found = load_styles(["others", "generated", "pictures"], 32, tmp_path)
    parts = [load_styles([name], 32, tmp_path) for name in ("others", "generated", "pictures")]
    assert torch.equal(found.images, torch.cat([part.images for part in parts]))
    assert found.names == tuple(name for part in parts for name in part.names)
    hashes = [styles.fingerprint(some, tmp_path) for some in (["others"], ["others", "pictures"], ["generated"])]
    assert len(set(hashes)) == 3
    assert hashes[2] is None


def test_a_set_of_the_catalogue_says_how_to_get_it(tmp_path):
    """Sets of textures serve as styles; one that is absent ends in the line that tells how to get it."""
    with pytest.raises(RequestError, match=r"dtd10.*curl"):
        load_styles(["dtd10"], 32, tmp_path / "datasets")


def test_assignment_does_not_change_with_the_count():
    assert torch.equal(assign(100, 7)[:20], assign(20, 7))
    assert not torch.equal(assign(20, 7), assign(20, 7, seed=1))
    assert assign(0, 7).shape == (0,)


@pytest.mark.parametrize(("count", "styles"), [(5, 7), (7, 7), (20, 7)])
def test_no_style_serves_again_before_all_have_served(count, styles):
    served = assign(count, styles).bincount(minlength=styles)
    assert served.sum() == count
    assert served.max() - served.min() <= 1
