"""A batch whose examples are spread over processes: what they exchange within a step, and nothing else.

Three exchanges a step: batchnorm's mean and squares in the forward pass; batchnorm's two sums in the backward pass; and
the gradient, with the loss. All sums are in the order of ranks, on every rank alike, so all ranks hold the same bits.
"""

from __future__ import annotations

import torch
from jaxtyping import Float
from torch import Tensor

from makemore_cli.backprop.whole_batch import WholeBatch
from makemore_cli.distributed.exchange import Exchange, in_order


def share(examples: int, ranks: int) -> list[range]:
    """The examples of each rank: consecutive, and as many for each as possible. Some may have none."""
    fewest, more = divmod(examples, ranks)
    stops = [(rank + 1) * fewest + min(rank + 1, more) for rank in range(ranks)]
    return [range(start, stop) for start, stop in zip([0, *stops], stops, strict=False)]


class SharedBatch(WholeBatch):
    """The batch of a step, of which this process has some examples, or none."""

    def __init__(self, exchange: Exchange, examples: int) -> None:
        """`examples` is the number of examples in the whole batch."""
        self._exchange, self.n = exchange, examples
        shares = share(examples, exchange.ranks)
        self.counts = [len(one) for one in shares]
        self.rows = slice(shares[exchange.rank].start, shares[exchange.rank].stop)  # the examples of this process

    def examples(self, here: int) -> int:
        return self.n

    def centred(
        self, mean: Float[Tensor, "1 hidden"], bndiff: Float[Tensor, "here hidden"]
    ) -> tuple[Float[Tensor, "1 hidden"], Float[Tensor, "here hidden"], Float[Tensor, "1 hidden"]]:
        """The mean, the deviations and their squares' sum of the batch, from those of each rank's examples.

        A rank with m examples, whose mean is mᵢ, adds m · (mᵢ − mean)² to its own squares (Chan, Golub and LeVeque,
        "Updating formulae and a pairwise algorithm for computing sample variances", 1979). So nothing cancels, as it
        would in the difference of Σx² and n · mean².
        """
        here = len(bndiff)
        own = mean.new_zeros((2, mean.shape[1]))
        if here:
            own[0], own[1] = mean[0], bndiff.square().sum(0)
        means, squares = self._exchange.gather(own).unbind(1)  # (ranks, hidden) each
        total = means[0] * (self.counts[0] / self.n)
        for count, one in zip(self.counts[1:], means[1:], strict=True):
            total = total.add_(one, alpha=count / self.n)
        bnmean = total[None]
        both = in_order(squares)[None]
        for count, one in zip(self.counts, means, strict=True):
            both = both.addcmul_(one - bnmean, one - bnmean, value=count)
        return bnmean, bndiff.add_(mean - bnmean) if here else bndiff, both

    def summed(self, first: Tensor, second: Tensor) -> tuple[Tensor, Tensor]:
        one, two = in_order(self._exchange.gather(torch.stack((first, second)))).unbind(0)
        return one, two

    def exchange(self, loss: Float[Tensor, ""], gradient: Float[Tensor, " parameters"]) -> Float[Tensor, ""]:
        return self._exchange.sum_with(gradient, loss)
