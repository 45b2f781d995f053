"""Typed expressions, evaluated on scalar values.

Python's parser reads the text, and everything but arithmetic is refused: no code is executed. An expression may name
intermediate results, as in `e = a*b; d = e + c; d*f`, and give its variables numbers: `a = 2; a**2`.
"""

from __future__ import annotations

import ast
import math
import operator
import re
import sys
import textwrap
import unicodedata
import warnings
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any, NoReturn

from makemore_cli.errors import MakemoreError
from makemore_cli.scalar.engine import Value, copy_of
from makemore_cli.scalar.operations import DomainError

LONGEST_CHARACTERS = 5000
FUNCTIONS: dict[str, Callable[[Value], Value]] = {
    "exp": Value.exp,
    "log": Value.log,
    "tanh": Value.tanh,
    "sigmoid": Value.sigmoid,
    "relu": Value.relu,
    "sin": Value.sin,
    "cos": Value.cos,
    "sqrt": lambda value: value**0.5,
}
OPERATORS: dict[type[ast.operator], Callable[[Any, Any], Any]] = {
    ast.Add: operator.add,
    ast.Sub: operator.sub,
    ast.Mult: operator.mul,
    ast.Div: operator.truediv,
    ast.Pow: operator.pow,
}
CONSTANTS = {"pi": math.pi}
GRAMMAR = f"an expression may contain numbers, names, + - * / **, brackets, and {', '.join(FUNCTIONS)}"

# The lecture's neuron: two inputs, two weights, a bias.
NEURON = "x1w1 = x1*w1; x2w2 = x2*w2; sum = x1w1 + x2w2; n = sum + b; o = tanh(n)"
NEURON_VALUES = {"x1": 2.0, "x2": 0.0, "w1": -3.0, "w2": 1.0, "b": 6.8813735870195432}


class ExpressionError(MakemoreError):
    """A text that is not an expression, or an expression that can't be evaluated."""


@dataclass(frozen=True)
class _Instruction:
    """One instruction of a stack machine, and its place in the text."""

    action: str  # number, name, apply, store; or result, which ends a statement that is not an assignment
    place: str
    number: float = 0.0
    name: str = ""
    function: Callable[..., Any] = abs
    arguments: int = 0


@dataclass(frozen=True)
class Evaluation:
    """An expression's result, and the values that have names."""

    result: Value
    named: Mapping[str, Value]  # variables, then the named results, in order


@dataclass
class Expression:
    """A parsed expression. Raises ExpressionError, with the column, if the text is not an expression.

    `variables` are the names that need a number, in order of appearance; `defaults` are the numbers that the text
    itself gives to some of them.
    """

    text: str
    variables: tuple[str, ...] = field(init=False)
    defaults: dict[str, float] = field(init=False, default_factory=dict)
    results: tuple[str, ...] = field(init=False)  # the names of computed results

    def __post_init__(self) -> None:
        self.text = textwrap.dedent("\n".join(re.split("\r\n?|\n", self.text))).strip()  # lines end where Python's do
        variables: dict[str, None] = {}
        results: dict[str, None] = {}
        self._program: list[_Instruction] = []
        for statement in _statements(self.text):
            program = list(_compiled(self.text, statement))
            for at, one in enumerate(program):
                if one.action == "name" and one.name not in results:
                    if one.name in CONSTANTS and one.name not in variables:
                        program[at] = _Instruction("number", one.place, number=CONSTANTS[one.name])
                    else:
                        variables[one.name] = None
                if one.action == "store" and one.name in variables:
                    raise _error(self.text, one.place, f"{one.name} is a variable; give the result another name")
            stores = program[-1].action == "store"
            if stores and not any(one.action == "name" for one in program):
                name = program[-1].name
                if name in results:
                    raise _error(
                        self.text, program[-1].place, f"{name} is a computed result; give the number another name"
                    )
                variables[name] = None
                number = _Instruction("result", program[-1].place)
                self.defaults[name] = _run(self.text, [*program[:-1], number], {}, {}).result.data
            else:
                if stores:
                    results[program[-1].name] = None
                self._program += program
        if not self._program:  # only numbers are assigned: the last one is the result
            last = next(reversed(self.defaults), None)
            if last is None:
                raise ExpressionError(f"the expression is empty: {GRAMMAR}")
            self._program = [_Instruction("name", "", name=last), _Instruction("result", "", name=last)]
        self.variables, self.results = tuple(variables), tuple(results)

    @property
    def result_name(self) -> str:
        """The name of the result, if the text gives it one."""
        return self._program[-1].name

    def check(self, given: Mapping[str, float]) -> dict[str, float]:
        """A number for each variable: those given, or the text's own.

        Raises ExpressionError for a name that is not a variable, or a variable without a finite number.
        """
        for name in given:
            if name in self.results:
                raise ExpressionError(f"{name} is computed by the expression, so it can't be given")
            if name not in self.variables:
                known = f", whose variables are {', '.join(self.variables)}" if self.variables else ", which has none"
                raise ExpressionError(f"{name} is not a variable of the expression{known}")
        numbers = {**self.defaults, **given}
        for name in self.variables:
            if name not in numbers:
                hint = "; for Euler's number write exp(1)" if name == "e" else ""
                raise ExpressionError(f"{name} has no value: add {name}=NUMBER{hint}")
            if not math.isfinite(numbers[name]):
                raise ExpressionError(f"{name} must be a finite number, got {numbers[name]}")
        return {name: float(numbers[name]) for name in self.variables}

    def evaluate(self, given: Mapping[str, float], nudges: Mapping[str, float] | None = None) -> Evaluation:
        """Evaluate the expression. `nudges` are added to variables, or to named results once they are computed.

        Raises ExpressionError, with the column, if an operation has no result; and as `check` does.
        """
        nudges = nudges or {}
        named = {}
        for name, number in self.check(given).items():
            named[name] = Value(number + nudges.get(name, 0.0), label=name)
        found = _run(self.text, self._program, named, nudges)
        if math.isnan(found.result.data):
            raise _error(self.text, "column 1", "the result is not a number: infinities cancel")
        if not math.isfinite(found.result.data):
            raise _error(self.text, "column 1", "the result is too large for a floating-point number")
        return found


