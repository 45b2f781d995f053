"""The source text of the table's lines. What people are shown is the code that runs, never typed twice."""

from __future__ import annotations

import ast
from functools import cache
from pathlib import Path

from makemore_cli.backprop.chain import Line


def line_text(line: Line) -> str:
    """The expression of a line, as its source has it."""
    code = line.__code__
    return _expressions(code.co_filename)[code.co_firstlineno]


@cache
def expression(line: Line) -> ast.expr:
    """The expression of a line as a syntax tree, which must not be changed."""
    return ast.parse(line_text(line), mode="eval").body


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
