"""Run the check of a learner's file in a process of its own, within limits of time and memory."""

from __future__ import annotations

import multiprocessing
import os
import random
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
from makemore_cli.learn.exercise import is_unwritten
from makemore_cli.learn.verdict import Verdict
from makemore_cli.printable import printable
from makemore_cli.system.files import read

MEMORY_BYTES = 4 << 30  # that a check may take beyond what its process starts with
PRINTED_LINES, PRINTED_BYTES = 20, 4000  # of the learner's output, which are shown
START_SECONDS = 60.0  # for the process to start, which imports PyTorch
LARGEST_FILE_BYTES = 1 << 20
SEEDS = 2**31


Work = Callable[..., Any]


class Checker:
    """Runs learners' code. It keeps one process that has PyTorch imported, from which each check is forked."""

    def __init__(self, folder: Path) -> None:
        """`folder` is the course's."""
        self._course = load_course(folder)
        forks = "forkserver" in multiprocessing.get_all_start_methods()
        self._context: Any = multiprocessing.get_context("forkserver" if forks else "spawn")
        if forks:
            self._context.set_forkserver_preload(["makemore_cli.learn.check_gradient"])

    def warm_up(self) -> None:
        """Start the process from which checks are forked, so that the first one is fast too."""
        if self._context.get_start_method() == "forkserver":
            forkserver.ensure_running()

    def check(self, name: str, path: Path, seed: int | None = None) -> Verdict:
        """The verdict on a learner's file. Raises MakemoreError if the file can't be read."""
        text = read_text(path)
        if is_unwritten(text):
            return Verdict(name, "not written", ("not written yet",))
        seconds = self._course.exercise(name).entry.check.seconds
        number = random.randrange(SEEDS) if seed is None else seed
        arguments = (str(self._course.folder), name, str(path.absolute()), text, number)
        found, printed = self.run(_check, arguments, seconds)
        if isinstance(found, str):
            return Verdict(name, "failed", (f"{path.name}: {found}",), printed=printed)
        verdict: Verdict = replace(found, printed=printed)
        return verdict

    def run(self, work: Work, arguments: Sequence[Any], seconds: float) -> tuple[Any, tuple[str, ...]]:
        """The result of a function in a process of its own, and the first lines that were printed there.

        The result is a text that says what happened if there is none.
        """
        ours, theirs = self._context.Pipe(duplex=False)
        process = self._context.Process(target=_run, args=(theirs, work, tuple(arguments)), daemon=True)
        process.start()
        theirs.close()
        told = _wait(ours, seconds)
        if isinstance(told, str):
            process.kill()
        process.join()
        ours.close()
        if told == "":
            told = f"it ended the process with exit code {process.exitcode}, as os._exit or a crash does"
        return (told, ()) if isinstance(told, str) else told


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


def _wait(connection: Connection, seconds: float) -> tuple[Any, tuple[str, ...]] | str:
    """The result, with what was printed; or what happened instead, "" if the process ended."""
    try:
        if not connection.poll(START_SECONDS):
            return "the check did not start; try again"
        connection.recv()  # it has started
        if not connection.poll(seconds):
            return f"still running after {seconds:g} seconds, so it was stopped: is there an endless loop?"
        result: tuple[Any, tuple[str, ...]] = connection.recv()
    except (EOFError, OSError):
        return ""
    return result


def _check(folder: str, name: str, path: str, text: str, seed: int) -> Verdict:
    from makemore_cli.learn.check import check

    course = load_course(Path(folder))
    try:
        return check(course, course.exercise(name), Path(path), text, seed)
    except MemoryError:
        return Verdict(name, "failed", (f"{Path(path).name}: it needs too much memory",))


def _run(connection: Connection, work: Work, arguments: tuple[Any, ...]) -> None:
    """The work itself, in its own process."""
    with tempfile.TemporaryFile() as own:
        _redirect(own.fileno())
        _limit_memory()
        connection.send("started")
        result = work(*arguments)
        sys.stdout.flush()
        own.seek(0)
        lines = printable(own.read(PRINTED_BYTES).decode(errors="replace"), newlines=True).splitlines()
        with suppress(OSError):
            connection.send((result, _first(lines)))


def _first(lines: Sequence[str]) -> tuple[str, ...]:
    return tuple(lines[:PRINTED_LINES]) + (("…",) if len(lines) > PRINTED_LINES else ())


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
