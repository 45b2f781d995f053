import random
from collections.abc import Callable

import numpy as np
import pytest
import torch
from torch import Tensor
from torch.nn import functional as F

from makemore_cli.errors import MakemoreError, ParameterError
from makemore_cli.scalar.engine import Value
from makemore_cli.scalar.examples import FOUR, moons
from makemore_cli.scalar.experiment import Experiment, experiment
from makemore_cli.scalar.nn import ACTIVATIONS, MLP
from makemore_cli.scalar.training import LOSSES, hinge, logistic
from makemore_cli.views.plots.scalar_training import scores, sides

TORCH_LOSSES: dict[str, Callable[[Tensor, Tensor], Tensor]] = {
    "mse": lambda s, t: (s - t) ** 2,
    "logistic": lambda s, t: F.softplus(-s * t),
    "hinge": lambda s, t: (1 - s * t).clamp(min=0),
}
TORCH_ACTIVATIONS = {"relu": torch.relu, "tanh": torch.tanh, "sigmoid": torch.sigmoid, "linear": lambda a: a}


def by_pytorch(one: Experiment, zero_grad: bool) -> list[float]:
    """The losses of the same training, with matrices and autograd."""
    layers = [
        (
            torch.tensor([[w.data for w in n.w] for n in layer.neurons], dtype=torch.float64, requires_grad=True),
            torch.tensor([n.b.data for n in layer.neurons], dtype=torch.float64, requires_grad=True),
            TORCH_ACTIVATIONS[layer.neurons[0].activation],
        )
        for layer in one.model.layers
    ]
    X = torch.tensor(one.examples.inputs, dtype=torch.float64)
    Y = torch.tensor(one.examples.targets, dtype=torch.float64)
    parameters = [p for weight, bias, _ in layers for p in (weight, bias)]
    recipe, losses = one.recipe, []
    for step in range(recipe.steps + 1):
        h = X
        for weight, bias, activation in layers:
            h = activation(h @ weight.T + bias)
        each = TORCH_LOSSES[recipe.loss](h[:, 0], Y)
        loss = each.sum() if recipe.summed else each.mean()
        loss = loss + recipe.l2 * sum((p**2).sum() for p in parameters)
        losses.append(loss.item())
        if zero_grad:
            for p in parameters:
                p.grad = None
        loss.backward()
        lr = recipe.lr + (recipe.final_lr - recipe.lr) * step / recipe.steps
        with torch.no_grad():
            for p in parameters:
                p -= lr * p.grad  # type: ignore[operator]
    return losses


@pytest.mark.parametrize("zero_grad", [True, False])
@pytest.mark.parametrize("loss", LOSSES)
@pytest.mark.parametrize("points", [None, 10])
def test_it_trains_as_pytorch_does(points: int | None, loss: str, zero_grad: bool) -> None:
    one = experiment(
        points=points, hidden=(5, 3), loss=loss, steps=6, lr=0.05, batch_size=points, zero_grad=zero_grad, seed=3
    )
    expected = by_pytorch(one, zero_grad)
    assert [step.loss for step in one.train()] == pytest.approx(expected, rel=1e-9)


def test_the_four_examples_are_learned_and_a_forgotten_zero_grad_takes_huge_steps() -> None:
    usual, forgotten = experiment(), experiment(zero_grad=False)
    assert len(usual.model.parameters()) == 41
    first, *_, last = usual.train()
    assert first.loss > 1
    assert last.loss < 0.1
    assert usual.accuracy == last.accuracy == 1
    assert list(forgotten.train())[-1].loss < last.loss / 1000


def test_too_large_a_learning_rate_saturates() -> None:
    *_, last = experiment(lr=1.0).train()
    assert last.loss == pytest.approx(8)  # two of the four are wrong by 2 each


@pytest.mark.slow
@pytest.mark.parametrize("loss", LOSSES)
def test_the_moons_are_learned(loss: str) -> None:
    one = experiment(points=100 if loss == "hinge" else 10, loss=loss)  # fewer take less time
    assert len(one.model.parameters()) == 337
    first, *_, last = one.train()
    assert one.accuracy >= (1.0 if loss == "hinge" else 0.95)
    assert last.lr == pytest.approx(first.lr / 10)


