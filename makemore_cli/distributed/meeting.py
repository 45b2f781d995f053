"""The meeting point of processes that train together: messages between them, and signs of life.

It is a key-value store that torchrun's agent, or rank 0, keeps. A message may take any time, for example while rank 0
evaluates; it is waited for as long as its sender lives. Each process gives a sign of life every second.
"""

from __future__ import annotations

import json
import os
import socket
import threading
import time
from collections import Counter
from collections.abc import Callable, Sequence
from contextlib import suppress
from datetime import timedelta
from queue import Empty, SimpleQueue
from typing import Any

import torch.distributed as dist

from makemore_cli.distributed.place import Place
from makemore_cli.errors import MakemoreError

BEAT_SECONDS = 1.0
ANSWER_SECONDS = 10.0  # for the meeting point to answer; it takes less than a millisecond
CONNECT_SECONDS = 45.0  # until the store is there
START_SECONDS = 60.0  # until every process has given its first sign of life
LOOK_SECONDS = 1.0  # how often one that waits looks for signs of life
# How often one that waits looks for the message: at first, and after a while. The store's own wait warns every time.
SHORT_SECONDS, LONG_SECONDS, SOON_SECONDS = 0.0005, 0.01, 0.2
FAILED = "failed"
LOST, LOST_BOTH = "has ended, or does not answer", "have ended, or do not answer"


class LostRankError(MakemoreError):
    """A process has ended or does not answer. `lost` are the ranks, as far as known."""

    def __init__(self, message: str, lost: tuple[int, ...] = ()) -> None:
        super().__init__(message)
        self.lost = lost


_calls: Counter[Place] = Counter()  # meetings so far
_opened: dict[tuple[str, int], Any] = {}  # stores that this process keeps for the others


