"""Explanations of a chain, a tensor or a derivation, built from the lines that run.

The network's chain, bundled chains and a user's own chain are explained in the same way.
"""

from __future__ import annotations

import difflib
import textwrap
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import torch
from torch import Tensor

from makemore_cli.backprop.atomic import given, network_chain
from makemore_cli.backprop.chain import Chain
from makemore_cli.backprop.derivations import DERIVATIONS, LECTURE, SHARED_BATCHNORM, Derivation
from makemore_cli.backprop.entries import arrows, write_out
from makemore_cli.backprop.inputs import Input
from makemore_cli.backprop.line_text import line_text
from makemore_cli.backprop.shipped import SHIPPED
from makemore_cli.backprop.shipped.lesson import Lesson
from makemore_cli.backprop.step import Line, Step, Values, arguments
from makemore_cli.checks.check_chain import NETWORK
from makemore_cli.checks.check_chain import find as find_chain
from makemore_cli.checks.function_pair import FunctionPair
from makemore_cli.errors import MakemoreError
from makemore_cli.network.model import Sizes
from makemore_cli.network.parameters import initialise
from makemore_cli.scalar.tensor import NotScalarError

LEGEND = "n examples · T context length · E embedding size · H hidden units · V vocabulary size"
TO_ONE_EXPRESSION = "from the steps of the chain to one expression"
SHARED = "shared_batchnorm"
SMOOTHING = 0.1
SMALL = Sizes(vocabulary=5, context=2, embedding=2, hidden=4)
SMALL_BATCH = 3
FEW = (2, 3)  # sizes, in turn, of a chain that is written out entry by entry
MOST_ENTRIES = 3  # rows and columns
CONFIDENT = 8.0  # added to a logit, to show the effect of a confident prediction


@dataclass(frozen=True)
class Numbers:
    """A chain's values and gradients at some inputs."""

    says: str
    values: Values
    gradients: Mapping[str, Tensor]

    @property
    def all(self) -> Values:
        return {**self.values, **{f"d{name}": gradient for name, gradient in self.gradients.items()}}


@dataclass(frozen=True)
class Subject:
    """A chain to explain, with its title, notes, derivations and examples."""

    chain: Chain
    title: str
    legend: str = ""
    notes: Sequence[str] = ()
    derivations: Mapping[str, Derivation] = field(default_factory=dict)
    lesson: Lesson | None = None

    def numbers(self, name: str | None, *, few: bool = False) -> list[Numbers]:
        """The examples in numbers; with `few`, small enough to be written out entry by entry."""
        if self.lesson is not None and self.lesson.examples:
            return [_at(self.chain, example.says, example.values()) for example in self.lesson.examples]
        if self.derivations and not few:
            return [_small_batch(SMOOTHING if name == "label_smoothing" else 0.0)]
        sizes = {size: FEW[place % len(FEW)] for place, size in enumerate(self.chain.sizes)} if few else {}
        values, drawn = self.chain.draw(0, {k: v for k, v in sizes.items() if k not in self.chain.bounds})
        for name, one in self.chain.inputs.items() if few else ():
            if type(one) is Input:  # halves, which are easy to follow
                values[name] = (2 * values[name]).round() / 2
        return [_at(self.chain, f"random numbers: {', '.join(f'{k} = {v}' for k, v in drawn.items())}", values)]


def network() -> Subject:
    """The network's chain, with its derivations."""
    return Subject(
        network_chain(),
        "The chain, from the tokens to the loss. Under each forward line are its backward lines.",
        LEGEND,
        derivations={**DERIVATIONS, SHARED: SHARED_BATCHNORM},
    )


def shipped(name: str) -> Subject:
    lesson = SHIPPED[name]
    return Subject(lesson.chain, f"{name}: {lesson.title}", notes=lesson.notes, lesson=lesson)


def own(chain: Chain) -> Subject:
    """A user's own chain."""
    return Subject(chain, f"{chain.name}: under each forward line are its backward lines.")


