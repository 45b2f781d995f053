"""`makemore graph`."""

from __future__ import annotations

import sys
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from makemore_cli.cli.app import app
from makemore_cli.errors import MakemoreError, ParameterError
from makemore_cli.system import output

if TYPE_CHECKING:
    from makemore_cli.graph.graph import Graph

FORMATS = ("tree", "dot")
WIDE = 10_000  # columns: a tree that goes into a file is not wrapped


@app.command(
    context_settings={"ignore_unknown_options": True},  # an expression may begin with a minus
    epilog="Example: makemore graph --out neuron.svg && makemore graph 'e = a*b; e + c' a=2 b=-3 c=10 --step 1",
)
def graph(
    expression: Annotated[
        str | None,
        typer.Argument(
            metavar="[EXPRESSION]",
            help="Expression to draw, as for `makemore derivative`. Default: the lecture's neuron; override its "
            "numbers as in b=8.",
        ),
    ] = None,
    values: Annotated[
        list[str] | None, typer.Argument(metavar="[NAME=NUMBER]...", help="Values of the variables, such as a=2 b=-3.")
    ] = None,
    scalar_mlp: Annotated[
        bool,
        typer.Option("--scalar-mlp", help="Draw the loss of the initial network of `makemore scalar train`."),
    ] = False,
    examples: Annotated[
        int | None,
        typer.Option("--examples", metavar="N", show_default=False, help="Number of examples, 1 to 4. Default: 1."),
    ] = None,
    chain: Annotated[
        str | None,
        typer.Option(
            "--chain",
            metavar="NAME",
            help="Draw a chain of steps: makemore (the network), a bundled chain such as linear, or a file as for "
            "`gradcheck --chain`.",
        ),
    ] = None,
    step: Annotated[
        int | None,
        typer.Option("--step", metavar="K", help="Show the state after K backward steps. Default: after all."),
    ] = None,
    out: Annotated[
        Path | None,
        typer.Option(
            "--out",
            metavar="FILE",
            help="Write a diagram (.svg) or Graphviz source (.dot) to FILE instead of printing.",
        ),
    ] = None,
    format: Annotated[
        str | None,
        typer.Option(
            "--format",
            metavar="FORMAT",
            help="Print a tree, or dot (Graphviz source). Default: tree on a terminal, dot elsewhere.",
            show_default=False,
        ),
    ] = None,
) -> None:
    """Draw a computation as a graph, with the value and the gradient of each node."""
    if sum([expression is not None, scalar_mlp, chain is not None]) > 1:
        raise MakemoreError("an expression, --scalar-mlp, --chain: give only one of them")
    if examples is not None and not scalar_mlp:
        raise MakemoreError("--examples: applies to --scalar-mlp only; add it")
    if format is not None and format not in FORMATS:
        raise ParameterError("format", f"must be tree or dot, got {format}")
    if format is not None and out is not None:
        raise MakemoreError("--out: the file's ending says the format; omit --format")
    drawn = _graph(expression, values or [], scalar_mlp, examples, chain, step)
    from makemore_cli.graph import dot

    if out is not None:
        dot.draw(drawn, out)
        output.print_lines([str(out)])
    elif (format or ("tree" if sys.stdout.isatty() else "dot")) == "dot":
        output.print_texts([dot.to_dot(drawn)])
    else:
        from makemore_cli.graph.tree import show

        output.print_rich(partial(show, drawn), width=WIDE)


def _graph(
    expression: str | None,
    values: list[str],
    scalar_mlp: bool,
    examples: int | None,
    chain: str | None,
    step: int | None,
) -> Graph:
    if chain is not None:
        from makemore_cli.views.explain import find
        from makemore_cli.views.graph_of_chain import graph_of_chain

        subject = find(chain)
        at = subject.numbers(None)[0]
        above = {name: at.gradients[name] for name in subject.chain.outputs if name in at.gradients}
        return graph_of_chain(subject.chain, subject.chain.name, at.values, above, step)
    from makemore_cli.scalar.graph_of_value import graph_of_value

    if scalar_mlp:
        from makemore_cli.scalar.experiment import experiment, labelled_loss

        chosen = experiment()
        loss = labelled_loss(chosen, 1 if examples is None else examples)
        return graph_of_value(loss, f"The loss of {len(chosen.model.parameters())} parameters", step)
    from makemore_cli.scalar.expression import NEURON, NEURON_VALUES, Expression, parse_assignments

    numbers = _neuron_numbers([one for one in (expression, *values) if one is not None])
    if numbers is not None:
        found = Expression(NEURON).evaluate({**NEURON_VALUES, **numbers})
        return graph_of_value(found.result, "A neuron", step)
    typed = Expression(expression or "")
    found = typed.evaluate(parse_assignments(values))
    return graph_of_value(found.result, typed.text.replace("\n", "; "), step)


def _neuron_numbers(given: list[str]) -> dict[str, float] | None:
    """Numbers of the lecture's neuron, if all that is given are such numbers."""
    from makemore_cli.scalar.expression import NEURON_VALUES, ExpressionError, parse_assignments

    try:
        numbers = parse_assignments(given)
    except ExpressionError:
        return None
    return numbers if numbers.keys() <= NEURON_VALUES.keys() else None
