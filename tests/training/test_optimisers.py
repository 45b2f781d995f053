"""Learning-rate schedules, optimisers and averages, against PyTorch's own."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
import torch
import yaml
from hypothesis import given
from hypothesis import strategies as st
from pydantic import TypeAdapter
from torch.optim import lr_scheduler
from torch.optim.swa_utils import AveragedModel

from makemore_cli.config import load as configuration
from makemore_cli.config.schema import (
    CosineSchedule,
    ExponentialAverage,
    LinearSchedule,
    MeanAverage,
    OptimConfig,
    SgdConfig,
    StepsSchedule,
)
from makemore_cli.errors import MakemoreError
from makemore_cli.inference import evaluate
from makemore_cli.network.model import Sizes
from makemore_cli.network.parameters import Parameters, initialise
from makemore_cli.runs.checkpoint import load_checkpoint
from makemore_cli.runs.metrics import load_metrics
from makemore_cli.training.engines import ENGINES, RunningStatistics
from makemore_cli.training.optimisers import Optimiser
from makemore_cli.training.schedules import learning_rates
from makemore_cli.training.setup import set_up
from makemore_cli.training.trainer import train


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


OPTIM: TypeAdapter[OptimConfig] = TypeAdapter(OptimConfig)
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
    optim = OPTIM.validate_python(settings)
    steps = optim.warmup + more
    np.testing.assert_allclose(learning_rates(optim, 0, steps, steps), by_pytorch(optim, steps), rtol=1e-9, atol=1e-12)


@given(OPTIMS, st.integers(1, 100), st.lists(st.integers(1, 30), min_size=1, max_size=6))
def test_rates_do_not_depend_on_chunks(settings: dict, steps: int, chunks: list[int]) -> None:
    """Bit for bit; beyond the last step too, where a run's goal was lowered."""
    optim = OPTIM.validate_python(settings)
    first, rates = 0, []
    for count in chunks:
        rates += learning_rates(optim, first, count, steps)
        first += count
    assert rates == learning_rates(optim, 0, first, steps)
    assert all(0 <= rate <= 1e30 for rate in rates)


def test_the_whole_rate_is_reached_and_left() -> None:
    optim = SgdConfig(lr=2.0, warmup=4, schedule=CosineSchedule(final=0.1))
    rates = learning_rates(optim, 0, 8, 8)
    assert rates[:5] == [0.5, 1.0, 1.5, 2.0, 2.0]
    assert rates[6] == pytest.approx(1.1)  # half way
    assert learning_rates(optim, 8, 1, 8) == [pytest.approx(0.2)]


@pytest.mark.parametrize("schedule", ["{name: cosine}", "{name: linear, final: 0.5}"])
def test_a_run_has_its_schedule(schedule: str, tmp_path: Path) -> None:
    settings = ["train.steps=90", "optim.warmup=30", f"optim.schedule={schedule}"]
    config = configuration.load(configuration.find("tiny"), settings)
    train(config, tmp_path / "run")
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
    assert str(error.value) == f"settings optim.schedule={setting}: {message}"


# --- Optimisers ---


def by_torch_optim(optim: OptimConfig, start: torch.Tensor, gradients: list[torch.Tensor]) -> list[torch.Tensor]:
    """Parameters and their average after a run with PyTorch's own optimiser, clipping and averaging."""
    steps = len(gradients)
    module = torch.nn.Module()
    module.register_parameter("p", torch.nn.Parameter(start.clone()))
    (p,) = module.parameters()
    decay = {"lr": optim.lr, "weight_decay": optim.weight_decay}
    theirs: torch.optim.Optimizer
    if optim.name == "adamw":
        theirs = torch.optim.AdamW([p], betas=(optim.beta1, optim.beta2), eps=optim.epsilon, **decay)
    else:
        theirs = torch.optim.SGD([p], momentum=optim.momentum, nesterov=optim.nesterov, **decay)
    average, first = AveragedModel(module), 0
    if isinstance(optim.average, ExponentialAverage):
        decay_of = optim.average.decay
        average = AveragedModel(module, avg_fn=lambda old, new, n: old.lerp(new, max(1 - decay_of, 9 / (9 + int(n)))))
    elif isinstance(optim.average, MeanAverage):
        first = steps - max(1, round(optim.average.share * steps))
    for step, (gradient, lr) in enumerate(zip(gradients, learning_rates(optim, 0, steps, steps), strict=True)):
        theirs.param_groups[0]["lr"] = lr
        p.grad = gradient.clone()
        if optim.clip is not None:
            torch.nn.utils.clip_grad_norm_([p], optim.clip)
        theirs.step()
        if step >= first:
            average.update_parameters(module)
    averaged = next(average.module.parameters()) if optim.average else p
    return [p.detach(), averaged.detach()]


