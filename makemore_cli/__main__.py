"""Entry point of `makemore` and `python -m makemore_cli`. It handles Ctrl-C before anything else is imported."""

import os
import sys


def _forget_the_working_folder() -> None:
    """Import nothing from the working folder, which Python puts first on the path for `-m`.

    If the package itself is there, as in a checkout, the folder moves to the end of the path.
    """
    if sys.flags.isolated or getattr(sys.flags, "safe_path", False):
        return
    here = os.path.abspath(sys.path.pop(0))  # noqa: PTH100 (pathlib may be a file in the working folder)
    home = os.path.dirname(os.path.dirname(os.path.abspath(__file__)))  # noqa: PTH100, PTH120
    if here == home and home not in sys.path:
        sys.path.append(home)


if __name__ == "__main__":
    _forget_the_working_folder()

import gc  # noqa: E402
import signal  # noqa: E402
from types import FrameType  # noqa: E402

INTERRUPTED = 130  # 128 + the number of SIGINT, as in shells


def _interrupted(number: int, frame: FrameType | None) -> None:
    """Raise KeyboardInterrupt; or end the process during an import, which an exception would leave incomplete.

    Further signals are ignored, since they would only disturb the exit.
    """
    signal.signal(signal.SIGINT, _ignored)
    while frame is not None:
        if frame.f_code.co_filename.startswith("<frozen importlib"):
            _end()
        frame = frame.f_back
    raise KeyboardInterrupt


def _ignored(number: int, frame: FrameType | None) -> None:
    pass


def _end() -> None:
    try:  # noqa: SIM105 (that would be another import)
        os.write(2, b"makemore: interrupted\n")
    except OSError:  # nobody can read it
        pass
    os._exit(INTERRUPTED)


def main() -> int:
    """Run the command line. Returns the exit code."""
    if signal.getsignal(signal.SIGINT) is signal.default_int_handler:  # not ignored, as it is under nohup
        signal.signal(signal.SIGINT, _interrupted)
    # Imports create some hundred thousand objects. Searching them for garbage takes up to half a second.
    gc.set_threshold(100_000)
    os.environ.setdefault("PYDANTIC_DISABLE_PLUGINS", "__all__")  # searching for plugins takes pydantic 10 ms
    from makemore_cli.cli.main import main as run

    code = run()
    if signal.getsignal(signal.SIGINT) is _interrupted:
        signal.signal(signal.SIGINT, signal.SIG_IGN)  # all output is written; keep the exit code
    return code


if __name__ == "__main__":
    raise SystemExit(main())
