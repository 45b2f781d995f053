"""What is shown with a bundled chain: a title, notes, and examples in numbers."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

import torch

from makemore_cli.backprop.chain import Chain
from makemore_cli.backprop.step import Values


@dataclass(frozen=True)
class Example:
    """Inputs of a chain in numbers, and a text that says what they show."""

    says: str
    inputs: Mapping[str, Any]  # numbers or lists of numbers; a list of whole numbers is an index
    sizes: Mapping[str, int]

    def values(self) -> Values:
        """The inputs as tensors, float64 or int64, with the sizes."""
        given = {name: _tensor(value) for name, value in self.inputs.items()}
        return {**self.sizes, **given}


@dataclass(frozen=True)
class Lesson:
    """A chain with a title, notes and examples."""

    chain: Chain
    title: str
    notes: tuple[str, ...] = ()
    examples: tuple[Example, ...] = ()
    table: Callable[[], list[str]] | None = None  # further figures, which are computed


def _tensor(value: Any) -> Any:
    if not isinstance(value, list):
        return torch.tensor(value, dtype=torch.float64) if isinstance(value, float) else value
    tensor = torch.tensor(value)
    return tensor if tensor.dtype == torch.int64 else tensor.double()