SGDS = st.fixed_dictionaries(
    {"name": st.just("sgd"), "momentum": st.sampled_from([0.0, 0.5, 0.9]), "nesterov": st.booleans()}
).map(lambda sgd: sgd | {"nesterov": sgd["nesterov"] and sgd["momentum"] > 0})
ADAMWS = st.fixed_dictionaries(
    {
        "name": st.just("adamw"),
        "beta1": st.sampled_from([0.0, 0.9]),
        "beta2": st.sampled_from([0.9, 0.999]),
        "epsilon": st.sampled_from([1e-8, 1e-3]),
    }
)
AVERAGES = st.one_of(
    st.none(),
    st.fixed_dictionaries({"name": st.just("exponential"), "decay": st.floats(0, 0.999)}),
    st.fixed_dictionaries({"name": st.just("mean"), "share": st.floats(0.01, 1)}),
)
COMMON = st.fixed_dictionaries(
    {
        "lr": st.sampled_from([0.003, 0.1]),
        "weight_decay": st.sampled_from([0.0, 0.05]),
        "clip": st.sampled_from([None, 0.5, 100.0]),
        "average": AVERAGES,
        "schedule": st.sampled_from([None, {"name": "cosine"}]),
    }
)


@given(st.one_of(SGDS, ADAMWS), COMMON, st.integers(1, 20), st.integers(0, 10_000))
def test_optimisers_are_pytorchs(kind: dict, common: dict, steps: int, seed: int) -> None:
    """The same gradients give the same parameters and averages, to the last bits of either precision."""
    optim = OPTIM.validate_python(kind | common)
    generator = torch.Generator().manual_seed(seed)
    for dtype, tolerance in ((torch.float32, 2e-6), (torch.float64, 1e-14)):
        start, *gradients = torch.randn((steps + 1, 30), generator=generator, dtype=dtype)
        flat = start.clone()
        optimiser = Optimiser(optim, steps, flat)
        factors = optimiser.factors(learning_rates(optim, 0, steps, steps), 0)
        for gradient, numbers in zip(gradients, factors, strict=True):
            optimiser.update(flat, gradient.clone(), numbers)
        ends = [flat, optimiser.kept.get("average", flat)]
        for ours, theirs in zip(ends, by_torch_optim(optim, start, list(gradients)), strict=True):
            torch.testing.assert_close(ours, theirs, rtol=tolerance, atol=tolerance)


OPTIMISERS = [
    "{momentum: 0.9}",
    "{momentum: 0.8, nesterov: true, weight_decay: 0.01, average: {name: mean, share: 0.4}}",
    "{weight_decay: 0.1, clip: 0.3, average: {decay: 0.9}}",
    "{name: adamw, lr: 0.01, weight_decay: 0.2, schedule: {name: cosine}, average: {decay: 0.95}}",
    "{name: adamw, lr: 0.01, beta1: 0.8, beta2: 0.95, epsilon: 1.0e-6, clip: 0.2, average: {name: mean, share: 1}}",
]


@pytest.mark.every(3)
@pytest.mark.parametrize("settings", OPTIMISERS)
@pytest.mark.parametrize("batch_size", [7, 40])
def test_every_engine_has_every_optimiser(settings: str, batch_size: int) -> None:
    """They end at the same parameters, average and memory, in two chunks or in one; so does PyTorch's, by autograd.

    Without b1, whose gradient is rounding alone: what AdamW makes of that is as large as any other update.
    """
    optim = OPTIM.validate_python(yaml.safe_load(settings))
    before, generator = initialise(Sizes(5, 3, 3, 17, first_bias=False), 3)
    X = torch.randint(0, 5, (50, batch_size, 3), generator=generator)
    Y = torch.randint(0, 5, (50, batch_size), generator=generator)
    lrs, ends = learning_rates(optim, 0, 50, 50), {}
    for name, cuts in (("tensor", (50,)), ("tensor", (20, 1, 29)), ("autograd", (50,)), ("kernel", (13, 37))):
        p, first, losses = before.to(dtype=torch.float64), 0, []
        engine = ENGINES[name](p, None, 1e-5, Optimiser(optim, 50, p.flat), smoothing=0.1)
        for count in cuts:
            here = slice(first, first + count)
            losses.append(engine.run(X[here], Y[here], lrs[here], first).double())
            first += count
        ends[name, len(cuts)] = [torch.cat(losses), p.flat, *engine.optimiser.kept.values()]
    expected = ends.pop(("tensor", 1))
    for end in ends.values():
        for ours, theirs in zip(end, expected, strict=True):
            torch.testing.assert_close(ours, theirs, rtol=1e-8, atol=1e-9)
    assert torch.equal(ends["tensor", 3][1], expected[1])


