"""What the command line tells in one line instead of a traceback."""


class MakemoreError(Exception):
    """A user's mistake: the message says what is wrong, where, and what to do, in one line. Exit code 2."""

    exit_code = 2

    def __init__(self, message: str) -> None:
        """Signs that would end the line or steer the terminal are written as in Python: they are the user's."""
        super().__init__("".join(c if c.isprintable() else repr(c)[1:-1] for c in message))


class CheckFailedError(MakemoreError):
    """A check that was asked for did not hold (gradients that disagree). Exit code 1."""

    exit_code = 1


class WriteError(MakemoreError):
    """Something can't be written: a full disk, a folder that is gone. Exit code 2."""


class StoppedError(MakemoreError):
    """A signal has ended the training, and all was saved. Exit code 128 + the signal's number, as in shells."""

    def __init__(self, message: str, signal: int) -> None:
        super().__init__(message)
        self.exit_code = 128 + signal
