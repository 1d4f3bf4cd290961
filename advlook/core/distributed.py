"""Several processes that work as one: what each of them takes on, and how their results come together.

`torchrun` starts the processes and tells each its place by environment variables; a process that it did not start is
alone, and nothing here costs it anything. On GPUs they talk through NCCL, each with a device of its own; on the CPU
through gloo, so that all of it can be tried, and is tested, without a GPU.
"""

import os
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import timedelta
from typing import TypeVar

import torch
import torch.distributed as dist
from torch import Tensor, nn
from torch.distributed.rendezvous import rendezvous

from advlook.core.gradients import at_least_float32

Value = TypeVar("Value")
PATIENCE = timedelta(hours=1)  # that processes wait for each other: the leading one may have images to decode first


@dataclass(frozen=True)
class Group:
    """The processes that work together: `rank`, from 0, is this one's number, and `size` how many they are."""

    rank: int = 0
    size: int = 1

    @property
    def leads(self) -> bool:
        """Whether this is the process that writes files and speaks to the user."""
        return self.rank == 0

    def share(self, count: int) -> slice:
        """This process's part of `count` things in a row: all are dealt, none twice, sizes differ by one at most."""
        return slice(count * self.rank // self.size, count * (self.rank + 1) // self.size)

    def dealt(self, count: int, batch_size: int) -> Tensor:
        """Numbers, int64, of the things that this process takes of `count`: every `size`-th batch of `batch_size`.

        A batch is dealt whole, so that what is computed of it does not depend on how many processes there are.
        """
        batches = torch.arange(count).split(batch_size)[self.rank :: self.size]
        return torch.cat(batches) if batches else torch.arange(0)

    def total(self, values: Tensor) -> Tensor:
        """The sum of a tensor over all processes, elementwise."""
        if self.size > 1:
            values = values.clone()
            dist.all_reduce(values)
        return values

    def gathered(self, value: Value) -> list[Value]:
        """What every process gives, by rank, known to all of them."""
        values: list[Value | None] = [None] * self.size
        if self.size == 1:
            return [value]
        dist.all_gather_object(values, value)
        return values

    @contextmanager
    def leader_first(self) -> Iterator[None]:
        """The leading process goes through the block before the others: what it leaves on disk is there for them."""
        if not self.leads:
            self.gathered(None)
        yield
        if self.leads:
            self.gathered(None)

    def told(self, value: Value) -> Value:
        """What the leading process gives, known to all: what the others give does not matter."""
        values = [value]
        if self.size > 1:
            dist.broadcast_object_list(values)
        return values[0]


ALONE = Group()


@contextmanager
def joined() -> Iterator[Group]:
    """The group of this process within the block: what torchrun says it belongs to, else itself alone.

    With GPUs, each process of a machine gets the one of its number there.
    """
    if int(os.environ.get("WORLD_SIZE", 1)) == 1:
        yield ALONE
        return
    cuda = torch.cuda.is_available()
    if cuda:
        torch.cuda.set_device(int(os.environ["LOCAL_RANK"]))
    store, rank, size = next(rendezvous("env://", timeout=PATIENCE))
    if os.environ.get("TORCHELASTIC_USE_AGENT_STORE") == "True":
        # torchrun's own, which it keeps when it starts processes anew, and in it the addresses of those that died.
        store = dist.PrefixStore(f"start {os.environ['TORCHELASTIC_RESTART_COUNT']}", store)
    dist.init_process_group("nccl" if cuda else "gloo", store=store, rank=rank, world_size=size, timeout=PATIENCE)
    try:
        yield Group(rank, size)
    finally:
        dist.destroy_process_group()


class _Summed(torch.autograd.Function):
    """The sum of a tensor over all processes; so every process's part has in its gradient those of all."""

    @staticmethod
    def forward(context: object, values: Tensor) -> Tensor:
        values = values.clone()
        dist.all_reduce(values)
        return values

    @staticmethod
    def backward(context: object, gradient: Tensor) -> Tensor:
        gradient = gradient.contiguous().clone()
        dist.all_reduce(gradient)
        return gradient


class SharedBatchNorm2d(nn.BatchNorm2d):
    """Batch normalisation by the mean and variance of the batches of all processes, for the CPU.

    torch's own `nn.SyncBatchNorm` is the same for GPUs, and for them alone.
    """

    def forward(self, maps: Tensor) -> Tensor:
        """Maps `(n, C, H, W)` normalised over all processes' images; in eval mode by the running statistics."""
        if not self.training:
            return super().forward(maps)
        values = at_least_float32(maps)
        count = values.new_tensor([values.numel() // values.shape[1]])
        sums = _Summed.apply(torch.cat([values.sum((0, 2, 3)), count]))
        mean = sums[:-1] / sums[-1]
        centred = values - mean[:, None, None]
        # A second sum, of squares about the mean: a mean of squares less a squared mean loses the digits of both.
        variance = _Summed.apply(centred.square().sum((0, 2, 3))) / sums[-1]
        if self.track_running_stats:
            with torch.no_grad():
                self.num_batches_tracked += 1
                self.running_mean.lerp_(mean, self.momentum)
                self.running_var.lerp_(variance * sums[-1] / (sums[-1] - 1), self.momentum)
        scale = self.weight * torch.rsqrt(variance + self.eps)
        return (centred * scale[:, None, None] + self.bias[:, None, None]).to(maps.dtype)


def share_statistics(model: nn.Module, device: torch.device) -> nn.Module:
    """The model, changed in place, with batch normalisation over all processes' images: same weights, same names.

    So a step computes what one process would compute of the whole batch, however many share it.
    """
    if device.type == "cuda":
        return nn.SyncBatchNorm.convert_sync_batchnorm(model)
    for module in model.modules():
        if type(module) is nn.BatchNorm2d:
            module.__class__ = SharedBatchNorm2d
    return model
