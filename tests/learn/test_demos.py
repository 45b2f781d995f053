"""Each demonstration shows the failure that it speaks of: its figures say so."""

from __future__ import annotations

import json
import math
import subprocess
import sys
from typing import Any

import pytest
import torch

from makemore_cli.learn.demo import DEMOS, Table, find
from tests.conftest import Cli


def rows(name: str, table: int = 0) -> list[dict[str, Any]]:
    found: list[dict[str, Any]] = find(name)[1].run(name).to_json()["tables"][table]["rows"]
    return found


def test_a_gradient_that_is_overwritten() -> None:
    for row in rows("overwritten-gradient"):
        assert row["with +="] == pytest.approx(row["by nudging"], abs=1e-4)
        assert row["with ="] != pytest.approx(row["by nudging"], abs=0.5)


def test_recursion_is_wrong_for_shared_numbers_only() -> None:
    tree, shared, other = rows("no-topological-order")
    assert tree["by recursion"] == tree["in order"] == 2
    assert (shared["by recursion"], shared["in order"], shared["by nudging"]) == (8, 4, 4)
    assert other["in order"] == other["by nudging"]


def test_without_a_start_all_gradients_are_zero() -> None:
    zero, one = rows("no-start-gradient")
    assert (zero["dx1"], zero["dw1"], zero["db"]) == (0, 0, 0)
    assert one["dx1"] == pytest.approx(-1.5)
    assert one["db"] == pytest.approx(0.5)


def test_a_closure_that_is_called() -> None:
    stored, called = rows("called-closure")
    assert (stored["da"], stored["db"], stored["error"]) == (1, 1, "")
    assert (called["da"], called["db"]) == (0, 0)
    assert "not callable" in called["error"]


def test_a_forgotten_zero_grad_converges_faster() -> None:
    last = rows("forgotten-zero-grad")[-1]
    assert last["without"] < last["with zero_grad"] / 1000


def test_a_large_step_stays_where_tanh_is_flat() -> None:
    found = rows("large-step")
    assert found[-1]["rate 1"] == pytest.approx(found[4]["rate 1"], rel=1e-3)
    assert found[-1]["rate 1"] > 4
    assert found[-1]["rate 0.3"] < found[-1]["rate 0.05"] < found[-1]["rate 0.01"]


def test_a_clipped_loss_teaches_nothing_about_outliers() -> None:
    outlier, other = rows("clipped-loss")
    assert outlier["loss clipped"] == 0 < outlier["gradient clipped"]
    assert other["loss clipped"] == pytest.approx(other["gradient clipped"])
    losses = rows("clipped-loss", 1)
    assert losses[0]["loss clipped"] == pytest.approx(losses[-1]["loss clipped"], rel=1e-3)
    assert losses[-1]["gradient clipped"] < 0.1


def test_softmax_overflows_without_its_maximum() -> None:
    found = rows("softmax-overflow")
    for row in found:
        assert math.isfinite(row["with it"])
        assert math.isfinite(row["without the maximum"]) == (float(row["largest logit"]) < 88)
        assert (row["NaN among the gradients"] > 0) == (float(row["largest logit"]) > 89)
    maximum, logits = rows("softmax-overflow", 1)
    assert maximum["size"] < 1e-7 < logits["size"]


def test_a_variance_over_n_is_too_small() -> None:
    for row in rows("biased-variance"):
        n = row["n"]
        assert row["over n"] == pytest.approx((n - 1) / n, abs=0.02)
        assert row["over n − 1"] == pytest.approx(1, abs=0.02)
    assert next(row for row in rows("biased-variance") if row["n"] == 32)["deviations differ by"] == "1.6%"


def test_large_weights_saturate_tanh() -> None:
    found = rows("saturated-tanh")
    saturated = [float(row["saturated"].rstrip("%")) for row in found]
    back = [float(row["gradient back"].rstrip("%")) for row in found]
    assert saturated == sorted(saturated)
    assert back == sorted(back, reverse=True)
    assert found[0]["dead of 200"] == 0 < found[-1]["dead of 200"]
    assert found[1]["std before"] == pytest.approx(5 / 3, rel=0.05)


def test_a_zero_bias_hides_a_wrong_line() -> None:
    found = rows("zero-bias")
    assert [row["the wrong line passes"] for row in found] == ["yes", "no", "no"]
    assert all(row["right line: off by"] < 1e-5 for row in found)


def test_after_the_first_branch_a_gradient_is_not_complete() -> None:
    found = rows("first-branch")
    assert [row["agrees after it"].split(",")[0] for row in found] == ["no", "yes", "no", "no"]  # logits is the second
    assert all(row["agrees after both"].startswith("yes") for row in found)


def test_the_power_of_minus_one_has_autograds_bits() -> None:
    found = rows("division")
    by_power = next(r for r in found if r["forward line"] == "c · s⁻¹" and r["backward line"].startswith("−s⁻²"))
    assert by_power["off by at most"] == 0
    for row in found:
        assert row["off by at most"] < 1e-6
        assert (row["equal bits, of 32"] == 32) == (row["off by at most"] == 0)
    assert sum(row["equal bits, of 32"] < 32 for row in found) >= 2


@pytest.mark.every(3)
@pytest.mark.parametrize("name", DEMOS)
def test_every_demonstration_runs_in_seconds_and_says_what_it_shows(name: str, cli: Cli) -> None:
    result = cli("demo", name)
    assert (result.code, result.err) == (0, "")
    assert result.out.startswith(DEMOS[name].title)
    assert max(map(len, result.out.splitlines())) <= 80
    as_json = json.loads(cli("demo", name.replace("-", "_"), "--json").out)
    assert as_json["name"] == name
    assert as_json["tables"]
    assert torch.get_num_threads() == 1  # it leaves things as they were


def test_the_list(cli: Cli) -> None:
    lines = cli("demo").out.splitlines()
    assert [line.split()[0] for line in lines if not line.startswith(" ")] == list(DEMOS)
    assert list(json.loads(cli("demo", "--json").out)) == list(DEMOS)
    told = cli("demo", "cliped-loss")
    assert (told.code, told.err) == (2, "makemore: there is no demonstration cliped-loss; did you mean clipped-loss?\n")
    assert "choose one of overwritten-gradient" in cli("demo", "x\x1b[31m").err


def test_the_list_needs_no_tensor_library() -> None:
    code = (
        "import sys; from makemore_cli.cli.main import main; main(['demo']); "
        "print('torch' in sys.modules, file=sys.stderr)"
    )
    ran = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert ran.stderr == "False\n"


def test_a_table() -> None:
    table = Table("title", ("name", "figure"), (("a", 1234), ("b", 0.123456), ("long name", "x")))
    assert table.lines() == [
        "title",
        "",
        "  name       figure",
        "  a           1,234",
        "  b          0.1235",
        "  long name       x",
    ]
