"""Check a user's own chain, of which only the declaration is known."""

from __future__ import annotations

from collections.abc import Container, Mapping, Sequence
from dataclasses import replace
from pathlib import Path

import torch

from makemore_cli.backprop.atomic import network_chain
from makemore_cli.backprop.chain import Chain, check_shapes
from makemore_cli.backprop.inputs import Bounds, ChainError
from makemore_cli.backprop.line_text import line_text, place
from makemore_cli.backprop.shipped import SHIPPED
from makemore_cli.backprop.step import Values, arguments, run
from makemore_cli.checks import sources
from makemore_cli.checks.chain_file import load
from makemore_cli.checks.check import compare_sources, gradcheck
from makemore_cli.checks.check_user import check_user
from makemore_cli.checks.findings import Report, Section
from makemore_cli.checks.following import differentiable, vjp, with_gradients
from makemore_cli.checks.function_pair import FunctionPair
from makemore_cli.checks.problem import Problem, drawn
from makemore_cli.checks.sources import ATOMIC, AUTOGRAD, CHAIN_SOURCES, Source, check_different, find_source
from makemore_cli.errors import MakemoreError, ParameterError

NUDGE = 1e-7  # added to a step's inputs, to see whether its output depends on them
DETACHES = ("detach", "no_grad", ".data", "item(")  # text of a line that is detached on purpose
NETWORK = "makemore"  # the name of the network's chain
DTYPES = {"float32": torch.float32, "float64": torch.float64}


def find(name: str) -> Chain | FunctionPair:
    """Return a bundled chain by its name (the network's is makemore), or what a file declares.

    Raises MakemoreError if there is no such chain or file, or the file has nothing to check.
    """
    if name == NETWORK:
        return network_chain()
    if name in SHIPPED:
        return SHIPPED[name].chain
    path = Path(name)
    if not name or (path.suffix != ".py" and path.suffix != ".ipynb" and not path.exists()):
        raise MakemoreError(
            f"{name}: no such file or bundled chain; the bundled chains are {NETWORK}, {', '.join(SHIPPED)}"
        )
    return load(path)


@with_gradients
def check(
    subject: Chain | FunctionPair,
    dtype: str = "float32",
    seed: int = 0,
    sizes: Mapping[str, Bounds] | None = None,
    *,
    of: str | None = None,
    against: str | None = None,
) -> Report:
    """Check a chain, or a pair of functions, at random inputs; see `check_chain`. `of` and `against` name sources.

    Raises ParameterError for an unknown precision, size or source.
    """
    if dtype not in DTYPES:
        raise ParameterError("dtype", f"must be one of {', '.join(DTYPES)}, got {dtype}")
    chain = subject if isinstance(subject, Chain) else subject.chain
    for name in sizes or {}:
        if name not in chain.sizes:
            raise ParameterError(
                "sizes", f"must name a size of the chain ({', '.join(chain.sizes) or 'none'}), got {name}"
            )
    ours = None if of is None else find_source(of, "of", CHAIN_SOURCES)
    witness = None if against is None else find_source(against, "against", CHAIN_SOURCES)
    check_different(ours or ATOMIC, witness or AUTOGRAD)
    if ours is not None and not isinstance(subject, Chain):
        raise ParameterError("of", "applies only to a chain of steps; omit it for a function `backward`")
    threads = torch.get_num_threads()
    torch.set_num_threads(1)  # for tensors this small, more threads only wait for each other
    try:
        if isinstance(subject, Chain):
            return check_chain(subject, DTYPES[dtype], seed, sizes, of=ours, against=witness)
        return check_pair(subject, DTYPES[dtype], seed, sizes, against=witness or AUTOGRAD)
    finally:
        torch.set_num_threads(threads)


def check_chain(
    chain: Chain,
    dtype: torch.dtype = torch.float32,
    seed: int = 0,
    sizes: Mapping[str, Bounds] | None = None,
    *,
    of: Source | None = None,
    against: Source | None = None,
) -> Report:
    """Check a chain at random inputs.

    Seed 0 gives fixed small sizes, any other seed random ones; `sizes` sets or bounds some of them. If `of` or
    `against` is given, only these two sources are compared; otherwise everything is checked.
    Raises ChainError if a line fails, a shape differs from its declaration, or a backward line is missing.
    """
    problem = drawn(chain, dtype, seed, sizes)
    check_shapes(chain, problem.values, problem.sizes)
    _check_followed(problem)
    _check_missing(problem)
    if of is None and against is None:
        return _without_jumps(gradcheck(problem))
    return _without_jumps(compare_sources(problem, of or ATOMIC, against or AUTOGRAD))


