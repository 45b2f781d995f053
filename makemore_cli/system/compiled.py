"""Functions that Numba compiles once and keeps on disk.

Numba is imported, and its settings are made, when the first of them is called: they hold for the whole process.
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
    """Numba's settings, with vectors of 512 bits if the processor has them at full speed.

    LLVM keeps to 256 on all of Intel's, for the sake of the first generation, whose clock went down. It costs a quarter
    of the kernel's speed. AVX512-VBMI2 came with the generation that is free of that. Numba takes this setting for
    good when it makes its first function.
    """
    from makemore_cli.system import numba_settings  # noqa: F401, I001  # before Numba, which reads its settings then
    import numba

    config: Any = numba.config
    features = processor_features()
    as_it_is = config.CPU_FEATURES is None and config.CPU_NAME is None and config.ENABLE_AVX
    if "+avx512vbmi2" in features.split(",") and as_it_is:  # nobody has set it otherwise
        config.CPU_FEATURES = f"{features},-prefer-256-bit"
    return config


def processor_features() -> str:
    """The features of the processor that Numba compiles for, as LLVM names them; empty if they are not known."""
    import numba
    from numba.core import codegen

    config: Any = numba.config
    of_host: Any = codegen.get_host_cpu_features
    if config.CPU_FEATURES is not None:
        return str(config.CPU_FEATURES)
    try:
        return str(of_host())
    except RuntimeError:  # the processor does not tell
        return ""


@contextmanager
def straight_line_vectors() -> Iterator[None]:
    """Have LLVM make vectors of straight code too, and not of loops only.

    Short loops are unrolled before it looks for vectors.
    """
    config = settings()
    before, config.SLP_VECTORIZE = config.SLP_VECTORIZE, 1
    try:
        yield
    finally:
        config.SLP_VECTORIZE = before


class Kept:
    """A function whose machine code is kept beside its file or in the user's cache, if one of them can be written.

    If neither can, it is compiled for this process alone. If what is kept there is damaged, it is compiled anew. It
    runs without Python's global lock, so another thread can go on.
    """

    def __init__(self, function: Callable[..., Any], key: str = "") -> None:
        """What is kept is known by the function's name and file, the file's time, and `key`, letters and digits."""
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
        """The function as Numba has it."""
        return self._decorated(cache=True)

    def _decorated(self, *, cache: bool) -> Any:
        settings()
        from numba import njit

        try:
            return njit(**OPTIONS, cache=cache)(self.function)
        except RuntimeError:  # there is no folder for it
            return njit(**OPTIONS)(self.function)

    def __call__(self, *arguments: Any) -> Any:
        """Call it, after compiling it for the types of these arguments if need be."""
        try:
            return self.compiled(*arguments)
        except DAMAGED:  # the machine code could not be written, or not be read
            with suppress(Exception):
                self.compiled._cache.flush()
        self.compiled = self._decorated(cache=True)
        try:
            return self.compiled(*arguments)
        except DAMAGED:
            self.compiled = self._decorated(cache=False)
            return self.compiled(*arguments)
