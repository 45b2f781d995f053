"""Check a chain's declaration."""

from __future__ import annotations

import inspect
import keyword
from collections.abc import Iterable, Mapping
from typing import TYPE_CHECKING, NoReturn

from makemore_cli.backprop.inputs import LARGEST_SIZE, ChainError
from makemore_cli.backprop.step import Line, Step, arguments

if TYPE_CHECKING:
    from makemore_cli.backprop.chain import Chain


class Declaration:
    """The checks that run no line. They raise ChainError, which says what is wrong and where."""

    def __init__(self, chain: Chain) -> None:
        self.chain = chain
        self.steps = {s.name: s for s in chain.steps}

    def check(self) -> None:
        chain = self.chain
        if not chain.steps:
            self._refuse("has no steps: add at least one")
        for size, bound in chain.bounds.items():
            low, high = bound if isinstance(bound, tuple) and len(bound) == 2 else (bound, bound)
            if size not in chain.sizes:
                self._refuse(f"sizes has {size}, which no shape uses; they use {', '.join(chain.sizes) or 'none'}")
            if not (type(low) is type(high) is int and 1 <= low <= high <= LARGEST_SIZE):
                self._refuse(
                    f"sizes has {size} = {bound}: must be a whole number from 1 to {LARGEST_SIZE:,}, or a pair of the "
                    "smallest and the largest"
                )
        self._check_layers()
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
                        f"step {s.name} has a line for {target}, but it reads {_and(read)}: a line is named d "
                        "followed by a name that the step reads"
                    )
                if chain.sizes and target[1:] in chain.sizes:
                    self._refuse(f"{where}: {target[1:]} is a size and has no gradient; remove the line")
                for argument in self._arguments(where, line):
                    if argument not in known and argument != f"d{s.name}":
                        hint = (
                            f"; the only gradient that it can read is d{s.name}"
                            if argument[:1] == "d" and argument[1:] in known
                            else f"; known names are {', '.join(known)} and d{s.name}"
                        )
                        self._refuse(f"{where} reads {argument}, which is unknown{hint}")
        lines = [line for s in chain.steps for line in (s.forward, *s.backward.values())]
        used = {argument for line in lines for argument in arguments(line)}
        for name in chain.inputs if not chain.ends else ():
            if name not in used:
                self._refuse(f"no step reads the input {name}: remove it")

    def _check_layers(self) -> None:
        order = [s.name for s in self.chain.steps]
        taken: dict[str, str] = {}
        for layer, names in self.chain.layers.items():
            for name in names:
                if name not in self.steps:
                    self._refuse(f"layer {layer} has {name}, which is not a step; the steps are {', '.join(order)}")
                if name in taken:
                    self._refuse(f"step {name} is in layer {taken[name]} and in layer {layer}: remove one of them")
                taken[name] = layer
            places = sorted(order.index(name) for name in names)
            if not names or places != list(range(places[0], places[0] + len(places))):
                self._refuse(f"layer {layer}: its steps must follow one another in the chain, at least one")

    def _name(self, name: str, what: str, known: dict[str, str]) -> None:
        if not name.isidentifier() or keyword.iskeyword(name):
            self._refuse(f"{name!r} can't be the name of {what}: it is not a valid Python name")
        if name in known:
            self._refuse(f"{name} is already {known[name]}, so it can't be {what} too: rename one of them")
        for other in (name[1:], f"d{name}"):
            if other in known and "d" + min(name, other, key=len) == max(name, other, key=len):
                shorter, longer = sorted((name, other), key=len)
                self._refuse(f"{longer} would be the gradient of {shorter}: rename one of them")
        known[name] = what

    def _arguments(self, where: str, line: Line) -> tuple[str, ...]:
        try:
            parameters = inspect.signature(line).parameters.values()
        except (TypeError, ValueError):
            parameters = None
        if parameters is None or any(p.kind in (p.VAR_POSITIONAL, p.VAR_KEYWORD) for p in parameters):
            self._refuse(f"{where}: write lambda x, W: …, with the names of what it reads as arguments")
        return arguments(line)

    def _why_not(self, name: str, reader: Step, known: Mapping[str, str]) -> str:
        if name not in self.steps:
            return f"which is neither an input nor an earlier step; known names are {', '.join(known) or 'none'}"
        circle = self._circle(name, reader.name)
        if circle:
            return f"which depends on it: break the cycle {' → '.join(circle)}"
        return f"which comes later: move step {name} before it"

    def _circle(self, start: str, end: str) -> list[str] | None:
        """A path from the reader through tensors that it reads and back to it; None if there is none."""
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

    def _refuse(self, fact: str) -> NoReturn:
        raise ChainError(f"{self.chain.name}: {fact}")


def _and(names: Iterable[str]) -> str:
    return " and ".join(names) or "nothing"
