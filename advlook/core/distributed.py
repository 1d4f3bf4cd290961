"""Data parallelism: how processes, which `torchrun` starts, share batches and combine their results."""

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

Device = torch.device | str
Value = TypeVar("Value")
TIMEOUT = timedelta(hours=1)  # of every wait for other processes: the leader may have to decode the images first


@dataclass(frozen=True)
class Group:
    """The processes that work together: this one has number `rank`, from 0, of `size`."""

    rank: int = 0
    size: int = 1

    @property
    def leads(self) -> bool:
        """Whether this process writes the files and prints."""
        return self.rank == 0

    def share(self, count: int) -> slice:
        """This process's part of `count` consecutive items: disjoint from the others' and equal in size to within 1."""
        return slice(count * self.rank // self.size, count * (self.rank + 1) // self.size)

    def dealt(self, count: int, batch_size: int) -> Tensor:
        """Indices, int64, of this process's items of `count`: every `size`-th batch of `batch_size`, each whole."""
        batches = torch.arange(count).split(batch_size)[self.rank :: self.size]
        return torch.cat(batches) if batches else torch.arange(0)

    def total(self, values: Tensor) -> Tensor:
        """The sum of a tensor over all processes, elementwise."""
        if self.size > 1:
            values = values.clone()
            dist.all_reduce(values)
        return values

    def gathered(self, value: Value) -> list[Value]:
        """The values of all processes, by rank, known to each of them."""
        values = [value] * self.size
        if self.size > 1:
            dist.all_gather_object(values, value)
        return values

    @contextmanager
    def leader_first(self) -> Iterator[None]:
        """The leader executes the block before the others, which find on disk what it wrote."""
        if not self.leads:
            self.gathered(None)
        yield
        if self.leads:
            self.gathered(None)

    def told(self, value: Value) -> Value:
        """The leader's value, known to all processes; the others' values are ignored."""
        values = [value]
        if self.size > 1:
            dist.broadcast_object_list(values)
        return values[0]


ALONE = Group()


@contextmanager
def joined() -> Iterator[Group]:
    """The group that torchrun started, else `ALONE`; with GPUs, each process gets that of its local rank."""
    if int(os.environ.get("WORLD_SIZE", 1)) == 1:
        yield ALONE
        return
    cuda = torch.cuda.is_available()
    if cuda:
        torch.cuda.set_device(int(os.environ["LOCAL_RANK"]))
    store, rank, size = next(rendezvous("env://", timeout=TIMEOUT))
    if os.environ.get("TORCHELASTIC_USE_AGENT_STORE") == "True":
        # torchrun keeps its store when it restarts processes, and in it the addresses of those that died.
        store = dist.PrefixStore(f"start {os.environ['TORCHELASTIC_RESTART_COUNT']}", store)
    dist.init_process_group("nccl" if cuda else "gloo", store=store, rank=rank, world_size=size, timeout=TIMEOUT)
    try:
        yield Group(rank, size)
    finally:
        dist.destroy_process_group()


def first_to_fail() -> bool:
    """Whether this process of those that torchrun started is the first to call this: one reports an error for all."""
    if int(os.environ.get("WORLD_SIZE", 1)) == 1:
        return True
    try:  # torchrun's store, in which processes find each other
        store = dist.TCPStore(os.environ["MASTER_ADDR"], int(os.environ["MASTER_PORT"]), timeout=timedelta(seconds=5))
    except dist.DistNetworkError:
        return True  # rather twice than never
    return store.add(f"advlook failed {os.environ.get('TORCHELASTIC_RESTART_COUNT')}", 1) == 1


class _Summed(torch.autograd.Function):
    """The sum of a tensor over all processes; every process's part receives the gradients of all."""

    @staticmethod
    def forward(context: object, values: Tensor) -> Tensor:
        values = values.clone(memory_format=torch.contiguous_format)
        dist.all_reduce(values)
        return values

    @staticmethod
    def backward(context: object, gradient: Tensor) -> Tensor:
        return _Summed.forward(context, gradient)


class SharedBatchNorm2d(nn.BatchNorm2d):
    """Batch normalisation by the mean and variance over all processes; `nn.SyncBatchNorm` does it on GPUs alone."""

    def forward(self, maps: Tensor) -> Tensor:
        """Maps `(n, C, H, W)` normalised over all processes' images; in eval mode by the running statistics."""
        if not self.training:
            return super().forward(maps)
        values = at_least_float32(maps)
        count = values.new_tensor([values.numel() // values.shape[1]])
        sums = _Summed.apply(torch.cat([values.sum((0, 2, 3)), count]))
        mean = sums[:-1] / sums[-1]
        centred = values - mean[:, None, None]
        # Squares are summed about the mean: the mean square minus the squared mean would cancel most digits.
        variance = _Summed.apply(centred.square().sum((0, 2, 3))) / sums[-1]
        if self.track_running_stats:
            with torch.no_grad():
                self.num_batches_tracked += 1
                self.running_mean.lerp_(mean, self.momentum)
                self.running_var.lerp_(variance * sums[-1] / (sums[-1] - 1), self.momentum)
        scale = self.weight * torch.rsqrt(variance + self.eps)
        return (centred * scale[:, None, None] + self.bias[:, None, None]).to(maps.dtype)


def share_statistics(model: nn.Module, device: torch.device) -> nn.Module:
    """Let the model, in place, normalise over all processes' images, so that a step is that of one process."""
    if device.type == "cuda":
        return nn.SyncBatchNorm.convert_sync_batchnorm(model)
    for module in model.modules():
        if type(module) is nn.BatchNorm2d:
            module.__class__ = SharedBatchNorm2d
    return model
