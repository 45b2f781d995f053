"""Strict YAML: YAML 1.2's decimal numbers, no aliases, no duplicate keys, and one-line errors."""

from __future__ import annotations

import re
from typing import Any

import yaml

from makemore_cli.errors import MakemoreError


class _Loader(yaml.SafeLoader):
    """PyYAML's safe loader with YAML 1.2's decimal numbers, and without aliases and duplicate keys.

    YAML 1.1 reads 1e-3 as a string, 010 as 8 and 1:30 as 90. A few lines of nested aliases can expand to more than any
    memory holds.
    """

    def compose_node(self, parent: yaml.Node | None, index: Any) -> yaml.Node | None:
        """The next node. Raises a YAML error for an alias."""
        if self.check_event(yaml.AliasEvent):
            event = self.peek_event()  # type: ignore[no-untyped-call]
            raise yaml.composer.ComposerError(
                None, None, f"the alias *{event.anchor} is not allowed; write its value out", event.start_mark
            )
        return super().compose_node(parent, index)

    def construct_mapping(self, node: yaml.MappingNode, deep: bool = False) -> dict[Any, Any]:
        """The mapping. Raises a YAML error for a duplicate key."""
        keys = set()
        for key, _ in node.value:
            if isinstance(key, yaml.ScalarNode) and key.value in keys:
                raise yaml.constructor.ConstructorError(None, None, f"{key.value} is given twice", key.start_mark)
            keys.add(key.value if isinstance(key, yaml.ScalarNode) else None)
        return super().construct_mapping(node, deep)


_NUMBERS = ("tag:yaml.org,2002:float", "tag:yaml.org,2002:int")
_Loader.yaml_implicit_resolvers = {
    first: [(tag, pattern) for tag, pattern in resolvers if tag not in _NUMBERS]
    for first, resolvers in yaml.SafeLoader.yaml_implicit_resolvers.items()
}
_Loader.add_implicit_resolver("tag:yaml.org,2002:int", re.compile(r"^[-+]?(0|[1-9][\d_]*)$"), list("-+0123456789"))
_Loader.add_implicit_resolver(
    "tag:yaml.org,2002:float",
    re.compile(
        r"^[-+]?(\d[\d_]*\.[\d_]*|\.\d[\d_]*|\d[\d_]*(?=[eE]))([eE][-+]?\d+)?$|^[-+]?\.(inf|Inf|INF)$|^\.(nan|NaN|NAN)$"
    ),
    list("-+0123456789."),
)


def parse_yaml(text: str | bytes, source: str) -> Any:
    """Plain values from YAML text. Raises MakemoreError, which names the source and the line."""
    try:
        return yaml.load(text, _Loader)
    except yaml.MarkedYAMLError as error:
        mark = error.problem_mark
        where = f"{source}, line {mark.line + 1}" if mark else source
        raise MakemoreError(f"{where}: not valid YAML: {error.problem}") from None
    except RecursionError:
        raise MakemoreError(f"{source}: not valid YAML: nested too deeply") from None
    except (LookupError, AttributeError, TypeError, ArithmeticError):  # PyYAML raises these for `!!int ""` and the like
        raise MakemoreError(f"{source}: not valid YAML: a tag does not fit its value") from None
    except (yaml.YAMLError, UnicodeDecodeError, ValueError) as error:
        raise MakemoreError(f"{source}: not valid YAML: {' '.join(str(error).split())}") from None
