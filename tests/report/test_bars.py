"""One line of progress for notebooks that run side by side."""

import io

import pytest

from advlook.core.progress import plain
from advlook.report import bars
from advlook.report.bars import Bars


@pytest.fixture
def terminal(monkeypatch):
    """What a terminal of 60 columns is sent."""
    monkeypatch.setenv("COLUMNS", "60")
    return io.StringIO()


def seen(terminal):
    """The line in which the cursor stands."""
    return terminal.getvalue().split("\n")[-1].split("\r")[-1].rstrip()


def test_bars_of_several_notebooks_stand_in_one_line(terminal):
    """As tqdm writes them: each with the title, share and time left that it said last."""
    both = Bars(terminal)
    for name, title, done in (("02", "maps", 3), ("03", "PGD of resnet10", 1), ("02", "maps", 5)):
        kernel = io.StringIO()
        bar = plain(total=10, desc=title, file=kernel)
        bar.update(done)
        bar.refresh()
        both.of(name).write(kernel.getvalue())
    assert seen(terminal).startswith("02: maps 50% (00:0")
    assert " · 03: PGD of resnet10 10% (" in seen(terminal)
    assert len(seen(terminal)) < 60


def test_lines_and_warnings_stand_above(terminal, capsys):
    """A line of ours goes to standard output, a kernel's warning to the stream of the bars; the bar stays below."""
    both = Bars(terminal)
    both.of("02").write("\rmaps:  50%|###   | 5/10 [00:05<00:05, 1.0 images/s]")
    both.say("[3/8] 03_visualize ...")
    both.of("03").write("Warning: mind this\n")
    assert capsys.readouterr().out == "[3/8] 03_visualize ...\n"
    assert "Warning: mind this\n" in terminal.getvalue()
    assert seen(terminal) == "02: maps 50% (00:05 left)"
    both.say("[2/8] 02_attack: done", ended="02")
    assert seen(terminal) == ""


def test_moves_of_the_cursor_are_no_lines(terminal):
    """tqdm sends them where bars stand below one another."""
    Bars(terminal).of("02").write("\n\x1b[A\r")
    assert terminal.getvalue() == ""


def test_where_no_bar_is_shown_nothing_is_sent(terminal, capsys):
    """A log of one notebook after the other has no empty lines."""
    bars.Bars(terminal).say("[1/8] 01_train ...")
    assert terminal.getvalue() == ""
    assert capsys.readouterr().out == "[1/8] 01_train ...\n"
