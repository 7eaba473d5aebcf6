"""The processes of `torchrun` that train together."""

import os
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass

import torch
import torch.distributed as dist
from torch import Tensor, nn
from torch.nn.parallel import DistributedDataParallel

from attnlab.arrays import Images
from attnlab.errors import UserError
from attnlab.failures import one_line
from attnlab.shards import launched
from attnlab.words import counted


@dataclass(frozen=True)
class ProcessGroup:
    """One of `size` processes that train one model, each on its share of every batch, on a device of its own."""

    rank: int = 0
    size: int = 1
    device: torch.device | None = None

    @property
    def first(self) -> bool:
        """Whether this process writes files and reports progress."""
        return self.rank == 0

    def part(self, batch_size: int) -> slice:
        """This process's rows of a batch."""
        if batch_size % self.size:
            raise UserError(
                f"expected a --batch-size that {counted(self.size, 'process')} can share evenly, got {batch_size}"
            )
        rows = batch_size // self.size
        return slice(self.rank * rows, (self.rank + 1) * rows)

    def share(self, order: Sequence[int], batch_size: int) -> list[int]:
        """This process's images: of each batch of the order its own part."""
        part = self.part(batch_size)
        return [index for at in range(0, len(order), batch_size) for index in order[at : at + batch_size][part]]

    def total(self, values: Tensor) -> Tensor:
        """Sum of the values over the processes."""
        if self.size > 1:
            values = values.to(self.device)
            dist.all_reduce(values)
        return values

    def largest(self, value: int) -> int:
        """The largest value of any process."""
        if self.size == 1:
            return value
        values = torch.tensor(value, device=self.device)
        dist.all_reduce(values, dist.ReduceOp.MAX)
        return int(values)

    def agree(self, value: int) -> bool:
        """Whether all processes have the same value."""
        return self.largest(value) == -self.largest(-value)

    def wait(self) -> None:
        """Wait until all processes have come here."""
        self.largest(0)

    def on_rank_zero(self, act: Callable[[], None]) -> None:
        """Act on rank zero; a UserError there is raised in every process, so that none waits in vain."""
        refused: list[UserError | None] = [None]
        if self.first:
            try:
                act()
            except UserError as error:
                refused = [error]
        if self.size > 1:
            dist.broadcast_object_list(refused, device=self.device)
        if refused[0] is not None:
            raise refused[0]

    def share_norms(self, network: nn.Module) -> None:
        """Let batch norms in train mode take their statistics from all processes' images, so that a batch is one batch.

        torch has such norms on CUDA only; elsewhere, and for classes derived from torch's own (timm has some, with an
        activation inside), each process normalises by its share of the batch. Parameters and names stay as they are.
        Tests train with such norms' kernels written out for the CPU; for want of two GPUs none has seen the real ones.
        """
        if self.size == 1 or self.device is None or self.device.type != "cuda":
            return
        for module in list(network.modules()):
            for name, norm in list(module.named_children()):
                if type(norm) in (nn.BatchNorm1d, nn.BatchNorm2d, nn.BatchNorm3d):
                    setattr(module, name, nn.SyncBatchNorm.convert_sync_batchnorm(norm))  # type: ignore[no-untyped-call]

    def draws_like(self, images: Images, seed: int) -> Tensor:
        """This process's share of a batch's random numbers, uniform in [0, 1), one for each value of its images."""
        generator = torch.Generator(images.device).manual_seed(seed)
        for _ in range(self.rank + 1):  # those before are other processes'
            draws = torch.rand(images.shape, generator=generator, device=images.device)
        return draws

    def wrap(self, step: nn.Module) -> nn.Module:
        """The step under DDP, to be let go before the processes part.

        Were DDP the last to hold gloo's group, it would end that group's thread with Python's lock in hand, for which
        the thread may be waiting.
        """
        wrapped = DistributedDataParallel(step, static_graph=True)  # parameters may be unused: an auxiliary head's
        wrapped.broadcast_buffers = False  # `share_buffers` does it, before the attack
        return wrapped

    def share_buffers(self, module: nn.Module) -> None:
        """Give every process the first one's buffers, which are running statistics: one attacks what another saves."""
        buffers = [buffer for buffer in module.buffers() if buffer.is_floating_point()]
        if self.size == 1 or not buffers:
            return
        together = torch.cat([buffer.flatten() for buffer in buffers])
        dist.broadcast(together, 0)
        for buffer in buffers:
            buffer.copy_(together[: buffer.numel()].view_as(buffer))
            together = together[buffer.numel() :]


@contextmanager
def world(device: torch.device) -> Iterator[ProcessGroup]:
    """Join the processes that torchrun started, if it did; leave them at the end, which a lost one makes an error."""
    if launched() == 1:
        yield ProcessGroup(device=device)
        return
    if device.type == "cuda":  # pragma: only on CUDA
        torch.cuda.set_device(device)
    store, rank, size = next(dist.rendezvous("env://"))  # type: ignore[attr-defined]
    # torchrun keeps its store over restarts: without a prefix a process would read addresses of those that have died
    store = dist.PrefixStore(f"attempt-{os.environ.get('TORCHELASTIC_RESTART_COUNT', 0)}", store)  # type: ignore[attr-defined]
    dist.init_process_group("nccl" if device.type == "cuda" else "gloo", store=store, rank=rank, world_size=size)
    try:
        yield ProcessGroup(rank, size, device)
    except RuntimeError as error:
        reason = one_line(error)
        if not (isinstance(error, dist.DistError) or "gloo/transport" in reason):
            raise
        raise UserError(
            f"another process of this training ended, and this one with it ({reason}); what is saved is kept: repeat "
            "the command to resume, or let torchrun do so with --max-restarts"
        ) from None
    finally:
        dist.destroy_process_group()
