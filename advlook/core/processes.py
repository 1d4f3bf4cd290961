"""Independent jobs side by side: small batches do not keep several cores busy, several trainings do."""

import multiprocessing
import os
import threading
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import FIRST_COMPLETED, ProcessPoolExecutor, wait
from contextlib import contextmanager
from itertools import islice

import torch

from advlook.core.progress import tqdm

_steps: "multiprocessing.SimpleQueue[int] | None" = None  # in a process of `run_all`: where it tells its progress


def worker_count(jobs: int, device: torch.device) -> int:
    """How many of so many jobs run at once: on the CPU as many as there are cores, on any other device one."""
    return min(jobs, os.cpu_count() or 1) if device.type == "cpu" else 1


def run_all(
    work: Callable[..., object],
    jobs: Iterable[tuple],
    workers: int,
    *,
    title: str,
    total: int,
    progress: bool = True,
    jobs_per_process: int | None = None,
) -> None:
    """Call `work(*job, progressed)` for every job, so many at once; all but a single one in processes of their own.

    work: a function of a module, which keeps its results itself and tells `progressed` the images it has done; they
    move a bar that ends at `total`. Each process has its share of the cores, by the number of workers alone, so that
    sums of floats come out the same however many jobs are left. jobs may be made as they are taken, few ahead. A job
    that fails ends the others: those that have begun are finished, and what it raised is raised here.
    """
    with tqdm(total=total, desc=title, unit=" images", smoothing=0.05, disable=not progress) as bar:
        if workers == 1:
            for job in jobs:
                work(*job, bar.update)
            return
        context = multiprocessing.get_context("spawn")
        steps = context.SimpleQueue()
        start = (steps, max(1, (os.cpu_count() or 1) // workers))
        with (
            _read_by(bar.update, steps),
            ProcessPoolExecutor(workers, context, _start, start, max_tasks_per_child=jobs_per_process) as pool,
        ):
            jobs, running = iter(jobs), set()
            try:
                while True:
                    running |= {pool.submit(_call, work, job) for job in islice(jobs, 2 * workers - len(running))}
                    if not running:
                        break
                    done, running = wait(running, return_when=FIRST_COMPLETED)
                    for job in done:
                        job.result()
            except BaseException:
                pool.shutdown(cancel_futures=True)
                raise


@contextmanager
def _read_by(progressed: Callable[[int], object], steps: "multiprocessing.SimpleQueue[int]") -> Iterator[None]:
    """Within the block, and until all of it is over, what comes is read: a full pipe would halt those that tell."""
    ended = threading.Event()

    def read() -> None:
        while not (ended.wait(0.2) and steps.empty()):
            while not steps.empty():
                progressed(steps.get())

    reader = threading.Thread(target=read, daemon=True)
    reader.start()
    try:
        yield
    finally:
        ended.set()
        reader.join(timeout=5)  # a process that was killed while it told leaves half a message behind


def _start(steps: "multiprocessing.SimpleQueue[int]", threads: int) -> None:
    """Prepare a process of `run_all`, and let it end when its parent does: nobody else would stop it then."""
    global _steps
    _steps = steps
    torch.set_num_threads(threads)
    parent = multiprocessing.parent_process()

    def end_with_parent() -> None:
        parent.join()
        os._exit(1)

    threading.Thread(target=end_with_parent, daemon=True).start()


def _call(work: Callable[..., object], job: tuple) -> None:
    work(*job, _steps.put)
