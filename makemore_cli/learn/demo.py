"""The demonstrations by name, and their results."""

from __future__ import annotations

import difflib
from collections.abc import Sequence
from dataclasses import dataclass
from importlib import import_module
from typing import Any

from makemore_cli.errors import MakemoreError

Cell = str | float | int


@dataclass(frozen=True)
class Table:
    """Figures in columns. A number is shown with four digits, unless it is written already."""

    title: str
    headings: tuple[str, ...]
    rows: tuple[tuple[Cell, ...], ...]

    def lines(self) -> list[str]:
        cells = [list(self.headings), *([_shown(cell) for cell in row] for row in self.rows)]
        widths = [max(len(row[column]) for row in cells) for column in range(len(self.headings))]
        lines = [self.title, ""] if self.title else []
        for row in cells:
            first, *others = (
                cell.ljust(widths[0]) if column == 0 else cell.rjust(widths[column]) for column, cell in enumerate(row)
            )
            lines.append("  ".join(["", first, *others]).rstrip())
        return lines


@dataclass(frozen=True)
class Result:
    """What a demonstration shows: what is done, the figures, and what they mean."""

    says: str
    tables: tuple[Table, ...]
    means: str

    def to_json(self) -> dict[str, Any]:
        tables = [
            {"title": table.title, "rows": [dict(zip(table.headings, row, strict=True)) for row in table.rows]}
            for table in self.tables
        ]
        return {"says": self.says, "tables": tables, "means": self.means}


@dataclass(frozen=True)
class Demo:
    """A failure that the lectures show. Its module is imported when it is run, since some need PyTorch."""

    title: str
    module: str

    def run(self, name: str) -> Result:
        found = import_module(f"makemore_cli.learn.{self.module}")
        result: Result = getattr(found, name.replace("-", "_"))()
        return result


SCALAR, CHECK, TENSOR = "scalar_failures", "check_failures", "tensor_failures"
DEMOS = {
    "overwritten-gradient": Demo("A gradient is assigned where it must be added", SCALAR),
    "no-topological-order": Demo("A number passes its gradient on before it has all of it", SCALAR),
    "no-start-gradient": Demo("The result's own gradient is left at 0", SCALAR),
    "called-closure": Demo("The backward function is called where it must be stored", SCALAR),
    "forgotten-zero-grad": Demo("Gradients are not set to zero before the next step", SCALAR),
    "large-step": Demo("The learning rate is too large", SCALAR),
    "clipped-loss": Demo("The loss is clipped instead of the gradient", TENSOR),
    "softmax-overflow": Demo("The maximum is not subtracted before exp", TENSOR),
    "biased-variance": Demo("The variance of a batch is divided by n instead of n − 1", TENSOR),
    "saturated-tanh": Demo("The initial weights are so large that tanh is flat", TENSOR),
    "zero-bias": Demo("A bias of zero hides a wrong gradient", CHECK),
    "first-branch": Demo("A tensor is used twice, and one use is missing from its gradient", CHECK),
    "division": Demo("A division and its backward line round differently from autograd's", CHECK),
}


def find(name: str) -> tuple[str, Demo]:
    """A demonstration by its name, with hyphens or underscores. Raises MakemoreError if there is none."""
    name = name.replace("_", "-")
    if name not in DEMOS:
        close = difflib.get_close_matches(name, DEMOS, n=1)
        hint = f"did you mean {close[0]}?" if close else f"there are {', '.join(DEMOS)}"
        raise MakemoreError(f"there is no demonstration {name}; {hint}")
    return name, DEMOS[name]


def listing() -> Sequence[str]:
    """All names with their titles."""
    width = max(map(len, DEMOS))
    return [f"{name:<{width}}  {demo.title}" for name, demo in DEMOS.items()]


def _shown(cell: Cell) -> str:
    if isinstance(cell, float):
        return f"{cell:.4g}"
    return f"{cell:,}" if isinstance(cell, int) else cell
