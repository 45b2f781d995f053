"""Train the makemore character MLP with hand-written gradients.

    import makemore_cli as mm

    run = mm.train("quickstart", steps=2000)
    run.sample(5, prefix="ma")

    p = mm.problem("lecture")
    p.check("logits", p.probs / p.n)

The names listed here are stable (docs/stability.md). docs/python.md explains them.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from makemore_cli.api.batch_problem import BatchProblem, problem
    from makemore_cli.api.checking import assert_gradients, gradcheck
    from makemore_cli.api.columns import Columns
    from makemore_cli.api.trained_run import Run, load
    from makemore_cli.api.training import train
    from makemore_cli.backprop.chain import Chain, chain
    from makemore_cli.backprop.inputs import ChainError, between, given, index, positive
    from makemore_cli.backprop.step import step
    from makemore_cli.checks.findings import Report
    from makemore_cli.errors import CheckFailedError, MakemoreError, ParameterError, StoppedError
    from makemore_cli.inference.score import Score
    from makemore_cli.scalar.engine import Value
    from makemore_cli.training.observer import Observer

__version__ = "0.1.0"
__all__ = [
    "BatchProblem",
    "Chain",
    "ChainError",
    "CheckFailedError",
    "Columns",
    "MakemoreError",
    "Observer",
    "ParameterError",
    "Report",
    "Run",
    "Score",
    "StoppedError",
    "Value",
    "assert_gradients",
    "between",
    "chain",
    "given",
    "gradcheck",
    "index",
    "load",
    "positive",
    "problem",
    "step",
    "train",
]

_MODULES = {
    **dict.fromkeys(("BatchProblem", "problem"), "api.batch_problem"),
    **dict.fromkeys(("assert_gradients", "gradcheck"), "api.checking"),
    "Columns": "api.columns",
    **dict.fromkeys(("Run", "load"), "api.trained_run"),
    "train": "api.training",
    **dict.fromkeys(("Chain", "chain"), "backprop.chain"),
    **dict.fromkeys(("ChainError", "between", "given", "index", "positive"), "backprop.inputs"),
    "step": "backprop.step",
    "Report": "checks.findings",
    **dict.fromkeys(("CheckFailedError", "MakemoreError", "ParameterError", "StoppedError"), "errors"),
    "Score": "inference.score",
    "Value": "scalar.engine",
    "Observer": "training.observer",
}


if not TYPE_CHECKING:  # a type checker knows the names above, and finds others unknown

    def __getattr__(name: str) -> Any:
        """Import what is asked for on first use, since most of it imports PyTorch."""
        if name not in _MODULES:
            raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
        from importlib import import_module

        value = getattr(import_module(f"{__name__}.{_MODULES[name]}"), name)
        globals()[name] = value
        return value


def __dir__() -> list[str]:
    return sorted({*globals(), *__all__})
