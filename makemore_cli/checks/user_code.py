"""The code in a user's file: a function `backward`, or statements of a script or notebook that compute gradients.

A learner's notebook holds much more than the backward pass: it reads names, trains, compares and plots. In a notebook
or a script without `backward`, only the statements that the gradients depend on are run. We provide the forward pass,
so its statements are left out, and nothing is read, trained or plotted.
"""

from __future__ import annotations

import ast
import json
import linecache
import re
import tokenize
from collections.abc import Iterable, Iterator, Set
from dataclasses import dataclass, field
from pathlib import Path

from makemore_cli.errors import MakemoreError

CELL_MARK = re.compile(r"\s*#\s*(%%|In\[.*\]:)")  # how editors and nbconvert mark cells in a script
LOOKS_ONLY = {"print", "display", "cmp", "assert"}  # functions that show or compare, called on a line of their own


@dataclass
class Cell:
    """A cell of a notebook, or the part of a script between two cell marks."""

    where: str  # as tracebacks name it
    statements: list[ast.stmt] = field(default_factory=list)


def read_cells(path: Path) -> list[Cell]:
    """Read a script or a notebook. Raises MakemoreError if it can't be read, with the line of a syntax error."""
    try:
        if path.suffix == ".ipynb":
            return list(_notebook_cells(path, path.read_text(encoding="utf-8-sig")))
        with tokenize.open(path) as file:  # in the encoding that it declares
            source = file.read()
    except FileNotFoundError:
        raise MakemoreError(f"{path}: no such file; give a Python file or a notebook (.ipynb)") from None
    except OSError as error:
        raise MakemoreError(f"{path}: can't be read: {error.strerror}") from None
    except (UnicodeDecodeError, SyntaxError) as error:
        raise MakemoreError(f"{path}: can't be read: {error}") from None
    statements = _parse(source, str(path), str(path))
    marks = [number for number, line in enumerate(source.splitlines(), start=1) if CELL_MARK.match(line)]
    cells = [Cell(str(path)) for _ in range(len(marks) + 1)]
    for statement in statements:
        cells[sum(mark <= statement.lineno for mark in marks)].statements.append(statement)
    return cells


def _notebook_cells(path: Path, source: str) -> Iterator[Cell]:
    try:
        notebook = json.loads(source)
        if isinstance(notebook, dict) and "worksheets" in notebook:
            raise MakemoreError(f"{path}: is a notebook of version 3; save it in Jupyter again, as version 4")
        cells = [cell for cell in notebook["cells"] if cell["cell_type"] == "code"]
        sources = ["".join(cell["source"]) for cell in cells]
    except (ValueError, KeyError, TypeError):
        raise MakemoreError(f"{path}: is not a Jupyter notebook of version 4") from None
    if not sources:
        raise MakemoreError(f"{path}: has no code cells")
    for number, text in enumerate(sources, start=1):
        where = f"{path}, cell {number}"
        first = text.lstrip()
        if first.startswith("%%") and not re.match(r"%%(time|timeit|capture|prun)\b", first):
            continue  # another language
        python = _without_magics(text)
        linecache.cache[where] = (len(text), None, python.splitlines(keepends=True), where)
        yield Cell(where, _parse(python, where, where))


def _without_magics(text: str) -> str:
    """A cell's text without magics and shell commands; line numbers stay the same.

    Only a line at which Python finds a syntax error can be one of these: `% n` may continue an expression, and a
    comment may end in a question mark.
    """
    lines = text.splitlines()
    for _ in lines:
        try:
            ast.parse("\n".join(lines))
            break
        except SyntaxError as error:
            at = (error.lineno or 0) - 1
            if not (0 <= at < len(lines) and (python := _python_for(lines[at])) is not None):
                break
            lines[at] = python
        except ValueError:  # a null byte
            break
    return "".join(f"{line}\n" for line in lines)


def _python_for(line: str) -> str | None:
    """The Python for a magic or a shell command: `%time x = 1` becomes x = 1, and `x = !ls` becomes x = None."""
    indent = re.match(r"\s*", line)[0]  # type: ignore[index]
    if found := re.match(r"\s*%(time|prun|memit)\s+(?!-)(\S.*)", line):
        return indent + found[2]
    if found := re.match(r"\s*([\w, ]+?)\s*=\s*[%!]", line):
        return f"{indent}{found[1]} = None"
    if re.match(r"\s*([%!?]|[^#]*\?\s*(#.*)?$)", line):
        return f"{indent}pass"
    return None


