"""Jobs side by side: all are done, few are made ahead, and a failure is told however much the others still tell."""

import multiprocessing
import os
import time

import pytest
import torch

from advlook.core.processes import FEW, run_all, worker_count


def tell(path, steps, progressed):
    """A job that tells every step, keeps their number and how its process's threads wait, and fails below 0 steps."""
    if steps < 0:
        raise ArithmeticError("the loss became nan")
    for _ in range(steps):
        progressed(1)
    time.sleep(0.1)  # longer than it takes to make another job
    path.write_text(f"{steps} {os.environ.get('OMP_WAIT_POLICY', 'by default')}")


@pytest.mark.parametrize("workers", [1, 2])
def test_every_job_is_done_and_told_as_it_is_taken(tmp_path, capsys, workers):
    """As many files as jobs, the bar ends at the total, and at most two jobs per process wait or run at any time.

    The threads of a process wait as those of this one.
    """
    ahead = []

    def jobs():
        for number in range(10):
            ahead.append(number + 1 - len(list(tmp_path.iterdir())))
            yield tmp_path / str(number), number

    run_all(tell, jobs(), workers, title="counting", total=45)
    assert "45/45" in capsys.readouterr().err
    told = {path.name: path.read_text() for path in tmp_path.iterdir()}
    assert told == {str(number): f"{number} {os.environ['OMP_WAIT_POLICY']}" for number in range(10)}
    assert max(ahead) <= 2 * workers


def test_a_failure_is_told_while_others_tell_more_than_a_pipe_holds(tmp_path):
    """The job that has begun ends, with more to tell than 64 KB, and the failure is raised and does not hang."""
    jobs = [(tmp_path / "long", 50_000), (tmp_path / "failed", -1), *[(tmp_path / f"later {k}", 1) for k in range(9)]]
    with pytest.raises(ArithmeticError, match="nan"):
        run_all(tell, jobs, 2, title="counting", total=1, progress=False)
    assert (tmp_path / "long").read_text().startswith("50000 ")
    assert not (tmp_path / "later 8").exists()
    assert not multiprocessing.active_children()


def test_small_work_and_other_devices_start_no_processes(monkeypatch):
    """As many as cores and jobs, where that is worth it."""
    monkeypatch.setattr(os, "cpu_count", lambda: 6)
    cpu = torch.device("cpu")
    assert [worker_count(jobs, cpu, FEW) for jobs in (1, 4, 9)] == [1, 4, 6]
    assert worker_count(4, cpu, FEW - 1) == 1
    assert worker_count(4, torch.device("cuda"), 10 * FEW) == 1