def find(name: str) -> Subject:
    """A chain by its name: makemore for the network's, the name of a bundled one, or the path of a file.

    Raises MakemoreError if there is no such chain or file, or if the file declares no chain.
    """
    if name == NETWORK:
        return network()
    if name in SHIPPED:
        return shipped(name)
    found = find_chain(name)
    if isinstance(found, FunctionPair):
        raise MakemoreError(f"{name}: has functions forward and backward, not a chain of steps; declare a chain")
    return own(found)


def explain(
    name: str | None,
    subject: Subject | None = None,
    *,
    numbers: bool = False,
    entries: bool = False,
    width: int = 100,
) -> list[str]:
    """Explain the whole chain, or one tensor or derivation, as lines of text; prose is wrapped at `width`.

    The default subject is the network's chain, or the bundled chain called `name`. `numbers` adds the numbers of a
    small batch or of the examples; `entries` writes the lines out entry by entry.
    Raises MakemoreError for a name that is neither a tensor nor a derivation.
    """
    if subject is None:
        subject, name = (shipped(name), None) if name in SHIPPED else (network(), name)
    chain = subject.chain
    if name is not None and name not in chain.shapes and name[1:] in tensors_of(chain):
        name = name[1:]  # the gradient's name is accepted too
    if name is None:
        lines = _overview(subject, width)
    elif name in subject.derivations:
        lines = _derivation(name, subject.derivations[name], width)
    elif name in tensors_of(chain):
        lines = _tensor(chain, name, width)
    else:
        raise unknown(name, subject)
    if subject.legend:
        lines += ["", *_wrapped("", subject.legend, width)]
    if entries:
        lines += _entries(subject, name, width)
    if numbers:
        lines += _numbers(subject, name, width)
    return lines


def unknown(name: str, subject: Subject) -> MakemoreError:
    known = [*tensors_of(subject.chain), *subject.derivations]
    more = [*known, *(SHIPPED if subject.derivations else ())]
    close = difflib.get_close_matches(name.removeprefix("d"), more, n=1) or difflib.get_close_matches(name, more)
    hint = f"did you mean {close[0]}?" if close else f"choose one of {', '.join(known)}"
    kinds = (
        "not a tensor or derivation of the chain" if subject.derivations else f"not a tensor of {subject.chain.name}"
    )
    return MakemoreError(f"{name}: {kinds}; {hint}")


def tensors_of(chain: Chain) -> list[str]:
    """The tensors of a chain, in order: the inputs that have a shape, and the steps."""
    return list(dict.fromkeys([*(name for name in chain.inputs if name in chain.shapes), *chain.by_name]))


def _overview(subject: Subject, width: int) -> list[str]:
    lines = [*_wrapped("", subject.title, width), ""]
    for step in subject.chain.steps:
        lines.append(_forward_line(step))
        lines += [f"    {_backward_line(target, line)}" for target, line in step.backward.items()]
    for note in subject.notes:
        lines += ["", *_wrapped("", note, width)]
    for stage in subject.chain.stages if subject.lesson else ():
        lines += ["", *_wrapped("", stage.says, width), f"    {stage.name} = {line_text(stage.line)}"]
    if subject.derivations:
        more = f"More: makemore explain TENSOR, or {', or '.join(subject.derivations)}"
        return [*lines, "", more, *_wrapped("Small chains: ", f"makemore explain {', '.join(SHIPPED)}", width)]
    return lines


def _tensor(chain: Chain, name: str, width: int) -> list[str]:
    shape = _shape(chain, name)
    lines = [f"{name}  ({shape})" if shape else name, ""]
    step = chain.by_name.get(name)
    if step is not None:
        lines += ["forward", f"  {_forward_line(step)}", *_reads(chain, step.forward, width)]
    else:
        lines.append(_what_input(chain, name))
    uses = [(s, line) for s in reversed(chain.steps) for target, line in s.backward.items() if target == f"d{name}"]
    if uses:
        many = f", a sum over its {len(uses)} uses" if len(uses) > 1 else ""
        lines += ["", *_wrapped("", f"its gradient d{name}{many}", width)]
        for place, (s, line) in enumerate(uses):
            lines += [f"  {_backward_line(f'd{name}', line, '+=' if place else '=')}", *_reads(chain, line, width)]
            lines.append(f"    through  {_forward_line(s)}")
            if s.rule:
                lines += _wrapped("    rule     ", s.rule, width)
            if s.why:
                lines += _wrapped("    why      ", s.why, width)
    elif name in chain.outputs:
        lines += ["", "its gradient is 1: the backward pass begins here" if shape == "a number" else COMES]
    if step is not None and step.backward:
        lines += ["", f"d{name} is passed on to"]
        lines += [f"  {_backward_line(target, line)}" for target, line in step.backward.items()]
    return lines


