"""A chain at one set of inputs, in one precision, and what comparisons on it need: witnesses, sizes, rounding."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from functools import cached_property
from typing import Any

import torch
from torch import Tensor

from makemore_cli.backprop.chain import Chain
from makemore_cli.backprop.inputs import Bounds, ChainError, Sizes
from makemore_cli.backprop.step import LINE_ERRORS, Values
from makemore_cli.checks import rounding, sources
from makemore_cli.checks.compare import CHAIN_TOLERANCE, Comparison, compare, largest
from makemore_cli.checks.following import Following
from makemore_cli.checks.scalar_source import scalar_gradients
from makemore_cli.checks.sources import CHAIN_PAIRS, Gradients, Pair

ELSEWHERE = 1  # random seed of the other inputs
ABOVE = 2  # random seed of the outputs' gradients


class Problem:
    """A chain at its inputs, with the gradients of its outputs.

    `sizes` are the values of the chain's symbols. Raises ChainError if a line can't be run, or no input is real.
    """

    tolerances: Mapping[torch.dtype, float] = CHAIN_TOLERANCE  # relative to a gradient's scale

    def __init__(
        self,
        chain: Chain,
        inputs: Mapping[str, Any],
        sizes: Sizes,
        above: Mapping[str, Tensor] | None = None,
        *,
        unit: bool = True,
        measure_rounding: bool = False,
    ) -> None:
        """`above` are the gradients of the outputs, by default random; 1 for a single number if `unit` is true."""
        self.chain, self.inputs, self.sizes, self.unit = chain, dict(inputs), sizes, unit
        self.measure_rounding = measure_rounding
        real = [v for v in self.inputs.values() if isinstance(v, Tensor) and (v.is_floating_point() or v.is_complex())]
        if not real:
            raise ChainError(f"{chain.name}: no input is real, so there is no gradient to check")
        self.dtype, self.device = real[0].dtype, real[0].device
        self.tolerance = self.tolerances.get(self.dtype, self.tolerances[torch.float64])
        self._above = above

    # What a subclass may override.

    @property
    def subject(self) -> dict[str, Any]:
        """What is checked, for a report."""
        return {"chain": self.chain.name, "sizes": dict(self.sizes)}

    @property
    def title(self) -> str:
        """The same in words."""
        sizes = ", ".join(f"{name} = {size}" for name, size in self.sizes.items())
        return f"{self.chain.name}, {sizes}," if sizes else self.chain.name

    @cached_property
    def truth(self) -> Gradients:
        """Autograd's gradients."""
        return self.autograd

    @cached_property
    def size(self) -> dict[str, float]:
        """The largest entry of each gradient."""
        return {name: largest(gradient.abs()) for name, gradient in self.truth.items()}

    @cached_property
    def scale(self) -> dict[str, float]:
        """The size of each gradient, or the effect of rounding on it if that is larger."""
        try:
            return rounding.scales(self.size, rounding.sensitivity(self))
        except LINE_ERRORS:  # some values, such as a symmetric matrix, have none next to them
            return self.size

    @property
    def underflows(self) -> bool:
        """Whether numbers underflow, so that autograd's gradients are not finite where others are."""
        return False

    @property
    def analytic_chain(self) -> Chain:
        """The chain in a form that can be run on complex numbers."""
        return self.chain

    def begin(self, values: Values, rounded: Callable[..., Tensor]) -> Iterator[Mapping[str, Tensor]]:
        """The gradients, by tensor, from which to go down when rounding is measured: one set, or several."""
        yield self.above

    @property
    def alike(self) -> Tensor | None:
        """For each row of a batch, the index of its group of equal rows, which round alike; None if that is unknown."""
        return None

    @property
    def first_section(self) -> tuple[str, str]:
        """The name and the description of the comparison of the chain with autograd."""
        return "line by line", "the hand-written chain, against autograd"

    @property
    def pairs(self) -> Sequence[Pair]:
        """Further comparisons, besides the chain with autograd: each source with its witness."""
        return CHAIN_PAIRS

    def faults(self) -> list[str]:
        """What is wrong with the hand-written passes, apart from gradients."""
        return []

    @cached_property
    def elsewhere(self) -> Problem:
        """The same at random inputs, none of them special, of the same sizes and precision.

        A mistake that these inputs hide shows there.
        """
        return self.at(converted(self.chain.draw(ELSEWHERE, self.sizes)[0], self.dtype, self.device))

    def at(self, inputs: Mapping[str, Any]) -> Problem:
        """The same chain at other inputs."""
        return Problem(self.chain, inputs, self.sizes, unit=self.unit, measure_rounding=self.measure_rounding)

    # The same for any chain.

    @cached_property
    def values(self) -> Values:
        return self.chain.forward(self.inputs)

    @cached_property
    def order(self) -> tuple[str, ...]:
        """The tensors that have gradients, from the outputs down; without backward lines, those that autograd finds."""
        if self.chain.gradient_names:
            return self.chain.gradient_names
        steps = [s.name for s in reversed(self.chain.steps) if s.name in self.autograd]
        return (*steps, *(name for name in self.chain.inputs if name in self.autograd))

    @cached_property
    def above(self) -> dict[str, Tensor]:
        """The gradients of the outputs: random ones, but 1 for a single number, such as a loss, if `unit` is true."""
        if self._above is not None:
            return dict(self._above)
        generator = torch.Generator().manual_seed(ABOVE)
        above = {}
        for name in self.chain.outputs:
            output = self.values[name]
            if not isinstance(output, Tensor):
                raise ChainError(f"{self.chain.name}: the output {name} is a {type(output).__name__}, not a tensor")
            if output.is_floating_point() or output.is_complex():
                above[name] = _from_above(output, generator, self.unit)
        if not above:
            raise ChainError(f"{self.chain.name}: no output is real, so there is no gradient to check")
        return above

    @cached_property
    def autograd(self) -> Gradients:
        """Autograd's gradients of the chain."""
        return sources.autograd(self)

    @cached_property
    def by_scalars(self) -> Gradients:
        """The gradients of the chain on scalar values. Raises ChainError; see `scalar_gradients`."""
        return scalar_gradients(self)

    @property
    def counts(self) -> Mapping[str, int]:
        """The sizes, by which lines may divide."""
        return self.sizes

    @cached_property
    def in_float64(self) -> Problem:
        return self if self.dtype == torch.float64 else self.to(torch.float64)

    def to(self, dtype: torch.dtype) -> Problem:
        """The same in another precision."""
        return self.at(converted(self.inputs, dtype, self.device))

    @cached_property
    def in_complex(self) -> Problem:
        """The same in complex numbers. Raises ChainError if the chain can't be run on them."""
        inputs = converted(self.in_float64.inputs, torch.complex128, self.device)
        return Problem(self.analytic_chain, inputs, self.sizes, self.in_float64.above)

    def compare(
        self, tensor: str, ours: object, theirs: Tensor, tolerance: float, known: Tensor | None = None
    ) -> Comparison:
        """Compare relative to the gradient's size and, if that fails, to the effect of rounding, which takes longer."""
        comparison = compare(tensor, ours, theirs, self.size[tensor], tolerance, known)
        if (comparison.close and not self.measure_rounding) or comparison.fault:
            return comparison
        return compare(tensor, ours, theirs, self.scale[tensor], tolerance, known)

    def judged(self, tensor: str, ours: Tensor, theirs: Tensor, tried: Tensor, by_chain: bool) -> Tensor:
        """The entries that can be judged: those that were tried and where the witness is finite.

        If `ours` comes by the chain, it need not be finite where autograd's gradient of the chain is not.
        """
        judged = tried & theirs.isfinite()
        if by_chain and ours.shape == theirs.shape:
            judged &= ours.isfinite() | self.autograd[tensor].isfinite()
        return judged

    def follows(
        self, following: Following, tensor: str, ours: Tensor, tolerance: float, *, by_chain: bool = False
    ) -> bool:
        """Whether a gradient follows from the same pass's gradients of the steps after it. If so, its line is right.

        It may also follow from what they should be, if it was computed before they were changed.
        """
        if ours.shape != self.values[tensor].shape:
            return False
        parts = following.parts[tensor]
        scale = max(self.scale[tensor], *(float(part.abs().max()) for part in parts.values()))
        for step in parts:  # a gradient above that is too large makes this one, and its rounding, larger
            above, true = following.given.get(step), self.truth.get(step)
            if above is not None and true is not None and float(true.abs().max()) > 0:
                scale = max(scale, self.scale[tensor] * float(above.abs().max() / true.abs().max()))
        for expected in (following.expected(tensor), *following.alternatives(tensor)):
            judged = self.judged(tensor, ours, expected, torch.ones_like(expected, dtype=torch.bool), by_chain)
            if compare(tensor, ours, expected, scale, tolerance, judged).close:
                return True
        return False