def _parse(source: str, where: str, file: str) -> list[ast.stmt]:
    try:
        return ast.parse(source, file).body
    except SyntaxError as error:
        line, number = (error.text or "").strip(), f", line {error.lineno}" if error.lineno else ""
        raise MakemoreError(f"{where}{number}: {error.msg}{': ' if line else ''}{line}") from None
    except ValueError as error:  # a null byte
        raise MakemoreError(f"{where}: is not Python source: {error}") from None


def binds(cells: Iterable[Cell], name: str) -> bool:
    """Whether a name is bound at the top level: by a definition, an assignment or an import."""
    return any(name in Uses.of(statement).binds for cell in cells for statement in cell.statements)


def backward_slice(cells: list[Cell], gradients: Set[str], given: Set[str], function: str | None = None) -> list[Cell]:
    """The statements of each cell on which gradients depend, or on which `function` does.

    `gradients` are the names that a gradient can have, `given` those that the forward pass provides. What a cell
    assigns to a given name before it computes its first gradient is a forward pass, which is left out.
    """
    compares = _comparing(cells)
    flat = [
        Cell(cell.where, [s for s in _flattened(cell.statements, gradients, given) if not _calls(s, compares)])
        for cell in cells
    ]
    needed: set[str] = {function} if function else set()
    kept_cells = []
    for cell in reversed(flat):
        uses = [Uses.of(statement) for statement in cell.statements]
        first = next((i for i, u in enumerate(uses) if u.writes & gradients), len(uses))
        forward = max((i for i, u in enumerate(uses[:first]) if u.binds & given), default=-1)
        kept = []
        for i in range(len(uses) - 1, -1, -1):
            u, before = uses[i], i <= forward or first == len(uses)
            wanted = not function and bool(u.writes & gradients)
            if not (wanted or u.writes & (needed - given if before else needed)):
                continue
            kept.append(cell.statements[i])
            needed = (needed - (u.binds - u.reads)) | u.reads
        kept_cells.append(Cell(cell.where, kept[::-1]))
    return kept_cells[::-1]


def _comparing(cells: Iterable[Cell]) -> set[str]:
    """Functions of the file that read autograd's gradients: they compare, and change nothing."""
    return {
        statement.name
        for cell in cells
        for statement in cell.statements
        if isinstance(statement, ast.FunctionDef)
        and any(isinstance(node, ast.Attribute) and node.attr == "grad" for node in ast.walk(statement))
    }


def _calls(statement: ast.stmt, functions: Set[str]) -> bool:
    """Whether a statement is nothing but a call of one of these functions."""
    call = statement.value if isinstance(statement, ast.Expr) else None
    return isinstance(call, ast.Call) and isinstance(call.func, ast.Name) and call.func.id in functions


def begins_anew(cell: Cell, known: Set[str]) -> bool:
    """Whether a cell computes again a gradient that is known, and not from its old value."""
    written: set[str] = set()
    for statement in cell.statements:
        u = Uses.of(statement)
        if (u.binds - u.reads - written) & known:
            return True
        written |= u.writes
    return False


def writes(cell: Cell) -> set[str]:
    """The names that a cell assigns to or changes."""
    return set().union(*(Uses.of(statement).writes for statement in cell.statements))


def _flattened(statements: Iterable[ast.stmt], gradients: Set[str], given: Set[str]) -> Iterator[ast.stmt]:
    """Statements in order; the body of a loop that runs a forward pass, as in training, comes once."""
    for statement in statements:
        if isinstance(statement, ast.For | ast.While | ast.With | ast.If):
            inner = [Uses.of(s) for s in ast.walk(statement) if isinstance(s, ast.stmt) and s is not statement]
            if any(u.writes & gradients for u in inner) and any(u.binds & given for u in inner):
                yield from _flattened(statement.body, gradients, given)
                continue
        if not isinstance(statement, ast.Break | ast.Continue | ast.Return):
            yield statement


