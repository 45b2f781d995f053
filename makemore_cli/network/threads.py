"""The number of threads that PyTorch uses for a network."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

import torch

from makemore_cli.network.parameters import Parameters

# Multiplications in one forward pass. Measured on two cores: one thread is as fast or faster at 365,000 (the lecture's
# B = 32, H = 200), two are 10 % faster at 1,500,000 (B = 128) and 40 % at 22,000,000.
SHARED_MULTIPLICATIONS = 2_000_000


@contextmanager
def threads(parameters: Parameters, batch_size: int, count: int | None = None) -> Iterator[None]:
    """Have PyTorch use `count` threads; if it is None, a single one if a batch is too small to be shared.

    A second thread gains nothing there, and if another program uses its core, it costs several times the work.
    """
    s, before = parameters.sizes, torch.get_num_threads()
    if count is not None:
        torch.set_num_threads(count)
    elif batch_size * s.hidden * (s.context * s.embedding + s.vocabulary) < SHARED_MULTIPLICATIONS:
        torch.set_num_threads(1)
    try:
        yield
    finally:
        torch.set_num_threads(before)