def test_a_clipped_step_is_as_long_as_it_may_be() -> None:
    p, generator = initialise(Sizes(5, 3, 3, 17), 3)
    X, Y = torch.randint(0, 5, (1, 40, 3), generator=generator), torch.randint(0, 5, (1, 40), generator=generator)
    for name in ENGINES:
        for clip, whole in ((0.01, False), (100.0, True)):
            end, free = p.to(), p.to()
            ENGINES[name](end, optimiser=Optimiser(SgdConfig(clip=clip), 1, end.flat)).run(X, Y, [1.0])
            ENGINES[name](free).run(X, Y, [1.0])
            assert (end.flat - p.flat).norm().item() == pytest.approx(clip, rel=1e-3) or whole
            assert torch.equal(end.flat, free.flat) == whole


@pytest.mark.slow
def test_the_average_is_what_a_run_leaves(tmp_path: Path) -> None:
    """Evaluated, saved, calibrated for; and what was averaged stands beside it."""
    settings = ["train.steps=300", "optim.average={name: mean, share: 0.5}", "optim.momentum=0.5"]
    config = configuration.load(configuration.find("tiny"), settings)
    summary = train(config, tmp_path / "run")
    saved, begun = load_checkpoint(tmp_path / "run"), set_up(config)
    raw = Parameters(saved.model.sizes, torch.from_numpy(saved.training["parameters"]))
    averaged = Parameters.from_arrays(saved.model.sizes, saved.model.parameters)
    assert not torch.equal(raw.flat, averaged.flat)
    assert summary.loss["val"] == evaluate.loss(saved.model, begun.dataset.val)
    again = evaluate.calibrate(saved.model.sizes, saved.model.parameters, begun.dataset.train)
    np.testing.assert_array_equal(again.bnmean, saved.model.bnmean)
    np.testing.assert_array_equal(again.bnvar, saved.model.bnvar)
    # By hand: the mean of the last 150 steps' parameters.
    lrs, path = learning_rates(config.optim, 0, 300, 300), []
    engine = ENGINES["tensor"](begun.parameters, optimiser=Optimiser(config.optim, 300, begun.parameters.flat))
    for step, lr in enumerate(lrs):
        engine.run(*begun.batches(1), [lr], step)
        path.append(begun.parameters.flat.clone())
    torch.testing.assert_close(averaged.flat, torch.stack(path[-150:]).mean(0), rtol=0, atol=1e-4)
    torch.testing.assert_close(raw.flat, path[-1], rtol=0, atol=1e-4)


@given(
    st.lists(st.tuples(st.integers(1, 40), st.integers(1, 40)), min_size=1, max_size=4),
    st.sampled_from([0.01, 0.25, 0.5, 1.0]),
)
def test_a_mean_counts_its_steps_alike_whatever_becomes_of_the_goal(legs: list[tuple[int, int]], share: float) -> None:
    """Parameters that are another unit vector after each step: their mean is what each step has in it.

    Each leg goes on to a goal of its own, and is stopped at it or before.
    """
    optim, step, length = SgdConfig(lr=0.0, average=MeanAverage(share=share)), 0, sum(more for more, _ in legs)
    flat, model, state = torch.zeros(length), torch.zeros(length), None
    for more, trained in legs:
        optimiser = Optimiser(optim, step + more, flat)
        if state is not None:
            assert torch.equal(optimiser.resume(model, state, step), flat)
        for factors in optimiser.factors([0.0] * min(trained, more), step):
            flat.copy_(torch.eye(length)[step])
            optimiser.update(flat, torch.zeros(length), factors)
            step += 1
        model, state = optimiser.kept["average"].clone(), optimiser.state(flat)
    count = int((model > 0).sum())
    torch.testing.assert_close(model[step - count : step], torch.full((count,), 1 / count))
    assert model.sum().item() == pytest.approx(1)
    if legs[0][1] >= legs[0][0] and len(legs) == 1:
        assert count == max(1, round(share * step))


@pytest.mark.parametrize(
    ("trained", "goal", "counted"),
    [
        (60, 100, 50),  # the goal stays, and so does the half that it has: steps 51 to 100
        (60, 110, 60),  # the new half would have begun at step 55: what has begun at 50 goes on
        (60, 118, 68),
        (60, 120, 60),  # the new half begins with the next step, so it holds no step before
        (60, 122, 61),  # the new half is yet to come
        (60, 200, 100),
        (40, 50, 10),  # nothing has begun, and the new half should have: it begins now
        (50, 60, 10),
        (51, 60, 10),  # began at 50, before the new goal's 30 was known
    ],
)
def test_which_steps_a_mean_of_the_last_half_counts(trained: int, goal: int, counted: int) -> None:
    """Of a run that was to go 100 steps, was left after some, and then had another goal. Counted by hand."""
    config = OPTIM.validate_python({"average": {"name": "mean", "share": 0.5}})
    flat = torch.eye(goal + 1)[goal].clone()
    optimiser = Optimiser(config, 100, flat)
    for step in range(goal):
        if step == trained:
            model, state = optimiser.kept["average"].clone(), optimiser.state(flat.clone())
            optimiser = Optimiser(config, goal, flat)
            flat.copy_(optimiser.resume(model, state, step))
        flat.copy_(torch.eye(goal + 1)[step])
        optimiser.update(flat, torch.zeros(goal + 1), optimiser.factors([0.0], step)[0])
    expected = torch.zeros(goal + 1)
    expected[goal - counted : goal] = 1 / counted
    torch.testing.assert_close(optimiser.kept["average"], expected)


