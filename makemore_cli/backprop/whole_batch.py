"""The place where the training pass meets the rest of its batch, if several processes share it.

One process has the whole batch, and there is nothing to exchange. `distributed/shared_batch.py` has the same functions
for a process that has some of the examples.
"""

from __future__ import annotations

from jaxtyping import Float
from torch import Tensor


class WholeBatch:
    """A batch that one process has as a whole: all of its sums are complete."""

    def examples(self, here: int) -> int:
        """The number of examples in the batch, given the number of those that this process has."""
        return here

    def centred(
        self, mean: Float[Tensor, "1 hidden"], bndiff: Float[Tensor, "here hidden"]
    ) -> tuple[Float[Tensor, "1 hidden"], Float[Tensor, "here hidden"], Float[Tensor, "1 hidden"]]:
        """The batch's mean, the deviations from it, and the sum of their squares over the batch.

        They are computed from the mean of the examples here, and from the deviations from that mean.
        """
        return mean, bndiff, bndiff.square().sum(0, keepdim=True)  # torch.var takes seven times as long

    def summed(self, first: Tensor, second: Tensor) -> tuple[Tensor, Tensor]:
        """The sums of two tensors over all processes."""
        return first, second

    def exchange(self, loss: Float[Tensor, ""], gradient: Float[Tensor, " parameters"]) -> Float[Tensor, ""]:
        """The batch's loss; the gradient becomes that of the batch, in place. Both are sums over all processes."""
        return loss


WHOLE = WholeBatch()