COMES = "its gradient is given, since it is an output of the chain"


def _what_input(chain: Chain, name: str) -> str:
    one = chain.inputs[name]
    if chain.name == network_chain().name:
        return "the tokens of a batch" if name in ("X", "Y") else "a parameter: no step computes it"
    return f"an input ({one.about}): no step computes it"


def _derivation(name: str, derivation: Derivation, width: int) -> list[str]:
    title = "what processes that share a batch exchange" if name == SHARED else TO_ONE_EXPRESSION
    lines = [f"{name}: {title}"]
    for number, stage in enumerate(derivation, start=1):
        lines += ["", *_wrapped(f"{number}. ", stage.says, width), f"   {stage.name} = {line_text(stage.line)}"]
    if name in LECTURE:
        lines += ["", "the lecture's derivation"]
        for number, stage in enumerate(LECTURE[name], start=1):
            lines += ["", *_wrapped(f"{number}. ", stage.says, width), f"   {stage.name} = {line_text(stage.line)}"]
    return lines


# Numbers.


def _at(chain: Chain, says: str, values: Values) -> Numbers:
    values = chain.forward(values)
    generator = torch.Generator().manual_seed(0)
    above = {
        name: torch.ones_like(values[name])
        if values[name].dim() == 0
        else torch.randint(1, 4, values[name].shape, generator=generator).to(values[name])
        for name in chain.outputs
    }
    return Numbers(says, values, {**above, **chain.backward(values, above)})


def _small_batch(smoothing: float) -> Numbers:
    parameters, generator = initialise(SMALL, 42)
    X = torch.randint(0, SMALL.vocabulary, (SMALL_BATCH, SMALL.context), generator=generator)
    Y = torch.randint(0, SMALL.vocabulary, (SMALL_BATCH,), generator=generator)
    chain = network_chain(smoothed=smoothing > 0)
    values = chain.forward(given(parameters, X, Y, smoothing=smoothing))
    sizes = f"n = {SMALL_BATCH}, T = {SMALL.context}, E = {SMALL.embedding}, H = {SMALL.hidden}, V = {SMALL.vocabulary}"
    return Numbers(f"a small batch: {sizes}", values, chain.backward(values))


def _numbers(subject: Subject, name: str | None, width: int) -> list[str]:
    """The values and gradients of the tensors that the explanation mentions."""
    chain, lines = subject.chain, []
    for at in subject.numbers(name):
        lines += ["", *_wrapped("", at.says, width)]
        for tensor in dict.fromkeys(n for n in _spoken_of(subject, name, at.values) if n in at.values):
            if isinstance(at.values[tensor], Tensor) and (tensor in chain.shapes or tensor in chain.by_name):
                lines += _matrix(tensor, at.values[tensor])
                if tensor in at.gradients:
                    lines += _matrix(f"d{tensor}", at.gradients[tensor])
        if subject.derivations and name in ("logits", "cross_entropy"):
            lines += _forces(at)
    if subject.lesson is not None and subject.lesson.table is not None and name is None:
        lines += ["", *subject.lesson.table()]
    return lines


def _spoken_of(subject: Subject, name: str | None, values: Iterable[str]) -> list[str]:
    if name is None:
        return list(values)
    if name in subject.derivations:
        return [n for stage in subject.derivations[name] for n in (*arguments(stage.line), stage.name[1:])]
    step = subject.chain.by_name.get(name)
    return [*(arguments(step.forward) if step else ()), name]


