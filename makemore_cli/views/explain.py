"""The explanation of a tensor by the table of steps, and the derivations of the single expressions.

The lines are the code's own.
"""

from __future__ import annotations

import difflib
import textwrap

import torch

from makemore_cli.backprop import atomic as steps
from makemore_cli.backprop.chain import Line, Stage, Step, arguments
from makemore_cli.backprop.derivations import DERIVATIONS
from makemore_cli.backprop.line_text import line_text
from makemore_cli.errors import MakemoreError
from makemore_cli.network.model import Sizes
from makemore_cli.network.parameters import initialise

LEGEND = "n examples · T letters of context · E numbers a letter · H hidden units · V letters"
SMOOTHING = 0.1
SMALL = Sizes(vocabulary=5, context=2, embedding=2, hidden=4)
SMALL_BATCH = 3


def explain(name: str | None, *, numbers: bool = False, width: int = 100) -> list[str]:
    """The whole table, or what there is to say of one tensor or derivation, as lines; prose is wrapped at `width`.

    Raises MakemoreError for a name that is neither.
    """
    if name is not None and name not in steps.SHAPES and name[1:] in steps.SHAPES:
        name = name[1:]  # the gradient's name will do
    if name is None:
        lines = _overview()
    elif name in DERIVATIONS:
        lines = _derivation(name, DERIVATIONS[name], width)
    elif name in steps.SHAPES:
        lines = _tensor(name, width)
    else:
        known = [*steps.SHAPES, *DERIVATIONS]
        close = difflib.get_close_matches(name.removeprefix("d"), known, n=1) or difflib.get_close_matches(name, known)
        hint = f"did you mean {close[0]}?" if close else f"there are {', '.join(known)}"
        raise MakemoreError(f"{name}: no tensor of the chain and no derivation; {hint}")
    lines += ["", *_wrapped("", LEGEND, width)]
    return lines + _numbers(name) if numbers else lines


def _overview() -> list[str]:
    lines = ["The chain, from the letters down to the loss; under each line those that take its gradient back.", ""]
    for step in steps.STEPS:
        lines.append(_forward_line(step))
        lines += [f"    {_backward_line(target, line)}" for target, line in step.backward.items()]
    return [*lines, "", f"More: makemore explain TENSOR, or {', or '.join(DERIVATIONS)}"]


def _tensor(name: str, width: int) -> list[str]:
    lines = [f"{name}  ({_shape(name)})", ""]
    own = next((s for s in steps.STEPS if s.name == name), None)
    if own is not None:
        lines += ["forward", f"  {_forward_line(own)}", _reads(own.forward)]
    else:
        lines.append("a batch's tokens" if name in ("X", "Y") else "a parameter: no step computes it")
    uses = [(s, line) for s in reversed(steps.STEPS) for target, line in s.backward.items() if target == f"d{name}"]
    if uses:
        many = f", a sum over its {len(uses)} uses" if len(uses) > 1 else ""
        lines += ["", f"its gradient d{name}{many}"]
        for place, (step, line) in enumerate(uses):
            lines += [f"  {_backward_line(f'd{name}', line, '+=' if place else '=')}", _reads(line)]
            lines.append(f"    through  {_forward_line(step)}")
            lines += _wrapped("    rule     ", step.rule, width) + _wrapped("    why      ", step.why, width)
    elif name == "loss":
        lines += ["", "its gradient is 1: everything begins here"]
    if own is not None:
        lines += ["", f"and d{name} goes on to"]
        lines += [f"  {_backward_line(target, line)}" for target, line in own.backward.items()]
    return lines


def _derivation(name: str, stages: tuple[Stage, ...], width: int) -> list[str]:
    lines = [f"{name}: from the chain to one expression"]
    for number, stage in enumerate(stages, start=1):
        lines += ["", *_wrapped(f"{number}. ", stage.says, width), f"   {stage.name} = {line_text(stage.line)}"]
    return lines


def _numbers(name: str | None) -> list[str]:
    """A small batch, and the values and gradients of the tensors that are spoken of."""
    parameters, generator = initialise(SMALL, 42)
    X = torch.randint(0, SMALL.vocabulary, (SMALL_BATCH, SMALL.context), generator=generator)
    Y = torch.randint(0, SMALL.vocabulary, (SMALL_BATCH,), generator=generator)
    values = steps.forward(parameters, X, Y, smoothing=SMOOTHING if name == "label_smoothing" else 0.0)
    gradients = steps.backward(values)
    if name is None:
        shown = list(values)
    elif name in DERIVATIONS:
        stages = DERIVATIONS[name]
        shown = [n for stage in stages for n in (*arguments(stage.line), stage.name[1:])]
    else:
        own = next((s for s in steps.STEPS if s.name == name), None)
        shown = [*(arguments(own.forward) if own else ()), name]
    sizes = f"n = {SMALL_BATCH}, T = {SMALL.context}, E = {SMALL.embedding}, H = {SMALL.hidden}, V = {SMALL.vocabulary}"
    lines = ["", f"numbers of a small batch: {sizes}"]
    for tensor in dict.fromkeys(n for n in shown if n in values and n in steps.SHAPES):
        lines += _matrix(tensor, values[tensor])
        if tensor in gradients:
            lines += _matrix(f"d{tensor}", gradients[tensor])
    return lines


def _matrix(name: str, value: torch.Tensor) -> list[str]:
    """A tensor's numbers in columns, row by row of its last dimension."""
    rows = value.reshape(-1, value.shape[-1]) if value.dim() > 1 else value.reshape(1, -1)
    cells = [[f"{x:8}" if isinstance(x, int) else f"{x:8.4f}" for x in row] for row in rows.tolist()]
    heads = [f"  {name} ="] + [""] * (len(cells) - 1)
    return [f"{head:<18}{' '.join(row)}" for head, row in zip(heads, cells, strict=True)]


def _forward_line(step: Step) -> str:
    return f"{step.name} = {line_text(step.forward)}"


def _backward_line(target: str, line: Line, sign: str = "=") -> str:
    return f"{target} {sign} {line_text(line)}"


def _reads(line: Line) -> str:
    """The shapes of what a line reads: with them, a matrix product can be put together in one way only."""
    read = [n for n in arguments(line) if n in steps.SHAPES or n.removeprefix("d") in steps.SHAPES]
    return f"    shapes   {', '.join(f'{n} ({_shape(n)})' for n in read)}"


def _shape(name: str) -> str:
    """A shape to read, such as n × H; a gradient has its tensor's."""
    shape = steps.SHAPES[name] if name in steps.SHAPES else steps.SHAPES[name.removeprefix("d")]
    return shape.replace(" ", " × ") or "a number"


def _wrapped(head: str, text: str, width: int) -> list[str]:
    return textwrap.wrap(text, width, initial_indent=head, subsequent_indent=" " * len(head))
