"""A chain on scalar values against the same chain on tensors."""

import random
from pathlib import Path

import pytest
import torch
from torch.nn import functional as F

from makemore_cli.backprop.chain import Chain, chain
from makemore_cli.backprop.inputs import ChainError, index, positive
from makemore_cli.backprop.shipped import SHIPPED
from makemore_cli.backprop.step import step
from makemore_cli.checks import scalar_source
from makemore_cli.checks.chain_file import load
from makemore_cli.checks.check_chain import check
from makemore_cli.checks.network import NetworkProblem
from makemore_cli.checks.problem import Problem, drawn
from makemore_cli.checks.scalar_source import operations, scalar_gradients
from makemore_cli.errors import ParameterError
from makemore_cli.scalar import engine
from tests.checks.test_chains import CHAINS
from tests.conftest import Cli, problem

CLOSE = 1e-12  # of a gradient's scale
DOUBLE = torch.float64


def assert_same(one: Problem) -> None:
    found = scalar_gradients(one)
    assert found.keys() == set(one.order) - set(one.above)
    for name, gradient in found.items():
        assert (gradient - one.autograd[name]).abs().max() <= CLOSE * one.scale[name], name


@pytest.mark.parametrize("name", SHIPPED)
def test_the_chains_that_ship(name: str) -> None:
    for seed in range(3):
        assert_same(drawn(SHIPPED[name].chain, DOUBLE, seed))


@pytest.mark.parametrize("path", CHAINS, ids=lambda path: path.stem)
def test_other_networks(path: Path) -> None:
    declared = load(path)
    assert isinstance(declared, Chain)
    assert_same(drawn(declared, DOUBLE))


@pytest.mark.parametrize("seed", range(6))
def test_the_network(seed: int) -> None:
    draw = random.Random(seed)
    sizes = {"n": draw.randint(2, 6), "T": draw.randint(1, 3), "E": draw.randint(1, 4), "H": draw.randint(1, 8)}
    p, X, Y = problem(**sizes, V=9, dtype=DOUBLE, seed=seed, first_bias=seed % 2 == 0)
    assert_same(NetworkProblem(p, X, Y, 1e-5, 0.1 if seed % 3 == 0 else 0.0))


def one(forward: object, *, inputs: dict[str, object] | None = None) -> Chain:
    return chain("an operation", inputs or {"a": "n m", "b": "n m", "W": "m k"}, step("y", forward))  # type: ignore[arg-type]


@pytest.mark.parametrize(
    "forward",
    [
        lambda a, b: a / (b * b + 1) - 2 / (a.exp() + 1) + 2**b - (-a),
        lambda a, b: torch.where(a > b, a * b, b.abs()),
        lambda a, b: torch.sigmoid(a) + F.softplus(b) + F.silu(a) + a.square() * b.clamp(min=-0.5, max=0.5),
        lambda a, b: (a.log_softmax(1) * b).sum(0) + F.softmax(a, dim=0).mean(0),
        lambda a, b: (a - a.mean(1, keepdim=True)) * (a.var(1, keepdim=True) + 1).rsqrt() + b.var(0, unbiased=False),
        lambda a, b: (a.mT @ b).relu().amax(1) + a[0].max() + b.flatten().sum(),
        lambda a, W: torch.matmul(a[0], W) + (a @ W[:, 0]).sum(),
        lambda a, b: a.view(-1)[1:] * b.reshape(-1)[:-1],
        lambda a, b: a.unsqueeze(0).expand(2, -1, -1).sum((0, 2)) + b.permute(1, 0).sum(0),
        lambda a, n: a.masked_fill(torch.ones(n, 1).bool(), 3.0) + torch.sin(a).cos(),
        lambda a, b, m: a.unflatten(1, (m, 1)).squeeze(2).transpose(0, 1).t() ** 2 * (b <= 0),
        lambda a: a + a.T.T + a,
        lambda a: (a * 300).softmax(1),
        lambda a, b: a * (a == a.amax(1, keepdim=True)) + b * (b != 0),
        lambda a, b: ((a * 0).relu() + 1).amax(1) * torch.maximum(a, b).amax(1) + torch.max(a, b).sum(1),
        lambda a, b: torch.minimum(a, a) + torch.minimum(a, b) - b.neg(),
        lambda a, b: torch.cat([a, b], dim=1).sum(0) * torch.stack([a, b]).mean((0, 1)).sum(),
        lambda a, W: F.linear(a, W.T) + F.linear(a, W.T, W[0]),
        lambda a, b: a.mul(b).add(2).sub(b).div(b.square() + 1).pow(2),
        lambda a: torch.gather(a, -1, torch.zeros(2, 1, dtype=torch.long)) * a.squeeze(0)[:2],
        lambda a: (a * a + 1).sqrt().reciprocal(),
    ],
)
def test_operations(forward: object) -> None:
    names = {"a": "n m", "b": "n m", "W": "m k"}
    read = forward.__code__.co_varnames[: forward.__code__.co_argcount]  # type: ignore[attr-defined]
    inputs = {name: shape for name, shape in names.items() if name in read}
    for seed in (0, 7):
        assert_same(drawn(one(forward, inputs=inputs), DOUBLE, seed))  # type: ignore[arg-type]


def test_a_view_and_a_tensor_used_twice_have_gradients_of_their_own() -> None:
    twice = chain(
        "twice",
        {"x": "n m"},
        step("flat", lambda x: x.flatten()),
        step("again", lambda flat: flat.expand(2, -1)),
        step("y", lambda again, x: again.sum(0) * x.sum()),
    )
    assert_same(drawn(twice, DOUBLE))


