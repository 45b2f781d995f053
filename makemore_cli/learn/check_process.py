"""Run the check of a learner's file in a process of its own, within limits of time and memory."""

from __future__ import annotations

import multiprocessing
import os
import random
import sys
import tempfile
from collections.abc import Sequence
from contextlib import suppress
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


class Checker:
    """Checks files of one course. It keeps one process that has PyTorch imported, from which each check is forked."""

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
        ours, theirs = self._context.Pipe(duplex=False)
        number = random.randrange(SEEDS) if seed is None else seed
        arguments = (theirs, str(self._course.folder), name, str(path.absolute()), text, number)
        process = self._context.Process(target=_run, args=arguments, daemon=True)
        process.start()
        theirs.close()
        told = _wait(ours, seconds)
        if isinstance(told, str):
            process.kill()
        process.join()
        ours.close()
        if isinstance(told, Verdict):
            return told
        if told == "":
            told = f"it ended the process with exit code {process.exitcode}, as os._exit or a crash does"
        return Verdict(name, "failed", (f"{path.name}: {told}",))


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


def _wait(connection: Connection, seconds: float) -> Verdict | str:
    """The verdict; or what happened instead, "" if the process ended."""
    try:
        if not connection.poll(START_SECONDS):
            return "the check did not start; try again"
        connection.recv()  # it has started
        if not connection.poll(seconds):
            return f"still running after {seconds:g} seconds, so it was stopped: is there an endless loop?"
        verdict: Verdict = connection.recv()
    except (EOFError, OSError):
        return ""
    return verdict


def _run(connection: Connection, folder: str, name: str, path: str, text: str, seed: int) -> None:
    """The check itself, in its own process."""
    from makemore_cli.learn.check import check

    with tempfile.TemporaryFile() as own:
        _redirect(own.fileno())
        _limit_memory()
        course = load_course(Path(folder))
        exercise = course.exercise(name)
        connection.send("started")
        try:
            verdict = check(course, exercise, Path(path), text, seed)
        except MemoryError:
            verdict = Verdict(name, "failed", (f"{Path(path).name}: it needs too much memory",))
        sys.stdout.flush()
        own.seek(0)
        lines = printable(own.read(PRINTED_BYTES).decode(errors="replace"), newlines=True).splitlines()
        verdict = Verdict(verdict.name, verdict.state, verdict.says, verdict.diagnosed, _first(lines))
        with suppress(OSError):
            connection.send(verdict)


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