def check_pair(
    pair: FunctionPair,
    dtype: torch.dtype = torch.float32,
    seed: int = 0,
    sizes: Mapping[str, Bounds] | None = None,
    *,
    against: Source = AUTOGRAD,
) -> Report:
    """Check a pair of functions at random inputs, as in `check_chain`.

    Raises MakemoreError, with the user's line, if one of them can't be run.
    """
    problem = drawn(pair.chain, dtype, seed, sizes, unit=not pair.reads_above)
    _check_followed(problem)
    return check_user(problem, pair.backward, against)


def _check_followed(problem: Problem) -> None:
    """Make sure that autograd follows each step, unless the step detaches something on purpose."""
    chain, followed, values = problem.chain, sources.with_leaves(problem.in_float64), problem.in_float64.values
    for step in chain.steps:
        read = [name for name in arguments(step.forward) if differentiable(values[name])]
        asks = any(followed[name].requires_grad for name in read)
        if not differentiable(values[step.name]) or followed[step.name].requires_grad or not asks:
            continue
        near = {**values, **{name: values[name] + NUDGE * torch.ones_like(values[name]) for name in read}}
        moved = bool((run(step.forward, near) != values[step.name]).any())
        if moved and not any(word in line_text(step.forward) for word in DETACHES):
            raise ChainError(
                f"{chain.name}: autograd, the witness, can't follow step {step.name}: {step.name} = "
                f"{line_text(step.forward)}; write it in PyTorch, not NumPy"
            )


def _check_missing(problem: Problem) -> None:
    """Make sure that each use of a tensor that has a gradient has a backward line."""
    chain, values = problem.chain, sources.with_leaves(problem.in_float64)
    for step in chain.steps:
        for name in _needed(values, step.name, chain):
            if f"d{name}" not in step.backward:
                beside = place(step.forward) or line_text(step.forward)
                raise ChainError(
                    f"{chain.name}: step {step.name} reads {name}, but has no line for d{name}: add d{name}=lambda … "
                    f"beside its forward line ({beside})"
                )


def _needed(values: Values, output: str, chain: Chain) -> list[str]:
    """The inputs of a step that need a gradient: those that are real and change its output."""
    if not differentiable(values[output]):
        return []
    above = torch.ones_like(values[output])
    plain = {name: value.detach() if isinstance(value, torch.Tensor) else value for name, value in values.items()}
    parts = vjp(chain.by_name[output], plain, above)
    generator = torch.Generator().manual_seed(0)
    other = vjp(chain.by_name[output], plain, torch.randn(above.shape, generator=generator, dtype=above.dtype))
    return [name for name in parts if values[name].requires_grad and bool((parts[name] != 0).any() | other[name].any())]


def _without_jumps(report: Report) -> Report:
    """Return the report, with disagreements accepted where there is no derivative.

    If every line is right by itself, but one takes a different slope from autograd's at a kink, the gradients disagree
    because of it. If central differences disagree with autograd, but the lines agree with it, something on the way is
    detached or discontinuous, and autograd gives the gradient that is meant.
    """
    if report.wrong_lines or not report.sections:
        return report
    kinks = [f"d{line.comparison.tensor} in the step {line.step}" for line in report.lines if line.kink]
    if kinks:
        _forgive(report.sections, None)
        report.remarks.append(
            f"{', '.join(kinks)}: takes a different slope from autograd's at a kink, which is equally right; gradients "
            "below differ because of it"
        )
    agreeing = {finding.comparison.tensor for finding in report.sections[0].findings if finding.ok}
    jumps = _forgive(report.sections[1:], agreeing)
    if jumps:
        report.remarks.append(
            f"{', '.join(dict.fromkeys(jumps))}: central differences disagree with autograd, but the lines agree with "
            "it: something on the way is detached, discontinuous, or assumed to be symmetric"
        )
    return report


def _forgive(sections: Sequence[Section], tensors: Container[str] | None) -> list[str]:
    """Accept the findings on `tensors`, or on all if it is None. Returns the tensors that had failed."""
    forgiven = []
    for section in sections:
        for at, finding in enumerate(section.findings):
            name = finding.comparison.tensor
            if not finding.ok and (tensors is None or name in tensors):
                section.findings[at] = replace(finding, agrees=True, alone=True, diagnosis=None)
                forgiven.append(name)
    return forgiven
