"""What the table of steps says of a tensor, and how the single expressions come about. Its lines are the code's own."""

from __future__ import annotations

import ast
import difflib
from functools import cache
from pathlib import Path

import torch
from rich.console import Console, Group, RenderableType
from rich.padding import Padding
from rich.table import Table
from rich.text import Text

from makemore_cli.backprop import steps
from makemore_cli.backprop.derivations import DERIVATIONS, Stage
from makemore_cli.errors import MakemoreError
from makemore_cli.model import Sizes, initialise

LEGEND = "n examples · T letters of context · E numbers a letter · H hidden units · V letters"
SMALL = Sizes(vocabulary=5, context=2, embedding=2, hidden=4)
SMALL_BATCH = 3


def line_text(line: steps.Line) -> str:
    """The expression that a line is, as it stands in the source."""
    code = line.__code__
    return _expressions(code.co_filename)[code.co_firstlineno]


@cache
def _expressions(file: str) -> dict[int, str]:
    """Every lambda's expression in a source file, by the line on which the lambda begins."""
    source = Path(file).read_text(encoding="utf-8")
    found = {}
    for node in ast.walk(ast.parse(source)):
        if isinstance(node, ast.Lambda):
            text = " ".join((ast.get_source_segment(source, node.body) or "").split())
            found[node.lineno] = text.replace("( ", "(").replace(" )", ")")  # where it stood on several lines
    return found


def explain(name: str | None, numbers: bool, console: Console) -> None:
    """Print the whole table, or what there is to say of one tensor or derivation.

    Raises MakemoreError for a name that is neither.
    """
    if name is not None and name not in steps.SHAPES and name[1:] in steps.SHAPES:
        name = name[1:]  # the gradient's name will do
    if name is None:
        console.print(_overview())
    elif name in DERIVATIONS:
        console.print(_derivation(name, DERIVATIONS[name]))
    elif name in steps.SHAPES:
        console.print(_tensor(name))
    else:
        known = [*steps.SHAPES, *DERIVATIONS]
        close = difflib.get_close_matches(name.removeprefix("d"), known, n=1) or difflib.get_close_matches(name, known)
        hint = f"did you mean {close[0]}?" if close else f"there are {', '.join(known)}"
        raise MakemoreError(f"{name}: no tensor of the chain and no derivation; {hint}")
    if numbers:
        console.print(_numbers(name))


def _overview() -> RenderableType:
    table = Table(box=None, padding=(0, 3, 0, 0), title="The chain, down to the loss and back", title_justify="left")
    table.add_column("forward")
    table.add_column("backward, to be read from below")
    for step in steps.STEPS:
        lines = "\n".join(_backward_line(target, line) for target, line in step.backward.items())
        table.add_row(Text(_forward_line(step)), Text(lines))
    return Group(table, Text(f"\n{LEGEND}\nMore: makemore explain TENSOR, or {', or '.join(DERIVATIONS)}"))


def _tensor(name: str) -> RenderableType:
    parts: list[RenderableType] = [Text.assemble((name, "bold"), f"  ({_shape(name)})"), Text()]
    own = next((s for s in steps.STEPS if s.name == name), None)
    if own is not None:
        parts += [Text("forward", style="underline"), _indented(_forward_line(own)), _reads(own.forward)]
    else:
        kind = "a batch's tokens" if name in ("X", "Y") else "a parameter"
        parts.append(Text(f"{kind}; no step computes it"))
    uses = [(s, line) for s in reversed(steps.STEPS) for target, line in s.backward.items() if target == f"d{name}"]
    if uses:
        many = f", a sum over its {len(uses)} uses" if len(uses) > 1 else ""
        parts += [Text(), Text(f"its gradient d{name}{many}", style="underline")]
        for place, (step, line) in enumerate(uses):
            parts.append(_indented(_backward_line(f"d{name}", line, "+=" if place else "=")))
            parts += [_reads(line), _indented(f"through  {_forward_line(step)}", 4)]
            parts += [_indented(f"rule     {step.rule}", 4), _indented(f"why      {step.why}", 4)]
    elif name == "loss":
        parts += [Text(), Text("its gradient is 1: everything begins here")]
    if own is not None:
        parts += [Text(), Text(f"and d{name} goes on to", style="underline")]
        parts += [_indented(_backward_line(target, line)) for target, line in own.backward.items()]
    return Group(*parts, Text(f"\n{LEGEND}", style="dim"))


