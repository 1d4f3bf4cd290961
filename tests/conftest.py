"""What all tests share: one thread, so that they may run beside other work and give the same bits everywhere."""

import pytest
import torch

import advlook  # noqa: F401 (first of all, for it makes torchvision importable)


@pytest.fixture(autouse=True, scope="session")
def _one_thread():
    torch.set_num_threads(1)
