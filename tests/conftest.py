"""What all tests share: one thread, so that they may run beside other work and give the same bits everywhere; the same
random draws in every run; and the order of their files.
"""

import random

import numpy as np
import pytest
import torch

import advlook  # noqa: F401 (first of all, for it makes torchvision importable)


@pytest.fixture(autouse=True, scope="session")
def _one_thread():
    torch.set_num_threads(1)


@pytest.fixture(autouse=True)
def _same_draws_in_every_run():
    """A test that fails by the weights it drew would otherwise fail in one run of hundreds, and never when asked."""
    for seed in (random.seed, np.random.seed, torch.manual_seed):
        seed(0)


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Files with slow tests and notebooks first: begun last, one would keep a core busy while the other waits."""
    slow = {item.path for item in items if item.get_closest_marker("slow") or item.path.suffix == ".ipynb"}
    items.sort(key=lambda item: item.path not in slow)
