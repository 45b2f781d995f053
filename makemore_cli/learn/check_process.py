"""Run the check of a learner's file in a process of its own, within limits of time and memory."""

from __future__ import annotations

import faulthandler
import multiprocessing
import os
import random
import re
import sys
import tempfile
from collections.abc import Callable, Sequence
from contextlib import suppress
from dataclasses import replace
from multiprocessing import forkserver
from multiprocessing.connection import Connection
from pathlib import Path
from typing import Any

from makemore_cli.errors import MakemoreError
from makemore_cli.learn.course import load_course
from makemore_cli.learn.verdict import Verdict
from makemore_cli.printable import printable
from makemore_cli.system.files import read

MEMORY_BYTES = 4 << 30  # that a check may take beyond what its process starts with
PRINTED_LINES, PRINTED_BYTES = 20, 4000  # of the learner's output, which are shown
PRINTED, STACK = "printed", "stack"  # files of a check: what the learner's code prints, and where it was when stopped
ENDED = "ended"
START_SECONDS = 60.0  # for the process to start, which imports PyTorch
LARGEST_FILE_BYTES = 1 << 20
SEEDS = 2**31


# The second is imported by autograd when a gradient is given to it, and takes a second.
PRELOADED = ["makemore_cli.learn.check_gradient", "torch.fx.experimental.symbolic_shapes"]

Work = Callable[..., Any]


class Checker:
    """Runs learners' code, each check in a process of its own."""

    def __init__(self, folder: Path) -> None:
        """`folder` is the course's."""
        self._course = load_course(folder)
        forks = "forkserver" in multiprocessing.get_all_start_methods()
        self._context: Any = multiprocessing.get_context("forkserver" if forks else "spawn")

    def warm_up(self) -> None:
        """Start a process that has PyTorch imported, from which many checks are forked."""
        if self._context.get_start_method() == "forkserver":
            self._context.set_forkserver_preload(PRELOADED)
            forkserver.ensure_running()

    def check(self, name: str, path: Path, seed: int | None = None) -> Verdict:
        """The verdict on a learner's file. Raises MakemoreError if the file can't be read."""
        text = read_text(path)
        exercise = self._course.exercise(name)
        if exercise.source.is_unwritten(text):
            return Verdict(name, "not written", ("not written yet",))
        number = random.randrange(SEEDS) if seed is None else seed
        arguments = (str(self._course.folder), name, str(path.absolute()), text, number)
        found, printed = self.run(_check, arguments, exercise.entry.check.seconds, path)
        if isinstance(found, str):
            return Verdict(name, "failed", (found,), printed=printed)
        verdict: Verdict = replace(found, printed=printed)
        return verdict

    def run(self, work: Work, arguments: Sequence[Any], seconds: float, path: Path) -> tuple[Any, tuple[str, ...]]:
        """The result of a function in a process of its own, and the first lines that were printed there.

        The result is a text if there is none. It says what happened, and on which line of the learner's file at `path`.
        """
        with tempfile.TemporaryDirectory(ignore_cleanup_errors=True) as folder:
            ours, theirs = self._context.Pipe(duplex=False)
            started = (theirs, Path(folder), seconds, work, tuple(arguments))
            process = self._context.Process(target=_run, args=started, daemon=True)
            process.start()
            theirs.close()
            result, stopped = _wait(ours, seconds)
            if stopped:
                process.kill()
            process.join()
            ours.close()
            printed = _first_lines(Path(folder) / PRINTED)
            if stopped == ENDED:
                stopped = f"it ended the process with exit code {process.exitcode}, as os._exit or a crash does"
            if stopped:
                line = _line_in(path, Path(folder) / STACK)
                return f"{path.name}{f', line {line}' if line else ''}: {stopped}", printed
            return result, printed


def read_text(path: Path) -> str:
    """A learner's file. Raises MakemoreError, which names the file."""
    try:
        return read(path, LARGEST_FILE_BYTES).decode("utf-8-sig")
    except FileNotFoundError:
        raise MakemoreError(f"{path}: no such file; lay out the exercises again, or reset this one") from None
    except OSError as error:
        raise MakemoreError(f"{path}: can't be read: {error.strerror}") from None
    except UnicodeDecodeError:
        raise MakemoreError(f"{path}: is not UTF-8; save it as UTF-8") from None


def _wait(connection: Connection, seconds: float) -> tuple[Any, str]:
    """The result, and "" or what happened instead of one."""
    try:
        if not connection.poll(START_SECONDS):
            return None, "the check did not start; try again"
        connection.recv()  # it has started
        if not connection.poll(seconds):
            return None, f"still running after {seconds:g} seconds, so it was stopped: is there an endless loop?"
        return connection.recv(), ""
    except (EOFError, OSError):
        return None, ENDED


def _first_lines(path: Path) -> tuple[str, ...]:
    """The first lines of what was printed."""
    try:
        with path.open("rb") as file:
            lines = printable(file.read(PRINTED_BYTES).decode(errors="replace"), newlines=True).splitlines()
    except FileNotFoundError:  # the process did not come so far
        return ()
    return tuple(lines[:PRINTED_LINES]) + (("…",) if len(lines) > PRINTED_LINES else ())


def _line_in(path: Path, stack: Path) -> str | None:
    """The innermost line of a file in a stack that Python's faulthandler has written; None if it is in none."""
    text = stack.read_text(errors="replace") if stack.is_file() else ""
    found = re.search(rf'^  File "{re.escape(str(path.absolute()))}", line (\d+)', text, re.MULTILINE)
    return found[1] if found else None


def _check(folder: str, name: str, path: str, text: str, seed: int) -> Verdict:
    from makemore_cli.learn.check import check

    course = load_course(Path(folder))
    try:
        return check(course, course.exercise(name), Path(path), text, seed)
    except MemoryError:
        return Verdict(name, "failed", (f"{Path(path).name}: it needs too much memory",))


def _run(connection: Connection, folder: Path, seconds: float, work: Work, arguments: tuple[Any, ...]) -> None:
    """The work itself, in its own process."""
    with (folder / PRINTED).open("wb") as printed, (folder / STACK).open("w") as stack:
        _redirect(printed.fileno())
        _limit_memory()
        faulthandler.enable(stack)  # for a crash
        faulthandler.dump_traceback_later(0.95 * seconds, file=stack)
        connection.send("started")
        result = work(*arguments)
        faulthandler.cancel_dump_traceback_later()
        sys.stdout.flush()
        with suppress(OSError):
            connection.send(result)


def _redirect(file: int) -> None:
    """Send all that the learner's code prints to a file, and let it read nothing."""
    nothing = os.open(os.devnull, os.O_RDONLY)
    for target, source in ((0, nothing), (1, file), (2, file)):
        os.dup2(source, target)
    sys.stdin, sys.stdout, sys.stderr = (
        open(0, closefd=False),  # noqa: SIM115
        open(1, "w", 1, closefd=False, errors="replace"),  # noqa: SIM115
        open(2, "w", 1, closefd=False, errors="replace"),  # noqa: SIM115
    )


def _limit_memory() -> None:
    try:
        import resource
    except ImportError:  # Windows
        return
    with suppress(ValueError, OSError):
        hard = resource.getrlimit(resource.RLIMIT_DATA)[1]
        resource.setrlimit(resource.RLIMIT_DATA, (MEMORY_BYTES, hard))