def parse_assignments(texts: list[str] | tuple[str, ...]) -> dict[str, float]:
    """Numbers by name, from texts such as a=2. Raises ExpressionError for anything else."""
    numbers = {}
    for text in texts:
        name, equals, number = text.partition("=")
        name = unicodedata.normalize("NFKC", name.strip())  # as Python's parser does
        try:
            if not equals or not name.isidentifier() or "_" in number:
                raise ValueError
            if name in numbers:
                raise ExpressionError(f"{text}: {name} already has a number")
            numbers[name] = float(number)
        except ValueError:
            raise ExpressionError(f"{text}: write a variable and its number, as in a=2") from None
    return numbers


def _statements(text: str) -> list[ast.stmt]:
    if len(text) > LONGEST_CHARACTERS:
        raise ExpressionError(
            f"the expression has {len(text):,} characters; at most {LONGEST_CHARACTERS:,} are allowed"
        )
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # they are about likely mistakes in programs
            return ast.parse(text).body
    except SyntaxError as error:
        column = f"column {error.offset}" if error.offset else "column 1"
        if (error.lineno or 1) > 1:
            column = f"line {error.lineno}, {column}"
        told = (error.msg or "invalid syntax").split(". Perhaps")[0]
        if "decimal literal" in told:
            told += "; write a product with *"
        raise _error(text, column, told) from None
    except (RecursionError, MemoryError):
        raise _error(text, "column 1", "the expression is nested too deeply") from None
    except ValueError as error:  # for a null byte, or half of a surrogate pair
        raise _error(text, "column 1", str(error).split(" in position")[0]) from None


