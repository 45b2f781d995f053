"""A chain of steps: every forward line beside its backward lines.

Each `step` computes one tensor. Its forward line is a function of the tensors it reads; each of its backward lines
gives what this step adds to the gradient of one of them, from the step's own gradient and what it needs of the forward
pass. A line's arguments are the names of the tensors, as in the lecture's first exercise, `d` in front for a gradient,
so a step can be run and checked by itself.

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

A line may read a size too (n, D, H), which is a whole number. What no step reads is an output. The gradient of a single
number, such as a loss, is 1; that of any other output comes from whoever runs the chain.
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
    """The gradient of one tensor in one expression that stands for several steps."""

    says: str
    name: str  # of the gradient that the line gives
    line: Line


@dataclass(frozen=True, eq=False)
class Chain:
    """Named inputs, and steps that compute one tensor each from what is there already.

    Raises ChainError if a name is unknown, comes too late, or is taken; `check_lines` of gradcheck finds lines that are
    missing.
    """

    name: str
    inputs: Mapping[str, Input]
    steps: tuple[Step, ...]
    bounds: Mapping[str, Bounds] = field(default_factory=dict)  # a size's number, or its lowest and its highest
    stages: tuple[Stage, ...] = ()
    ends: tuple[str, ...] = ()  # the outputs, if they are not simply what no step reads

    def __post_init__(self) -> None:
        Declaration(self).check()

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
        """The shapes that are declared, in symbols, of inputs and steps."""
        inputs = {name: one.shape for name, one in self.inputs.items() if one.shape or not isinstance(one, Given)}
        return inputs | {s.name: s.shape for s in self.steps if s.shape is not None}

    @cached_property
    def constants(self) -> frozenset[str]:
        """The inputs that are given, and to which no gradient goes back."""
        given = {name for name, one in self.inputs.items() if isinstance(one, Given)}
        return frozenset(given - set(self.gradient_names))

    @cached_property
    def sizes(self) -> tuple[str, ...]:
        """The sizes that the shapes name, in their order."""
        named = [name for one in self.inputs.values() for name in one.sizes]
        return tuple(dict.fromkeys([*named, *(name for shape in self.shapes.values() for name in symbols(shape))]))

    @cached_property
    def sizes_read(self) -> tuple[str, ...]:
        """Those that a line reads."""
        lines = [line for s in self.steps for line in (s.forward, *s.backward.values())]
        read = {name for line in lines for name in arguments(line)}
        return tuple(name for name in self.sizes if name in read)

    @cached_property
    def gradient_names(self) -> tuple[str, ...]:
        """The tensors that have gradients, in the order in which these become complete, from the outputs down."""
        names: dict[str, None] = {}
        for s in reversed(self.steps):
            for target in s.backward:
                names.pop(target[1:], None)  # taken out, so that it comes back in last place
                names[target[1:]] = None
        return tuple(names)

    def up_to(self, name: str) -> Chain:
        """The chain as far as a tensor."""
        steps = self.steps[: [s.name for s in self.steps].index(name) + 1]
        read = {argument for s in steps for argument in arguments(s.forward)}
        return replace(self, steps=steps, inputs={name: one for name, one in self.inputs.items() if name in read})

    def draw(self, seed: int = 0, sizes: Mapping[str, Bounds] | None = None) -> tuple[Values, Sizes]:
        """Random inputs with the sizes that lines read, and all sizes: the same few for seed 0, else random ones.

        Raises ChainError if no sizes fit.
        """
        shapes = [one.shape for one in self.inputs.values()] + [s.shape for s in self.steps if s.shape is not None]
        drawn = draw_sizes(self.inputs, shapes, {**self.bounds, **(sizes or {})}, seed)
        generator = torch.Generator().manual_seed(seed)
        values = {name: one.draw(drawn, generator) for name, one in self.inputs.items()}
        return values | {name: drawn[name] for name in self.sizes_read}, drawn

    def forward(self, values: Mapping[str, Any]) -> Values:
        """Run the forward lines on the inputs. Returns everything by its name; changes nothing in `values`.

        Raises ChainError for a line that can't be run.
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
        """Run the backward lines from the outputs down. Returns each tensor's gradient by the tensor's name.

        If a tensor is used twice, what comes back through both uses is added. Changes nothing in `values`. `above` has
        the outputs' gradients by the outputs' names; without it, each is 1. After `steps` steps that have backward
        lines it stops, with the gradients as they are by then.
        """
        if above is None:
            above = {name: torch.ones_like(values[name]) for name in self.outputs}
        gradients = {f"d{name}": gradient for name, gradient in above.items()}
        for s in [s for s in reversed(self.steps) if s.backward][:steps]:
            if f"d{s.name}" not in gradients:  # only read where nothing comes back, by a comparison, say
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
) -> Chain:
    """Declare a chain. An input is a shape in symbols ("n H") for real numbers, or a number, or a tensor.

    `positive`, `between`, `index` and `given` of `inputs.py` are the other inputs. `sizes` gives a size's number, or
    the lowest and the highest that a random one may have. Raises ChainError for a declaration that can't be run.
    """
    for one in steps:
        if not isinstance(one, Step):
            raise ChainError(f'{name}: {one!r} is no step: write step("name", lambda …: …, …)')
    return Chain(name, {k: as_input(one) for k, one in inputs.items()}, steps, sizes or {}, tuple(stages))


def check_shapes(chain: Chain, values: Values, sizes: Sizes) -> None:
    """Make sure that the tensors have the shapes that are declared. Raises ChainError, which names the first other."""
    for s in chain.steps:
        if s.shape is None:
            continue
        should = measured(s.shape, sizes)
        if tuple(values[s.name].shape) != should:
            raise ChainError(
                f"{chain.name}: step {s.name} is declared {s.shape or 'a number'}, which is {should}, but its line "
                f"gives {tuple(values[s.name].shape)}"
            )
