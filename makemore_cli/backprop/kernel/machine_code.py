"""The compiled steps: loaded from disk, or compiled by a separate process. One compilation serves all sizes."""

from __future__ import annotations

import hashlib
import subprocess
import time
from collections.abc import Callable
from functools import lru_cache
from pathlib import Path
from typing import Any

from makemore_cli.backprop import update_numbers
from makemore_cli.errors import MakemoreError
from makemore_cli.system import child_processes as children
from makemore_cli.system import compiled
from makemore_cli.system.compiled import Kept, settings, straight_line_vectors
from makemore_cli.system.environment import NO_JIT


@lru_cache
def train_steps(real: str) -> Kept:
    """`training_steps.train_steps` for float32 or float64.

    Each has its own file on disk, so two processes that compile at the same time write the same one.
    """
    settings()
    from makemore_cli.backprop.kernel import training_steps

    return Kept(training_steps.train_steps, f"{real}_{_digest()}")


def _digest() -> str:
    """A digest of what determines the machine code: the source files, Numba and its settings, and the processor."""
    from llvmlite import __version__ as llvmlite_version
    from llvmlite import binding as llvm
    from numba import __version__ as numba_version

    config = settings()
    made_from = hashlib.sha256()
    others = Path(str(update_numbers.__file__)), Path(str(compiled.__file__))
    for file in (*sorted(Path(__file__).parent.glob("*.py")), *others):
        made_from.update(file.read_bytes())
    processor = llvm.get_host_cpu_name(), config.CPU_NAME, compiled.processor_features()
    made_from.update(repr((numba_version, llvmlite_version, processor, config.OPT, config.LOOP_VECTORIZE)).encode())
    return made_from.hexdigest()[:16]


# The processes that are compiling and their start times, by the type of the numbers.
_compiling: dict[str, tuple[subprocess.Popen[bytes], float]] = {}
_ready: set[str] = set()


def begin(real: str, run: Callable[[], Any]) -> None:
    """Start compiling what `run` runs in a separate process, if it is not on disk.

    Code that is compiled in this process is optimised differently from code that is loaded from disk, and its results
    differ in the last digits. So another process compiles, and this one always loads.
    Raises MakemoreError if compilation is turned off in Numba.
    """
    if real in _ready or real in _compiling:
        return
    if settings().DISABLE_JIT:
        raise MakemoreError(f"the kernel can't be compiled, since {NO_JIT} is set; unset it, or choose tensor")
    from numba.core import event

    class NotKeptError(Exception):
        """The machine code is not on the disk."""

    class NotHere(event.Listener):
        """Keeps this process from compiling."""

        def on_start(self, event: event.Event) -> None:
            raise NotKeptError

        def on_end(self, event: event.Event) -> None:
            pass

    try:
        with event.install_listener("numba:compile", NotHere()):
            run()
        _ready.add(real)
    except NotKeptError:
        code = f"import gc; gc.disable(); from makemore_cli.backprop.kernel import kernel; kernel.compile_for({real!r})"
        _compiling[real] = children.begin(code), time.perf_counter()


def wait(real: str, run: Callable[[], Any], say: Callable[[str], None]) -> None:
    """Wait for what `begin` started, if anything, and load it. Tells `say` about the compilation and its duration."""
    if real not in _compiling:
        return
    process, began = _compiling[real]
    say("compiling the kernel, once: some seconds")
    process.wait()
    _compiling.pop(real, None)
    with straight_line_vectors():  # if it could not be written to disk, this process compiles it now
        run()
    _ready.add(real)
    say(f"compiled in {time.perf_counter() - began:.1f} s")
