"""The keys of a configuration, from its schema."""

from __future__ import annotations

from collections.abc import Iterator
from typing import get_args

from pydantic.fields import FieldInfo

from makemore_cli.config.schema import KINDS, Config, Section


def fields(section: type[Section], prefix: str) -> Iterator[tuple[str, FieldInfo]]:
    """The dotted keys of a section and of the sections inside it, each with its field.

    A section with several kinds, such as a schedule, is one key.
    """
    for name, field in section.model_fields.items():
        if isinstance(field.annotation, type) and issubclass(field.annotation, Section):
            yield from fields(field.annotation, f"{prefix}.{name}")
        else:
            yield f"{prefix}.{name}", field


def choices(field: FieldInfo) -> tuple[str, ...]:
    """The values of a field that has few, as they are written in YAML."""
    if field.annotation is bool:
        return "true", "false"
    return tuple(choice for choice in get_args(field.annotation) if isinstance(choice, str))


def settable() -> dict[str, tuple[str, ...]]:
    """Every dotted key, of all kinds of optimiser, schedule and average, with its values if there are few."""
    found: dict[str, tuple[str, ...]] = {}
    for name, field in Config.model_fields.items():
        section = field.annotation
        if isinstance(section, type):
            found |= {key: choices(inner) for key, inner in fields(section, name)}
    for place, name in (("optim", "optim"), ("optim.schedule", "schedule"), ("optim.average", "average")):
        for kind in KINDS[name].values():
            found |= {key: choices(inner) for key, inner in fields(kind, place)}
        found[f"{place}.name"] = tuple(KINDS[name])
    return found
