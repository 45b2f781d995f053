"""The formats of files of names: plain text, gzip, zstandard, and columns of Parquet files.

All are read as text, a block at a time.
"""

from __future__ import annotations

import gzip
import io
import zlib
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import IO, TYPE_CHECKING, Any

from makemore_cli.errors import MakemoreError

if TYPE_CHECKING:
    import pyarrow as pa

BLOCK_BYTES = 1 << 24  # read at a time
ROWS = 1 << 10  # of a Parquet column, read at a time, since each may be long
GZIP, ZSTANDARD, PARQUET = b"\x1f\x8b", b"\x28\xb5\x2f\xfd", b"PAR1"


def text_blocks(file: IO[bytes], path: Path, column: str | None) -> Iterator[bytes]:
    """The text of an open file. `column` is that of a Parquet file; messages name `path`.

    Raises MakemoreError if the file is damaged, has no such column, or needs a package that is not installed.
    """
    with _failure_told(path):
        file.seek(0)
        beginning = file.read(4)
        size = file.seek(0, io.SEEK_END)
        file.seek(max(0, size - 4))
        is_parquet = size > 8 and beginning == PARQUET == file.read()
        file.seek(0)
    if column is not None and not is_parquet:
        raise MakemoreError(f"{path}: is not a Parquet file, so it has no column {column}; give its path alone")
    if is_parquet:
        yield from _column(file, path, column)
    elif beginning.startswith(GZIP):
        with _damage_told(path, "gzip", (OSError, EOFError, zlib.error)), gzip.GzipFile(fileobj=file) as text:
            yield from blocks(text.read, path)
    elif beginning == ZSTANDARD:
        opened, error = _zstandard(path)
        with _damage_told(path, "zstandard", (EOFError, error)), opened(file) as text:
            yield from blocks(text.read, path)
    else:
        yield from blocks(file.read, path)


def blocks(read: Callable[[int], bytes], path: Path) -> Iterator[bytes]:
    """All that can be read from a file, a block at a time. Raises MakemoreError if reading fails."""
    with _failure_told(path):
        while block := read(BLOCK_BYTES):
            yield block


@contextmanager
def _failure_told(path: Path) -> Iterator[None]:
    try:
        yield
    except OSError as error:
        if error.errno is None:  # compressed data is damaged
            raise
        raise MakemoreError(f"{path}: can't be read: {error.strerror}") from None


@contextmanager
def _damage_told(path: Path, kind: str, errors: tuple[type[Exception], ...]) -> Iterator[None]:
    try:
        yield
    except errors as error:
        told = " ".join(str(error).split()).rstrip(".")
        raise MakemoreError(f"{path}: its {kind} data is damaged or incomplete ({told}); make the file again") from None


def _zstandard(path: Path) -> tuple[Any, type[Exception]]:
    """The class that reads zstandard files, and its error: from Python 3.14's library, or the same for older ones."""
    try:
        from compression import zstd  # type: ignore[import-not-found, unused-ignore]
    except ImportError:
        try:
            from backports import zstd
        except ImportError:
            raise MakemoreError(
                f"{path}: to read zstandard, a package is missing; run: pip install backports.zstd"
            ) from None
    return zstd.ZstdFile, zstd.ZstdError


def _column(file: IO[bytes], path: Path, column: str | None) -> Iterator[bytes]:
    """The text of a Parquet column. A missing value is a blank line."""
    try:
        import pyarrow as pa
        import pyarrow.parquet as pq
    except ImportError:
        raise MakemoreError(f"{path}: to read Parquet, a package is missing; run: pip install pyarrow") from None
    with _damage_told(path, "Parquet", (pa.ArrowException, OSError)):
        parquet = pq.ParquetFile(file, buffer_size=BLOCK_BYTES)
        schema = parquet.schema_arrow
        name = _chosen(schema, path, column)
        row, lines, size = 1, list[bytes](), 0
        for batch in parquet.iter_batches(ROWS, columns=[name]):
            lines.append(_lines(batch.column(0), path, row))
            row, size = row + batch.num_rows, size + len(lines[-1])
            if size >= BLOCK_BYTES:
                yield b"".join(lines)
                lines, size = [], 0
        yield b"".join(lines)


def _chosen(schema: pa.Schema, path: Path, column: str | None) -> str:
    """The name of the column with the names: the given one, or the only one that holds text."""
    import pyarrow as pa

    def holds_text(kind: pa.DataType) -> bool:
        if pa.types.is_dictionary(kind):
            kind = kind.value_type
        return any(is_so(kind) for is_so in (pa.types.is_string, pa.types.is_large_string, pa.types.is_string_view))

    columns = [field.name for field in schema if holds_text(field.type) and schema.names.count(field.name) == 1]
    if column is None and len(columns) == 1:
        return str(columns[0])
    if column is not None and column in columns:
        return column
    have = f"its columns of text are {', '.join(columns)}" if columns else "it has no column of text"
    if column is None:
        mend = f"give one of them, as in {path.name}:{columns[0]}" if columns else "give a file that has one"
        raise MakemoreError(f"{path}: {have}; {mend}")
    fact = "is not a column of text" if column in schema.names else "is not among its columns"
    raise MakemoreError(f"{path}: {column} {fact}; {have}")


def _lines(column: pa.Array, path: Path, row: int) -> bytes:
    """The values of a column whose first one is in `row`, each followed by a newline."""
    import pyarrow as pa
    import pyarrow.compute as pc

    kind = pa.large_string()
    texts = pc.fill_null(column.cast(kind), "")
    lines = pc.binary_join_element_wise(texts, pa.scalar("", kind), pa.scalar("\n", kind))
    _, offsets, data = lines.buffers()
    first, last = (memoryview(offsets).cast("q")[lines.offset + place] for place in (0, len(lines)))
    text: bytes = data[first:last].to_pybytes() if data is not None else b""
    if text.count(b"\n") > len(lines) or b"\r" in text:
        broken = pc.index(pc.match_substring_regex(texts, r"[\r\n]"), True).as_py()
        raise MakemoreError(f"{path}, row {row + broken}: a name can't contain a line break; remove it")
    return text
