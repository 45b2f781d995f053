"""Rich's console, which prints nothing that might steer a terminal but what it makes itself."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

from rich import box
from rich.console import Console, ConsoleOptions, RenderableType
from rich.segment import Segment
from rich.table import Table
from rich.text import Text

from makemore_cli.printable import printable


class SafeConsole(Console):
    """A console whose texts are all made printable.

    By then they are laid out already: what is not ours is better given as `foreign`, to have the room that it needs.
    """

    def render(self, renderable: RenderableType, options: ConsoleOptions | None = None) -> Iterable[Segment]:
        for segment in super().render(renderable, options):
            if segment.control:  # the console's own
                yield segment
            else:
                yield segment._replace(text=printable(segment.text, newlines=True))


def foreign(text: object, **style: Any) -> Text:
    """A text from elsewhere, on one line and without markup."""
    return Text(printable(str(text)), **style)


def plain_table(**options: Any) -> Table:
    """A table without lines but one under its head."""
    return Table(box=box.SIMPLE_HEAD, padding=(0, 1, 0, 0), pad_edge=False, **options)
