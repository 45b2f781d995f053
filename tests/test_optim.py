"""Learning-rate schedules, against PyTorch's own."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch.optim import lr_scheduler

from makemore_cli import config as configuration
from makemore_cli.config import CosineSchedule, LinearSchedule, OptimConfig, StepsSchedule
from makemore_cli.errors import MakemoreError
from makemore_cli.metrics import load_metrics
from makemore_cli.optim import learning_rates
from makemore_cli.progress import Display
from makemore_cli.train import train


def by_pytorch(optim: OptimConfig, steps: int) -> list[float]:
    """The rates of a run by a scheduler of PyTorch's, after another for the warm-up."""
    sgd = torch.optim.SGD([torch.zeros(1, requires_grad=True)], lr=optim.lr)
    left, schedule = max(1, steps - optim.warmup), optim.schedule
    after: lr_scheduler.LRScheduler
    if isinstance(schedule, CosineSchedule):
        after = lr_scheduler.CosineAnnealingLR(sgd, T_max=left, eta_min=schedule.final * optim.lr)
    elif isinstance(schedule, LinearSchedule):
        after = lr_scheduler.LinearLR(sgd, 1.0, schedule.final, total_iters=left)
    elif isinstance(schedule, StepsSchedule):
        milestones = [milestone - optim.warmup for milestone in schedule.milestones]
        after = lr_scheduler.MultiStepLR(sgd, milestones, schedule.gamma)
    else:
        after = lr_scheduler.ConstantLR(sgd, 1.0)
    if optim.warmup:
        rise = lr_scheduler.LinearLR(sgd, 1 / optim.warmup, 1.0, total_iters=max(1, optim.warmup - 1))
        after = lr_scheduler.SequentialLR(sgd, [rise, after], [optim.warmup])
    rates = []
    for _ in range(steps):
        rates.append(sgd.param_groups[0]["lr"])
        sgd.step()
        after.step()
    return rates


SHARES = st.floats(0, 1)
SCHEDULES = st.one_of(
    st.none(),
    st.fixed_dictionaries({"name": st.just("cosine"), "final": SHARES}),
    st.fixed_dictionaries({"name": st.just("linear"), "final": SHARES}),
    st.fixed_dictionaries(
        {"milestones": st.sets(st.integers(21, 80), max_size=4).map(sorted), "gamma": st.floats(0.1, 2)}
    ),
)
OPTIMS = st.fixed_dictionaries({"lr": st.floats(1e-4, 10), "warmup": st.integers(0, 20), "schedule": SCHEDULES})


@pytest.mark.filterwarnings("ignore:.*epoch parameter in `scheduler.step.*:UserWarning")
@given(OPTIMS, st.integers(1, 60))
def test_rates_are_pytorchs(settings: dict, more: int) -> None:
    optim = OptimConfig.model_validate(settings)
    steps = optim.warmup + more
    np.testing.assert_allclose(learning_rates(optim, 0, steps, steps), by_pytorch(optim, steps), rtol=1e-9, atol=1e-12)


@given(OPTIMS, st.integers(1, 100), st.lists(st.integers(1, 30), min_size=1, max_size=6))
def test_rates_do_not_depend_on_chunks(settings: dict, steps: int, chunks: list[int]) -> None:
    """Bit for bit; beyond the last step too, where a run's goal was lowered."""
    optim = OptimConfig.model_validate(settings)
    first, rates = 0, []
    for count in chunks:
        rates += learning_rates(optim, first, count, steps)
        first += count
    assert rates == learning_rates(optim, 0, first, steps)
    assert all(0 <= rate <= 1e30 for rate in rates)


def test_the_whole_rate_is_reached_and_left() -> None:
    optim = OptimConfig(lr=2.0, warmup=4, schedule=CosineSchedule(final=0.1))
    rates = learning_rates(optim, 0, 8, 8)
    assert rates[:5] == [0.5, 1.0, 1.5, 2.0, 2.0]
    assert rates[6] == pytest.approx(1.1)  # half way
    assert learning_rates(optim, 8, 1, 8) == [pytest.approx(0.2)]


@pytest.mark.parametrize("schedule", ["{name: cosine}", "{name: linear, final: 0.5}"])
def test_a_run_has_its_schedule(schedule: str, tmp_path: Path) -> None:
    settings = ["train.steps=90", "optim.warmup=30", f"optim.schedule={schedule}"]
    config = configuration.load(configuration.find("tiny"), settings)
    train(config, tmp_path / "run", Display())
    assert load_metrics(tmp_path / "run").lr.tolist() == learning_rates(config.optim, 0, 90, 90)
    again = configuration.load(tmp_path / "run" / "config.yaml")
    assert again.optim == config.optim
    assert json.loads((tmp_path / "run" / "summary.json").read_text())["steps"] == 90


@pytest.mark.parametrize(
    ("setting", "message"),
    [
        ("{name: cosine, milestones: [3]}", "optim.schedule.milestones: unknown key; known here: name, final"),
        ("{name: cosine, finl: 0}", "optim.schedule.finl: unknown key; did you mean final?"),
        ("{name: linear, final: 2}", "optim.schedule.final: should be less than or equal to 1, but is 2"),
        ("{name: cosin}", "optim.schedule.name: should be one of steps, cosine, linear, but is 'cosin'"),
        ("{name: [1]}", "optim.schedule.name: should be one of steps, cosine, linear, but is a list"),
        ("{name: null}", "optim.schedule.name: should be one of steps, cosine, linear, but is empty"),
        ("3", "optim.schedule: should be a section, but is 3"),
        ("[cosine]", "optim.schedule: should be a section, but is a list"),
        ("cosine", "optim.schedule: should be a section, but is 'cosine'"),
    ],
)
def test_mistakes_are_told(setting: str, message: str) -> None:
    with pytest.raises(MakemoreError) as error:
        configuration.load(configuration.find("tiny"), [f"optim.schedule={setting}"])
    assert str(error.value) == f"--set optim.schedule={setting}: {message}"
