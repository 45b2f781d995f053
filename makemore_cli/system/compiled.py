"""Functions that Numba compiles once and keeps on disk."""

from __future__ import annotations

import pickle
from collections.abc import Callable
from functools import partial
from typing import Any

from makemore_cli.system import numba_settings  # noqa: F401  # before Numba, which reads its settings when it is imported

# isort: split
import llvmlite.binding as llvm
import numba
from numba import njit


def _use_wide_vectors() -> None:
    """Have vectors of 512 bits used where the processor has them at full speed.

    LLVM keeps to 256 on all of Intel's, for the sake of the first generation, whose clock went down. It costs a quarter
    of the kernel's speed. AVX512-VBMI2 came with the generation that is free of that.
    """
    try:
        features = llvm.get_host_cpu_features()
    except RuntimeError:  # a processor that does not tell
        return
    settings: Any = numba.config
    as_it_is = settings.CPU_FEATURES is None and settings.CPU_NAME is None and settings.ENABLE_AVX
    if features.get("avx512vbmi2") and as_it_is:  # nobody has set it otherwise
        settings.CPU_FEATURES = f"{features.flatten()},-prefer-256-bit"


_use_wide_vectors()  # here, since Numba takes its settings for good when the first function is decorated
compiled = partial(njit, error_model="numpy", nogil=True)


class Kept:
    """A function whose machine code is kept beside its file or in the user's cache, where one of them can be written.

    Where neither can, or what is kept there is damaged, it is compiled for this process alone. It runs without Python's
    global lock, so another thread can go on.
    """

    def __init__(self, function: Callable[..., Any]) -> None:
        try:
            self.compiled = compiled(cache=True)(function)
        except RuntimeError:  # there is no folder for it
            self.compiled = compiled()(function)

    def __call__(self, *arguments: Any) -> Any:
        """Call it, after compiling it for the types of these arguments if need be."""
        try:
            return self.compiled(*arguments)
        except (OSError, EOFError, pickle.PickleError):  # the machine code could not be written, or not be read
            self.compiled = compiled()(self.compiled.py_func)
            return self.compiled(*arguments)
