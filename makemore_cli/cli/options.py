"""Options and arguments that several commands have."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

ConfigOption = Annotated[
    str | None,
    typer.Option(
        "--config",
        "-c",
        metavar="FILE",
        help="A YAML file, or a bundled configuration: quickstart (the default), lecture, best, fast, tiny.",
    ),
]
SetOption = Annotated[
    list[str] | None,
    typer.Option(
        "--set",
        metavar="KEY=VALUE",
        help="Change one setting, such as optim.lr=0.05, as often as needed. A run's config.yaml shows all keys.",
    ),
]
DeviceOption = Annotated[
    str | None,
    typer.Option("--device", metavar="DEVICE", help="auto (CUDA where there is one), cpu, cuda or cuda:N."),
]
DataOption = Annotated[
    str | None,
    typer.Option(
        "--data", metavar="FILE", help="Names, one a line; or bundled, or lecture (after `makemore data get`)."
    ),
]
JsonOption = Annotated[bool, typer.Option("--json", help="Print one JSON object on stdout, for programs.")]
QuietOption = Annotated[bool, typer.Option("--quiet", "-q", help="No progress, only the result.")]
RunArgument = Annotated[Path, typer.Argument(metavar="RUN", help="A run folder, or a checkpoint.")]
