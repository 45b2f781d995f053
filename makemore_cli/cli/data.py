"""`makemore data get`."""

from __future__ import annotations

from typing import Annotated

import typer

from makemore_cli.cli.app import app
from makemore_cli.cli.command import App
from makemore_cli.system import output

data_app = App(help="Manage data sets.", epilog="Example: makemore data get")
app.add_typer(data_app, name="data")


@data_app.command("get", epilog="Example: makemore data get && makemore train --config lecture --data lecture")
def data_get(
    url: Annotated[
        str | None, typer.Option("--url", metavar="URL", help="Download from another URL. The checksum must match.")
    ] = None,
) -> None:
    """Download the lecture's names.txt and verify its checksum. Use it with `--data lecture`.

    The file is stored in your cache folder, or in the folder that the environment variable MAKEMORE_CACHE names.
    """
    from makemore_cli.names.download import URL, get_names

    output.print_lines([str(get_names(url or URL))])
    output.remark("verified; use it with --data lecture")
