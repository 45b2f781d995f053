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

import inspect
import keyword
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field, replace
from functools import cache, cached_property
from typing import Any

import torch
from torch import Tensor

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

Line = Callable[..., Tensor]
Values = dict[str, Any]  # tensors by name, and plain numbers such as n and eps


@dataclass(frozen=True)
class Step:
    """One line of the forward pass and the lines that take its gradient back."""

    name: str  # the tensor that it computes
    forward: Line
    backward: Mapping[str, Line]  # by the name of the gradient that the line adds to
    shape: str | None = None  # in symbols
    rule: str = ""
    why: str = ""


def step(
    name: str, forward: Line, *, shape: str | None = None, rule: str = "", why: str = "", **backward: Line
) -> Step:
    """Write a step as it reads in the chain: `dlogits=lambda …` is the line that adds to dlogits."""
    return Step(name, forward, backward, shape, rule, why)


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
        _Declaration(self).check()

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
            except (RuntimeError, TypeError, ValueError, IndexError, ArithmeticError, AttributeError, NameError) as e:
                raise ChainError(f"{self.name}: {failure(f'step {s.name}', s.forward, values, e)}") from e
        return values

    def backward(self, values: Values, above: Mapping[str, Tensor] | None = None) -> dict[str, Tensor]:
        """Run the backward lines from the outputs down. Returns each tensor's gradient by the tensor's name.

        If a tensor is used twice, what comes back through both uses is added. Changes nothing in `values`. `above` has
        the outputs' gradients by the outputs' names; without it, each is 1.
        """
        if above is None:
            above = {name: torch.ones_like(values[name]) for name in self.outputs}
        gradients = {f"d{name}": gradient for name, gradient in above.items()}
        for s in reversed(self.steps):
            if s.backward and f"d{s.name}" not in gradients:  # only read where nothing comes back, by a comparison, say
                gradients[f"d{s.name}"] = torch.zeros_like(values[s.name])
            for target, line in s.backward.items():
                contribution = run(line, {**values, **gradients})
                gradients[target] = gradients[target] + contribution if target in gradients else contribution
        return {name: gradients[f"d{name}"] for name in self.gradient_names}


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
    return Chain(name, {k: as_input(one) for k, one in inputs.items()}, steps, sizes or {}, tuple(stages))


@cache
def arguments(line: Line) -> tuple[str, ...]:
    """The names of the tensors that a line reads: its arguments without a default."""
    parameters = inspect.signature(line).parameters.values()
    return tuple(p.name for p in parameters if p.default is p.empty)


def run(line: Line, values: Mapping[str, Any]) -> Tensor:
    """Call a line with what it reads, by name."""
    return line(*(values[name] for name in arguments(line)))


def failure(what: str, line: Line, values: Mapping[str, Any], error: Exception) -> str:
    """A line's error in a sentence, with the shapes of what it reads."""
    shapes = ", ".join(
        f"{name} is {tuple(value.shape) if isinstance(value, Tensor) else value}"
        for name, value in ((name, values[name]) for name in arguments(line))
    )
    return f"{what} can't be run: {' '.join(str(error).split())}; {shapes}"


class _Declaration:
    """What can be wrong with a declaration before anything is run."""

    def __init__(self, chain: Chain) -> None:
        self.chain = chain
        self.steps = {s.name: s for s in chain.steps}

    def check(self) -> None:
        chain = self.chain
        if not chain.steps:
            self._refuse("has no steps")
        known: dict[str, str] = {}
        for name in chain.inputs:
            self._name(name, "an input", known)
        for name in chain.sizes:
            self._name(name, "a size", known)
        for s in chain.steps:
            for argument in self._arguments(f"step {s.name}", s.forward):
                if argument not in known:
                    self._refuse(f"step {s.name} reads {argument}, {self._why_not(argument, s, known)}")
            self._name(s.name, "a step", known)
        for s in chain.steps:
            read = arguments(s.forward)
            for target, line in s.backward.items():
                where = f"the line for {target} in step {s.name}"
                if target[:1] != "d" or target[1:] not in read:
                    self._refuse(
                        f"step {s.name} has a line for {target}, but it reads {_and(read)}: a line is named d and what "
                        "the step reads"
                    )
                if chain.sizes and target[1:] in chain.sizes:
                    self._refuse(f"{where}: {target[1:]} is a size and has no gradient")
                for argument in self._arguments(where, line):
                    if argument not in known and argument != f"d{s.name}":
                        hint = (
                            f"; it gets d{s.name} only"
                            if argument[:1] == "d" and argument[1:] in known
                            else f"; there are {', '.join(known)} and d{s.name}"
                        )
                        self._refuse(f"{where} reads {argument}, which is unknown there{hint}")
        lines = [line for s in chain.steps for line in (s.forward, *s.backward.values())]
        used = {argument for line in lines for argument in arguments(line)}
        for name in chain.inputs:
            if name not in used:
                self._refuse(f"no step reads the input {name}: leave it out")

    def _name(self, name: str, what: str, known: dict[str, str]) -> None:
        if not name.isidentifier() or keyword.iskeyword(name):
            self._refuse(f"{name!r} can't be the name of {what}: it is no Python name")
        if name in known:
            self._refuse(f"{name} is {known[name]} already, so it can't be {what} too")
        for other in (name[1:], f"d{name}"):
            if other in known and "d" + min(name, other, key=len) == max(name, other, key=len):
                shorter, longer = sorted((name, other), key=len)
                self._refuse(f"{longer} would be the gradient of {shorter}: give one of them another name")
        known[name] = what

    def _arguments(self, where: str, line: Line) -> tuple[str, ...]:
        try:
            parameters = inspect.signature(line).parameters.values()
        except (TypeError, ValueError):
            parameters = None
        if parameters is None or any(p.kind in (p.VAR_POSITIONAL, p.VAR_KEYWORD) for p in parameters):
            self._refuse(f"{where}: write lambda x, W: …, whose arguments are the names of what it reads")
        return arguments(line)

    def _why_not(self, name: str, reader: Step, known: Mapping[str, str]) -> str:
        if name not in self.steps:
            return f"which is no input and no step before it; there are {', '.join(known) or 'none'}"
        circle = self._circle(name, reader.name)
        if circle:
            return f"which is computed from it: {' → '.join(circle)}, a cycle"
        return f"which comes after it: move step {name} before it"

    def _circle(self, start: str, end: str) -> list[str] | None:
        """The way from the reader through the tensors that it reads, back to the reader."""
        ways = [[end, start]]
        seen: set[str] = set()
        while ways:
            way = ways.pop(0)
            if way[-1] == end:
                return way
            if way[-1] in seen or way[-1] not in self.steps:
                continue
            seen.add(way[-1])
            ways += [[*way, name] for name in arguments(self.steps[way[-1]].forward)]
        return None

    def _refuse(self, fact: str) -> None:
        raise ChainError(f"{self.chain.name}: {fact}")


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


def _and(names: Iterable[str]) -> str:
    return " and ".join(names) or "nothing"
