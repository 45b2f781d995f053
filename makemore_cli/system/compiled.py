"""Functions that Numba compiles once and keeps on disk.

Numba is imported and configured when the first of them is called. Its settings hold for the whole process.
"""

from __future__ import annotations

import pickle
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from functools import cached_property
from types import FunctionType
from typing import Any

OPTIONS: dict[str, Any] = {"error_model": "numpy", "fastmath": {"contract"}, "nogil": True}
# What reading damaged machine code can raise.
DAMAGED = (OSError, EOFError, pickle.PickleError, ValueError, LookupError, AttributeError, ImportError)


def settings() -> Any:
    """Numba's settings, with 512-bit vectors if the processor runs them at full speed.

    LLVM uses 256 bits on all Intel processors, because the first generation lowered its clock for 512. That costs a
    quarter of the kernel's speed. AVX512-VBMI2 marks the generation without this drawback. Numba reads this setting
    once, when it creates its first function.
    """
    from makemore_cli.system import numba_settings  # noqa: F401, I001  # before Numba, which reads its settings on import
    import numba

    config: Any = numba.config
    features = processor_features()
    as_it_is = config.CPU_FEATURES is None and config.CPU_NAME is None and config.ENABLE_AVX
    if "+avx512vbmi2" in features.split(",") and as_it_is:  # not set by the user
        config.CPU_FEATURES = f"{features},-prefer-256-bit"
    return config


def processor_features() -> str:
    """The features of the processor that Numba compiles for, as LLVM names them; empty if unknown."""
    import numba
    from numba.core import codegen

    config: Any = numba.config
    of_host: Any = codegen.get_host_cpu_features
    if config.CPU_FEATURES is not None:
        return str(config.CPU_FEATURES)
    try:
        return str(of_host())
    except RuntimeError:  # they are not known
        return ""


@contextmanager
def straight_line_vectors() -> Iterator[None]:
    """Have LLVM vectorise straight-line code too, not only loops.

    Short loops are unrolled before LLVM looks for vectors.
    """
    config = settings()
    before, config.SLP_VECTORIZE = config.SLP_VECTORIZE, 1
    try:
        yield
    finally:
        config.SLP_VECTORIZE = before


class Kept:
    """A function whose machine code is kept beside its file or in the user's cache, if either can be written.

    Otherwise it is compiled for this process only. Damaged machine code is compiled again. The function runs without
    Python's global lock, so that other threads can run.
    """

    def __init__(self, function: Callable[..., Any], key: str = "") -> None:
        """The cache identifies the function by its name and file, the file's time, and `key` (letters and digits)."""
        self.function = function
        if key:
            assert isinstance(function, FunctionType)
            self.function = FunctionType(
                function.__code__, function.__globals__, function.__name__, function.__defaults__
            )
            self.function.__qualname__ = f"{function.__qualname__}_{key}"
            self.function.__module__ = function.__module__

    @cached_property
    def compiled(self) -> Any:
        """The function as Numba's dispatcher."""
        return self._decorated(cache=True)

    def _decorated(self, *, cache: bool) -> Any:
        settings()
        from numba import njit

        try:
            return njit(**OPTIONS, cache=cache)(self.function)
        except RuntimeError:  # no folder to cache it in
            return njit(**OPTIONS)(self.function)

    def __call__(self, *arguments: Any) -> Any:
        """Call the function, compiled first for the types of these arguments if necessary."""
        try:
            return self.compiled(*arguments)
        except DAMAGED:  # the machine code could not be written or read
            with suppress(Exception):
                self.compiled._cache.flush()
        self.compiled = self._decorated(cache=True)
        try:
            return self.compiled(*arguments)
        except DAMAGED:
            self.compiled = self._decorated(cache=False)
            return self.compiled(*arguments)