def drawn(
    chain: Chain, dtype: torch.dtype, seed: int = 0, sizes: Mapping[str, Bounds] | None = None, *, unit: bool = True
) -> Problem:
    """A chain at random inputs on the CPU, with the given sizes.

    Raises ChainError if it can't be run, gives NaN, is random, or can't be followed by autograd.
    """
    values, known = chain.draw(seed, sizes)
    problem = Problem(chain, converted(values, dtype, torch.device("cpu")), known, unit=unit)
    first, second = problem.in_float64.values, problem.in_float64.at(problem.in_float64.inputs).values
    for name in chain.by_name:
        value = first[name]
        if not isinstance(value, Tensor):
            continue
        if value.isnan().any():
            raise ChainError(
                f"{chain.name}: {name} is NaN at random inputs: declare inputs for which it is not, say positive ones"
            )
        if value.shape != second[name].shape or not torch.equal(value, second[name]):
            raise ChainError(
                f"{chain.name}: {name} is random: it differs from run to run; make the random numbers an input"
            )
    try:
        found = problem.in_float64.autograd
    except RuntimeError as error:
        told = " ".join(str(error).split())
        raise ChainError(f"{chain.name}: autograd, the witness, can't follow the forward pass: {told}") from None
    if not found:
        raise ChainError(f"{chain.name}: no gradient goes back to any input, so there is nothing to check")
    return problem


