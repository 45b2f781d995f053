"""A training step as a CUDA graph: its operations are recorded once; then one call launches them all.

The step of a small batch is about fifty short operations. Launched one by one from Python, they would keep the GPU
waiting.

A recording holds the addresses of the tensors that the operations read and write, and all numbers among their
arguments. So the step reads a batch and the update's factors from the same tensors each time, into which they are
copied before it is replayed, and it changes the parameters in place.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence

import torch
from torch import Tensor

from makemore_cli.errors import ParameterError

WARM_UPS = 3  # calls before the recording, in which the libraries allocate what they keep

Recorder = Callable[[Callable[[], Tensor], torch.device], tuple[Callable[[], None], Tensor]]


class RecordedStep:
    """A function of tensors, recorded for inputs of the same shapes. Each call replays it."""

    def __init__(self, step: Callable[..., Tensor], inputs: Sequence[Tensor], recorder: Recorder) -> None:
        """Recording also calls the step. `inputs` are examples, which this object then keeps for itself."""
        self._inputs = inputs
        self._replay, self._result = recorder(lambda: step(*inputs), inputs[0].device)

    def __call__(self, *inputs: Tensor) -> Tensor:
        for place, given in zip(self._inputs, inputs, strict=True):
            place.copy_(given)
        self._replay()
        return self._result.clone()  # the next replay overwrites it


def record(work: Callable[[], Tensor], device: torch.device) -> tuple[Callable[[], None], Tensor]:
    """Record the CUDA operations of `work` after calling it a few times. Returns what replays them, and their result.

    Raises ParameterError if they can't be recorded.
    """
    with torch.cuda.device(device):
        stream, current = torch.cuda.Stream(), torch.cuda.current_stream()  # type: ignore[no-untyped-call]
        stream.wait_stream(current)
        with torch.cuda.stream(stream):
            for _ in range(WARM_UPS):
                work()
        current.wait_stream(stream)
        graph = torch.cuda.CUDAGraph()
        try:
            # Other threads may use the GPU meanwhile.
            with torch.cuda.graph(graph, stream=stream, capture_error_mode="thread_local"):
                result = work()
        except RuntimeError as error:
            reason = " ".join(str(error).split())
            raise ParameterError(
                "train.engine", f"tensor can't record its step as a CUDA graph: {reason}; choose autograd, or the CPU"
            ) from error
    return graph.replay, result
