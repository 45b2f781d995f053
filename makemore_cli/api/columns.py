"""A table of numbers as named columns, which pandas and polars can take over."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from html import escape
from importlib import import_module
from typing import TYPE_CHECKING, Any

from numpy.typing import NDArray

from makemore_cli.errors import MakemoreError

if TYPE_CHECKING:
    import pandas as pd
    import polars as pl

SHOWN_ROWS = 3  # at each end of a long table, in a notebook


class Columns(Mapping[str, NDArray[Any]]):
    """Named columns of equal length, each a NumPy array.

    >>> list(run.evaluations)
    ['step', 'train', 'val', 'test']
    """

    __eq__, __hash__ = object.__eq__, object.__hash__  # a Mapping would compare the arrays

    def __init__(self, columns: Mapping[str, NDArray[Any]]) -> None:
        self._columns = dict(columns)

    def __getitem__(self, name: str) -> NDArray[Any]:
        return self._columns[name]

    def __iter__(self) -> Iterator[str]:
        return iter(self._columns)

    def __len__(self) -> int:
        return len(self._columns)

    @property
    def rows(self) -> int:
        """The length of each column."""
        return len(next(iter(self._columns.values()), ()))

    def to_pandas(self) -> pd.DataFrame:
        """The table as a pandas DataFrame. Raises MakemoreError if pandas is not installed."""
        frame: pd.DataFrame = _library("pandas").DataFrame(self._columns)
        return frame

    def to_polars(self) -> pl.DataFrame:
        """The table as a polars DataFrame. Raises MakemoreError if polars is not installed."""
        frame: pl.DataFrame = _library("polars").DataFrame(self._columns)
        return frame

    def __repr__(self) -> str:
        return f"<{self.rows:,} rows of {', '.join(self)}>"

    def _repr_html_(self) -> str:
        """The first and last rows, for a notebook."""
        rows, n = range(self.rows), SHOWN_ROWS
        shown = [*rows] if self.rows <= 2 * n else [*rows[:n], None, *rows[-n:]]
        body = "".join(
            f"<tr>{''.join(f'<td>{_cell(column, row)}</td>' for column in self._columns.values())}</tr>"
            for row in shown
        )
        head = "".join(f"<th>{escape(name)}</th>" for name in self)
        return f"<table><thead><tr>{head}</tr></thead><tbody>{body}</tbody></table><p>{self.rows:,} rows</p>"


def _cell(column: NDArray[Any], row: int | None) -> str:
    return "…" if row is None else f"{column[row]:.6g}" if column.dtype.kind == "f" else f"{column[row]:,}"


def _library(name: str) -> Any:
    try:
        return import_module(name)
    except ModuleNotFoundError:
        raise MakemoreError(f"{name} is not installed; install it, or use the NumPy arrays themselves") from None
