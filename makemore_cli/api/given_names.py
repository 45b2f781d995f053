"""Names that are given as values instead of a file."""

from __future__ import annotations

from collections.abc import Iterable

from makemore_cli.errors import ParameterError


def as_file(names: Iterable[str]) -> bytes:
    """Names as the content of a file, one per line. Raises ParameterError for what is no name."""
    try:
        names = list(names)
    except TypeError:
        raise ParameterError("data", f"must be a file or names, got {names!r}") from None
    for place, name in enumerate(names, start=1):
        if not isinstance(name, str):
            raise ParameterError("data", f"must be names, but number {place} is of type {type(name).__name__}")
        if len(name.splitlines()) > 1:
            raise ParameterError("data", f"must be names without line breaks, but number {place} is {name!r}")
    try:
        return "".join(f"{name.strip()}\n" for name in names).encode()
    except UnicodeEncodeError as error:
        raise ParameterError("data", f"can't be written as UTF-8: {error.reason}") from None