def test_a_wrong_line_is_found(cli: Cli, tmp_path: Path) -> None:
    path = tmp_path / "mine.py"
    path.write_text(
        "from makemore_cli import chain, step\n"
        "mine = chain('mine', {'x': 'n D', 'W': 'D H'},\n"
        "    step('y', lambda x, W: x @ W, dx=lambda W, dy: dy @ W.T, dW=lambda x, dy: 2 * x.T @ dy))\n"
    )
    result = cli("gradcheck", "--chain", path, "--against", "scalar")
    assert result.code == 1
    assert "dW" in result.out
    assert result.err == ""
    assert cli("gradcheck", "--chain", path, "--of", "autograd", "--against", "scalar").code == 0


def test_the_command(cli: Cli) -> None:
    small = ("--set", "train.batch_size=3", "--set", "model.hidden_size=4")
    result = cli("gradcheck", "--against", "scalar", *small)
    assert result.code == 0
    assert "All agree: 26 of 26 gradients" in result.out
    assert "one number at a time" in result.err
    assert cli("gradcheck", "--chain", "neuron", "--against", "scalar").code == 0
    assert cli("gradcheck", "--chain", "neuron", "--of", "scalar", "--against", "finite").code == 0


def test_what_is_not_done_on_scalars_is_told_in_one_line(cli: Cli) -> None:
    with pytest.raises(ChainError, match=r"^odd: step y: (erf|special_erf) is not supported on scalars$"):
        scalar_gradients(drawn(chain("odd", {"x": "n"}, step("y", lambda x: torch.erf(x))), DOUBLE))
    with pytest.raises(ChainError, match="step y: cumsum is not supported on scalars"):
        scalar_gradients(drawn(chain("odd", {"x": "n"}, step("y", lambda x: x.cumsum(0))), DOUBLE))
    for forward, told in (
        (lambda x: torch.add(x, x, alpha=2), "add with options is not supported"),
        (lambda x: F.softplus(x, beta=2), "softplus with options is not supported"),
        (lambda x: torch.einsum("i,i->i", x, x), "einsum is not supported"),
    ):
        with pytest.raises(ChainError, match=f"step y: {told} on scalars"):
            scalar_gradients(drawn(chain("odd", {"x": "n"}, step("y", forward)), DOUBLE))
    big = drawn(chain("big", {"x": "n", "y": "n"}, step("z", lambda x, y: x * y)), DOUBLE, sizes={"n": 1000})
    assert operations(big) == 1000
    result = cli("gradcheck", "--against", "scalar", "--config", "best")
    assert result.code == 2
    assert "operations on scalars, more than the limit of 5,000,000: choose smaller sizes" in result.err


def test_too_large_a_chain_is_told_before_it_is_run(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(scalar_source, "MOST_OPERATIONS", 100)
    with pytest.raises(ChainError, match="takes about 1,280 operations on scalars"):
        scalar_gradients(drawn(SHIPPED["linear"].chain, DOUBLE, sizes={"n": 8, "D": 8, "H": 8}))


def test_the_count_is_about_the_number_of_values() -> None:
    p, X, Y = problem(n=4, T=2, E=3, H=8, V=9, dtype=DOUBLE)
    network = NetworkProblem(p, X, Y, 1e-5, 0.0)
    made = 0

    original = engine.Value.__init__

    def counting(self: engine.Value, *arguments: object) -> None:
        nonlocal made
        made += 1
        original(self, *arguments)  # type: ignore[arg-type]

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(engine.Value, "__init__", counting)
        scalar_gradients(network)
    assert made / 2 < operations(network) < made * 2


def test_sources_of_a_chain_are_named() -> None:
    linear = SHIPPED["linear"].chain
    with pytest.raises(ParameterError, match="of must be one of atomic, autograd"):
        check(linear, of="fused")
    with pytest.raises(ParameterError, match="against must be one of atomic"):
        check(linear, against="functions")
    with pytest.raises(ParameterError, match="against must differ from the source that is checked"):
        check(linear, of="scalar", against="scalar")
    with pytest.raises(ParameterError, match="against must be one of"):
        check(linear, against="")


def test_positive_inputs_and_indices() -> None:
    mixed = chain(
        "mixed",
        {"C": "V E", "X": index("n", "V"), "s": positive("n 1")},
        step("emb", lambda C, X: C[X]),
        step("y", lambda emb, s: (emb * s.log()).sum()),
    )
    assert_same(drawn(mixed, DOUBLE))


@pytest.mark.parametrize("witness", ["scalar", "float64", "finite", "complex"])
def test_a_line_of_a_wrong_shape_is_named(witness: str, tmp_path: Path, cli: Cli) -> None:
    """The lines after it can't run."""
    file = tmp_path / "rms_norm.py"
    file.write_text(
        "from makemore_cli import chain, step\n"
        "c = chain('RMS norm', {'x': 'n D', 'eps': 1e-6},\n"
        "    step('square', lambda x: (x**2).mean(1, keepdim=True), dx=lambda x, D, dsquare: 2 / D * x * dsquare),\n"
        "    step('inv', lambda square, eps: (square + eps) ** -0.5,\n"
        "         dsquare=lambda inv, dinv: -0.5 * inv**3 * dinv),\n"
        "    step('y', lambda x, inv: x * inv, dx=lambda inv, dy: inv * dy, dinv=lambda x, dy: (x * dy).sum(1)))\n"
    )
    result = cli("gradcheck", "--chain", file, "--against", witness)
    assert result.code == 1
    assert "wrong: the line for dinv in the step y" in result.out
    assert "keepdim=True" in result.out
