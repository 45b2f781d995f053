"""The checks on a GPU that is not there (`tests/fake_gpu.py`): they come to the results that they have on the CPU."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import pytest
import torch

from makemore_cli.checks.check import check_batch, crosscheck, gradcheck
from makemore_cli.checks.check_user import check_user
from makemore_cli.checks.findings import Report
from makemore_cli.checks.network import NAMES, SOURCES, NetworkProblem
from makemore_cli.checks.user import UserPass
from makemore_cli.errors import ParameterError
from tests.conftest import problem
from tests.fake_gpu import GPU, Gpu

from .right_passes import CHAIN
from .test_mutations import MUTATIONS, Mutation, mutated
from .wrong_passes import WRONG

DEVICES = ("cuda:1", "cpu")
SOME = WRONG[::36]
CASES = [
    {"dtype": torch.float32},
    {"dtype": torch.float64, "first_bias": False, "smoothing": 0.1},
]


@pytest.fixture(autouse=True)
def _gpu() -> Iterator[None]:
    with Gpu():
        yield


def batch(device: str, *, smoothing: float = 0.0, rounding: bool = False, **more: object) -> NetworkProblem:
    p, X, Y = problem(**{"n": 6, "T": 2, "E": 3, "H": 7, "V": 5} | more, device=device)
    return NetworkProblem(p, X, Y, 1e-5, smoothing, measure_rounding=rounding)


def told(report: Report) -> dict:
    """A report, but for its device."""
    return report.to_json() | {"device": None}


@pytest.mark.every(4)
@pytest.mark.parametrize("case", CASES, ids=["float32", "float64, smoothed, without b1"])
@pytest.mark.parametrize("source", [name for name in SOURCES if name != "kernel"])
def test_every_source_gives_its_gradients_on_the_device(source: str, case: dict) -> None:
    """The kernel has no other device than the CPU, and says so."""
    sizes = {"n": 3, "E": 1, "H": 2, "V": 3} if SOURCES[source].partial else {}
    ours, cpu = (SOURCES[source].gradients(batch(device, **sizes, **case)) for device in DEVICES)
    assert ours.keys() == cpu.keys()
    for name, gradient in ours.items():
        assert gradient.device == GPU, name
        assert torch.equal(gradient.cpu().nan_to_num(7.5), cpu[name].nan_to_num(7.5)), name


def test_the_kernel_refuses_the_device() -> None:
    with pytest.raises(ParameterError, match="must be cpu for the source kernel"):
        SOURCES["kernel"].gradients(batch("cuda:1"))


@pytest.mark.every(4)
@pytest.mark.parametrize("case", CASES, ids=["float32", "float64, smoothed, without b1"])
@pytest.mark.parametrize("rounding", [False, True])
def test_gradcheck_reports_the_same(rounding: bool, case: dict) -> None:
    reports = [gradcheck(batch(device, rounding=rounding, **case)) for device in DEVICES]
    assert reports[0].ok
    assert reports[0].device == "cuda:1"
    assert told(reports[0]) == told(reports[1])


@pytest.mark.parametrize(
    ("of", "against"),
    [("fused", "atomic"), ("scalar", None), ("distributed", "functions")],
)
def test_two_sources_are_compared(of: str, against: str | None) -> None:
    reports = [check_batch(batch(device), of, against) for device in DEVICES]
    assert reports[0].ok
    assert told(reports[0]) == told(reports[1])


@pytest.mark.every(3)
@pytest.mark.parametrize("source", ["fused", "functions", "distributed"])
def test_a_crosscheck_agrees(source: str) -> None:
    crosscheck(batch("cuda:1", dtype=torch.float32), 1, SOURCES[source])


@pytest.mark.every(100)
@pytest.mark.parametrize("mutation", MUTATIONS[1::8], ids=lambda one: f"{one.target}-in-{one.step}")
def test_a_wrong_line_is_explained_as_on_the_cpu(mutation: Mutation) -> None:
    reports = [gradcheck(batch(device, dtype=torch.float64), chain=mutated(mutation)) for device in DEVICES]
    assert not reports[0].ok
    assert told(reports[0]) == told(reports[1])


@pytest.mark.every(100)
@pytest.mark.parametrize("text", [CHAIN, *(one.text for one in SOME)], ids=["right", *(one.wrong for one in SOME)])
def test_a_users_pass_is_judged_as_on_the_cpu(text: str, tmp_path: Path) -> None:
    path = tmp_path / "mine.py"
    path.write_text("import torch\n" + text)
    reports = [check_user(batch(device), UserPass(path, NAMES), SOURCES["autograd"]) for device in DEVICES]
    assert reports[0].ok == (text == CHAIN)
    assert told(reports[0]) == told(reports[1])


def test_a_gradient_on_another_device_is_no_agreement() -> None:
    """A source that gives its result on the CPU is refused, although the values are right."""
    right = SOURCES["fused"]
    on_the_cpu = replace(right, gradients=lambda one: {k: v.cpu() for k, v in right.gradients(one).items()})
    with pytest.raises(Exception, match="the gradient is on cpu, not on cuda:1"):
        crosscheck(batch("cuda:1"), 1, on_the_cpu)
