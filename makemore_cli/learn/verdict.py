"""The verdict on a learner's file."""

from __future__ import annotations

from dataclasses import asdict, dataclass, field
from html import escape
from typing import Any, Literal

State = Literal["solved", "wrong", "failed", "not written"]


OPENINGS = ("it ", "its ", "the ", "only ", "every ", "each ", "in ", "contributions ", "some ", "a ")


def sentence(text: str) -> str:
    """A diagnosis with a capital letter, unless it begins with a gradient's name, and a full stop."""
    begins = text[0].upper() + text[1:] if text.startswith(OPENINGS) else text
    return begins if begins.endswith((".", "!", "?")) else f"{begins}."


@dataclass(frozen=True, repr=False)
class Verdict:
    """What the check of an exercise found."""

    name: str
    state: State  # "failed" if the file could not be run to its end
    says: tuple[str, ...] = ()  # what is wrong, in sentences
    diagnosed: bool = False  # whether the mistake is explained, not only located
    printed: tuple[str, ...] = field(default=())  # the first lines that the learner's code printed

    @property
    def ok(self) -> bool:
        return self.state == "solved"

    def to_json(self) -> dict[str, Any]:
        return asdict(self)

    def __repr__(self) -> str:
        return "\n".join([f"{self.name}: {self.state}", *self.says])

    def _repr_html_(self) -> str:
        """The verdict for a notebook."""
        colour = {"solved": "#009e73", "not written": "#666666"}.get(self.state, "#d55e00")
        head = f'<b style="color: {colour}">{escape(self.name)}: {self.state}</b>'
        return "".join([f"<p>{head}</p>", *(f"<p>{escape(says)}</p>" for says in self.says)])
