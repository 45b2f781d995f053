"""`python -m makemore_cli` is `makemore`."""

from makemore_cli.cli import main

if __name__ == "__main__":
    raise SystemExit(main())
