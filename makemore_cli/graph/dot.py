"""A graph in DOT, the language of Graphviz, and as an SVG file laid out by Graphviz."""

from __future__ import annotations

import importlib.util
import shutil
import subprocess
from pathlib import Path

from makemore_cli.errors import MakemoreError, ParameterError
from makemore_cli.graph.graph import Graph, Node, State
from makemore_cli.printable import printable
from makemore_cli.system import child_processes
from makemore_cli.system.files import DOT_MARK, SVG_MARK, check_replaceable, write_atomically

LAYOUT_SECONDS = 60
PYGRAPHVIZ = (
    "import sys, pygraphviz; sys.stdout.buffer.write("
    "pygraphviz.AGraph(string=sys.stdin.buffer.read().decode()).draw(format='svg', prog='dot'))"
)
COLOURS = {
    State.WAITING: "#eeeeee",
    State.PARTIAL: "#ffe8b3",
    State.COMPLETE: "#ffffff",
    State.PASSING: "#b3d9ff",
    State.NONE: "#ffffff",
}


def to_dot(graph: Graph) -> str:
    """The graph as DOT: a record for each node, an ellipse for each operation."""
    # nslimit: without it, the layout of a number with many distant uses takes minutes.
    direction = "TB" if graph.downwards else "LR"
    lines = [
        DOT_MARK,
        "digraph {",
        f"  graph [rankdir={direction}, nslimit=1, label={_quoted(_heading(graph))}, labelloc=t, fontname=Helvetica];",
        "  node [shape=record, style=filled, fillcolor=white, fontname=Helvetica, fontsize=11];",
        "  edge [arrowsize=0.6];",
    ]
    for place, node in enumerate(graph.nodes):
        fields = [node.label, node.shape, f"data {node.data}", f"grad {grad(node)}" if node.grad else ""]
        label = " | ".join(_field(field) for field in fields if field)
        label = label if graph.downwards else f"{{{label}}}"  # braces rotate the row of fields by 90 degrees
        lines.append(f'  n{place} [label="{label}", fillcolor="{COLOURS[node.state]}"];')
        if node.operation:
            shape = 'box, style="rounded,filled"' if node.is_line else "ellipse"
            tooltip = _quoted(node.backward or node.operation)
            lines.append(f"  o{place} [label={_quoted(node.operation)}, tooltip={tooltip}, shape={shape}];")
            lines.append(f"  o{place} -> n{place};")
        lines += [f"  n{one} -> o{place};" for one in dict.fromkeys(node.inputs)]
    return "\n".join([*lines, "}", ""])


def caption(graph: Graph) -> str:
    """The title, and how many backward steps are done."""
    if graph.step == graph.steps:
        return graph.title
    return f"{graph.title}: after {graph.step} of {graph.steps} backward steps"


def _heading(graph: Graph) -> str:
    if graph.step == graph.steps:
        return caption(graph)
    return (
        f"{caption(graph)}\ngrey: no gradient yet; yellow: incomplete gradient; blue: gradient passed on in this step"
    )


def grad(node: Node) -> str:
    """A gradient as text."""
    return f"{node.grad} so far" if node.state is State.PARTIAL else node.grad


def draw(graph: Graph, path: Path) -> None:
    """Write a graph as SVG or DOT, by the file's suffix.

    Raises ParameterError for another suffix, and MakemoreError if Graphviz is missing, if the layout takes too long, or
    if makemore did not make the file that is there.
    """
    ending = path.suffix.lower()
    if ending not in (".svg", ".dot"):
        raise ParameterError("out", f"must be a .svg or .dot file, got {path}")
    check_replaceable(path)
    write_atomically(path, to_dot(graph).encode() if ending == ".dot" else to_svg(graph))


def to_svg(graph: Graph) -> bytes:
    """The graph as SVG. Raises MakemoreError if Graphviz is missing, or if the layout takes too long."""
    return _marked(_laid_out(to_dot(graph)))


def _laid_out(text: str) -> bytes:
    """The SVG, by Graphviz in a process of its own, which can be interrupted, and whose warnings are dropped."""
    program = shutil.which("dot")
    if importlib.util.find_spec("pygraphviz") is not None:
        command = child_processes.command(PYGRAPHVIZ)
    elif program is not None:
        command = [program, "-Tsvg"]
    else:
        raise MakemoreError("an .svg file needs Graphviz; install it (pip install pygraphviz), or write a .dot file")
    try:
        ran = subprocess.run(command, input=text.encode(), capture_output=True, timeout=LAYOUT_SECONDS, check=True)
    except subprocess.TimeoutExpired:
        raise MakemoreError(
            f"the graph is too large: Graphviz did not finish within {LAYOUT_SECONDS} s; write a .dot file instead"
        ) from None
    except (OSError, subprocess.CalledProcessError) as error:
        raise MakemoreError(f"Graphviz can't draw the graph: {error}") from None
    return ran.stdout


def _marked(svg: bytes) -> bytes:
    """The SVG with our mark, which allows a later one to replace it, in place of Graphviz's comments."""
    start = svg.find(b"<svg")
    head = svg.find(b">", start) + 1
    return b'<?xml version="1.0" encoding="UTF-8"?>\n' + svg[start:head] + SVG_MARK + svg[head:]


def _field(text: str) -> str:
    """Text escaped for a record, where braces, bars and angle brackets have a meaning."""
    text = printable(text).replace("&", "&amp;")  # Graphviz reads entities
    escaped = "".join(f"\\{sign}" if sign in '\\{}|<>"' else sign for sign in text)
    return escaped.replace("  ", " \\ ")


def _quoted(text: str) -> str:
    escaped = (
        printable(text, newlines=True)
        .replace("&", "&amp;")
        .replace("\\", "\\\\")
        .replace('"', '\\"')
        .replace("\n", "\\n")
    )
    return f'"{escaped}"'
