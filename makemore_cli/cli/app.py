"""The command line's application, to which each module of this folder adds its commands."""

from __future__ import annotations

from typing import Annotated

import typer

from makemore_cli import __version__
from makemore_cli.cli.command import App

app = App(
    name="makemore",
    help="Train the makemore character MLP with gradients written by hand, sample from it, and check the gradients.",
    epilog="Example: makemore train && makemore sample runs/quickstart",
    pretty_exceptions_enable=False,
    add_completion=False,
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
        bool, typer.Option("--version", help="Print the version.", is_eager=True, callback=_version)
    ] = False,
) -> None:
    """Options that go before a command."""
