"""What the command line tells in one line instead of a traceback."""


class MakemoreError(Exception):
    """A user's mistake: the message says what is wrong, where, and what to do. Exit code 2."""

    exit_code = 2


class CheckFailedError(MakemoreError):
    """A check that was asked for did not hold (gradients that disagree). Exit code 1."""

    exit_code = 1
