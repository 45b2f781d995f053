"""Rich's console, which prints no control characters but its own."""

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
    """A console that makes all text printable.

    It does so after the layout, so pass text from elsewhere as `foreign`, which reserves the width that it needs.
    """

    def render(self, renderable: RenderableType, options: ConsoleOptions | None = None) -> Iterable[Segment]:
        for segment in super().render(renderable, options):
            if segment.control:  # the console's own
                yield segment
            else:
                yield segment._replace(text=printable(segment.text, newlines=True))


def foreign(text: object, **style: Any) -> Text:
    """Text from elsewhere, on one line and without markup."""
    return Text(printable(str(text)), **style)


def plain_table(**options: Any) -> Table:
    """A table without lines, except one under its header."""
    return Table(box=box.SIMPLE_HEAD, padding=(0, 1, 0, 0), pad_edge=False, **options)