class Uses(ast.NodeVisitor):
    """The names that a statement binds, changes in place, and reads."""

    def __init__(self) -> None:
        self.binds: set[str] = set()
        self.changes: set[str] = set()
        self.reads: set[str] = set()

    @classmethod
    def of(cls, statement: ast.stmt) -> Uses:
        uses = cls()
        uses.visit(statement)
        return uses

    @property
    def writes(self) -> set[str]:
        return self.binds | self.changes

    def visit_Name(self, node: ast.Name) -> None:
        (self.reads if isinstance(node.ctx, ast.Load) else self.binds).add(node.id)

    def visit_AugAssign(self, node: ast.AugAssign) -> None:
        self.generic_visit(node)
        if isinstance(node.target, ast.Name):
            self.binds.discard(node.target.id)
            self.changes.add(node.target.id)
            self.reads.add(node.target.id)

    def _block(self, statements: Iterable[ast.stmt]) -> None:
        """Statements in order: a name that one of them binds is not read from outside by the next ones."""
        for statement in statements:
            inner = Uses.of(statement)
            self.reads |= inner.reads - self.binds
            self.binds |= inner.binds
            self.changes |= inner.changes

    def visit_For(self, node: ast.For) -> None:
        self.visit(node.iter)
        self.visit(node.target)
        self._block([*node.body, *node.orelse])

    def visit_With(self, node: ast.With) -> None:
        for item in node.items:
            self.visit(item)
        self._block(node.body)

    def visit_While(self, node: ast.While) -> None:
        self.visit(node.test)
        self._block([*node.body, *node.orelse])

    def visit_Subscript(self, node: ast.Subscript) -> None:
        self._place(node)

    def visit_Attribute(self, node: ast.Attribute) -> None:
        self._place(node)

    def _place(self, node: ast.Subscript | ast.Attribute) -> None:
        if not isinstance(node.ctx, ast.Load) and (name := root_name(node)):
            self.changes.add(name)
        self.generic_visit(node)

    def visit_Call(self, node: ast.Call) -> None:
        self.generic_visit(node)
        function = node.func
        if isinstance(function, ast.Attribute) and function.attr.endswith("_") and not function.attr.startswith("_"):
            self._changed(function.value)
        for keyword in node.keywords:
            if keyword.arg == "out":
                self._changed(keyword.value)

    def visit_Expr(self, node: ast.Expr) -> None:
        self.generic_visit(node)
        call = node.value
        if isinstance(call, ast.Call) and isinstance(call.func, ast.Name) and call.func.id not in LOOKS_ONLY:
            for argument in call.args:  # a function called for its effect may change its arguments
                if isinstance(argument, ast.Name):
                    self.changes.add(argument.id)

    def _changed(self, node: ast.expr) -> None:
        if name := root_name(node):
            self.changes.add(name)

    def visit_Import(self, node: ast.Import) -> None:
        self.binds.update((alias.asname or alias.name).split(".")[0] for alias in node.names)

    def visit_ImportFrom(self, node: ast.ImportFrom) -> None:
        self.binds.update(alias.asname or alias.name for alias in node.names)

    def visit_FunctionDef(self, node: ast.FunctionDef | ast.AsyncFunctionDef | ast.ClassDef) -> None:
        inner = Uses()
        inner.generic_visit(node)
        own = {argument.arg for argument in ast.walk(node) if isinstance(argument, ast.arg)}
        self.binds.add(node.name)
        self.reads |= inner.reads - own - inner.binds

    visit_AsyncFunctionDef = visit_FunctionDef
    visit_ClassDef = visit_FunctionDef

    def visit_Lambda(self, node: ast.Lambda) -> None:
        inner = Uses()
        inner.visit(node.body)
        self.reads |= inner.reads - {argument.arg for argument in ast.walk(node.args) if isinstance(argument, ast.arg)}

    def _comprehension(self, node: ast.expr) -> None:
        inner = Uses()
        inner.generic_visit(node)
        self.reads |= inner.reads - inner.binds

    visit_ListComp = visit_SetComp = visit_DictComp = visit_GeneratorExp = _comprehension


def root_name(node: ast.expr) -> str | None:
    """The name at the root of `a.b[c].d`."""
    while isinstance(node, ast.Attribute | ast.Subscript | ast.Call):
        node = node.func if isinstance(node, ast.Call) else node.value
    return node.id if isinstance(node, ast.Name) else None