def test_moons() -> None:
    points = moons(101, seed=5)
    assert moons(101, seed=5) == points != moons(101, seed=6)
    assert points.targets.count(-1.0) == 51
    upper = np.array([p for p, t in zip(points.inputs, points.targets, strict=True) if t < 0])
    lower = np.array([p for p, t in zip(points.inputs, points.targets, strict=True) if t > 0])
    assert np.abs(np.hypot(upper[:, 0], upper[:, 1]) - 1).max() < 0.5
    assert np.abs(np.hypot(lower[:, 0] - 1, lower[:, 1] - 0.5) - 1).max() < 0.5


@pytest.mark.parametrize("score", [-1000.0, -30.0, -0.5, 0.0, 0.5, 30.0, 1000.0])
@pytest.mark.parametrize("target", [1.0, -1.0])
def test_losses_have_pytorchs_values_and_slopes(score: float, target: float) -> None:
    for name, loss in LOSSES.items():
        ours = Value(score)
        found = loss(ours, target)
        found.backward()
        theirs = torch.tensor(score, dtype=torch.float64, requires_grad=True)
        expected = TORCH_LOSSES[name](theirs, torch.tensor(target))
        expected.backward()
        assert found.data == pytest.approx(expected.item(), rel=1e-12, abs=1e-15)
        assert theirs.grad is not None
        assert ours.grad == pytest.approx(theirs.grad.item(), rel=1e-12, abs=1e-15)


def test_the_largest_slopes() -> None:
    for loss in (hinge, logistic):
        score = Value(-1e4)
        loss(score, 1.0).backward()
        assert score.grad == -1


def test_a_loss_that_is_not_finite_is_told_with_its_step() -> None:
    one = experiment(points=10, hidden=(4, 4), activation="relu", loss="logistic", lr=1e200, steps=50, batch_size=10)
    with pytest.raises(MakemoreError, match=r"^step \d+: .*; try a smaller learning rate$") as error:
        list(one.train())
    assert error.value.parameters == ("lr",)


@pytest.mark.parametrize("activation", ACTIVATIONS)
def test_matrices_give_the_same_scores(activation: str) -> None:
    draw = random.Random(1)
    model = MLP(3, [4, 2, 1], activation=activation, random_bias=True, draw=draw.uniform)
    expected = [model(inputs).data for inputs in FOUR.inputs]
    assert scores(model, np.array(FOUR.inputs))[:, 0] == pytest.approx(expected, rel=1e-12)


def test_the_plane_as_text() -> None:
    model = MLP(2, [1])
    (neuron,) = model.layers[0].neurons
    neuron.w[0].data, neuron.w[1].data, neuron.b.data = 0.0, 1.0, -0.25  # positive in the upper half
    points = moons(20, seed=0)
    lines = sides(model, points, 40, 15)
    assert len(lines) == 15
    assert lines[0] == "░" * 40
    assert lines[-1] == ""
    text = "".join(lines)
    wrong = sum((y > 0.25) != (t > 0) for (_, y), t in zip(points.inputs, points.targets, strict=True))
    assert 0 < text.count("!") <= wrong


@pytest.mark.parametrize(
    ("options", "told"),
    [
        ({"loss": "l1"}, "loss must be one of mse, logistic, hinge, got l1"),
        ({"lr": -1.0}, "lr must be at least 0 and finite, got -1"),
        ({"lr": float("nan")}, "lr must be at least 0 and finite, got nan"),
        ({"points": 1}, "points must be from 2 to 10,000, got 1"),
        ({"points": 10, "batch_size": 11}, "batch_size must be from 1 to 10"),
        ({"batch_size": 2}, "batch_size applies to moons only"),
        ({"hidden": (4, 0)}, "hidden must be numbers from 1 to 1,000, got 4, 0"),
        ({"activation": "gelu"}, "activation must be one of relu"),
    ],
)
def test_values_that_can_not_be(options: dict[str, object], told: str) -> None:
    with pytest.raises(ParameterError, match=told):
        experiment(**options)  # type: ignore[arg-type]
