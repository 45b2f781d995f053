"""Processes that sample batches of names side by side. Together they give the same names in the same order as one."""

from __future__ import annotations

import subprocess
from collections.abc import Generator
from contextlib import suppress
from itertools import cycle
from multiprocessing.connection import Connection, Pipe

from makemore_cli.errors import MakemoreError
from makemore_cli.inference.batches import Batches, Text
from makemore_cli.system import child_processes as children


def draw_side_by_side(batches: Batches, first: int, jobs: int) -> Generator[Text, None, None]:
    """The batches from number `first` on, without end. Raises MakemoreError if a process is killed.

    Each process draws every `jobs`-th batch. It waits when the pipe is full, so only a few batches are in memory.
    """
    connections: list[Connection] = []
    processes: list[subprocess.Popen[bytes]] = []
    try:
        try:
            for _ in range(jobs):
                ours, theirs = Pipe()
                connections.append(ours)
                with theirs:
                    code = f"from makemore_cli.inference.sampling_processes import serve; serve({theirs.fileno()})"
                    processes.append(children.start(code, [theirs.fileno()]))
        except OSError as error:
            raise MakemoreError(f"a process that samples can't be started: {error.strerror}; use fewer jobs") from None
        for which, connection in enumerate(connections):
            connection.send((batches, first + which, jobs))
        for connection in cycle(connections):
            batch = connection.recv()
            if isinstance(batch, MakemoreError):
                raise batch
            yield batch
    except (EOFError, OSError):
        raise MakemoreError(
            "a process that samples was killed, perhaps because memory ran out; use fewer jobs"
        ) from None
    finally:
        for connection in connections:
            connection.close()
        for process in processes:
            process.kill()
            process.wait()


def serve(descriptor: int) -> None:
    """Run as such a process, given the file descriptor of its end of the connection, until that is closed."""
    with Connection(descriptor) as connection, suppress(EOFError, OSError, KeyboardInterrupt):
        batches, number, jobs = connection.recv()
        while True:
            try:
                connection.send(batches.draw(number))
            except MakemoreError as error:
                connection.send(error)
            except MemoryError:
                connection.send(MakemoreError("a process that samples has no memory left; use fewer jobs"))
            number += jobs
