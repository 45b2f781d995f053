"""`makemore learn watch`: a verdict whenever a file is saved."""

from __future__ import annotations

import shutil

from rich.console import Console
from rich.text import Text

from makemore_cli.learn.check_process import Checker
from makemore_cli.learn.exercise import HINTS
from makemore_cli.learn.texts import bar, listing, status, verdict_lines, wrapped
from makemore_cli.learn.verdict import Verdict
from makemore_cli.learn.watching import changes
from makemore_cli.learn.workspace import Workspace
from makemore_cli.system.console import SafeConsole, foreign
from makemore_cli.system.keyboard import Keyboard

KEYS = {"h": "hint", "r": "run", "s": "skip", "l": "list", "q": "quit"}
STYLES = {"solved": "bold green", "wrong": "bold red", "failed": "bold red", "not written": "bold"}


def watch(workspace: Workspace) -> None:
    """Check the current exercise, and then each one that is saved, until q is pressed."""
    console = SafeConsole(highlight=False)
    with Keyboard() as keyboard:
        view, is_first = _View(workspace, console, keyboard), True
        for saved in changes(workspace.folder):
            if is_first:  # only now, so that nothing that is saved from here on is missed
                view.check(workspace.current)
                is_first = False
            for name in [name for name in workspace.names if name in saved]:
                view.check(name)
            if not view.answer(keyboard.pressed()):
                return


class _View:
    """What is on the screen."""

    def __init__(self, workspace: Workspace, console: Console, keyboard: Keyboard) -> None:
        self.workspace, self.console, self.keyboard = workspace, console, keyboard
        self.checker = Checker(workspace.course.folder)
        self.checker.warm_up()

    @property
    def width(self) -> int:
        return shutil.get_terminal_size().columns

    def check(self, name: str | None) -> None:
        """Check an exercise, and show the verdict."""
        if name is None:
            self._print(*status(self.workspace, self.width))
            return
        self._clear()
        self.console.print(foreign(f"checking {name} ..."), style="dim")
        verdict = self.checker.check(name, self.workspace.path(name))
        self.keyboard.forget()  # what was typed while it was checked
        (self.workspace.solve if verdict.ok else self.workspace.fail)(name)
        self._show(verdict)

    def _show(self, verdict: Verdict) -> None:
        self._clear()
        first, *others = verdict_lines(verdict, self.workspace, self.width)
        self.console.print(Text(first, style=STYLES[verdict.state]), soft_wrap=True)
        self._print(*others)
        if verdict.ok:
            self._print("", *status(self.workspace, self.width))
        else:
            names = self.workspace.names
            solved = sum(self.workspace.state(name) == "solved" for name in names)
            self._print("", f"{solved} of {len(names)}  {bar(solved, len(names), min(30, self.width - 12))}".rstrip())
        self._legend()

    def answer(self, key: str) -> bool:
        """Do what a key asks for. Returns whether to go on."""
        current = self.workspace.current
        if key == "q":
            return False
        if key in ("r", "\n", "\r"):
            self.check(current)
        elif key == "l":
            self._clear()
            self._print(*listing(self.workspace, self.width))
            self._legend()
        elif key == "h" and current is not None:
            number, text = self.workspace.hint(current)
            self._print("", *wrapped(" ".join(text.split()), self.width, f"hint {number} of {HINTS}: "))
        elif key == "s" and current is not None:
            self.workspace.skip(current)
            self.check(self.workspace.current)
        return True

    def _legend(self) -> None:
        if self.keyboard.there:
            keys = "  ".join(f"{key} {word}" for key, word in KEYS.items())
            self._print("")
            self.console.print(foreign(keys), style="dim", soft_wrap=True)

    def _clear(self) -> None:
        if self.console.is_terminal and not self.console.is_dumb_terminal:
            self.console.clear()

    def _print(self, *lines: str) -> None:
        for line in lines:
            self.console.print(foreign(line), soft_wrap=True)
