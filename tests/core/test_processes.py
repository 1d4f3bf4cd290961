"""Jobs side by side: all are done, few are made ahead, and a failure is told however much the others still tell."""

import multiprocessing
import os
import time

import pytest

from advlook.core.processes import run_all


def tell(path, steps, progressed):
    """A job that tells every step, keeps its number of them, and fails if that is below 0."""
    if steps < 0:
        raise ArithmeticError("the loss became nan")
    for _ in range(steps):
        progressed(1)
    path.write_text(str(steps))


@pytest.mark.parametrize("workers", [1, 2])
def test_every_job_is_done_and_told(tmp_path, capsys, workers):
    """As many files as jobs, and the bar ends at the total."""
    jobs = [(tmp_path / str(steps), steps) for steps in (5, 1, 3, 2)]
    run_all(tell, jobs, workers, title="counting", total=11)
    assert sorted(int(path.read_text()) for path in tmp_path.iterdir()) == [1, 2, 3, 5]
    assert "11/11" in capsys.readouterr().err


def test_a_failure_is_told_while_others_tell_more_than_a_pipe_holds(tmp_path):
    """The job that has begun ends, with more to tell than 64 KB, and the failure is raised and does not hang."""
    jobs = [(tmp_path / "long", 50_000), (tmp_path / "failed", -1), *[(tmp_path / f"later {k}", 1) for k in range(9)]]
    with pytest.raises(ArithmeticError, match="nan"):
        run_all(tell, jobs, 2, title="counting", total=1, progress=False)
    assert (tmp_path / "long").read_text() == "50000"
    assert not (tmp_path / "later 8").exists()
    assert not multiprocessing.active_children()


def finish(path, progressed):
    """A job that takes longer than it takes to make another, and keeps how its process's threads wait."""
    time.sleep(0.1)
    path.write_text(os.environ.get("OMP_WAIT_POLICY", "by default"))


def test_jobs_are_made_as_they_are_taken(tmp_path):
    """At most two jobs per process are waiting or running at any time, of ten, and threads wait as in this process."""
    ahead = []

    def jobs():
        for number in range(10):
            ahead.append(number + 1 - len(list(tmp_path.iterdir())))
            yield (tmp_path / str(number),)

    run_all(finish, jobs(), 2, title="waiting", total=10, progress=False)
    assert [path.read_text() for path in tmp_path.iterdir()] == 10 * [os.environ["OMP_WAIT_POLICY"]]
    assert max(ahead) <= 4
