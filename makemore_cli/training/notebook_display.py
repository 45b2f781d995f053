"""A run's progress in a Jupyter notebook: the terminal's live view, as HTML that is updated in place."""

from __future__ import annotations

import io
import time
from typing import Any

from rich.text import Text

from makemore_cli.system.console import SafeConsole, foreign
from makemore_cli.training.observer import Progress
from makemore_cli.training.progress_display import REFRESHES_PER_SECOND, LiveDisplay

COLUMNS = 100
PRE = '<pre style="font-family: monospace; line-height: 1.2">{code}</pre>'


class NotebookDisplay(LiveDisplay):
    """The live view as the output of a cell."""

    def __init__(self) -> None:
        super().__init__(_console())
        self._messages: list[Text] = []
        self._output: Any = None
        self._due = 0.0

    def progressed(self, progress: Progress) -> None:
        self.progress = progress
        self.curve.add(progress)
        if time.monotonic() >= self._due or progress.step == progress.steps:
            self._due = time.monotonic() + 1 / REFRESHES_PER_SECOND
            self._show()

    def message(self, text: str) -> None:
        self._messages.append(foreign(text))
        self._show()

    def close(self) -> None:
        """Show the last state."""
        self._show()

    def _show(self) -> None:
        from IPython import display

        if self._output is None:
            self._output = display.display(self, display_id=True)  # type: ignore[no-untyped-call]
        else:
            self._output.update(self)

    def _repr_mimebundle_(self, include: object = None, exclude: object = None) -> dict[str, str]:
        console = _console()
        console.print(*self._messages, self.render(), sep="\n")
        html = console.export_html(inline_styles=True, code_format=PRE, clear=False)
        return {"text/plain": console.export_text(), "text/html": html}


def _console() -> SafeConsole:
    """A console that only records. In a notebook, Rich would show whatever is printed on it."""
    return SafeConsole(
        file=io.StringIO(),
        record=True,
        width=COLUMNS,
        force_terminal=True,
        force_jupyter=False,
        color_system="truecolor",
    )
