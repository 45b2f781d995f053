"""The demonstrations by name, and their results."""

from __future__ import annotations

import difflib
import textwrap
from dataclasses import dataclass
from importlib import import_module
from typing import Any

from makemore_cli.errors import MakemoreError

Cell = str | float | int


@dataclass(frozen=True)
class Table:
    """A table of figures. Floats are shown with four significant digits."""

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
    """The result of a demonstration: what is done, the figures, and what they mean."""

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
    """A failure that the lectures show. Its module is imported only when it runs, since some need PyTorch."""

    title: str
    module: str

    def run(self, name: str) -> Result:
        found = import_module(f"makemore_cli.learn.{self.module}")
        result: Result = getattr(found, name.replace("-", "_"))()
        return result


SCALAR, CHECK, TENSOR = "scalar_failures", "check_failures", "tensor_failures"
DEMOS = {
    "overwritten-gradient": Demo("A gradient is assigned instead of accumulated", SCALAR),
    "no-topological-order": Demo("A value passes its gradient on before the gradient is complete", SCALAR),
    "no-start-gradient": Demo("The result's own gradient is left at 0", SCALAR),
    "called-closure": Demo("The backward function is called instead of stored", SCALAR),
    "forgotten-zero-grad": Demo("Gradients are not set to zero before the next step", SCALAR),
    "large-step": Demo("The learning rate is too large", SCALAR),
    "clipped-loss": Demo("The loss is clipped instead of the gradient", TENSOR),
    "softmax-overflow": Demo("The maximum is not subtracted before exp", TENSOR),
    "biased-variance": Demo("The variance of a batch is computed with 1/n instead of 1/(n − 1)", TENSOR),
    "saturated-tanh": Demo("The initial weights are so large that tanh saturates", TENSOR),
    "zero-bias": Demo("A bias of zero hides a wrong gradient", CHECK),
    "first-branch": Demo("A tensor is used twice, and one use is missing from its gradient", CHECK),
    "division": Demo("A backward line by hand rounds differently from autograd's", CHECK),
}


def find(name: str) -> tuple[str, Demo]:
    """A demonstration by its name, with hyphens or underscores. Raises MakemoreError if there is none."""
    name = name.replace("_", "-")
    if name not in DEMOS:
        close = difflib.get_close_matches(name, DEMOS, n=1)
        hint = f"did you mean {close[0]}?" if close else f"choose one of {', '.join(DEMOS)}"
        raise MakemoreError(f"there is no demonstration {name}; {hint}")
    return name, DEMOS[name]


def listing(width: int) -> list[str]:
    """All names with their titles, wrapped at `width` columns."""
    indent = max(map(len, DEMOS)) + 2
    if width < 2 * indent:  # each title below its name
        return [line for name, demo in DEMOS.items() for line in (name, *_wrapped("  ", demo.title, width))]
    return [line for name, demo in DEMOS.items() for line in _wrapped(f"{name:<{indent}}", demo.title, width)]


def _wrapped(head: str, text: str, width: int) -> list[str]:
    return textwrap.wrap(text, width, initial_indent=head, subsequent_indent=" " * len(head))


def _shown(cell: Cell) -> str:
    if isinstance(cell, float):
        return f"{cell:.4g}"
    return f"{cell:,}" if isinstance(cell, int) else cell
