"""The steps of a forward pass that is written as a function: each assignment computes one tensor.

Any other statement, such as a loop, a branch or a change in place, becomes a step for each name that it writes. A name
that is assigned several times stands for its last value, but a parameter stands for its argument.
"""

from __future__ import annotations

import ast
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from copy import copy
from dataclasses import replace
from types import FunctionType
from typing import Any

from torch import Tensor

from makemore_cli.backprop.inputs import ChainError
from makemore_cli.backprop.line_text import expression
from makemore_cli.backprop.step import Line, MadeLine, Step, arguments, run
from makemore_cli.checks.expression_trees import copied, renamed
from makemore_cli.checks.repairs import MODULES
from makemore_cli.checks.user_code import Uses, root_name

RETURNED = "returned"  # the name of a returned expression that has none


class ForwardCode:
    """A forward pass in steps: `steps`, and `returned`, the names of what the function returns, in order."""

    def __init__(self, definition: ast.FunctionDef, scope: Mapping[str, Any], known: Sequence[str]) -> None:
        """`scope` has the names of the function's module; `known` are the inputs and sizes.

        Raises ChainError if the function returns anywhere but at its end.
        """
        self.steps: list[Step] = []
        self.returned: list[str] = []
        self.hidden: set[str] = set()  # names made for earlier values, which are not in the code
        self._scope, self._where = scope, definition
        self._current = {name: name for name in known}
        self._fixed = frozenset(known)
        body = definition.body[1:] if ast.get_docstring(definition) is not None else definition.body
        self._times = Counter(name for statement in body for name in _written(statement))
        self._seen: Counter[str] = Counter()
        for statement in body:
            inner = [node for node in ast.walk(statement) if isinstance(node, ast.Return) and node is not statement]
            if inner and not isinstance(statement, ast.FunctionDef):
                raise ChainError(f"line {inner[0].lineno}: `forward` returns in a branch or a loop; return at its end")
            if isinstance(statement, ast.Return):
                self._return(statement.value)
                break
            self._statement(statement)

    def _statement(self, statement: ast.stmt) -> None:
        if isinstance(statement, ast.AnnAssign) and statement.value is not None:
            statement = ast.copy_location(ast.Assign([statement.target], statement.value), statement)
        if isinstance(statement, ast.AugAssign) and isinstance(statement.target, ast.Name):
            read = ast.copy_location(ast.Name(statement.target.id, ast.Load()), statement.target)
            value = ast.copy_location(ast.BinOp(read, statement.op, statement.value), statement)
            statement = ast.copy_location(ast.Assign([statement.target], value), statement)
        if isinstance(statement, ast.Assign) and all(isinstance(target, ast.Name) for target in statement.targets):
            first, *others = [target.id for target in statement.targets if isinstance(target, ast.Name)]
            self._expression(first, statement.value)
            for other in others:
                self._expression(other, ast.copy_location(ast.Name(first, ast.Load()), statement))
        elif _written(statement):
            self._block(statement)

    def _expression(self, name: str, value: ast.expr) -> str:
        """Add a step that computes a name by an expression; return the step's name."""
        tree = renamed(value, {old: ast.Name(new, ast.Load()) for old, new in self._current.items()})
        reads = self._reads(Uses.of(ast.Expr(value)))
        line = _compiled(tree, reads, self._scope, self._where)
        return self._add(name, line)

    def _block(self, statement: ast.stmt) -> None:
        """Add a step for each name that a statement writes; each runs the statement on copies of what it reads."""
        written = _written(statement)
        uses = Uses.of(statement)
        reads = [name for name in self._current if name in uses.reads | uses.changes | {*written}]
        current = [self._current[name] for name in reads]
        lines = [_block_line(statement, reads, current, name, self._scope, self._where) for name in written]
        for name, line in zip(written, lines, strict=True):
            self._add(name, line)

    def _add(self, name: str, line: Line) -> str:
        self._seen[name] += 1
        is_last = self._seen[name] == self._times[name] and name not in self._fixed
        own = name if is_last else f"{name}_{self._seen[name] + (name in self._fixed)}"
        if own != name:
            self.hidden.add(own)
        self.steps.append(Step(own, line, {}))
        self._current[name] = own
        return own

    def _return(self, value: ast.expr | None) -> None:
        parts = value.elts if isinstance(value, ast.Tuple | ast.List) else [value] if value is not None else []
        for place, part in enumerate(parts):
            if isinstance(part, ast.Name) and part.id in self._current:
                self.returned.append(self._current[part.id])
                continue
            name = RETURNED if place == 0 else f"{RETURNED}_{place + 1}"
            self._times[name] = 1
            self.returned.append(self._expression(name, part))

    def _reads(self, uses: Uses) -> list[str]:
        return [self._current[name] for name in self._current if name in uses.reads]


