"""Tables come back as they were written, arrays and all."""

import json

import numpy as np
import pandas as pd

from advlook.study.tables import keep_rows, kept_rows, read_table, write_table

RIGHT = [np.array([True, False, True]), np.array([False, True])]


def test_arrays_lie_beside_the_table(tmp_path):
    """The CSV holds no array; read again, every row has its own, of its own length."""
    path = tmp_path / "t.csv"
    write_table(path, pd.DataFrame({"arch": ["a", "b"], "images": [3, 2], "right": RIGHT}))
    assert list(pd.read_csv(path)) == ["arch", "images"]
    table = read_table(path)
    assert all(np.array_equal(a, b) and a.dtype == bool for a, b in zip(table["right"], RIGHT, strict=True))
    with np.load(path.with_suffix(".npz")) as stacked:
        assert stacked["right"].shape == (2, 3)


def test_a_table_without_arrays_leaves_none_of_earlier_ones(tmp_path):
    """An .npz of an earlier state of the table does not stay beside it."""
    path = tmp_path / "t.csv"
    write_table(path, pd.DataFrame({"images": [3, 2], "right": RIGHT}))
    write_table(path, pd.DataFrame({"images": [3, 2]}))
    assert not path.with_suffix(".npz").exists()
    assert list(read_table(path)) == ["images"]


def test_the_same_table_is_the_same_bytes(tmp_path):
    """Results can be compared as files."""
    for name in ("a", "b"):
        write_table(tmp_path / f"{name}.csv", pd.DataFrame({"images": [3, 2], "right": RIGHT}))
    assert (tmp_path / "a.npz").read_bytes() == (tmp_path / "b.npz").read_bytes()


def test_kept_rows_come_back_to_the_last_bit(tmp_path):
    """Numbers, texts, arrays and the seconds that it took to measure them."""
    rows = [{"value": 0.1 + 0.2, "name": "0012", "right": RIGHT[0]}, {"value": None, "name": "b", "right": RIGHT[1]}]
    keep_rows(tmp_path / "kept.npz", rows, 12.5)
    found, seconds = kept_rows(tmp_path / "kept.npz")
    assert seconds == 12.5
    for before, after in zip(rows, found, strict=True):
        assert np.array_equal(before.pop("right"), after.pop("right"))
        assert json.dumps(before) == json.dumps(after)
