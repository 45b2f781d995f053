"""The summary of a run."""

from __future__ import annotations

from datetime import UTC, datetime
from pathlib import Path

from pydantic import BaseModel, ConfigDict, Field, ValidationError, field_validator

from makemore_cli.config.load import LARGEST_CONFIG_BYTES
from makemore_cli.errors import MakemoreError
from makemore_cli.runs.file_names import SUMMARY
from makemore_cli.system.files import read
from makemore_cli.system.output import duration


class Summary(BaseModel):
    """The results of a run: printed when it ends, and kept in its folder."""

    model_config = ConfigDict(frozen=True, allow_inf_nan=False)

    run: str
    engine: str
    device: str
    steps: int = Field(ge=0)
    parameters: int = Field(ge=0)
    resumed_at: int  # the step after which the run was last resumed, or 0
    seconds: float = Field(ge=0, lt=1e12)  # spent in training steps since then
    steps_per_second: float
    loss: dict[str, float]  # train, val, test; nats per character
    samples: list[str]
    date: datetime | None = None  # when it ended
    environment: dict[str, str] = {}

    @field_validator("date")
    @classmethod
    def _in_utc(cls, date: datetime | None) -> datetime | None:
        """Convert to UTC. Raises ValueError for a date that is out of range."""
        try:
            return None if date is None else datetime.fromtimestamp(date.timestamp(), UTC)
        except OverflowError:
            raise ValueError("is out of range") from None

    def rows(self) -> list[tuple[str, str]]:
        """Labels and values for people to read."""
        rows = [(f"{split} loss", f"{loss:.4f}") for split, loss in self.loss.items()]
        last = f", the last {self.steps - self.resumed_at:,}" if 0 < self.resumed_at < self.steps else ""
        rows += [
            ("steps", f"{self.steps:,}{last} in {duration(self.seconds)} ({self.steps_per_second:,.0f} a second)"),
            ("parameters", f"{self.parameters:,}"),
            ("engine", f"{self.engine} on {self.device}"),
            ("run folder", self.run),
        ]
        return rows + [("" if row else "samples", name) for row, name in enumerate(self.samples)]

    def lines(self) -> list[str]:
        return [f"{label:<12}{value}" for label, value in self.rows()]


def load_summary(folder: Path) -> Summary | None:
    """A run's summary, or None if it can't be read."""
    try:
        return Summary.model_validate_json(read(folder / SUMMARY, LARGEST_CONFIG_BYTES))
    except (OSError, ValidationError, MakemoreError):
        return None
