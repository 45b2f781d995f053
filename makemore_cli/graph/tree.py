"""A graph as an indented tree for a terminal: each node above the nodes that it reads, the result first."""

from __future__ import annotations

from rich.console import Console
from rich.text import Text
from rich.tree import Tree

from makemore_cli.graph.dot import caption, grad
from makemore_cli.graph.graph import Graph, Node, State
from makemore_cli.printable import printable
from makemore_cli.system.console import foreign

STYLES = {
    State.WAITING: "dim",
    State.PARTIAL: "yellow",
    State.COMPLETE: "",
    State.PASSING: "bold cyan",
    State.NONE: "",
}


def show(graph: Graph, console: Console) -> None:
    """Print the graph. A node that is read more than once is written out once, and referred to by name after that."""
    console.print(foreign(caption(graph)))
    names = _names(graph)
    seen: set[int] = set()
    for result in graph.results:
        root = Tree("", hide_root=True)
        stack = [(result, root)]
        while stack:  # no recursion, since a graph may be deep
            place, above = stack.pop()
            node = graph.nodes[place]
            if place in seen and node.inputs:
                above.add(foreign(f"{names[place]}, as above", style="dim"))
                continue
            seen.add(place)
            branch = above.add(_line(node, names[place], names))
            stack += [(one, branch) for one in reversed(dict.fromkeys(node.inputs))]
        console.print(root, soft_wrap=True)


def _names(graph: Graph) -> list[str]:
    """A name for each node: its label, or else a constant's number or a result's place."""
    return [
        printable(node.label) or (f"#{place}" if node.operation else node.data)
        for place, node in enumerate(graph.nodes)
    ]


def _line(node: Node, name: str, names: list[str]) -> Text:
    how = ""
    if node.operation:
        operation = " ".join(node.operation.split())
        read = [names[one] for one in node.inputs]
        how = f" = {operation if node.is_line else _written(operation, read)}"
    text = foreign(f"{name}{how}", style=STYLES[node.state])
    if node.shape:
        text.append(f"   {node.shape}", style="dim")
    text.append(f"   data {printable(node.data)}", style="dim")
    if node.grad:
        text.append(f"   grad {printable(grad(node))}", style=STYLES[node.state])
    return text


def _written(operation: str, read: list[str]) -> str:
    if operation.startswith("**") and len(read) == 1:
        return f"{read[0]}{operation}"
    if len(read) == 2:
        return f"{read[0]} {operation} {read[1]}"
    return f"{operation}({', '.join(read)})"