@pytest.mark.parametrize("settings", OPTIMISERS)
@pytest.mark.parametrize("engine", ENGINES)
def test_going_back_to_a_state_brings_all_of_it_back(engine: str, settings: str) -> None:
    """Bit for bit: parameters, running statistics, and what the optimiser keeps. Training does not change the copy."""
    optim = OPTIM.validate_python(yaml.safe_load(settings))
    p, generator = initialise(Sizes(5, 3, 3, 17), 3)
    X = torch.randint(0, 5, (20, 7, 3), generator=generator)
    Y = torch.randint(0, 5, (20, 7), generator=generator)
    lrs = learning_rates(optim, 0, 20, 20)
    running = RunningStatistics(torch.zeros(1, 17), torch.ones(1, 17), 0.1)
    trainer = ENGINES[engine](p, running, 1e-5, Optimiser(optim, 20, p.flat))

    def everything() -> list[torch.Tensor]:
        return [
            p.flat.clone(),
            running.mean.clone(),
            running.var.clone(),
            *map(torch.clone, trainer.optimiser.kept.values()),
        ]

    trainer.run(X[:10], Y[:10], lrs[:10], 0)
    state, middle = trainer.state(), everything()
    losses = trainer.run(X[10:], Y[10:], lrs[10:], 10)
    end = everything()
    assert not any(map(torch.equal, middle, end))
    trainer.restore(state)
    assert all(map(torch.equal, everything(), middle))
    assert torch.equal(trainer.run(X[10:], Y[10:], lrs[10:], 10), losses)
    assert all(map(torch.equal, everything(), end))
    trainer.restore(state)
    assert all(map(torch.equal, everything(), middle))


@pytest.mark.parametrize("engine", ENGINES)
def test_what_a_diverging_optimiser_says(engine: str, tmp_path: Path) -> None:
    """AdamW keeps squares of gradients, which overflow first."""
    settings = [f"train.engine={engine}", "train.steps=50", "optim={name: adamw, lr: 1.0e+25}"]
    with pytest.raises(MakemoreError, match=r"^step \d+: the loss is .* not finite") as error:
        train(configuration.load(configuration.find("tiny"), settings), tmp_path / "run")
    assert "the last good checkpoint" in str(error.value) or "no checkpoint yet" in str(error.value)


@pytest.mark.parametrize(
    ("setting", "message"),
    [
        ("optim={name: adamw, epsilon: 0}", "optim.epsilon: should be greater than or equal to 1e-30, but is 0"),
        ("optim.momentum=1", "optim.momentum: should be less than 1, but is 1"),
        ("optim.nesterov=true", "optim: nesterov needs a momentum above 0"),
        ("optim.beta2=0.99", "optim: beta2 belongs to adamw, but optim.name is sgd"),
        ("optim={name: adamw, momentum: 0.9}", "optim: momentum belongs to sgd, but optim.name is adamw"),
        ("optim.clip=0", "optim.clip: should be greater than or equal to 1e-30, but is 0"),
        ("optim.name=adam", "optim.name: should be one of sgd, adamw, but is 'adam'"),
        ("optim.average={name: men}", "optim.average.name: should be one of exponential, mean, but is 'men'"),
        ("optim.average={share: 0.5}", "optim.average.share: unknown key; known here: name, decay"),
        ("optim.average={name: mean, share: 0}", "optim.average.share: should be greater than 0, but is 0"),
        ("optim.average=0.999", "optim.average: should be a section, but is 0.999"),
        (
            "{model: {batchnorm: {statistics: running}}, optim: {average: {}}}",
            "optim.average: averaged parameters need their own batchnorm statistics; set model.batchnorm.statistics to "
            "calibrated",
        ),
    ],
)
def test_mistakes_in_an_optimiser_are_told(setting: str, message: str, tmp_path: Path) -> None:
    file = tmp_path / "a.yaml"
    if setting.startswith("{"):
        file.write_text(setting)
        settings, source = [], str(file)
    else:
        file.write_text("{}")
        settings, source = [setting], f"settings {setting}"
    with pytest.raises(MakemoreError) as error:
        configuration.load(file, settings)
    assert str(error.value) == f"{source}: {message}"
