"""Several processes that do one run together: who is who, what each takes, what all of them get.

They are the processes of torch's process group; without one a process is alone, and everything
here gives back what it got. The processes share the passes of samples through the model and hold
the same arrays otherwise, from which each computes the same. The first of them writes.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import timedelta
from typing import Any

import torch
import torch.distributed as dist
from torch import Tensor
from torch.autograd.function import FunctionCtx

from cgcd.vocabulary import InputError

_PATIENCE = timedelta(minutes=30)  # for a process that neither answers nor ends


def num_processes() -> int:
    """How many do this run; 1 without a process group."""
    return dist.get_world_size() if dist.is_available() and dist.is_initialized() else 1


def own_number() -> int:
    """Number of this process, from 0 on."""
    return dist.get_rank() if num_processes() > 1 else 0


def is_first() -> bool:
    """This process writes and speaks for all."""
    return own_number() == 0


def own_device(device: torch.device) -> torch.device:
    """The device itself; of several processes on CUDA each takes the card of its number.

    Raises:
        InputError: if one card is named for all of them.
    """
    if num_processes() == 1 or device.type != "cuda":
        return device
    if device.index is not None:
        raise InputError(
            f"device={device} is one card for {num_processes()} processes; wanted one each: set "
            "device=cuda"
        )
    own = torch.device("cuda", dist.get_node_local_rank())
    torch.cuda.set_device(own)
    return own


@contextmanager
def joined() -> Iterator[None]:
    """Inside, the processes that torchrun has started are one group: gloo on a CPU, NCCL on CUDA.

    Whoever leaves by an error does not wait for the others, so that none waits for it.

    Raises:
        InputError: if another process is gone or does not answer.
    """
    devices = torch.cuda.is_available() and dist.is_nccl_available()
    dist.init_process_group("cpu:gloo,cuda:nccl" if devices else "gloo", timeout=_PATIENCE)
    try:
        yield
    except RuntimeError as error:
        if not _is_lost(error):
            raise
        raise InputError(
            f"process {own_number()} of {num_processes()} waits in vain for another one, which "
            "has ended or does not answer; its own message says why: start all of them again, the "
            "run goes on from its last checkpoint"
        ) from error
    dist.destroy_process_group()


def _is_lost(error: RuntimeError) -> bool:
    """The error is about the others: gloo's has no class of its own."""
    words = ("gloo", "Connection closed", "Connection reset", "Broken pipe", "Timed out")
    return isinstance(error, dist.DistError) or any(word in str(error) for word in words)


def wait_for_all() -> None:
    """Go on when every process has come here."""
    if num_processes() > 1:
        dist.all_reduce(torch.zeros(1))


# -------------------------------------------------------------------- shares


def share(count: int) -> slice:
    """Which of so many rows are this process's: neighbors, as many as others have or one more.

    Raises:
        InputError: if there are fewer rows than processes.
    """
    number, processes = own_number(), num_processes()
    if count < processes:
        raise InputError(
            f"a batch of {count} samples has none for some of {processes} processes; set drop_last="
            "true or a larger batch_size in the recipe, or start fewer processes"
        )
    return slice(number * count // processes, (number + 1) * count // processes)


@dataclass(frozen=True)
class Deal:
    """The batches of one pass, dealt to the processes in turn, whole.

    A batch is what it would be for one process, so what comes of it has the same bits.

    Attributes:
        batches: places of the samples, batch by batch.
    """

    batches: list[list[int]]

    @property
    def own(self) -> list[list[int]]:
        """The batches of this process."""
        return self._hands()[own_number()]

    def joined(self, own: Tensor) -> Tensor:
        """Rows of all samples in the order of the batches, (N, ...), from those of the own ones."""
        if num_processes() == 1:
            return own
        hands = self._hands()
        rows = gathered(own, [sum(map(len, hand)) for hand in hands])
        places = [place for hand in hands for batch in hand for place in batch]
        return rows[torch.tensor(places).argsort().to(rows.device)]

    def _hands(self) -> list[list[list[int]]]:
        return [self.batches[number :: num_processes()] for number in range(num_processes())]


# -------------------------------------------------------------------- exchange


def row_counts(own: int) -> list[int]:
    """How many rows each process has."""
    counts = torch.empty(num_processes(), dtype=torch.int64)
    dist.all_gather_into_tensor(counts, torch.tensor([own]))
    return counts.tolist()


def gathered(own: Tensor, counts: Sequence[int]) -> Tensor:
    """Rows of all processes in the order of their numbers, (sum of `counts`, ...), with gradient.

    The gradient is that of a loss which every process computes from all rows: each gives its own
    rows theirs, so the gradients of the processes' parameters add up to that of the loss. They come
    `num_processes()` times as large, for `DistributedDataParallel` takes the mean of processes.

    Args:
        own: rows of this process, (n, ...), as many as `counts` says.
        counts: rows of each process.
    """
    return _Gathered.apply(own, counts)


class _Gathered(torch.autograd.Function):
    @staticmethod
    def forward(ctx: FunctionCtx, own: Tensor, counts: Sequence[int]) -> Tensor:
        ctx.counts = counts  # type: ignore[attr-defined]
        longest, processes = max(counts), len(counts)
        padded = own.new_zeros(longest, *own.shape[1:])
        padded[: len(own)] = own
        everything = own.new_empty(processes * longest, *own.shape[1:])
        dist.all_gather_into_tensor(everything, padded)
        blocks = everything.split(longest)
        return torch.cat([block[:n] for block, n in zip(blocks, counts, strict=True)])

    @staticmethod
    def backward(ctx: Any, gradient: Tensor) -> tuple[Tensor, None]:
        start = sum(ctx.counts[: own_number()])
        own = gradient[start : start + ctx.counts[own_number()]]
        return own * len(ctx.counts), None


@torch.no_grad()
def take_from_first(tensors: Mapping[str, Tensor]) -> None:
    """Give these tensors the values that they have in the first process, bit for bit, in place.

    Raises:
        InputError: in all processes, if one has other names, types or shapes.
    """
    if num_processes() == 1:
        return
    shapes = [(name, tensor.dtype, tuple(tensor.shape)) for name, tensor in tensors.items()]
    digest = hashlib.blake2b(repr(shapes).encode(), digest_size=7).digest()
    kinds = row_counts(int.from_bytes(digest, "little"))
    if len(set(kinds)) > 1:
        raise InputError(
            "the processes came to models of different shapes, which equal machines and library "
            "versions do not: start all of them in one environment, or give num_novel=<number>"
        )
    bytes_of = [
        tensor.detach().cpu().contiguous().reshape(-1).view(torch.uint8)
        for tensor in tensors.values()
    ]
    whole = torch.cat(bytes_of)
    dist.broadcast(whole, src=0)
    parts = whole.split([len(part) for part in bytes_of])
    for tensor, part in zip(tensors.values(), parts, strict=True):
        tensor.copy_(part.clone().view(tensor.dtype).reshape(tensor.shape))
