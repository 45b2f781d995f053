"""What the shell offers when a user completes an option's value."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from pathlib import Path

from makemore_cli.system.bundled_files import bundled

RUNS = Path("runs")  # where `makemore train` puts runs by default
Completer = Callable[[str], list[str]]


def choices(*values: str) -> Completer:
    """A completer for an option with few values."""
    return lambda incomplete: _starting(incomplete, values)


def configurations(incomplete: str) -> list[str]:
    """Bundled configurations, and YAML files."""
    return [*_starting(incomplete, _bundled_names("configs")), *_paths(incomplete, ".yaml", ".yml")]


def spaces(incomplete: str) -> list[str]:
    """Bundled search spaces, and YAML files."""
    return [*_starting(incomplete, _bundled_names("configs/spaces")), *_paths(incomplete, ".yaml", ".yml")]


def runs(incomplete: str) -> list[str]:
    """Run folders; those in `runs/` come first, even if nothing is typed yet."""
    from makemore_cli.runs.file_names import CHECKPOINT

    found = sorted(str(file.parent) for file in RUNS.glob(f"*/{CHECKPOINT}"))
    own = _starting(incomplete, found)
    return own or _paths(incomplete, ".safetensors")


def settings(incomplete: str) -> list[str]:
    """Configuration keys with an equals sign, and after that the values of keys that have few."""
    from makemore_cli.config.keys import settable

    key, equals, value = incomplete.partition("=")
    known = settable()
    if not equals:
        return [f"{name}=" for name in known if name.startswith(key)]
    return [f"{key}={choice}" for choice in _starting(value, known.get(key, ()))]


def _bundled_names(folder: str) -> list[str]:
    return sorted(file.stem for file in bundled(folder).glob("*.yaml"))


def _starting(incomplete: str, values: Iterable[str]) -> list[str]:
    return [value for value in values if value.startswith(incomplete)]


def _paths(incomplete: str, *suffixes: str) -> list[str]:
    """Folders, and files with one of the suffixes, whose paths start like this."""
    return list(_paths_from(incomplete, suffixes))


def _paths_from(incomplete: str, suffixes: tuple[str, ...]) -> Iterator[str]:
    parent, _, start = incomplete.rpartition("/")
    prefix = f"{parent}/" if parent or incomplete.startswith("/") else ""
    try:
        entries = sorted(Path(prefix or ".").expanduser().iterdir())
    except OSError:
        return
    for entry in entries:
        if entry.name.startswith(start) and (start.startswith(".") or not entry.name.startswith(".")):
            if entry.is_dir():
                yield f"{prefix}{entry.name}/"
            elif entry.suffix in suffixes:
                yield f"{prefix}{entry.name}"
