"""What people get wrong when they share a batch between processes."""

from __future__ import annotations

from torch import Tensor

from makemore_cli.distributed.exchange import in_order
from makemore_cli.distributed.shared_batch import SharedBatch


class LocalCount(SharedBatch):
    """The number of examples here in place of that of the batch."""

    def examples(self, here: int) -> int:
        return max(here, 2)


class LocalVariance(SharedBatch):
    """Batchnorm over the examples here only, as without synchronisation."""

    def centred(self, mean: Tensor, bndiff: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        squares = bndiff.square().sum(0, keepdim=True)
        return mean, bndiff, squares * (self.n - 1) / max(len(bndiff) - 1, 1)


class MeanWithoutSpread(SharedBatch):
    """The squares are added, but not the spread of the ranks' means."""

    def centred(self, mean: Tensor, bndiff: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        bnmean, centred, _ = super().centred(mean, bndiff.clone())
        own = bndiff.square().sum(0, keepdim=True)
        return bnmean, centred, in_order(self._exchange.gather(own))


class EqualWeights(SharedBatch):
    """The ranks' means are averaged, although their shares differ in size."""

    def centred(self, mean: Tensor, bndiff: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        here = len(bndiff)
        bnmean = in_order(self._exchange.gather(mean if here else mean.new_zeros(mean.shape))) / self._exchange.ranks
        centred = bndiff + (mean - bnmean) if here else bndiff
        return bnmean, centred, in_order(self._exchange.gather(centred.square().sum(0, keepdim=True)))


class LocalSums(SharedBatch):
    """The backward pass of batchnorm sums over the examples here only."""

    def summed(self, first: Tensor, second: Tensor) -> tuple[Tensor, Tensor]:
        return first, second


class AveragedByRank(SharedBatch):
    """Gradients are averaged over the ranks, as for losses that are means over each rank's own examples."""

    def exchange(self, loss: Tensor, gradient: Tensor) -> Tensor:
        total = super().exchange(loss, gradient)
        gradient.div_(self._exchange.ranks)
        return total


class GainSummedTwice(SharedBatch):
    """The gain's and the bias's gradients, summed for dhprebn already, are summed once more with the others."""

    def summed(self, first: Tensor, second: Tensor) -> tuple[Tensor, Tensor]:
        one, two = super().summed(first, second)
        first.copy_(one)
        second.copy_(two)
        return one, two


WRONG: tuple[type[SharedBatch], ...] = (
    LocalCount,
    LocalVariance,
    MeanWithoutSpread,
    EqualWeights,
    LocalSums,
    AveragedByRank,
    GainSummedTwice,
)
