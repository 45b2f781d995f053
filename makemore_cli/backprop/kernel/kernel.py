"""The compiled pass for one network and batch size, as Python calls it."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence

import numpy as np
from numpy.typing import NDArray

from makemore_cli.backprop.kernel import machine_code
from makemore_cli.backprop.kernel.layout import LINE, Array, Batches, Layout, Numbers, aligned
from makemore_cli.backprop.update_numbers import SGD, Factors, Rule
from makemore_cli.network.model import Sizes
from makemore_cli.system.compiled import straight_line_vectors
from makemore_cli.system.side_by_side import side_by_side

_ENOUGH = 1 << 62  # more arrivals than any barrier waits for


class Kernel:
    """The compiled pass for one network and batch size, with its own memory."""

    def __init__(
        self,
        sizes: Sizes,
        batch_size: int,
        dtype: np.dtype[np.floating],
        eps: float,
        *,
        smoothing: float = 0.0,
        rule: Rule = SGD,
        kept: Sequence[str] = (),
    ) -> None:
        """`kept` names the vectors that the optimiser keeps, and "average" if the parameters are averaged."""
        self.sizes, self.batch_size, self.real = sizes, batch_size, dtype.type
        self.names = ("parameters", "gradients", *kept)
        self.layout = Layout(sizes, batch_size, np.dtype(dtype), smoothing, len(self.names))
        real = self.real
        self.rule = Rule(*rule[:3], *(real(number) for number in rule[3:]))._replace(average="average" in kept)
        self.numbers = Numbers(real(batch_size), real(eps), real(1 - smoothing), real(0))

    @property
    def most_threads(self) -> int:
        """The largest number of threads that can share the work."""
        return self.layout.dimensions.groups

    def load(self, parameters: Mapping[str, Array], kept: Mapping[str, Mapping[str, Array]] | None = None) -> None:
        """Copy the parameters, by name and in their own shapes, and the kept vectors into the kernel's memory."""
        for name, arrays in {"parameters": parameters, **(kept or {})}.items():
            self.layout.put(self.names.index(name), arrays)

    def store(self, parameters: Mapping[str, Array], kept: Mapping[str, Mapping[str, Array]] | None = None) -> None:
        """Copy the parameters and the kept vectors back."""
        for name, arrays in {"parameters": parameters, **(kept or {})}.items():
            self.layout.take(self.names.index(name), arrays)

    def gradients(self) -> dict[str, Array]:
        """The gradients of the last step, by the parameters' names."""
        arrays: dict[str, Array] = {name: np.empty(shape, self.real) for name, shape in self.sizes.shapes().items()}
        self.layout.take(self.names.index("gradients"), arrays)
        return arrays

    def prepare(self, say: Callable[[str], None] = lambda _: None) -> None:
        """Load the machine code from disk, or compile it and report this to `say`.

        Raises MakemoreError if compilation is turned off in Numba.
        """
        machine_code.begin(self.real.__name__, self.no_steps)
        machine_code.wait(self.real.__name__, self.no_steps, say)

    def no_steps(self) -> None:
        """Train zero steps, which loads or compiles the machine code."""
        nothing = np.zeros((0, self.batch_size, self.sizes.context), np.int64)
        self._train(nothing, nothing[:, :, 0], [], None, 1)

    def train(
        self,
        X: NDArray[np.int64],
        Y: NDArray[np.int64],
        factors: Sequence[Sequence[float]] | NDArray[np.float64],
        running: tuple[Array, Array, float] | None = None,
        *,
        threads: int = 1,
    ) -> NDArray[np.float64]:
        """Train a step for each leading index of X (steps, n, T) and Y (steps, n).

        Returns the losses in nats per character. `factors` holds each step's numbers (see `Factors`). `running` holds
        averages (H,) of the batches' mean and variance, which are updated, and the weight of a new batch in them. The
        hidden units are divided among at most `most_threads` threads, whose number does not change a digit.
        """
        self.prepare()
        return self._train(X, Y, factors, running, threads)

    def _train(
        self,
        X: NDArray[np.int64],
        Y: NDArray[np.int64],
        factors: Sequence[Sequence[float]] | NDArray[np.float64],
        running: tuple[Array, Array, float] | None,
        threads: int,
    ) -> NDArray[np.float64]:
        real, numbers = self.real, self.numbers
        if running is not None:
            mean, var, momentum = running
            numbers = numbers._replace(running_momentum=real(momentum))
            averages = np.stack((mean, var))
            for ours, theirs in self.layout.running(averages):
                ours[...] = theirs
        batches = Batches(
            np.ascontiguousarray(X),
            np.ascontiguousarray(Y),
            np.array(factors, real).reshape(len(X), len(Factors._fields)),
            np.empty(len(X)),
        )
        (arrivals,) = aligned((np.dtype(np.int64), (LINE,)))
        steps, memory, dimensions = machine_code.train_steps(real.__name__), self.layout.memory, self.layout.dimensions

        def work(me: int, count: int) -> None:
            steps(memory, dimensions, numbers, self.rule, batches, arrivals, me, count)

        side_by_side(work, min(threads, self.most_threads), lambda: arrivals.fill(_ENOUGH))
        if running is not None:
            for ours, theirs in self.layout.running(averages):
                theirs[...] = ours
            mean[:], var[:] = averages
        return batches.losses


def smallest(real: str) -> Kernel:
    """The kernel of the smallest network, for float32 or float64."""
    return Kernel(Sizes(2, 1, 1, 1), 2, np.dtype(real), 1.0)


def begin_to_compile(real: str) -> None:
    """Start compiling for float32 or float64 in another process, if the machine code is not on disk.

    `Kernel.prepare` waits for it. Raises MakemoreError if compilation is turned off in Numba.
    """
    machine_code.begin(real, smallest(real).no_steps)


def compile_for(real: str) -> None:
    """Compile for float32 or float64 in this process, and store the machine code on disk."""
    with straight_line_vectors():
        smallest(real).no_steps()