def _derivation(name: str, stages: tuple[Stage, ...]) -> RenderableType:
    parts: list[RenderableType] = [Text.assemble((name, "bold"), ": from the chain to one expression"), Text()]
    for number, stage in enumerate(stages, start=1):
        parts += [Text(f"{number}. {stage.says}"), _indented(f"{stage.name} = {line_text(stage.line)}", 3), Text()]
    return Group(*parts, Text(LEGEND, style="dim"))


def _numbers(name: str | None) -> RenderableType:
    """A small batch, and the values and gradients of the tensors that are spoken of."""
    parameters, generator = initialise(SMALL, 42)
    X = torch.randint(0, SMALL.vocabulary, (SMALL_BATCH, SMALL.context), generator=generator)
    Y = torch.randint(0, SMALL.vocabulary, (SMALL_BATCH,), generator=generator)
    values = steps.forward(parameters, X, Y)
    gradients = steps.backward(values)
    if name is None:
        shown = [s.name for s in steps.STEPS]
    elif name in DERIVATIONS:
        stages = DERIVATIONS[name]
        read = [n for stage in stages for n in steps.arguments(stage.line) if n in values and n in steps.SHAPES]
        shown = list(dict.fromkeys([*read, *(stage.name.removeprefix("d") for stage in stages)]))
    else:
        own = next((s for s in steps.STEPS if s.name == name), None)
        read = [n for n in steps.arguments(own.forward) if n in steps.SHAPES] if own else []
        shown = [*read, name]
    sizes = f"n = {SMALL_BATCH}, T = {SMALL.context}, E = {SMALL.embedding}, H = {SMALL.hidden}, V = {SMALL.vocabulary}"
    parts: list[RenderableType] = [Text(f"\nnumbers of a small batch: {sizes}", style="underline")]
    for tensor in shown:
        parts.append(_matrix(tensor, values[tensor]))
        if tensor in gradients:
            parts.append(_matrix(f"d{tensor}", gradients[tensor]))
    return Group(*parts)


def _matrix(name: str, value: torch.Tensor) -> RenderableType:
    table = Table(box=None, show_header=False, padding=(0, 2, 0, 0), pad_edge=False)
    rows = value.reshape(-1, value.shape[-1]) if value.dim() > 1 else value.reshape(1, -1)
    for number, row in enumerate(rows.tolist()):
        cells = [str(x) if isinstance(x, int) else f"{x:.4f}" for x in row]
        table.add_row("" if number else f"{name} =", *(Text(cell, justify="right") for cell in cells))
    return Padding(table, (0, 0, 0, 2))


def _forward_line(step: steps.Step) -> str:
    return f"{step.name} = {line_text(step.forward)}"


def _backward_line(target: str, line: steps.Line, sign: str = "=") -> str:
    return f"{target} {sign} {line_text(line)}"


def _reads(line: steps.Line) -> RenderableType:
    """The shapes of what a line reads: with them, a matrix product can be put together in one way only."""
    read = [n for n in steps.arguments(line) if n.removeprefix("d") in steps.SHAPES or n in steps.SHAPES]
    return _indented(f"shapes   {', '.join(f'{n} ({_shape(n)})' for n in read)}", 4)


def _shape(name: str) -> str:
    """As n × H; a gradient has its tensor's."""
    shape = steps.SHAPES[name] if name in steps.SHAPES else steps.SHAPES[name.removeprefix("d")]
    return shape.replace(" ", " × ") or "a number"


def _indented(text: str, by: int = 2) -> RenderableType:
    return Padding(Text(text), (0, 0, 0, by))
