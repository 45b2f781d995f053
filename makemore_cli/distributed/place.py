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
PATIENCE_SECONDS = 20.0  # all ranks have equal work within a step
VARIABLES = ("RANK", "WORLD_SIZE", "MASTER_ADDR", "MASTER_PORT")


@dataclass(frozen=True)
class Place:
    """Which process this is, and where all of them meet."""

    rank: int
    ranks: int  # how many there are
    local_rank: int  # on this machine
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
    if not all(name in os.environ for name in VARIABLES):
        return None
    rank, ranks, port = _whole("RANK", 0), _whole("WORLD_SIZE", 1), _whole("MASTER_PORT", 1)
    local_rank = _whole("LOCAL_RANK", 0) if "LOCAL_RANK" in os.environ else 0
    if rank >= ranks:
        raise MakemoreError(f"RANK: is {rank}, but WORLD_SIZE is {ranks}; ranks count from 0")
    attempt = os.environ.get("TORCHELASTIC_RESTART_COUNT", "0")
    has_agent = os.environ.get("TORCHELASTIC_USE_AGENT_STORE") == "True"
    _prepare(os.environ["MASTER_ADDR"])
    patience = float(_whole(PATIENCE, 1)) if PATIENCE in os.environ else PATIENCE_SECONDS
    opens = rank == 0 and not has_agent
    return Place(rank, ranks, local_rank, os.environ["MASTER_ADDR"], port, patience, attempt, opens)


def _prepare(address: str) -> None:
    """Set what gloo and PyTorch read from the environment, unless the user has set it."""
    if address in ("localhost", "::1") or address.startswith("127."):
        # All ranks are on this machine. Otherwise gloo looks for its name, which may not resolve.
        os.environ.setdefault("GLOO_SOCKET_IFNAME", "lo0" if sys.platform == "darwin" else "lo")
    os.environ.setdefault("TORCH_CPP_LOG_LEVEL", "ERROR")  # otherwise a lost connection prints a stack of C++


def _whole(name: str, least: int) -> int:
    text = os.environ[name]
    if not text.isdecimal() or int(text) < least:
        raise MakemoreError(f"{name}: must be a whole number of at least {least}, got {text!r}")
    return int(text)