def converted(values: Mapping[str, Any], dtype: torch.dtype, device: torch.device) -> Values:
    """The same values, on `device` and with real numbers in another precision."""

    def one(value: Any) -> Any:
        if not isinstance(value, Tensor):
            return value
        return value.to(device, dtype) if value.is_floating_point() else value.to(device)

    return {name: one(value) for name, value in values.items()}


def inconsistent(values: Values, seed: int = 0) -> Values:
    """Forward values of the same shapes and signs, and similar sizes, that no longer follow from each other.

    They show mistakes that no loss can show because terms cancel on consistent values.
    """
    generator = torch.Generator().manual_seed(seed)

    def drawn(value: object) -> object:
        if not isinstance(value, Tensor) or not value.is_floating_point():
            return value
        factor = 0.5 + 0.5 * torch.rand(value.shape, generator=generator, dtype=torch.float64)
        return value * factor.to(value)

    return {name: drawn(value) for name, value in values.items()}


def _from_above(output: Tensor, generator: torch.Generator, unit: bool) -> Tensor:
    if output.dim() == 0 and unit:
        return torch.ones_like(output)
    sign = torch.randint(0, 2, output.shape, generator=generator) * 2.0 - 1
    magnitude = 0.25 + torch.rand(output.shape, generator=generator, dtype=torch.float64)
    return (sign * magnitude).to(output)
