"""Gradients that were computed elsewhere, such as in a notebook, from the values of a forward pass."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import torch
from torch import Tensor

from makemore_cli.backprop.step import Values
from makemore_cli.checks.user import Names, UserGradients, changed, sharing
from makemore_cli.errors import MakemoreError

TITLE = "your code"


class GivenGradients:
    """Stands for a backward pass that has been run once. It can't be run again on other values."""

    name = TITLE
    why_once = "only its results are known"
    after_a_change = ", and take a new problem, since this one's values are lost"
    definition = None  # the source of a function `backward`
    follow_locals = False
    scope: Mapping[str, Any] = {}

    def __init__(self, gradients: Mapping[str, Any], values: Values, given: Mapping[str, Any], names: Names) -> None:
        """`gradients` are by the tensor's name. `given` are the copies of `values` that the code worked on."""
        self.names, self._values = names, values
        self._gradients, self._given = dict(gradients), given

    def run(self, values: Values, order: Sequence[str]) -> list[UserGradients]:
        """The gradients, if these are the values that they were computed from. Raises MakemoreError if not."""
        if any(values[name] is not value for name, value in self._values.items()):
            raise MakemoreError(f"{TITLE} can't be run again: {self.why_once}")
        changes = [name for name, value in self._values.items() if changed(self._given.get(name), value)]
        with torch.inference_mode(False):  # what was computed in that mode can't be used with autograd
            found = {k: v.detach().clone() if isinstance(v, Tensor) else v for k, v in self._gradients.items()}
        return [UserGradients(TITLE, found, changed=changes, shared=sharing(self._gradients))]
