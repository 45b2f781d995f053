"""A storage in a database whose server may restart, and which several sweeps may use from the first moment on."""

from __future__ import annotations

import abc
import logging
import time
import weakref
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from importlib.util import find_spec
from typing import Any, TypeVar

from optuna.exceptions import UpdateFinishedTrialError
from optuna.storages import BaseStorage, RDBStorage, get_storage
from optuna.trial import FrozenTrial, TrialState
from sqlalchemy import create_engine, make_url, text
from sqlalchemy.exc import DBAPIError, IntegrityError, InterfaceError, OperationalError
from sqlalchemy.pool import NullPool

from makemore_cli.errors import MakemoreError
from makemore_cli.sweep.storage import StorageError, cause, masked

T = TypeVar("T")

PATIENCE_SECONDS = 60  # how long a server may give no answer
PAUSE_SECONDS = 0.5  # between two attempts
DRIVERS = ("psycopg", "psycopg2")  # for PostgreSQL, the preferred one first
# Without these, a server that has vanished is waited for by the quarter of an hour. The URL's own values come first.
CONNECTION = {"connect_timeout": "10", "keepalives_idle": "30", "tcp_user_timeout": "30000"}
CREATION_LOCK = int.from_bytes(b"makemore")


class _Database(RDBStorage):
    """Optuna's storage in a database, which leaves no connection open if it can't be had."""

    def __init__(self, url: str) -> None:
        try:
            super().__init__(url, {"pool_pre_ping": True})
        except Exception:
            if hasattr(self, "engine"):
                self.engine.dispose()
            raise


class PatientStorage(BaseStorage):
    """Optuna's storage in a database, where each operation is tried again while the server gives no answer.

    `ended` says that nobody wants to wait any more. Once the server has given no answer for a minute, StorageError is
    raised, and further operations are tried once.
    """

    def __init__(self, url: str, ended: Callable[[], bool]) -> None:
        self._url, self._ended = url, ended
        self._is_patient = True
        for name in ("sqlalchemy", "psycopg"):  # they log each lost connection, with a traceback
            logging.getLogger(name).setLevel(logging.CRITICAL)
        try:
            self._database = self._patiently(lambda: _Database(_full(url)))
        except IntegrityError:  # another process has just created the same tables
            self._database = self._patiently(lambda: _Database(_full(url)))
        self._storage = get_storage(self._database)  # with a cache
        weakref.finalize(self, self._database.engine.dispose)

    def _patiently(self, operation: Callable[[], T]) -> T:
        deadline = time.monotonic() + PATIENCE_SECONDS
        while True:
            try:
                return operation()
            except Exception as error:
                if not _is_lost_connection(error):
                    raise
                if not self._is_patient or time.monotonic() >= deadline:
                    self._is_patient = False
                    raise StorageError(
                        f"{masked(self._url)}: no answer for {PATIENCE_SECONDS} seconds: {masked(cause(error))}; run "
                        f"the same sweep again to continue it once the server answers",
                        parameters=("storage",),
                    ) from None
                if self._ended():
                    raise
                time.sleep(PAUSE_SECONDS)

    def create_new_trial(self, study_id: int, template_trial: FrozenTrial | None = None) -> int:
        # Optuna's own attempts pause for seconds each, during which nobody looks whether the sweep has ended.
        self._patiently(lambda: self._database.engine.connect().close())
        return self._patiently(lambda: self._storage.create_new_trial(study_id, template_trial))

    def set_trial_state_values(self, trial_id: int, state: TrialState, values: Sequence[float] | None = None) -> bool:
        """A state that is there already was set by an earlier attempt, if the answer to that was lost."""
        attempts = 0

        def attempt() -> bool:
            nonlocal attempts
            attempts += 1
            try:
                return self._storage.set_trial_state_values(trial_id, state, values)
            except UpdateFinishedTrialError:
                if attempts == 1 or self._storage.get_trial(trial_id).state != state:
                    raise
                return True

        return self._patiently(attempt)


def _forwarded(name: str) -> Callable[..., Any]:
    def method(self: PatientStorage, *arguments: Any, **options: Any) -> Any:
        return self._patiently(lambda: getattr(self._storage, name)(*arguments, **options))

    return method


_class: Any = PatientStorage  # a type checker does not see these methods
for _name, _value in vars(BaseStorage).items():
    if callable(_value) and not _name.startswith("_") and _name not in vars(PatientStorage):
        setattr(_class, _name, _forwarded(_name))
abc.update_abstractmethods(_class)


def open_database(url: str, ended: Callable[[], bool]) -> BaseStorage:
    """Open a database, and create its tables if there are none."""
    storage: BaseStorage = _class(url, ended)
    return storage


@contextmanager
def alone(url: str) -> Iterator[None]:
    """Connect to a database at once, or raise its error. In PostgreSQL, only one process at a time gets further.

    It may create the tables and begin a study, which takes Optuna several transactions.
    """
    with create_engine(_full(url), poolclass=NullPool).begin() as connection:
        if connection.dialect.name == "postgresql":
            connection.execute(text(f"SET LOCAL lock_timeout = '{PATIENCE_SECONDS}s'"))
            connection.execute(text("SELECT pg_advisory_xact_lock(:key)"), {"key": CREATION_LOCK})
        yield


def _full(url: str) -> str:
    """The URL with the driver that is installed. Raises MakemoreError.

    If the URL names no driver, SQLAlchemy would choose one, and its versions choose differently.
    """
    parsed = make_url(url)
    if "@" in (parsed.host or ""):
        raise MakemoreError(f"{masked(url)}: write %40 for each @ in the password", parameters=("storage",))
    if parsed.drivername in ("postgresql", "postgres"):
        driver = next((driver for driver in DRIVERS if find_spec(driver)), None)
        if driver is None:
            raise MakemoreError(
                f"{masked(url)}: PostgreSQL needs a driver, which is not installed; run: pip install 'psycopg[binary]'",
                parameters=("storage",),
            )
        parsed = parsed.set(drivername=f"postgresql+{driver}")
    if parsed.get_backend_name() == "postgresql" and parsed.get_driver_name() in DRIVERS:
        parsed = parsed.set(query={**CONNECTION, **parsed.query})
    return parsed.render_as_string(hide_password=False)


def _is_lost_connection(error: BaseException | None) -> bool:
    """Whether an error says that the server gave no answer, or is among those raised because of such an error."""
    while error is not None:
        if isinstance(error, OperationalError | InterfaceError):
            return True
        if isinstance(error, DBAPIError) and error.connection_invalidated:
            return True
        error = error.__cause__ or error.__context__
    return False
