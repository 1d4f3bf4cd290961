"""Processes that are started as torchrun starts them.

They are forked from one that has imported torch: importing it in each would take longer than all the rest.
"""

import multiprocessing
import os
import signal
import sys

import pytest
from torch.distributed.elastic.multiprocessing import DefaultLogsSpecs, Std
from torch.distributed.launcher.api import LaunchConfig, elastic_launch

PATH = os.pathsep.join(sys.path)
SIGNALS = (signal.SIGTERM, signal.SIGINT, signal.SIGHUP, signal.SIGQUIT)


def launch(folder, function, *arguments, processes, restarts=0):
    """Call a function of an importable module in so many processes; ChildFailedError where they fail for good.

    What they print lies in files stdout.log and stderr.log below folder/logs.
    """
    multiprocessing.set_forkserver_preload(["together"])
    config = LaunchConfig(
        min_nodes=1,
        max_nodes=1,
        nproc_per_node=processes,
        max_restarts=restarts,
        rdzv_backend="c10d",
        rdzv_endpoint="localhost:0",
        start_method="forkserver",
        logs_specs=DefaultLogsSpecs(str(folder / "logs"), Std.ALL),
    )
    handlers = {number: signal.getsignal(number) for number in SIGNALS}  # the agent installs its own
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("PYTHONPATH", PATH)
        try:
            elastic_launch(config, function)(*arguments)
        finally:
            for number, handler in handlers.items():
                signal.signal(number, handler)


def printed(folder, stream="stdout"):
    """What each process of `launch` printed."""
    return [path.read_text() for path in (folder / "logs").rglob(f"{stream}.log")]
