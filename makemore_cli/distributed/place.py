"""The place of a process among those that train together, from the environment that torchrun sets.

Other launchers can set the same variables: RANK, WORLD_SIZE, MASTER_ADDR, MASTER_PORT, and LOCAL_RANK with several GPUs
on a machine. MAKEMORE_PATIENCE is the number of seconds that a rank waits for another within a step.
"""

from __future__ import annotations

import os
import sys
from dataclasses import dataclass

from makemore_cli.errors import MakemoreError

PATIENCE = "MAKEMORE_PATIENCE"
LONGEST_PATIENCE = 86_400
PATIENCE_SECONDS = 20.0  # all ranks have equal work within a step
VARIABLES = ("RANK", "WORLD_SIZE", "MASTER_ADDR", "MASTER_PORT")


@dataclass(frozen=True)
class Place:
    """Which process this is, and where all of them meet."""

    rank: int
    ranks: int  # how many there are
    local_rank: int | None  # on this machine, if the launcher tells it
    address: str
    port: int
    patience: float = PATIENCE_SECONDS  # how long to wait for another rank within a step
    attempt: str = "0"  # torchrun may start all processes again
    opens_store: bool = False  # whether this process opens the meeting point's port; torchrun's agent does otherwise

    @property
    def is_leader(self) -> bool:
        return self.rank == 0


def place() -> Place | None:
    """The place of the running process, or None if it trains alone. Raises MakemoreError for a broken environment."""
    missing = [name for name in VARIABLES if not os.environ.get(name)]
    if missing:
        if _ranks_are_meant():
            raise MakemoreError(f"{missing[0]}: is not set, but WORLD_SIZE is {os.environ['WORLD_SIZE']}")
        return None
    rank, ranks = _whole("RANK", 0), _whole("WORLD_SIZE", 1)
    port = _whole("MASTER_PORT", 1, 65535)
    local_rank = _whole("LOCAL_RANK", 0) if "LOCAL_RANK" in os.environ else None
    if rank >= ranks:
        raise MakemoreError(f"RANK: is {rank}, but WORLD_SIZE is {ranks}; ranks are numbered from 0")
    patience = float(_whole(PATIENCE, 1, LONGEST_PATIENCE)) if PATIENCE in os.environ else PATIENCE_SECONDS
    attempt = os.environ.get("TORCHELASTIC_RESTART_COUNT", "0")
    opens = rank == 0 and os.environ.get("TORCHELASTIC_USE_AGENT_STORE") != "True"
    prepare(os.environ["MASTER_ADDR"])
    return Place(rank, ranks, local_rank, os.environ["MASTER_ADDR"], port, patience, attempt, opens)


def _ranks_are_meant() -> bool:
    """Whether the environment speaks of several processes: then none should train alone, into the same folder."""
    text = os.environ.get("WORLD_SIZE", "")
    return text.isdecimal() and int(text) > 1 and bool(os.environ.get("RANK"))


def prepare(address: str) -> None:
    """Set what gloo, NCCL and PyTorch read from the environment, unless the user has set it."""
    interface = {"darwin": "lo0", "linux": "lo"}.get(sys.platform)
    if interface and (address in ("localhost", "::1") or address.startswith("127.")):
        # All ranks are on this machine. Otherwise gloo looks for its name, which may not resolve.
        os.environ.setdefault("GLOO_SOCKET_IFNAME", interface)
    os.environ.setdefault("TORCH_NCCL_BLOCKING_WAIT", "1")  # a lost rank raises an error instead of an abort
    os.environ.setdefault("TORCH_CPP_LOG_LEVEL", "FATAL")  # otherwise a lost connection prints a stack of C++


def _whole(name: str, least: int, most: int = 2**31 - 1) -> int:
    text = os.environ[name]
    if not text.isdecimal() or not least <= int(text) <= most:
        raise MakemoreError(f"{name}: must be a whole number from {least} to {most}, got {text!r}")
    return int(text)
