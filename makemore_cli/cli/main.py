"""Entry point of the command line. `command.py` turns library errors into text and exit codes; this prints them."""

from __future__ import annotations

import atexit
import gc
import re
import sys
from collections.abc import Sequence
from typing import Any

import typer

from makemore_cli.cli.app import app
from makemore_cli.cli.command import CommandError
from makemore_cli.cli.progress_bar import progress_bar
from makemore_cli.errors import brief
from makemore_cli.system import output
from makemore_cli.system.progress import shown_by
from makemore_cli.system.signals import INTERRUPTED, Watch

# Each module adds its commands; the help lists them in this order.
# isort: off
from makemore_cli.cli import train, sample, gradcheck, look, runs, derivative, graph, scalar  # noqa: F401
from makemore_cli.cli import learn, learn_bug, learn_check_the_check, learn_notebook  # noqa: F401
from makemore_cli.cli import demo, sweep, bench, data  # noqa: F401
# isort: on


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the command line. Returns the exit code; a usage error prints one line on stderr and returns 2."""
    output.prepare()
    if arguments is not None:
        return _run(arguments)
    atexit.register(gc.freeze)  # skip the final garbage collection, which takes half a second
    with Watch("stopping as soon as the present computation ends", exits=True):
        return _run(sys.argv[1:])


def _run(arguments: Sequence[str]) -> int:
    # The base class of Typer's usage errors, whichever version of Click it uses.
    usage_error: Any = typer.BadParameter.__base__
    try:
        # Accept --resume=RUN too; the option itself takes no value, since it may stand alone.
        given = [part for argument in arguments for part in re.split(r"(?<=^--resume)=", argument)]
        with shown_by(progress_bar):
            code = app(args=given or ["--help"], prog_name="makemore", standalone_mode=False)
        sys.stdout.flush()
    except CommandError as error:
        if str(error):
            output.remark(f"makemore: {error}")
        return error.exit_code
    except KeyboardInterrupt:
        code = INTERRUPTED
    except usage_error as error:
        context = getattr(error, "ctx", None)
        command = context.command_path if context is not None else "makemore"
        told = brief(" ".join(error.format_message().split()).rstrip("."))
        output.remark(f"{command}: {told}; see `{command} --help`")
        return 2
    except output.ReaderGoneError:
        output.silence()
        return 128 + 13  # as if ended by SIGPIPE
    except OSError as error:  # a full disk under stdout, say
        output.silence()
        output.remark(brief(f"makemore: cannot continue: {error.filename or 'stdout'}: {error.strerror}"))
        return 2
    except (MemoryError, RuntimeError) as error:
        if not isinstance(error, MemoryError) and "memory" not in str(error):
            raise
        output.remark(
            "makemore: not enough memory; try a smaller batch_size, hidden_size, embedding_size or context_length"
        )
        return 2
    if code == INTERRUPTED:  # which Typer makes of Ctrl-C
        output.remark("makemore: interrupted")
    return code if isinstance(code, int) else 0