def _written(statement: ast.stmt) -> list[str]:
    """The names that a statement binds or changes, in a fixed order; not those of comprehensions alone."""
    uses = Uses.of(statement)
    called = {  # objects whose methods are called for their effect, as in hs.append(h)
        root_name(node.value.func.value)
        for node in ast.walk(statement)
        if isinstance(node, ast.Expr)
        and isinstance(node.value, ast.Call)
        and isinstance(node.value.func, ast.Attribute)
    }
    return sorted(uses.binds | uses.changes | {name for name in called if name is not None} - set(MODULES))


def _compiled(tree: ast.expr, reads: Sequence[str], scope: Mapping[str, Any], where: ast.AST) -> Line:
    """A line that evaluates an expression of `reads`."""
    function = ast.Lambda(_arguments(reads), tree)
    code = compile(ast.fix_missing_locations(ast.Expression(ast.copy_location(function, where))), "<forward>", "eval")
    return MadeLine(tuple(reads), eval(code, dict(scope)), copied(tree))


def _block_line(
    statement: ast.stmt,
    reads: Sequence[str],
    arguments: Sequence[str],
    result: str,
    scope: Mapping[str, Any],
    where: ast.AST,
) -> Line:
    """A line that runs a statement on copies of what it reads, and returns one of the names that it writes."""
    body = [statement, ast.Return(ast.Name(result, ast.Load()))]
    inner = ast.FunctionDef("block", _arguments(reads), body, [])
    namespace = dict(scope)
    module = ast.Module([ast.fix_missing_locations(ast.copy_location(inner, where))], [])
    exec(compile(module, "<forward>", "exec"), namespace)
    block = namespace["block"]
    called = ast.parse(f"block({', '.join(arguments)})", mode="eval").body
    return MadeLine(tuple(arguments), lambda *given: block(*map(_copy, given)), called)


def _copy(value: Any) -> Any:
    if isinstance(value, Tensor):
        return value.clone()
    return copy(value) if isinstance(value, list | dict | set) else value


def without_containers(steps: Sequence[Step], values: Mapping[str, Any]) -> list[Step]:
    """The same steps, where none reads a container of tensors, through which no gradient could be followed.

    A step that reads one recomputes it instead. `values` are those of a forward pass.
    """
    made: dict[str, Step] = {}
    result = []
    for step in steps:
        for name in arguments(step.forward):
            if name in made:
                step = replace(step, forward=_inlined(step.forward, name, made[name].forward))
        if _holds_tensors(values[step.name]):
            made[step.name] = step
        result.append(step)
    return result


def _holds_tensors(value: object) -> bool:
    if isinstance(value, FunctionType):
        return True  # an inner function may read them
    if isinstance(value, dict):
        return not value or _holds_tensors(list(value.values()))
    return isinstance(value, list | tuple) and (
        not value or any(isinstance(v, Tensor) or _holds_tensors(v) for v in value)
    )


def _inlined(line: Line, name: str, made: Line) -> Line:
    """A line that computes its argument `name` by the line `made`."""
    inner = arguments(made)
    outer = [argument for argument in arguments(line) if argument != name]
    reads = list(dict.fromkeys([*outer, *inner]))

    def both(*given: Any) -> Any:
        values = dict(zip(reads, given, strict=True))
        values[name] = made(*(values[argument] for argument in inner))
        return run(line, values)

    return MadeLine(tuple(reads), both, renamed(expression(line), {name: expression(made)}))


def _arguments(names: Sequence[str]) -> ast.arguments:
    return ast.arguments([], [ast.arg(name) for name in names], None, [], [], None, [])


def assignments(definition: ast.FunctionDef, name: str) -> Iterator[tuple[int, ast.expr, bool]]:
    """Each assignment to a name in a function: line number, expression, and whether it is added (`+=`)."""
    for node in ast.walk(definition):
        if isinstance(node, ast.Assign):
            for target in node.targets:
                if isinstance(target, ast.Name) and target.id == name:
                    yield node.lineno, node.value, False
                elif isinstance(target, ast.Tuple) and isinstance(node.value, ast.Tuple):
                    for one, value in zip(target.elts, node.value.elts, strict=False):
                        if isinstance(one, ast.Name) and one.id == name:
                            yield node.lineno, value, False
        elif isinstance(node, ast.AugAssign) and isinstance(node.target, ast.Name) and node.target.id == name:
            yield node.lineno, node.value, isinstance(node.op, ast.Add)


def whole_expression(definition: ast.FunctionDef, name: str) -> ast.expr | None:
    """All that a function assigns and adds to a name, as one expression; None if the function loops or branches."""
    whole: ast.expr | None = None
    found = sorted(assignments(definition, name), key=lambda one: one[0])
    if any(isinstance(node, ast.For | ast.While | ast.If) for node in ast.walk(definition)):
        return None
    for _, value, added in found:
        if whole is None:
            whole = copied(value)
        elif added:
            whole = ast.BinOp(whole, ast.Add(), copied(value))
        else:
            whole = renamed(value, {name: whole})
    return whole
