"""Options and arguments that several commands share."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from makemore_cli.cli import completion

ConfigOption = Annotated[
    str | None,
    typer.Option(
        "--config",
        "-c",
        metavar="FILE",
        autocompletion=completion.configurations,
        help="Configuration: a YAML file, or a bundled one: quickstart (default), lecture, best, fast or tiny.",
    ),
]
SetOption = Annotated[
    list[str] | None,
    typer.Option(
        "--set",
        metavar="KEY=VALUE",
        autocompletion=completion.settings,
        help="Override one configuration key, such as optim.lr=0.05. Repeatable. A run's config.yaml lists all keys.",
    ),
]
DeviceOption = Annotated[
    str | None,
    typer.Option(
        "--device",
        metavar="DEVICE",
        autocompletion=completion.choices("auto", "cpu", "cuda", "mps"),
        help="Device: auto (default: CUDA if available, else the CPU), cpu, cuda, cuda:N or mps.",
    ),
]
DataOption = Annotated[
    str | None,
    typer.Option(
        "--data",
        metavar="FILE",
        help="Data: a file of names, one per line (text, gzip or zstandard); FILE.parquet:COLUMN; bundled; or lecture "
        "(after `makemore data get`).",
    ),
]
JsonOption = Annotated[bool, typer.Option("--json", help="Print the result as JSON on stdout.")]
QuietOption = Annotated[bool, typer.Option("--quiet", "-q", help="Show no progress, only the result.")]
RunArgument = Annotated[
    Path, typer.Argument(metavar="RUN", autocompletion=completion.runs, help="A run folder, or a checkpoint file.")
]