def _forces(at: Numbers) -> list[str]:
    """The first row of p beside n times dlogits, for the actual and for two confident predictions."""
    logits, Y = at.values["logits"].double(), at.values["Y"]
    right = int(Y[0])
    wrong = (right + 1) % logits.shape[1]
    cases = [
        ("the first row: the target is pulled up, all others are pushed down, and the forces balance", None),
        ("if the target is predicted with confidence, hardly any force is left", right),
        ("if another token is predicted with confidence, it is pushed as hard as the target is pulled", wrong),
    ]
    lines = []
    for says, letter in cases:
        row = logits[0].clone()
        if letter is not None:
            row[letter] = logits[0].max() + CONFIDENT
        p = row.softmax(0)
        force = p.clone()
        force[right] -= 1  # n · dlogits
        lines += ["", f"{says} (the target is token {right}; loss {-float(p[right].log()):.4f})"]
        lines += _matrix("p", p) + _matrix("n·dlogits", force)
        lines.append(f"{'  their sum':<18}{abs(float(force.sum())):8.4f}")
    return lines


def _matrix(name: str, value: Tensor) -> list[str]:
    """A tensor's numbers in columns, row by row of its last dimension."""
    rows = value.reshape(-1, value.shape[-1]) if value.dim() > 1 else value.reshape(1, -1)
    cells = [[f"{x:8}" if isinstance(x, int) else f"{x:8.4f}" for x in row] for row in rows.tolist()]
    heads = [f"  {name} ="] + [""] * (len(cells) - 1)
    return [f"{head:<18}{' '.join(row)}" for head, row in zip(heads, cells, strict=True)]


# Entry by entry.


def _entries(subject: Subject, name: str | None, width: int) -> list[str]:
    """The lines of a chain, or of one tensor, with every entry written out in symbols and in numbers."""
    chain = subject.chain
    at = subject.numbers(name, few=True)[0]
    lines = ["", *_wrapped("", f"entry by entry, {at.says[:1].lower()}{at.says[1:]}", width)]
    steps = chain.steps if name is None or name in subject.derivations else ()
    own_step = chain.by_name.get(name or "")
    wanted = [(s.name, s.forward) for s in ((own_step,) if own_step else steps)]
    wanted += [
        (target, line)
        for s in reversed(chain.steps)
        for target, line in s.backward.items()
        if name is None or target == f"d{name}"
    ]
    for result, line in wanted:
        lines += ["", f"  {result} = {line_text(line)}"]
        lines += [f"    {one}" for one in _written_out(line, at.all, result)]
    if name is None:
        out = arrows(chain, at.values)
        if out:
            lines += ["", *_wrapped("", f"arrows out of the first entry of each tensor: {', '.join(out)}", width)]
    return lines


def _written_out(line: Line, names: Mapping[str, Any], result: str) -> list[str]:
    try:
        written = write_out(line, names, result)
    except NotScalarError as error:
        return [f"({error})"]
    most = MOST_ENTRIES**2
    return written if len(written) <= most else [*written[:most], f"… and {len(written) - most} more"]


# Text.


def _forward_line(step: Step) -> str:
    return f"{step.name} = {line_text(step.forward)}"


def _backward_line(target: str, line: Line, sign: str = "=") -> str:
    return f"{target} {sign} {line_text(line)}"


def _reads(chain: Chain, line: Line, width: int) -> list[str]:
    """The shapes of a line's arguments, which leave only one way to arrange a matrix product."""
    shown = [(name, _shape(chain, name)) for name in arguments(line)]
    known = [f"{name} ({shape})" for name, shape in shown if shape]
    return _wrapped("    shapes   ", ", ".join(known), width)


def _shape(chain: Chain, name: str) -> str:
    """A shape as text, such as n × H; a gradient has its tensor's. Empty if none is declared."""
    shape = chain.shapes.get(name, chain.shapes.get(name.removeprefix("d")))
    return "" if shape is None else shape.replace(" ", " × ") or "a number"


def _wrapped(head: str, text: str, width: int) -> list[str]:
    return textwrap.wrap(text, width, initial_indent=head, subsequent_indent=" " * len(head))
