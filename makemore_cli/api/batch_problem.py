"""A batch with all values of the forward pass, for a backward pass that is written line by line, as in the lecture."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

from makemore_cli.api.given_names import as_file
from makemore_cli.checks.check import check_batch
from makemore_cli.checks.findings import Report
from makemore_cli.checks.following import with_gradients
from makemore_cli.checks.given_gradients import GivenGradients
from makemore_cli.checks.network import NAMES, NetworkProblem
from makemore_cli.config import load as configuration
from makemore_cli.config.load import Settings
from makemore_cli.errors import MakemoreError, ParameterError
from makemore_cli.runs.checkpoint import load_checkpoint
from makemore_cli.training.first_batch import first_batch


class BatchProblem(Mapping[str, Any]):
    """The forward pass on one batch: its tensors and numbers by name, as attributes too.

    The names are the lecture's (`logits`, `hprebn`, `bnvar_inv`, `W1` …), X and Y, n, eps and smoothing, and the
    notebook's (`Xb`, `Yb`, `batch_size`, `vocab_size`, `n_embd`, `n_hidden`, `block_size`). So
    `globals().update(p)` makes all of them variables of a notebook.
    """

    __eq__, __hash__ = object.__eq__, object.__hash__  # a Mapping would compare the tensors

    @with_gradients
    def __init__(self, problem: NetworkProblem, remarks: Iterable[str] = ()) -> None:
        self._problem, self._remarks = problem, list(remarks)
        self._given = NAMES.copies({**problem.values, "n": len(problem.X)})

    def __getitem__(self, name: str) -> Any:
        return self._given[name]

    def __getattr__(self, name: str) -> Any:
        given = self.__dict__.get("_given", {})
        if name not in given:
            raise AttributeError(f"the forward pass has no {name}; it has {', '.join(given)}")
        return given[name]

    def __dir__(self) -> Iterable[str]:
        return [*super().__dir__(), *self._given]

    def __iter__(self) -> Iterator[str]:
        return iter(self._given)

    def __len__(self) -> int:
        return len(self._given)

    def __repr__(self) -> str:
        problem = self._problem
        dtype = str(problem.dtype).removeprefix("torch.")
        return f"<{problem.title} in {dtype}: {', '.join(self._given)}>"

    def _repr_html_(self) -> str:
        """The names and shapes, for a notebook."""
        rows = ((name, tuple(value.shape) if hasattr(value, "shape") else value) for name, value in self.items())
        body = "".join(f"<tr><td>{name}</td><td>{shape}</td></tr>" for name, shape in rows)
        return f"<table><thead><tr><th>name</th><th>shape, or number</th></tr></thead><tbody>{body}</tbody></table>"

    @property
    def gradients(self) -> tuple[str, ...]:
        """The names of the gradients to compute, from dlogprobs down to the parameters and dC, without dloss."""
        return tuple(f"d{name}" for name in self._problem.order if name != "loss")

    def check(self, gradients: Mapping[str, Any] | str, gradient: Any = None) -> Report:
        """Check gradients that were computed from this forward pass: one, as in `check("logits", dlogits)`, or several.

        A mapping has them by name (`dlogits`); other names in it are ignored, so `check(globals())` works in a
        notebook. Each is compared with autograd's, and with what follows from the gradients above it that are given.
        Nothing is remembered between two calls. The report names each wrong gradient, what is wrong with it, and its
        worst entry. A gradient that lacks a branch, and that no later one has used, is called unfinished. The
        report is true if all agree.

        Raises MakemoreError if there is no gradient among them, or for an unknown name.

        >>> import torch
        >>> dlogits = p.probs - torch.nn.functional.one_hot(p.Y, 27)
        >>> p.check("logits", dlogits).failures()
        ["your code: logits (32, 27): ... at [10, 26], -0.99... against -0.03...: a mean's 1/n is missing"]
        >>> p.check("logits", dlogits / p.n).ok
        True
        """
        if isinstance(gradients, str):
            name = gradients if gradients in self._problem.order else gradients.removeprefix("d")
            if name not in self._problem.order:
                raise ParameterError("gradients", f"must name a tensor of the chain, such as logits, got {gradients}")
            found = {name: gradient}
        elif not isinstance(gradients, Mapping):
            kind = type(gradients).__name__
            raise ParameterError("gradients", f"must be a name or a mapping, such as globals(), got a {kind}")
        elif gradient is not None:
            raise ParameterError("gradient", "must not be given beside a mapping")
        else:
            found = {name: gradients[f"d{name}"] for name in self._problem.order if f"d{name}" in gradients}
            found = {name: one for name, one in found.items() if one is not None}
            if not found:
                raise MakemoreError(
                    "there is no gradient to check; their names begin with d, such as dlogits, dhprebn or dC"
                )
        names = NAMES if isinstance(gradients, Mapping) else replace(NAMES, tensors=frozenset(found))
        given = GivenGradients(found, self._problem.values, self._given, names)
        report = check_batch(self._problem, user=given)
        report.remarks.extend(self._remarks)
        return report

    def gradcheck(self, of: str | None = None, against: str | None = None) -> Report:
        """Check makemore's own gradients on this batch, as `makemore gradcheck` does.

        `of` and `against` name two sources to compare, such as "fused" and "float64". Raises ParameterError for an
        unknown source.
        """
        return check_batch(self._problem, of, against)


def problem(
    config: str | Path | None = None,
    *,
    run: str | Path | None = None,
    data: str | Path | Iterable[str] | None = None,
    seed: int | None = None,
    settings: Settings = (),
    dtype: str | None = None,
) -> BatchProblem:
    """The first batch that a configuration would train on, at its initial parameters, or at those of a trained `run`.

    The configuration is a YAML file or the name of a bundled one; the default is lecture, or the run's own. `data` (a
    file of names, or names), `seed`, `settings` and `dtype` (float32 or float64) override it. In float64 smaller
    mistakes become visible. Raises MakemoreError for an invalid parameter or data.

    >>> p = mm.problem("lecture")
    >>> p.logits.shape
    torch.Size([32, 27])
    """
    if run is not None and (config is not None or settings):
        raise ParameterError("run", "has its own configuration; omit config and settings")
    content = None if data is None or isinstance(data, (str, Path)) else as_file(data)
    file = str(data) if data is not None and content is None else None
    checkpoint = None if run is None else load_checkpoint(run)
    overrides = {"data__path": file, "train__seed": seed, "train__dtype": dtype}
    if checkpoint is None:
        found = configuration.find(str(config or "lecture"))
        resolved = configuration.load(found, settings, **overrides)
    else:
        resolved = configuration.override(checkpoint.config, train__device="cpu", train__engine="auto", **overrides)
    return BatchProblem(*first_batch(resolved, checkpoint, content))
