"""The source text of a chain's lines, so that the code that is shown is the code that runs."""

from __future__ import annotations

import ast
import inspect
import linecache
from collections.abc import Iterator, Sequence
from functools import cache
from pathlib import Path
from types import CodeType

from makemore_cli.backprop.step import Line

PACKAGE = Path(__file__).parents[1]


def line_text(line: Line) -> str:
    """The expression of a line, as in its source; the call, if the line is a function of several statements."""
    node, text = _found(line)
    return text if node is not None else ast.unparse(expression(line))


def place(line: Line) -> str:
    """The location of a line, such as "my_chain.py, line 12: dz @ W.T"; empty for the package's own lines."""
    code = getattr(inspect.unwrap(line), "__code__", None)
    if code is None or not Path(code.co_filename).exists() or PACKAGE in Path(code.co_filename).parents:
        return ""
    return f"{Path(code.co_filename).name}, line {code.co_firstlineno}: {line_text(line)}"


@cache
def expression(line: Line) -> ast.expr:
    """The expression of a line as a syntax tree, which must not be changed."""
    node, _ = _found(line)
    if node is not None:
        return node
    names = inspect.signature(line).parameters
    name = getattr(line, "__name__", type(line).__name__)
    function = ast.Name(name if name.isidentifier() else "line", ast.Load())
    return ast.fix_missing_locations(ast.Call(function, [ast.Name(name, ast.Load()) for name in names], []))


@cache
def _found(line: Line) -> tuple[ast.expr | None, str]:
    """The expression that a lambda or a function of one statement returns, and its text; None if there is none."""
    tree = getattr(line, "expression", None)
    if tree is not None:  # a `MadeLine`
        return tree, ast.unparse(tree)
    line = inspect.unwrap(line)
    code = getattr(line, "__code__", None)
    if code is None:
        return None, ""
    linecache.checkcache(code.co_filename)  # the file may have changed
    source = "".join(linecache.getlines(code.co_filename))  # works for a notebook's cells too
    here = _expressions(source).get((code.co_name, code.co_firstlineno), [])
    same = [one for one in here if one[0] == code.co_varnames[: code.co_argcount]]
    if len(same) > 1:  # several on one line
        same = [one for one in same if _is_of(one[1], code)] or same
    return (same[0][2], same[0][3]) if same else (None, "")


@cache
def _expressions(source: str) -> dict[tuple[str, int], list[tuple[tuple[str, ...], ast.AST, ast.expr, str]]]:
    """The lambdas and one-line functions of a source text, by name and first line: arguments, node, body, text."""
    try:
        tree = ast.parse(source)
    except SyntaxError:
        return {}
    lines = source.split("\n")
    found: dict[tuple[str, int], list[tuple[tuple[str, ...], ast.AST, ast.expr, str]]] = {}
    for node, name, body in _definitions(tree):
        arguments = node.args
        names = tuple(a.arg for a in (*arguments.posonlyargs, *arguments.args))
        text = " ".join(_segment(lines, body).split())
        text = text.replace("( ", "(").replace(" )", ")")  # left by line breaks
        first = min([node.lineno, *(one.lineno for one in getattr(node, "decorator_list", []))])
        found.setdefault((name, first), []).append((names, node, body, text))
    return found


def _segment(lines: Sequence[str], node: ast.expr) -> str:
    """The source of a node. `ast.get_source_segment` would split the whole text again for each node."""
    assert node.end_lineno is not None
    first, *others = [line.encode() for line in lines[node.lineno - 1 : node.end_lineno]]
    if not others:
        return first[node.col_offset : node.end_col_offset].decode()
    return b"\n".join([first[node.col_offset :], *others[:-1], others[-1][: node.end_col_offset]]).decode()


def _definitions(tree: ast.AST) -> Iterator[tuple[ast.Lambda | ast.FunctionDef, str, ast.expr]]:
    for node in ast.walk(tree):
        if isinstance(node, ast.Lambda):
            yield node, "<lambda>", node.body
        elif isinstance(node, ast.FunctionDef):
            statements = node.body[1:] if ast.get_docstring(node) is not None else node.body
            if len(statements) == 1 and isinstance(statements[0], ast.Return) and statements[0].value is not None:
                yield node, node.name, statements[0].value


def _is_of(node: ast.AST, code: CodeType) -> bool:
    """Whether a lambda's code comes from a node, judged by position or, before Python 3.11, by instructions."""
    if not isinstance(node, ast.Lambda):
        return True
    if hasattr(code, "co_positions"):
        body = node.body
        places = [(line, column) for line, _, column, _ in code.co_positions() if line and column]
        start, end = (body.lineno, body.col_offset), (body.end_lineno or 0, body.end_col_offset or 0)
        return all(start <= place <= end for place in places)
    alone = compile(ast.Expression(node), "<lambda>", "eval")
    other = next((c for c in alone.co_consts if isinstance(c, CodeType)), code)
    return (other.co_code, other.co_consts, other.co_names) == (code.co_code, code.co_consts, code.co_names)
