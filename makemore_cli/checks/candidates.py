"""The gradients that result from each possible mistake in the lines that lead to them.

A pass gives some of the gradients. Between its last right gradient and a wrong one lie some lines of the chain, or a
single one if the pass goes line by line. Each candidate is the result of these lines with one mistake: one line is
changed, or one branch is missing, added twice or negated. The candidate that reproduces the user's numbers explains
them. All candidates are made from the chain, so nothing here depends on the network.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from functools import cached_property, partial
from itertools import combinations, permutations
from typing import Any

import torch
from torch import Tensor

from makemore_cli.backprop.chain import Stage
from makemore_cli.backprop.step import Step, Values, arguments, run
from makemore_cli.checks.following import Following, differentiable, spreads
from makemore_cli.checks.mutations import Mutation, forward_mutations, mutations_of

UNFINISHED = "it is unfinished"
WIDEST = 128  # most columns for which the diagonal of a Jacobian is computed: each takes a run of the lines


@dataclass(frozen=True)
class Candidate:
    """A mistake, and the gradient that it gives."""

    words: str
    make: Tensor | Callable[[], Tensor]
    code: str | Callable[[], str] = ""  # the wrong line
    # Its inner products with two random tensors, if these are cheaper than the gradient; see `Candidates.probes`.
    probes: tuple[float, float] | None = None

    @cached_property
    def value(self) -> Tensor:
        return self.make if isinstance(self.make, Tensor) else self.make()

    @property
    def told(self) -> str:
        """The mistake in words, with the wrong line if there is one."""
        code = self.code if isinstance(self.code, str) else self.code()
        return f"{self.words} (as if it were {code})" if code else self.words


class Candidates:
    """The mistakes that can be made on the way to one gradient of a pass."""

    def __init__(self, following: Following, name: str, with_code: bool = True) -> None:
        """With code, a wrong line is told as code too."""
        self.following, self.name, self._with_code = following, name, with_code
        self.parts = following.parts[name]
        self.expected = following.expected(name)
        self.by_name = following.chain.by_name
        self._slopes: dict[str, list[Tensor]] = {}

    def equivalents(self) -> Iterator[Tensor]:
        """The gradient by the derivations' expressions, which are equally right on consistent forward values."""
        names = self._names
        for stage in self._stages if len(self.parts) == 1 else ():  # with several branches, an expression may lack one
            if set(arguments(stage.line)) <= set(names):
                yield run(stage.line, names)

    def branches(self) -> Iterator[Candidate]:
        """If the tensor is used several times: branches that are missing, still to come, negated or added twice."""
        names = list(self.parts)
        for size in range(1, len(names)):
            for there in combinations(names, size):
                missing = [name for name in names if name not in there]
                value = torch.stack([self.parts[name] for name in there]).sum(0)
                known = all(name in self.following.given or self._is_output(name) for name in missing)
                if known and not self._may_still_change:
                    words = (
                        f"only the part through {_and(there)} is included; the one through {_and(missing)} is missing "
                        "or overwritten"
                    )
                else:
                    words = (
                        f"{UNFINISHED}: the part through {_and(there)} is included, the one through {_and(missing)} "
                        "is still to be added"
                    )
                yield Candidate(words, value)
        if len(names) > 1:
            for name in names:
                part = self.parts[name]
                if _same(part, self.expected):  # the other parts are zero: the gradient as a whole is wrong
                    continue
                yield Candidate(f"the part through {name} has the wrong sign", self.expected - 2 * part)
                yield Candidate(f"the part through {name} is added twice", self.expected + part)
            product = torch.stack([self.parts[name] for name in names]).prod(0)
            yield Candidate(f"the parts through {_and(names)} are multiplied, not added", product)
        for step, branch, value in self.following.partial(self.name):
            yield Candidate(
                f"it was computed before the part through {branch} had been added to d{step}, or leaves that part out",
                value,
            )

    @property
    def _may_still_change(self) -> bool:
        """Whether nothing has been computed from this gradient yet, so that a branch may still be added to it."""
        if self.name not in self.by_name:
            return False
        below, stack = set[str](), [self.name]
        while stack:
            step = self.by_name.get(stack.pop())
            read = [] if step is None else [name for name in arguments(step.forward) if name not in below]
            below.update(read)
            stack += read
        return not below & self.following.given.keys()

    def passed_on(self) -> Iterator[Candidate]:
        """The upstream gradient, passed on unchanged."""
        for name in self.parts:
            above = self.following.current[name]
            if above.shape == self.expected.shape:
                value = self.expected - self.parts[name] + above
                words = f"d{name} is passed on unchanged: the local derivative is missing"
                yield Candidate(words, value)

    def lines(self) -> Iterator[Candidate]:
        """One mistake in one of the lines between the pass's own gradients and this one."""
        for step, target in self._way:
            if target not in step.backward:
                continue
            line, names = step.backward[target], self._names
            right = run(line, names)
            for mutation in mutations_of(line, names, self.by_name):
                wrong = mutation.value(names)
                if wrong is None or not wrong.is_floating_point():
                    continue
                words, code = self._in(step, target, mutation.words), self._code(mutation, target)
                if target == f"d{self.name}":
                    if len(self.parts) == 1:
                        yield Candidate(words, wrong, code)
                    elif spreads(wrong, right.shape):
                        yield Candidate(words, self.expected - right + wrong, code)
                elif spreads(wrong, right.shape):
                    change = wrong - right
                    yield Candidate(
                        words, partial(self._with_change, target[1:], change), code, self._probed(target[1:], change)
                    )

    def probes(self, gradient: Tensor) -> tuple[float, float]:
        """The inner products of a gradient with two random tensors: a cheap comparison before that of all entries."""
        first, second = (float((gradient * probe).sum()) for probe in self._random)
        return first, second

    @cached_property
    def _random(self) -> list[Tensor]:
        generator = torch.Generator().manual_seed(0)
        shape, like = self.expected.shape, self.expected
        return [torch.randn(shape, generator=generator, dtype=torch.float64).to(like) for _ in range(2)]

    def _probed(self, inner: str, change: Tensor) -> tuple[float, float]:
        """The probes of this gradient after `change` is added to that of `inner`, on which it depends linearly."""
        if inner not in self._slopes:
            with torch.enable_grad():
                leaf = self.following.current[inner].detach().requires_grad_()
                result = self._taken_back({inner: leaf})
                self._slopes[inner] = [
                    torch.autograd.grad(result, leaf, probe, retain_graph=True)[0] for probe in self._random
                ]
        base = self.probes(self.expected)
        first, second = (b + float((slope * change).sum()) for b, slope in zip(base, self._slopes[inner], strict=True))
        return first, second

    def _with_change(self, inner: str, change: Tensor) -> Tensor:
        return self._taken_back({inner: self.following.current[inner] + change})

    def single_expressions(self) -> Iterator[Candidate]:
        """One mistake in an expression of a derivation, which stands for several steps."""
        names = self._names
        for stage in self._stages:
            if not set(arguments(stage.line)) <= set(names):
                continue
            if not _same(run(stage.line, names), self.expected):
                continue  # it belongs to another network
            for mutation in mutations_of(stage.line, names, self.by_name):
                value = mutation.value(names)
                if value is not None:
                    yield Candidate(mutation.words, value, self._code(mutation, stage.name))

    def diagonals(self) -> Iterator[Candidate]:
        """Only the diagonal of a Jacobian: each entry's effect on itself, not on the rest of its row or column."""
        above = dict.fromkeys(step.name for step, _ in self._way)
        for name in above:
            gradient = self.following.current[name]
            if gradient.shape != self.expected.shape or gradient.dim() != 2:
                continue
            for dim, what in ((1, "row"), (0, "column")):
                size = gradient.shape[dim]
                if not 1 < size <= WIDEST:
                    continue
                value = torch.zeros_like(self.expected)
                for at in range(size):
                    mask = torch.zeros_like(gradient).index_fill(dim, torch.tensor(at, device=gradient.device), 1)
                    value += self._taken_back({name: gradient * mask}) * mask
                yield Candidate(
                    f"only the diagonal of the Jacobian is used: an entry of {self.name} also changes the others of "
                    f"its {what} in {name}",
                    value,
                )

    def constants(self, count: int) -> Iterator[Candidate]:
        """The gradient if tensors on the way are treated as constants, through which no gradient flows back."""
        between = [step.name for step in self._steps_on_the_way if step.name not in self.following.given]
        for names in combinations([name for name in between if not self._is_output(name)], count):
            value = self._taken_back({name: torch.zeros_like(self.following.current[name]) for name in names})
            yield Candidate(f"no gradient flows back through {_and(names)}, as if constant", value)

    def updated_parameters(self) -> Iterator[tuple[str, Tensor]]:
        """For each parameter that the lines read: the change of the gradient after an update with learning rate 1."""
        parameters = [name for name in self.following.parts if name not in self.by_name]
        for step, target in self._way:
            names = self._names
            read = [name for name in self._reads(step, target) if name in parameters and target in step.backward]
            for name in read:
                line = step.backward[target]
                moved = {**names, name: names[name] - self.following.current[name]}
                change = run(line, moved) - run(line, names)
                if target == f"d{self.name}":
                    yield name, change
                else:
                    yield name, self._with_change(target[1:], change) - self.expected

    def others(self) -> Iterator[Candidate]:
        """The gradient or the value of another tensor; the right numbers in another order."""
        for name in self.following.parts:
            if self.following.values[name].shape == self.expected.shape:
                if f"d{name}" in self._names:  # not one that depends on it
                    yield Candidate(f"it is the gradient of {name}", self.following.current[name])
                yield Candidate(f"it is the value of {name}, not a gradient", self.following.values[name])
        shape = self.expected.shape
        words = "its numbers are right, but in the wrong order: a view instead of a transpose, or the reverse"
        for order in permutations(range(len(shape))):
            if order != tuple(range(len(shape))):
                turned = self.expected.permute(order)
                yield Candidate(words, turned.reshape(shape))
                yield Candidate(words, self.expected.reshape(turned.shape).permute(_inverse(order)))

    def same_shape(self) -> Iterator[tuple[str, Tensor]]:
        """Tensors of the gradient's shape that may have been added to it, by name."""
        for name, value in self._names.items():
            if differentiable(value) and value.shape == self.expected.shape:
                yield name, value
        yield "1", torch.ones_like(self.expected)

    def with_a_factor(self) -> Iterator[Candidate]:
        """The right gradient, wrongly multiplied or divided by a tensor."""
        for name, value in self._names.items():
            if differentiable(value) and value.dim() and spreads(value, self.expected.shape):
                yield Candidate(f"it is multiplied by {name}, which does not belong there", self.expected * value)
                yield Candidate(f"it is divided by {name}, which does not belong there", self.expected / value)
                for text, local in (("1 - {}", 1 - value), ("{0} * (1 - {0})", value * (1 - value))):
                    words = f"it is multiplied by {text.format(name)}, which does not belong there"
                    yield Candidate(words, self.expected * local)

    def other_forward_values(self) -> Iterator[Candidate]:
        """The right lines, with one forward value computed differently, and all that depend on it."""
        stages = [stage for stage in self._stages if set(arguments(stage.line)) <= set(self._names)]
        read = {name for step, target in self._way for name in self._reads(step, target)}
        for place, step in enumerate(self.following.chain.steps):
            if step.name == self.name or not self._reaches(
                step.name, read.union(*(s.line.__code__.co_varnames for s in stages))
            ):
                continue
            for mutation in forward_mutations(step, self.following.values):
                value = mutation.value(self.following.values)
                if value is None or value.shape != self.following.values[step.name].shape:
                    continue
                values = {**self.following.values, step.name: value}
                changed = {step.name}
                for later in self.following.chain.steps[place + 1 :]:
                    if changed & set(arguments(later.forward)) and later.name != self.name:
                        values[later.name] = run(later.forward, values)
                        changed.add(later.name)
                words = f"{step.name} differs from the forward pass: {mutation.words}"
                code = self._code(mutation, step.name)
                names = {**self._names, **values}
                yield Candidate(words, partial(self._taken_back, {}, values), code)
                for stage in stages:
                    yield Candidate(words, partial(run, stage.line, names), code)

    @property
    def _examples(self) -> int:
        """The batch size: n, or the length of the first output."""
        first = next(iter(self.following.above.values()))
        return int(self.following.values.get("n", len(first) if first.dim() else 0))

    def _reaches(self, name: str, read: set[str]) -> bool:
        """Whether `read` contains a forward value, or one that depends on it."""
        come = {name}
        for step in self.following.chain.steps:
            if come & set(arguments(step.forward)):
                come.add(step.name)
        return bool(come & read)

    def without_examples(self) -> Iterator[Candidate]:
        """The gradient without the first or the last example, or from that example alone."""
        n = self._examples
        above = {name: g for name, g in self._above.items() if g.dim() and len(g) == n}
        for at, which in ((0, "first"), (n - 1, "last")) if above and n > 2 else ():
            without = {name: g.index_fill(0, torch.tensor(at, device=g.device), 0) for name, g in above.items()}
            yield Candidate(f"the {which} example is left out", self._taken_back(without))
            alone = {name: g - without[name] for name, g in above.items()}
            yield Candidate(f"only the {which} example counts", self._taken_back(alone))

    @cached_property
    def _stages(self) -> list[Stage]:
        """The single expressions that the chain knows for this gradient."""
        return [stage for stage in self.following.chain.stages if stage.name == f"d{self.name}"]

    # The lines that lead to the gradient.

    @cached_property
    def _above(self) -> dict[str, Tensor]:
        """The pass's own gradients from which the lines lead to this one."""
        names = dict.fromkeys(step.name for step, _ in self._way)
        return {name: self.following.given[name] for name in names if name in self.following.given}

    @cached_property
    def _way(self) -> list[tuple[Step, str]]:
        """The backward lines between the pass's own gradients and this one, nearest first."""
        way, seen, wanted = [], {self.name}, [self.name]
        while wanted:
            name = wanted.pop(0)
            for step in self.following.chain.steps:
                if step.name not in self.following.parts.get(name, {}):
                    continue
                way.append((step, f"d{name}"))
                if step.name not in self.following.given and step.name not in seen:
                    seen.add(step.name)
                    wanted.append(step.name)
        return way

    @property
    def steps(self) -> int:
        """The number of lines on the way."""
        return len(self._way)

    @cached_property
    def _steps_on_the_way(self) -> Sequence[Step]:
        names = {step.name for step, _ in self._way}
        return [step for step in reversed(self.following.chain.steps) if step.name in names]

    @cached_property
    def _names(self) -> dict[str, Any]:
        """The tensors that the lines may read: forward values, and gradients that do not depend on this one."""
        names = self.following.chain.gradient_names or tuple(self.following.parts)
        come, order = {self.name}, [*self.following.above, *names]
        for step in reversed(self.following.chain.steps):
            if step.name in come:
                come.update(name for name, parts in self.following.parts.items() if step.name in parts)
        return {
            **self.following.values,
            **{f"d{name}": self.following.current[name] for name in order if name not in come},
        }

    def _taken_back(self, replaced: dict[str, Tensor], values: Values | None = None) -> Tensor:
        """The gradient by the lines on the way, with some gradients or forward values replaced."""
        values = self.following.values if values is None else values
        known = {n: g for n, g in self.following.current.items() if n in self.following.given or self._is_output(n)}
        gradients: dict[str, Tensor] = {}
        for step in self._steps_on_the_way:
            above = replaced.get(step.name, known.get(step.name, gradients.get(step.name)))
            if above is None:
                continue
            for name, part in self.following.lines_back(step, values, above).items():
                if name == self.name or any(name == s.name for s in self._steps_on_the_way):
                    gradients[name] = gradients[name] + part if name in gradients else part
        return gradients.get(self.name, torch.zeros_like(self.expected))

    def _code(self, mutation: Mutation, target: str) -> str | Callable[[], str]:
        return partial(mutation.assigned_to, target) if self._with_code else ""

    def _reads(self, step: Step, target: str) -> tuple[str, ...]:
        """The names that a step's backward line reads, or its forward line if there is no such backward line."""
        return arguments(step.backward.get(target, step.forward))

    def _in(self, step: Step, target: str, words: str) -> str:
        if target != f"d{self.name}":
            return f"in d{target[1:]}: {words}"
        return f"in the part through {step.name}: {words}" if len(self.parts) > 1 else words

    def _is_output(self, name: str) -> bool:
        return name in self.following.above


def _same(a: Tensor, b: Tensor) -> bool:
    return a.shape == b.shape and float((a - b).abs().max()) <= 1e-5 * float(b.abs().max())


def _inverse(order: Sequence[int]) -> list[int]:
    return sorted(range(len(order)), key=order.__getitem__)


def _and(names: Sequence[str]) -> str:
    return " and ".join(names)
