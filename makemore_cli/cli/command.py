"""Commands whose errors name options: the library names parameters, but the user has typed flags."""

from __future__ import annotations

import shlex
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any, TypeVar

import typer
from typer.core import TyperCommand, TyperGroup

from makemore_cli.errors import CheckFailedError, MakemoreError, ParameterError, StoppedError, ToldElsewhereError

Function = TypeVar("Function", bound=Callable[..., Any])

# Configuration keys and parameters of functions that have an option of another name, and that option's parameter.
OPTION_OF_KEY = {
    "folder": "out",
    "data.path": "data",
    "train.device": "device",
    "train.engine": "engine",
    "train.seed": "seed",
    "train.steps": "steps",
}


class CommandError(Exception):
    """A command has failed; the text goes to stderr."""

    def __init__(self, text: str, exit_code: int) -> None:
        super().__init__(text)
        self.exit_code = exit_code


def _without_type_of_flags(parameters: list[Any]) -> list[Any]:
    """The parameters, so that the help shows no type beside an option that takes no value."""
    for parameter in parameters:
        if getattr(parameter, "is_flag", False):
            parameter.metavar = ""
    return parameters


class Command(TyperCommand):
    """A command whose error messages name its options."""

    def get_params(self, ctx: Any) -> list[Any]:
        return _without_type_of_flags(super().get_params(ctx))

    def invoke(self, ctx: Any) -> Any:
        """Run the command. Raises CommandError in place of a MakemoreError."""
        with _in_words_of_the_command_line(ctx):
            return super().invoke(ctx)


class Group(TyperGroup):
    """A group of commands, which may also be a command itself."""

    def get_params(self, ctx: Any) -> list[Any]:
        return _without_type_of_flags(super().get_params(ctx))

    def invoke(self, ctx: Any) -> Any:
        """Run the group or a subcommand. Raises CommandError in place of a MakemoreError."""
        with _in_words_of_the_command_line(ctx):
            return super().invoke(ctx)


class App(typer.Typer):
    """An application, or a part of one, that consists of such commands."""

    def __init__(self, **options: Any) -> None:
        super().__init__(cls=Group, rich_markup_mode="rich", **options)

    def command(self, name: str | None = None, **options: Any) -> Callable[[Function], Function]:
        """Add a command; see `typer.Typer.command`."""
        return super().command(name, cls=Command, **options)


@contextmanager
def _in_words_of_the_command_line(ctx: Any) -> Iterator[None]:
    try:
        yield
    except ToldElsewhereError as error:
        raise CommandError("", exit_code(error)) from error
    except MakemoreError as error:
        raise CommandError(_told(error, _flags(ctx)), exit_code(error)) from error


def exit_code(error: MakemoreError) -> int:
    """Return 1 for a failed check, 128 plus the signal's number as shells do, or 2 for any other error."""
    if isinstance(error, CheckFailedError):
        return 1
    if isinstance(error, StoppedError) and error.signal is not None:
        return 128 + error.signal
    return 2


def _flags(ctx: Any) -> dict[str, str]:
    """The longest flag of each option of a command, by its parameter's name."""
    return {
        parameter.name: max(parameter.opts, key=len)
        for parameter in ctx.command.params
        if any(flag.startswith("-") for flag in parameter.opts)
    }


def _told(error: MakemoreError, flags: dict[str, str]) -> str:
    names = (name if name in flags else OPTION_OF_KEY.get(name) for name in error.parameters)
    known = [flags[name] for name in names if name in flags]
    text = str(error)
    if isinstance(error, ParameterError) and known:
        text = f"{known[0]} {error.fact}"
    elif known:
        text = f"{text} ({', '.join(known)})"
    if error.resume is not None:
        text = f"{text}; resume with: makemore train --resume {shlex.quote(str(error.resume))}"
    return text
