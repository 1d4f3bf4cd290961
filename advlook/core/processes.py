"""Independent jobs in parallel processes: one training with small batches does not use several cores, several do."""

import multiprocessing
import os
import threading
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import FIRST_COMPLETED, ProcessPoolExecutor, wait
from contextlib import contextmanager
from itertools import islice

import torch

from advlook.core.progress import tqdm

FEW = 20_000  # images: small ones take no longer than starting processes

_steps: "multiprocessing.SimpleQueue[int] | None" = None  # in a worker process: where it reports progress


def worker_count(jobs: int, device: torch.device, images: int) -> int:
    """How many jobs, which show a model so many images in all, run at once: on the CPU as many as it has cores, unless
    they are done before processes have started; on any other device one."""
    return min(jobs, os.cpu_count() or 1) if device.type == "cpu" and images >= FEW else 1


def run_all(
    work: Callable[..., object], jobs: Iterable[tuple], workers: int, *, title: str, total: int, progress: bool = True
) -> None:
    """Call `work(*job, progressed)` for every job in `workers` processes, or in this one where workers is 1. work: a
    module-level function, which stores its results itself and calls `progressed(images)` for the bar, which ends at
    `total`. Threads depend on the number of workers alone, as float sums depend on them. `jobs` is consumed lazily, two
    per process ahead. Where a job raises, running jobs are finished, and the exception is raised here."""
    with tqdm(total=total, desc=title, unit=" images", smoothing=0.05, disable=not progress) as bar:
        if workers == 1:
            for job in jobs:
                work(*job, bar.update)
            return
        context = _context(work)
        steps = context.SimpleQueue()
        start = (steps, max(1, (os.cpu_count() or 1) // workers))
        executor = ProcessPoolExecutor(workers, context, _start, start)
        with _read_by(bar.update, steps), executor as pool:
            jobs, running = iter(jobs), set()
            try:
                most = 2 * workers
                while running := running | {pool.submit(_call, work, job) for job in islice(jobs, most - len(running))}:
                    done, running = wait(running, return_when=FIRST_COMPLETED)
                    for job in done:
                        job.result()
            except BaseException:
                pool.shutdown(cancel_futures=True)
                raise


def _context(work: Callable[..., object]) -> multiprocessing.context.BaseContext:
    """Where the system can, processes are forked from one that has imported what `work` needs: seconds for each."""
    if "forkserver" not in multiprocessing.get_all_start_methods():
        return multiprocessing.get_context("spawn")
    context = multiprocessing.get_context("forkserver")
    context.set_forkserver_preload([work.__module__])
    return context


@contextmanager
def _read_by(progressed: Callable[[int], object], steps: "multiprocessing.SimpleQueue[int]") -> Iterator[None]:
    """Within the block a thread passes on what workers report: a full pipe would block them."""
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
        reader.join(timeout=5)  # a process killed while it reported leaves half a message behind


def _start(steps: "multiprocessing.SimpleQueue[int]", threads: int) -> None:
    """Prepare a worker process, and let it end with its parent, which nobody else would make it do."""
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
