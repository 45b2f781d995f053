"""The meeting point: messages, and signs of life."""

from __future__ import annotations

import threading
import time
from collections.abc import Iterator
from datetime import timedelta

import pytest
import torch.distributed as dist

from makemore_cli.distributed import meeting as meetings
from makemore_cli.distributed.meeting import LostRankError, Meeting
from makemore_cli.distributed.place import Place
from makemore_cli.errors import MakemoreError


@pytest.fixture
def port() -> Iterator[int]:
    store = dist.TCPStore("127.0.0.1", 0, None, True, timedelta(seconds=10), wait_for_workers=False)
    yield store.port
    del store  # the port is open as long as the store lives


def at(port: int, rank: int, attempt: str = "0", patience: float = 2.0) -> Meeting:
    return Meeting(Place(rank, 3, rank, "127.0.0.1", port, patience, attempt))


def test_messages_and_who_sends_them(port: int) -> None:
    zero, one = at(port, 0), at(port, 1)
    threading.Timer(0.4, lambda: one.tell("greeting", {"n": 1, "text": "ä"})).start()
    assert zero.hear("greeting", 1) == {"n": 1, "text": "ä"}
    assert zero.name(1).startswith("rank 1 (")
    assert zero.name(2) == "rank 2"
    for meeting in (zero, one):
        meeting.close()


def test_a_sender_that_has_given_up(port: int) -> None:
    zero, one = at(port, 0), at(port, 1)
    one.fail("no such file")
    with pytest.raises(MakemoreError, match=r"^rank 1 \(.*\): no such file$"):
        zero.hear("greeting", 1)
    for meeting in (zero, one):
        meeting.close()


def test_a_sender_that_gives_no_sign_of_life(port: int) -> None:
    zero, one = at(port, 0), at(port, 1)
    assert zero.silent(1) < 2
    one.close()
    began = time.monotonic()
    with pytest.raises(LostRankError, match=r"^rank 1 \(.*\) has ended, or does not answer$") as error:
        zero.hear("greeting", 1)
    assert error.value.lost == (1,)
    assert time.monotonic() - began < 8
    zero.close()


@pytest.mark.slow
def test_a_rank_that_keeps_the_others_waiting(port: int) -> None:
    """It lives, but has begun fewer exchanges than the others."""
    zero, one, two = (at(port, rank) for rank in range(3))
    zero.progress = two.progress = lambda: 5
    one.progress = lambda: 4
    time.sleep(2 * meetings.BEAT_SECONDS)
    assert zero.lost().lost == (1,)
    for meeting in (zero, one, two):
        meeting.close()


def test_a_second_attempt_does_not_hear_the_first(port: int) -> None:
    """Torchrun's store outlives the processes that it starts again."""
    before, after = at(port, 1), at(port, 0, attempt="1")
    before.tell("config", "old")
    at(port, 1, attempt="1").tell("config", "new")
    assert after.hear("config", 1) == "new"
    before.close()
    after.close()


def test_a_meeting_point_that_is_not_there(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(meetings, "CONNECT_SECONDS", 0.5)
    with pytest.raises(LostRankError, match=r"^127\.0\.0\.1:1: can't connect to the store of the ranks: "):
        at(1, 1)
