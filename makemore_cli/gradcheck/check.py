"""The whole check: the chain, its lines one by one, the two fused expressions, and the training pass."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict, dataclass
from typing import Any

import torch
from torch import Tensor

from makemore_cli.backprop import fused, steps
from makemore_cli.errors import CheckFailedError
from makemore_cli.gradcheck import sources
from makemore_cli.gradcheck.alone import LineCheck, check_lines
from makemore_cli.gradcheck.compare import Comparison, compare, sizes
from makemore_cli.gradcheck.rounding import scales
from makemore_cli.model import Parameters


@dataclass(frozen=True)
class Section:
    """One hand-written pass, or part of one, held against autograd."""

    name: str
    about: str
    comparisons: list[Comparison]

    @property
    def ok(self) -> bool:
        """Whether all of it agrees."""
        return all(c.close for c in self.comparisons)


@dataclass(frozen=True)
class Report:
    """What gradcheck found."""

    dtype: str
    device: str
    batch_size: int
    sections: list[Section]
    lines: list[LineCheck]

    @property
    def wrong_lines(self) -> list[LineCheck]:
        """Backward lines that are wrong by themselves, from the loss up."""
        return [line for line in self.lines if not line.comparison.close]

    @property
    def ok(self) -> bool:
        """Whether every gradient and every line agrees."""
        return all(section.ok for section in self.sections) and not self.wrong_lines

    def failures(self) -> list[str]:
        """What is wrong, most telling first: a wrong line by itself, then the first tensor of each section."""
        found = [
            f"the line for d{c.comparison.tensor} in the step {c.step} is wrong: {c.comparison}"
            for c in self.wrong_lines
        ]
        for section in self.sections:
            first = next((c for c in section.comparisons if not c.close), None)
            if first is not None:
                found.append(f"{section.name}: the first gradient that disagrees is {first}")
        return found

    def to_json(self) -> dict[str, Any]:
        """All of it as plain values."""
        return {
            "ok": self.ok,
            "dtype": self.dtype,
            "device": self.device,
            "batch_size": self.batch_size,
            "sections": [
                {"name": s.name, "ok": s.ok, "tensors": [_plain(c) for c in s.comparisons]} for s in self.sections
            ],
            "lines": [{"step": line.step, **_plain(line.comparison)} for line in self.lines],
            "failures": self.failures(),
        }


def _plain(comparison: Comparison) -> dict[str, Any]:
    """A comparison for JSON, which has no infinity and no NaN."""
    return {k: None if isinstance(v, float) and not abs(v) < float("inf") else v for k, v in asdict(comparison).items()}


def gradcheck(p: Parameters, X: Tensor, Y: Tensor, eps: float, *, table: Sequence[steps.Step] | None = None) -> Report:
    """Check every hand-written gradient on one batch against autograd."""
    table = table or steps.steps(p.b1 is not None)
    truth = sources.autograd_chain(p, X, Y, eps)
    scale = scales(p, X, Y, eps, truth)

    def section(name: str, about: str, ours: dict[str, Tensor], theirs: dict[str, Tensor]) -> Section:
        # In the order in which our gradients come, which is the lecture's.
        order = sorted(theirs, key=lambda name: list(ours).index(name) if name in ours else len(ours))
        return Section(name, about, [compare(n, ours.get(n), theirs[n], scale[n]) for n in order])

    values = steps.forward(p, X, Y, eps=eps)
    chain = steps.backward(values, table=table)
    _, dlogits = fused.cross_entropy(values["logits"], Y)
    dhprebn, dbngain, dbnbias = fused.batchnorm_backward(
        truth["hpreact"], values["bnraw"], values["bnvar_inv"], values["bngain"]
    )
    batchnorm = {"hprebn": dhprebn, "bngain": dbngain, "bnbias": dbnbias}
    sections = [
        section("atomic chain", "exercise 1: every line, one by one", chain, truth),
        section("fused cross-entropy", "exercise 2: in one expression", {"logits": dlogits}, _only(truth, ["logits"])),
        section("fused batchnorm", "exercise 3: in one expression", batchnorm, _only(truth, list(batchnorm))),
        training_section(p, X, Y, eps, scale),
    ]
    lines = check_lines(p, X, Y, eps, table=table)
    dtype = str(p.flat.dtype).removeprefix("torch.")
    return Report(dtype, str(p.flat.device), len(X), sections, lines)


def _only(gradients: dict[str, Tensor], names: list[str]) -> dict[str, Tensor]:
    return {name: gradients[name] for name in names}


def training_section(p: Parameters, X: Tensor, Y: Tensor, eps: float, scale: dict[str, float]) -> Section:
    """The pass that training uses, against autograd through PyTorch's own functions."""
    ours, theirs = sources.training_pass(p, X, Y, eps), sources.autograd(p, X, Y, eps)
    comparisons = [compare(name, ours.get(name), theirs[name], scale[name]) for name in theirs]
    return Section("training pass", "exercise 4: what `makemore train` runs", comparisons)


@torch.enable_grad()
def crosscheck(p: Parameters, X: Tensor, Y: Tensor, eps: float, step: int) -> None:
    """Hold the training pass against autograd on one batch. Raises CheckFailedError, which names the tensor."""
    reference = sources.autograd_chain(p, X, Y, eps)
    section = training_section(p, X, Y, eps, sizes(reference))
    if not section.ok:  # is it only rounding?
        section = training_section(p, X, Y, eps, scales(p, X, Y, eps, reference))
    if not section.ok:
        first = next(c for c in section.comparisons if not c.close)
        raise CheckFailedError(f"step {step}: the hand-written gradient disagrees with autograd's: {first}")
