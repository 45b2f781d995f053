"""The command line's application, to which each module of this folder adds its commands."""

from __future__ import annotations

from typing import Annotated

import typer

from makemore_cli import __version__
from makemore_cli.cli.command import App

app = App(
    name="makemore",
    help="Train the makemore character MLP with hand-written gradients, sample from it, and check the gradients.",
    epilog="Example: makemore train && makemore sample runs/quickstart",
    pretty_exceptions_enable=False,
    context_settings={"help_option_names": ["-h", "--help"]},
)


def _version(asked: bool) -> bool:
    if asked:
        print(f"makemore {__version__}")
        raise typer.Exit
    return asked


@app.callback()
def root(
    version: Annotated[
        bool, typer.Option("--version", help="Print the version and exit.", is_eager=True, callback=_version)
    ] = False,
) -> None:
    """Options before the command."""
