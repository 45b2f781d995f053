"""Check chains and autograd functions from Python, and in other people's tests."""

from __future__ import annotations

import random
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from torch.autograd import Function

from makemore_cli.api.batch_problem import BatchProblem
from makemore_cli.backprop.chain import Chain
from makemore_cli.backprop.inputs import Bounds
from makemore_cli.checks.autograd_function import function_chain, parameters
from makemore_cli.checks.chain_file import in_any_precision
from makemore_cli.checks.check_chain import check, find
from makemore_cli.checks.declared_inputs import declared_inputs
from makemore_cli.checks.findings import Report
from makemore_cli.checks.function_pair import FunctionPair
from makemore_cli.errors import ParameterError, whole
from makemore_cli.printable import printable

SEEDS = 2**31

Subject = Chain | type[Function] | str | Path


def gradcheck(
    subject: Subject | BatchProblem,
    *,
    shapes: Mapping[str, Any] | None = None,
    sizes: Mapping[str, Bounds] | None = None,
    seed: int = 0,
    dtype: str = "float32",
    of: str | None = None,
    against: str | None = None,
) -> Report:
    """Check every backward line of a chain, or the backward pass of a `torch.autograd.Function`, at random inputs.

    `subject` may also be a file as for `makemore gradcheck --chain`, the name of a bundled chain, or a problem from
    `problem()`. `shapes` declares the inputs of a function: a shape in symbols, such as "n D", or `positive("n")`,
    `between`, `index`, `given`; by default all are matrices of the same shape. `sizes` sets some of the symbols. Seed 0
    gives small fixed sizes, any other seed random ones. `of` and `against` name two sources to compare.

    The report is true if all agree. Raises ChainError if the subject can't be run, and ParameterError for an invalid
    parameter.

    >>> square = mm.chain("square", {"x": "n"}, mm.step("y", lambda x: x**2, dx=lambda x, dy: x * dy))
    >>> mm.gradcheck(square).failures()
    ["the line for dx in the step y is wrong: ...a square's factor 2 is missing..."]
    """
    if isinstance(subject, BatchProblem):
        for name, value, default in (
            ("shapes", shapes, None),
            ("sizes", sizes, None),
            ("seed", seed, 0),
            ("dtype", dtype, "float32"),
        ):
            if value != default:
                raise ParameterError(name, "does not apply to a problem, which has its own inputs")
        return subject.gradcheck(of, against)
    seed = whole("seed", seed, 0, SEEDS)
    return check(_chain(subject, shapes, sizes), dtype, seed, sizes, of=of, against=against)


def assert_gradients(
    subject: Subject,
    *,
    shapes: Mapping[str, Any] | None = None,
    sizes: Mapping[str, Bounds] | None = None,
    trials: int = 5,
    seed: int | None = None,
    dtype: str = "float32",
) -> None:
    """Check a subject of `gradcheck` at random inputs of several random sizes, for use in tests.

    The first seed is random if `seed` is None, and each trial takes the next one. Raises AssertionError, which names
    the wrong line, what is wrong with it, its worst entry, and the seed that repeats the trial. Otherwise raises as
    `gradcheck` does.

    >>> mm.assert_gradients("linear")
    """
    __tracebackhide__ = True  # pytest then shows the caller's line
    trials = whole("trials", trials, 1)
    chain = _chain(subject, shapes, sizes)
    first = random.randrange(1, SEEDS - trials) if seed is None else whole("seed", seed, 0, SEEDS - trials)
    for each in range(first, first + trials):
        report = check(chain, dtype, each, sizes)
        if not report.ok:
            told = "\n".join([f"{report.title} in {report.dtype}:", *report.failures()])
            raise AssertionError(f"{printable(told, newlines=True)}\nto repeat: seed={each}, trials=1")


def _chain(
    subject: Subject, shapes: Mapping[str, Any] | None, sizes: Mapping[str, Bounds] | None
) -> Chain | FunctionPair:
    if isinstance(subject, type) and issubclass(subject, Function):
        names = parameters(subject)
        declared = declared_inputs(subject.forward, names, subject.forward.__globals__) | dict(shapes or {})
        if unknown := [name for name in declared if name not in names]:
            raise ParameterError("shapes", f"must name inputs of forward ({', '.join(names)}), got {unknown[0]}")
        return in_any_precision(function_chain(subject, declared, sizes or {}))
    if shapes is not None:
        raise ParameterError("shapes", "applies to a torch.autograd.Function only; a chain declares its own")
    if isinstance(subject, Chain):
        return in_any_precision(subject)
    if isinstance(subject, str | Path):
        return find(str(subject))
    raise ParameterError(
        "subject", f"must be a chain, a torch.autograd.Function class, or a file, got {type(subject).__name__}"
    )
