"""The processor's vector registers, and the length of a strip that follows from them."""

from __future__ import annotations

import platform

from makemore_cli.backprop.kernel.layout import ROWS
from makemore_cli.system import compiled

compiled.settings()  # before Numba makes its first function, in one of the files that import this one

_SPARE = 4  # registers for the factors of products
_LINE = 64  # bytes of a cache line


def registers() -> tuple[int, int]:
    """The bytes of a vector register, and the number of registers."""
    if platform.machine().lower() in ("aarch64", "arm64"):
        return 16, 32
    features = compiled.processor_features().split(",")
    if "+avx512f" in features:
        return 64, 32
    return (32, 16) if "+avx" in features else (16, 16)


def strip_bytes() -> int:
    """The bytes of a strip: a cache line if ROWS strips of sums fit into the registers, otherwise half a line."""
    size, count = registers()
    return _LINE if size * (count - _SPARE) >= ROWS * _LINE else _LINE // 2


STRIP_BYTES = strip_bytes()
VECTOR_BYTES = min(registers()[0], STRIP_BYTES)
