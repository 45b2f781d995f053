"""What the compiled pass must know of the processor: how long its vectors are, and how many fit into its registers."""

from __future__ import annotations

import platform

from makemore_cli.system import compiled  # before Numba, whose settings it makes

# isort: split
from numba import config

ROWS = 4  # that a matrix product takes at a time
_SPARE = 4  # registers for what is multiplied
_LINE = 64  # bytes of a cache line


def registers() -> tuple[int, int]:
    """The bytes of a vector register, and how many there are."""
    if platform.machine().lower() in ("aarch64", "arm64"):
        return 16, 32
    features = set((config.CPU_FEATURES or compiled.host_features()).split(","))  # type: ignore[attr-defined]
    if "+avx512f" in features:
        return 64, 32
    return (32, 16) if "+avx" in features else (16, 16)


def lane_bytes() -> int:
    """The bytes of a lane: a cache line, if ROWS lanes of sums fit into the registers, and else half of one."""
    size, count = registers()
    return _LINE if size * (count - _SPARE) >= ROWS * _LINE else _LINE // 2


LANE_BYTES = lane_bytes()
VECTOR_BYTES = min(registers()[0], LANE_BYTES)