def _compiled(text: str, statement: ast.stmt) -> Iterator[_Instruction]:
    """The instructions of a statement, each after those of its arguments. It does not recurse, so it may be long."""
    match statement:
        case ast.Expr(value=root):
            target = None
        case ast.Assign(targets=[ast.Name() as target], value=root):
            pass
        case ast.AugAssign(target=ast.Name(id=name) as target, op=op, value=value):
            root = ast.copy_location(ast.BinOp(ast.copy_location(ast.Name(name), target), op, value), statement)
        case _:
            _refuse(text, statement)
    instructions: list[_Instruction] = []
    stack: list[ast.AST] = [root]
    while stack:  # last first; reversed at the end
        node = stack.pop()
        place = _place(text, node)
        match node:
            case ast.Constant(value=int() | float() as number) if not isinstance(number, bool):
                instructions.append(_Instruction("number", place, number=_float(text, place, number)))
            case ast.Name(id=name) if name in FUNCTIONS:
                raise _error(text, place, f"{name} is a function: write {name}(…)")
            case ast.Name(id=name):
                instructions.append(_Instruction("name", place, name=name))
            case ast.UnaryOp(op=ast.USub(), operand=operand):
                instructions.append(_Instruction("apply", place, function=operator.neg, arguments=1))
                stack.append(operand)
            case ast.UnaryOp(op=ast.UAdd(), operand=operand):
                stack.append(operand)
            case ast.BinOp(left=left, op=op, right=right) if type(op) in OPERATORS:
                function = OPERATORS[type(op)]
                instructions.append(_Instruction("apply", place, function=function, arguments=2))
                stack += (left, right)
            case ast.BinOp(op=ast.BitXor()):
                raise _error(text, place, "^ is not a power: use **")
            case ast.Call(func=ast.Name(id=name), args=[argument], keywords=[]) if name in FUNCTIONS:
                instructions.append(_Instruction("apply", place, function=FUNCTIONS[name], arguments=1))
                stack.append(argument)
            case ast.Call(func=ast.Attribute(value=value, attr=name), args=[], keywords=[]) if name in FUNCTIONS:
                instructions.append(_Instruction("apply", place, function=FUNCTIONS[name], arguments=1))
                stack.append(value)
            case ast.Call(func=ast.Name(id=name)) if name in FUNCTIONS:
                raise _error(text, place, f"{name} takes one argument")
            case ast.Call(func=ast.Name(id=name)):
                raise _error(text, place, f"{name} is not a known function; choose one of {', '.join(FUNCTIONS)}")
            case _:
                _refuse(text, node)
    yield from reversed(instructions)
    if target is not None:
        if target.id in FUNCTIONS:
            raise _error(text, _place(text, target), f"{target.id} is a function; give the result another name")
        yield _Instruction("store", _place(text, target), name=target.id)
    else:
        yield _Instruction("result", _place(text, statement), name=root.id if isinstance(root, ast.Name) else "")


def _run(text: str, program: list[_Instruction], named: Mapping[str, Value], nudges: Mapping[str, float]) -> Evaluation:
    """Run a program. Numbers that depend on no variable stay plain, so that they can be exponents."""
    values: dict[str, Any] = dict(named)
    last_store = {one.name: at for at, one in enumerate(program) if one.action == "store"}
    stack: list[Any] = []
    top: Any = 0.0  # the result of the latest statement
    for at, one in enumerate(program):
        if one.action == "number":
            stack.append(one.number)
        elif one.action == "name":
            stack.append(values[one.name])
        elif one.action == "result":
            top = stack.pop()
        elif one.action == "store":
            top = stack.pop()
            if last_store[one.name] == at:
                if top.label:  # another name of the same value has a gradient of its own
                    top = copy_of(top)
                if one.name in nudges:
                    top = top + nudges[one.name]
                top.label = one.name
            values[one.name] = top
        else:
            arguments = stack[-one.arguments :]
            del stack[-one.arguments :]
            stack.append(_applied(text, one, arguments))
    found = {name: value for name, value in values.items() if isinstance(value, Value)}
    return Evaluation(top if isinstance(top, Value) else Value(top), found)


def _applied(text: str, one: _Instruction, arguments: list[Any]) -> Any:
    plain = not any(isinstance(argument, Value) for argument in arguments)
    if plain:
        arguments = [Value(arguments[0]), *arguments[1:]]
    try:
        found = one.function(*arguments)
    except DomainError as error:
        raise _error(text, one.place, str(error)) from None
    return found.data if plain else found


def _float(text: str, place: str, value: float) -> float:
    if not abs(value) <= sys.float_info.max:
        raise _error(text, place, "the number is too large for a floating-point number")
    return float(value)


def _place(text: str, node: Any) -> str:
    """A node's line, if it is not the first, and column; Python counts columns in bytes."""
    line = text.split("\n")[node.lineno - 1]
    column = len(line.encode(errors="surrogatepass")[: node.col_offset].decode(errors="ignore")) + 1
    return f"column {column}" if node.lineno == 1 else f"line {node.lineno}, column {column}"


def _error(text: str, place: str, told: str) -> ExpressionError:
    return ExpressionError(f"{text if len(text) <= 60 else text[:40] + '…'}: {place}: {told}")


def _refuse(text: str, node: ast.AST) -> NoReturn:
    segment = ast.get_source_segment(text, node) or type(node).__name__
    raise _error(text, _place(text, node), f"{segment[:40]} is not allowed; {GRAMMAR}")
