"""Notice that a learner saves a file: events of the file system, or polling where there are none."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

from watchfiles import Change, PythonFilter, watch

DEBOUNCE_MILLISECONDS, STEP_MILLISECONDS = 100, 20  # an editor may write a file in several steps
IDLE_MILLISECONDS = 50  # between two looks at the keyboard


def changes(folder: Path) -> Iterator[set[str]]:
    """The names of the exercises whose files were saved, again and again; an empty set if nothing happened."""
    for found in watch(
        folder,
        watch_filter=PythonFilter(),
        debounce=DEBOUNCE_MILLISECONDS,
        step=STEP_MILLISECONDS,
        rust_timeout=IDLE_MILLISECONDS,
        yield_on_timeout=True,
        recursive=False,
        raise_interrupt=True,
    ):
        yield {Path(path).stem for change, path in found if change != Change.deleted}
