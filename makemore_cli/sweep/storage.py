"""The storage of a sweep's trials: a journal in its folder, or a database."""

from __future__ import annotations

import os
import re
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager, nullcontext
from pathlib import Path
from typing import TYPE_CHECKING

from makemore_cli.errors import MakemoreError

if TYPE_CHECKING:
    from optuna.storages import BaseStorage

    from makemore_cli.sweep.study import Plan

JOURNAL = "sweep.journal"
LONGEST_JOURNAL_LINE_BYTES = 1 << 20  # of a journal's last line


class StorageError(MakemoreError):
    """The storage of a sweep's trials can't be read or written."""


@contextmanager
def stored(plan: Plan) -> Iterator[None]:
    """Turn any error of the storage into a StorageError with a one-line message.

    SQLAlchemy, database drivers, Redis and damaged journals all raise different errors. Only UpdateFinishedTrialError
    is let through: another process has given the trial back.
    """
    from optuna.exceptions import UpdateFinishedTrialError

    try:
        yield
    except (MakemoreError, UpdateFinishedTrialError):
        raise
    except Exception as error:
        where, parameter = (plan.folder / JOURNAL, "folder") if plan.storage is None else (plan.storage, "storage")
        if isinstance(error, ModuleNotFoundError) and error.name:
            told = f"needs the Python module {error.name}, which is not installed; install it, or choose another one"
        else:
            told = f"Optuna can't use this storage: {cause(error)}; choose another one"
        raise StorageError(masked(f"{where}: {told}"), parameters=(parameter,)) from None


def cause(error: BaseException) -> str:
    """The error that led to this one, in one line. What Optuna and SQLAlchemy add to a driver's error misleads."""
    while error.__cause__ is not None:
        error = error.__cause__
    return " ".join(f"{type(error).__name__}: {error}".split())[:200]


def masked(text: str) -> str:
    """A text with the passwords of its URLs replaced."""
    text = re.sub(r"(://[^:/@\s]*):\S*@", r"\1:***@", text)
    return re.sub(r"([?&]\w*password=)[^&\s:;]*", r"\1***", text)


def open_storage(plan: Plan, ended: Callable[[], bool]) -> BaseStorage:
    """Open the storage. A database's server is waited for, for a while, until `ended`."""
    if plan.storage is not None:
        from makemore_cli.sweep import patient

        return patient.open_database(plan.storage, ended)
    from optuna.storages import JournalStorage
    from optuna.storages.journal import JournalFileBackend

    return JournalStorage(JournalFileBackend(str(plan.folder / JOURNAL)))


def alone(plan: Plan) -> AbstractContextManager[None]:
    """Keep other sweeps from beginning the same study meanwhile. The lock on a journal's folder does so."""
    if plan.storage is None:
        return nullcontext()
    from makemore_cli.sweep import patient

    return patient.alone(plan.storage)


def mend_journal(path: Path) -> None:
    """Remove an incomplete last line from a journal. No process may be writing to it.

    Raises MakemoreError for a file that is not a sweep's journal.
    """
    try:
        with path.open("r+b") as file:
            if b'"op_code"' not in file.readline(4096):
                if file.seek(0, os.SEEK_END) == 0:
                    return
                raise MakemoreError(
                    f"{path}: exists, but is not the journal of a sweep; choose another folder", parameters=("folder",)
                )
            end = file.seek(0, os.SEEK_END)
            file.seek(max(0, end - LONGEST_JOURNAL_LINE_BYTES))
            last = file.read()
            if not last.endswith(b"\n"):
                file.truncate(end - len(last) + last.rfind(b"\n") + 1)
    except FileNotFoundError:
        pass
    except OSError as error:
        raise MakemoreError(
            f"{path}: can't be read: {error.strerror}; choose another folder", parameters=("folder",)
        ) from None
