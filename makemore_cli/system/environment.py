"""Software versions and the machine."""

from __future__ import annotations

import os
import platform
import sys
from contextlib import suppress
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path

from makemore_cli import __version__

NO_JIT = "NUMBA_DISABLE_JIT"  # the environment variable that keeps Numba from compiling


def environment() -> dict[str, str]:
    """The names and versions of the software and the machine, for people to read."""
    return {
        "makemore": __version__,
        "python": platform.python_version(),
        **{package: _version(package) for package in ("torch", "numpy", "numba")},
        "system": f"{platform.system()} {platform.machine()}",
        "processor": f"{processor()}, {os.cpu_count()} cores",
    }


def compiles() -> bool:
    """Whether Numba compiles here, found without importing it."""
    try:
        return not int(os.environ.get(NO_JIT) or 0)
    except ValueError:  # Numba ignores it then
        return True


def in_notebook() -> bool:
    """Whether this runs in a Jupyter kernel."""
    ipython = sys.modules.get("IPython")
    return ipython is not None and getattr(ipython.get_ipython(), "kernel", None) is not None


def _version(package: str) -> str:
    try:
        return version(package)
    except PackageNotFoundError:  # not installed by an installer
        return "unknown"


def processor() -> str:
    """The processor's name, or "unknown"."""
    with suppress(OSError):
        for line in Path("/proc/cpuinfo").read_text(encoding="utf-8", errors="replace").splitlines():
            if line.startswith("model name"):
                return line.partition(":")[2].strip()
    return platform.processor() or platform.machine() or "unknown"
