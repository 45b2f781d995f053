"""Exchanges of tensors between processes, by torch.distributed: gloo on the CPU, NCCL on CUDA.

Sums are in the order of ranks. An all-reduce of the library may add in another order for another message size.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from datetime import timedelta
from typing import TypeVar

import torch
import torch.distributed as dist
from torch import Tensor

from makemore_cli.distributed.meeting import Meeting

GATHERED_RANKS = 2  # up to so many, each rank gets all the others' gradients; with more, a part of the parameters

T = TypeVar("T")


class Exchange:
    """The group of processes that train together."""

    def __init__(self, meeting: Meeting, device: str) -> None:
        """`device` is cpu or cuda. Raises LostRankError if the group can't form."""
        self.meeting, self.rank, self.ranks = meeting, meeting.place.rank, meeting.place.ranks
        self.done = 0  # exchanges begun
        meeting.progress = lambda: self.done
        self._try(
            lambda: dist.init_process_group(
                "nccl" if device == "cuda" else "gloo",
                store=dist.PrefixStore("group", meeting.store),  # type: ignore[attr-defined]
                rank=self.rank,
                world_size=self.ranks,
                timeout=timedelta(seconds=meeting.place.patience),
            )
        )

    def gather(self, own: Tensor) -> Tensor:
        """The tensors of all ranks, (ranks, …). All have the same shape."""
        every = own.new_empty((self.ranks, *own.shape))
        self._try(lambda: dist.all_gather(list(every.unbind(0)), own.contiguous()))
        return every

    def spread(self, own: Tensor) -> Tensor:
        """Give row r of `own` (ranks, …) to rank r; the rows that all ranks gave to this one, (ranks, …)."""
        given = torch.empty_like(own)
        self._try(lambda: dist.all_to_all_single(given, own))
        return given

    def sum_with(self, flat: Tensor, one: Tensor) -> Tensor:
        """The sum of `one`, a single number, over all ranks; that of `flat` takes its place."""
        if self.ranks <= GATHERED_RANKS:
            total = in_order(self.gather(torch.cat((flat, one.view(1)))))
        else:  # each rank adds up a part, and all get it: 2 · flat instead of ranks · flat to receive
            part = -(-(len(flat) + 1) // self.ranks)
            own = flat.new_zeros((self.ranks, part))
            own.view(-1)[: len(flat)], own.view(-1)[len(flat)] = flat, one
            total = self.gather(in_order(self.spread(own))).view(-1)
        flat.copy_(total[: len(flat)])
        return total[len(flat)].clone()

    def broadcast(self, tensors: Sequence[Tensor]) -> None:
        """Give rank 0's tensors to all ranks, in place."""
        self._try(lambda: [dist.broadcast(tensor, 0) for tensor in tensors])

    def close(self) -> None:
        """Leave the group."""
        if dist.is_initialized():
            dist.destroy_process_group()

    def _try(self, action: Callable[[], T]) -> T:
        """Raises LostRankError if a rank is lost meanwhile."""
        self.done += 1
        try:
            return action()
        except RuntimeError as error:
            if "memory" in str(error):
                raise
            raise self.meeting.lost() from None


def in_order(parts: Tensor) -> Tensor:
    """The sum over the first dimension, in its order."""
    total = parts[0].clone()
    for part in parts[1:]:
        total.add_(part)
    return total


@contextmanager
def exchange(meeting: Meeting, device: str) -> Iterator[Exchange]:
    """The group, for a time."""
    group = Exchange(meeting, device)
    try:
        yield group
    finally:
        group.close()
