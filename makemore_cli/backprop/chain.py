"""A chain of steps: forward lines with their backward lines.

Each `step` computes one tensor. Its forward line is a function of the tensors that it reads. Each of its backward lines
computes the step's contribution to the gradient of one of them, from the step's own gradient and tensors of the forward
pass. A line's arguments are the names of what it reads, as in the lecture's first exercise, with the prefix `d` for a
gradient. So a step can be run and checked by itself.

    chain(
        "linear",
        {"x": "n D", "W": "D H", "b": "H"},
        step(
            "y",
            lambda x, W, b: x @ W + b,
            dx=lambda W, dy: dy @ W.T,
            dW=lambda x, dy: x.T @ dy,
            db=lambda dy: dy.sum(0),
        ),
    )

A line may also read a size (n, D, H), which is a whole number. A tensor that no step reads is an output. The gradient
of a single number, such as a loss, is 1. Whoever runs the chain provides the gradients of other outputs.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field, replace
from functools import cached_property
from typing import Any

import torch
from torch import Tensor

from makemore_cli.backprop.declaration import Declaration
from makemore_cli.backprop.inputs import (
    Bounds,
    ChainError,
    Given,
    Input,
    Sizes,
    as_input,
    draw_sizes,
    measured,
    symbols,
)
from makemore_cli.backprop.step import LINE_ERRORS, Line, Step, Values, arguments, failure, run


@dataclass(frozen=True)
class Stage:
    """The gradient of one tensor as a single expression in place of several steps."""

    says: str
    name: str  # of the gradient that the line computes
    line: Line


@dataclass(frozen=True, eq=False, repr=False)
class Chain:
    """Named inputs, and steps that each compute one tensor from inputs and earlier steps.

    Raises ChainError if a name is unknown, is used before it is defined, or is already taken. Missing backward lines
    are found by gradcheck (`check_lines`).
    """

    name: str
    inputs: Mapping[str, Input]
    steps: tuple[Step, ...]
    bounds: Mapping[str, Bounds] = field(default_factory=dict)  # a size, or its smallest and largest value
    stages: tuple[Stage, ...] = ()
    ends: tuple[str, ...] = ()  # the outputs, if they are not just the tensors that no step reads
    layers: Mapping[str, tuple[str, ...]] = field(default_factory=dict)  # steps that belong together, by their layer

    def __post_init__(self) -> None:
        Declaration(self).check()

    def __repr__(self) -> str:
        return f"<chain {self.name}: {', '.join(self.inputs)} → {', '.join(s.name for s in self.steps)}>"

    @cached_property
    def by_name(self) -> dict[str, Step]:
        return {s.name: s for s in self.steps}

    @cached_property
    def outputs(self) -> tuple[str, ...]:
        """The tensors that no step reads, unless the chain names its ends."""
        if self.ends:
            return self.ends
        read = {name for s in self.steps for name in arguments(s.forward)}
        return tuple(s.name for s in self.steps if s.name not in read)

    @cached_property
    def shapes(self) -> dict[str, str]:
        """The declared shapes of inputs and steps, in symbols."""
        inputs = {name: one.shape for name, one in self.inputs.items() if one.shape or not isinstance(one, Given)}
        return inputs | {s.name: s.shape for s in self.steps if s.shape is not None}

    @cached_property
    def constants(self) -> frozenset[str]:
        """The given inputs that have no gradient."""
        given = {name for name, one in self.inputs.items() if isinstance(one, Given)}
        return frozenset(given - set(self.gradient_names))

    @cached_property
    def sizes(self) -> tuple[str, ...]:
        """The sizes that occur in the shapes, in order of occurrence."""
        named = [name for one in self.inputs.values() for name in one.sizes]
        return tuple(dict.fromkeys([*named, *(name for shape in self.shapes.values() for name in symbols(shape))]))

    @cached_property
    def sizes_read(self) -> tuple[str, ...]:
        """The sizes that a line reads."""
        lines = [line for s in self.steps for line in (s.forward, *s.backward.values())]
        read = {name for line in lines for name in arguments(line)}
        return tuple(name for name in self.sizes if name in read)

    @cached_property
    def gradient_names(self) -> tuple[str, ...]:
        """The tensors that have gradients, in the order in which the backward pass completes them."""
        names: dict[str, None] = {}
        for s in reversed(self.steps):
            for target in s.backward:
                names.pop(target[1:], None)  # so that it moves to the end
                names[target[1:]] = None
        return tuple(names)

    def up_to(self, name: str) -> Chain:
        """The chain up to and including a tensor."""
        steps = self.steps[: [s.name for s in self.steps].index(name) + 1]
        read = {argument for s in steps for argument in arguments(s.forward)}
        left = {s.name for s in steps}
        layers = {layer: tuple(name for name in names if name in left) for layer, names in self.layers.items()}
        return replace(
            self,
            steps=steps,
            inputs={name: one for name, one in self.inputs.items() if name in read},
            layers={layer: names for layer, names in layers.items() if names},
        )

    def draw(self, seed: int = 0, sizes: Mapping[str, Bounds] | None = None) -> tuple[Values, Sizes]:
        """Draw random inputs. Returns them with the sizes that lines read, and all sizes.

        Seed 0 prefers a few fixed sizes; other seeds draw random ones. Raises ChainError if no sizes fit.
        """
        shapes = [one.shape for one in self.inputs.values()] + [s.shape for s in self.steps if s.shape is not None]
        drawn = draw_sizes(self.inputs, shapes, {**self.bounds, **(sizes or {})}, seed)
        generator = torch.Generator().manual_seed(seed)
        values = {name: one.draw(drawn, generator) for name, one in self.inputs.items()}
        return values | {name: drawn[name] for name in self.sizes_read}, drawn

    def forward(self, values: Mapping[str, Any]) -> Values:
        """Run the forward lines on the inputs. Returns inputs and tensors by name, and leaves `values` unchanged.

        Raises ChainError if a line can't be run.
        """
        values = dict(values)
        for s in self.steps:
            try:
                values[s.name] = run(s.forward, values)
            except LINE_ERRORS as e:
                raise ChainError(f"{self.name}: {failure(f'step {s.name}', s.forward, values, e)}") from e
        return values

    def backward(
        self, values: Values, above: Mapping[str, Tensor] | None = None, *, steps: int | None = None
    ) -> dict[str, Tensor]:
        """Run the backward lines, from the last step to the first. Returns each tensor's gradient by the tensor's name.

        Contributions to the gradient of a tensor with several uses are added. `values` is left unchanged. `above` holds
        the outputs' gradients by the outputs' names; the default is 1 for each. `steps` limits the number of steps with
        backward lines that are run; the gradients are then those so far.
        """
        if above is None:
            above = {name: torch.ones_like(values[name]) for name in self.outputs}
        gradients = {f"d{name}": gradient for name, gradient in above.items()}
        for s in [s for s in reversed(self.steps) if s.backward][:steps]:
            if f"d{s.name}" not in gradients:  # no reader passes a gradient back, for example a comparison
                gradients[f"d{s.name}"] = torch.zeros_like(values[s.name])
            for target, line in s.backward.items():
                contribution = run(line, {**values, **gradients})
                gradients[target] = gradients[target] + contribution if target in gradients else contribution
        return {name: gradients[f"d{name}"] for name in self.gradient_names if f"d{name}" in gradients}


def chain(
    name: str,
    inputs: Mapping[str, Any],
    *steps: Step,
    sizes: Mapping[str, Bounds] | None = None,
    stages: Iterable[Stage] = (),
    layers: Mapping[str, str] | None = None,
) -> Chain:
    """Declare a chain. An input is a shape in symbols ("n H") for real numbers, a number, or a tensor.

    `positive`, `between`, `index` and `given` in `inputs.py` declare other inputs. `sizes` fixes a size, or gives the
    smallest and largest value that is drawn for it. `layers` groups steps for pictures: {"softmax": "counts probs"}.
    Raises ChainError if the declaration is invalid.
    """
    for one in steps:
        if not isinstance(one, Step):
            raise ChainError(f'{name}: {one!r} is not a step: write step("name", lambda …: …, …)')
    grouped = {layer: tuple(names.split()) for layer, names in (layers or {}).items()}
    given = {k: as_input(one) for k, one in inputs.items()}
    return Chain(name, given, steps, sizes or {}, tuple(stages), layers=grouped)


def check_shapes(chain: Chain, values: Values, sizes: Sizes) -> None:
    """Check that the tensors have their declared shapes. Raises ChainError for the first that does not."""
    for s in chain.steps:
        if s.shape is None:
            continue
        should = measured(s.shape, sizes)
        if tuple(values[s.name].shape) != should:
            raise ChainError(
                f"{chain.name}: step {s.name} is declared as {s.shape or 'a number'}, which is {should}, but its line "
                f"returns {tuple(values[s.name].shape)}; correct one of the two"
            )