class Meeting:
    """Messages to and from the other ranks."""

    def __init__(self, place: Place) -> None:
        """Raises LostRankError if the meeting point can't be reached."""
        self.place = place
        # A process may train several times; each time, all ranks begin a meeting of their own.
        call = _calls[place] = _calls[place] + 1
        self.store = self._connect(call, opens=place.opens_store)
        self._beats = self._connect(call)  # a connection of its own, since a wait occupies one
        self._patient = _Patient(min(ANSWER_SECONDS, place.patience))
        self._ended = threading.Event()
        self._last: dict[int, tuple[bytes, float]] = {}
        self._began = time.monotonic()
        self.progress: Callable[[], int] = lambda: 0  # how far this process has come, which its signs of life tell
        self.tell(f"host/{place.rank}", f"{socket.gethostname()}, process {os.getpid()}")
        self._thread = threading.Thread(target=self._beat, name="signs of life", daemon=True)
        self._thread.start()

    def _connect(self, call: int, *, opens: bool = False) -> Any:
        place = self.place
        where = (place.address, place.port)
        store = _opened.get(where) if opens else None
        try:
            if not opens:
                _await_port(*where)
            if store is None:
                store = dist.TCPStore(  # type: ignore[attr-defined]
                    *where, None, opens, timedelta(seconds=START_SECONDS), wait_for_workers=False
                )
        except (RuntimeError, OSError) as error:
            told = str(error).partition("\n")[0]
            raise LostRankError(
                f"{place.address}:{place.port}: can't connect to the store of the ranks: {told}"
            ) from None
        if opens:
            _opened[where] = store
        return dist.PrefixStore(f"makemore/{place.attempt}/{call}", store)  # type: ignore[attr-defined]

    def _beat(self) -> None:
        count = 0
        with suppress(RuntimeError):  # the meeting point is gone; the main thread finds out
            while not self._ended.is_set():
                count += 1
                self._beats.set(f"alive/{self.place.rank}", f"{count} {self.progress()}")
                self._ended.wait(BEAT_SECONDS)

    def tell(self, key: str, value: Any) -> None:
        """Leave a message. Raises LostRankError if the meeting point is gone."""
        self._try(lambda: self.store.set(key, json.dumps(value)))

    def fail(self, message: str) -> None:
        """Tell rank 0 why this process gives up."""
        with suppress(LostRankError):
            self.tell(f"{FAILED}/{self.place.rank}", message)

    def hear(self, key: str, sender: int) -> Any:
        """The message with a key, as soon as it is there.

        Raises LostRankError if its sender is lost, and MakemoreError if the sender has given up.
        """
        began = looked = time.monotonic()
        while not self._try(lambda: self.store.check([key])):
            now = time.monotonic()
            time.sleep(SHORT_SECONDS if now - began < SOON_SECONDS else LONG_SECONDS)
            if now - looked < LOOK_SECONDS:
                continue
            looked = now
            if message := self._failure(sender):
                raise MakemoreError(f"{self.name(sender)}: {message}")
            if self.silent(sender) > (self.place.patience if sender in self._last else START_SECONDS):
                raise LostRankError(f"{self.name(sender)} {LOST}", (sender,))
        return json.loads(self._try(lambda: self.store.get(key)))

    def _failure(self, rank: int) -> str:
        """Why a rank has given up, or "" if it has not."""
        key = f"{FAILED}/{rank}"
        if not self._try(lambda: self.store.check([key])):
            return ""
        message: str = json.loads(self._try(lambda: self.store.get(key)))
        return message

    def has(self, key: str) -> bool:
        """Whether there is a message with a key."""
        found: bool = self._try(lambda: self.store.check([key]))
        return found

    def forget(self, key: str) -> None:
        """Delete a message."""
        self._try(lambda: self.store.delete_key(key))

    def silent(self, rank: int) -> float:
        """For how many seconds no new sign of life of a rank has been seen; this takes note of one."""
        now = time.monotonic()
        beat = self._beat_of(rank)
        if beat is not None and (rank not in self._last or self._last[rank][0] != beat):
            self._last[rank] = beat, now
        return now - (self._last[rank][1] if rank in self._last else self._began)

    def _beat_of(self, rank: int) -> bytes | None:
        key = f"alive/{rank}"
        beat: bytes | None = self._try(lambda: self.store.get(key) if self.store.check([key]) else None)
        return beat

    def lost(self) -> LostRankError:
        """The error that names the ranks that are lost, after an exchange has failed."""
        ranks = [rank for rank in range(self.place.ranks) if rank != self.place.rank]
        before = {rank: self._beat_of(rank) for rank in ranks}
        time.sleep(3 * BEAT_SECONDS)
        after = {rank: self._beat_of(rank) for rank in ranks}
        for rank in ranks:
            if message := self._failure(rank):
                return LostRankError(f"{self.name(rank)}: {message}", (rank,) if rank else ())  # rank 0 tells it itself
        lost = tuple(rank for rank in ranks if after[rank] == before[rank])
        if not lost:  # all are alive; those that have come least far keep the others waiting
            far = {rank: _progress(beat) for rank, beat in after.items()} | {self.place.rank: self.progress()}
            lost = tuple(rank for rank in ranks if far[rank] < max(far.values()))
        names = " and ".join(map(self.name, lost)) or "another rank"
        return LostRankError(f"{names} {LOST if len(lost) < 2 else LOST_BOTH}", lost)

    def name(self, rank: int) -> str:
        """A rank, with its machine and process if they are known."""
        key = f"host/{rank}"
        with suppress(LostRankError):
            if self._try(lambda: self.store.check([key])):
                return f"rank {rank} ({json.loads(self._try(lambda: self.store.get(key)))})"
        return f"rank {rank}"

    def await_from(self, key: str, ranks: Sequence[int], seconds: float) -> None:
        """Wait until all of some ranks have left a message, or are lost, but not longer than some seconds."""
        end = time.monotonic() + seconds
        for rank in ranks:
            while not self.has(f"{key}/{rank}") and time.monotonic() < end and self.silent(rank) < self.place.patience:
                time.sleep(LONG_SECONDS)

    def leave(self, key: str) -> None:
        """Leave a last message if the meeting point is still there, and then give no more signs of life."""
        with suppress(LostRankError):
            self.tell(key, None)
        self.close()

    def close(self) -> None:
        """Give no more signs of life."""
        self._ended.set()
        self._thread.join(2 * BEAT_SECONDS)
        self._patient.end()

    def _try(self, action: Callable[[], Any]) -> Any:
        try:
            return self._patient(action)
        except (RuntimeError, TimeoutError) as error:
            where = f"{self.place.address}:{self.place.port}"
            told = str(error).partition("\n")[0]
            whom = "the store of the ranks" if self.place.is_leader else "rank 0 and the store of the ranks"
            raise LostRankError(
                f"lost contact with {whom} ({where}): {told}", () if self.place.is_leader else (0,)
            ) from None


class _Patient:
    """Calls functions in a thread of its own, but does not wait forever: the store's calls can't be interrupted."""

    def __init__(self, seconds: float) -> None:
        self._seconds = seconds
        self._calls: SimpleQueue[tuple[Callable[[], Any], SimpleQueue[Any]] | None] = SimpleQueue()
        threading.Thread(target=self._work, name="messages", daemon=True).start()

    def __call__(self, action: Callable[[], Any]) -> Any:
        """The result of a function. Raises what it raises, and TimeoutError."""
        results: SimpleQueue[Any] = SimpleQueue()  # its own, in case this is interrupted
        self._calls.put((action, results))
        try:
            result = results.get(timeout=self._seconds)
        except Empty:
            self._seconds = 0.0  # the thread is stuck
            raise TimeoutError("it does not answer") from None
        if isinstance(result, Exception):
            raise result
        return result

    def end(self) -> None:
        self._calls.put(None)

    def _work(self) -> None:
        while (call := self._calls.get()) is not None:
            action, results = call
            try:
                results.put(action())
            except Exception as error:
                results.put(error)
            del call, action, results  # which hold the store


def _await_port(address: str, port: int) -> None:
    """Wait until something listens there: the store's own wait takes twice as long. Raises OSError."""
    end = time.monotonic() + CONNECT_SECONDS
    while True:
        try:
            socket.create_connection((address, port), timeout=CONNECT_SECONDS).close()
        except OSError:
            if time.monotonic() > end:
                raise
            time.sleep(0.1)
        else:
            return


def _progress(beat: bytes | None) -> int:
    return int(beat.split()[1]) if beat else -1
