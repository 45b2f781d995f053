import copy
import math
import random
import subprocess
import sys
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import pytest
import torch
from hypothesis import HealthCheck, assume, given, settings
from hypothesis import strategies as st

from makemore_cli.errors import ParameterError
from makemore_cli.scalar import MLP, Layer, Neuron, Value
from makemore_cli.scalar.engine import topological_order
from makemore_cli.scalar.operations import DomainError

CLOSE = 1e-12  # of the largest number of an expression


# Random expressions, as programs that run on values and on PyTorch's tensors alike.


@dataclass(frozen=True)
class Line:
    """One operation on earlier results, by their numbers; `constant` is on the other side of some."""

    operation: str
    first: int
    second: int
    constant: float


OPERATIONS: dict[str, Callable[[Any, Any, float], Any]] = {
    "add": lambda a, b, c: a + b,
    "subtract": lambda a, b, c: a - b,
    "multiply": lambda a, b, c: a * b,
    "divide": lambda a, b, c: a / (b * b + 0.5),
    "add a constant": lambda a, b, c: a + c,
    "a constant plus": lambda a, b, c: c + a,
    "subtract a constant": lambda a, b, c: a - c,
    "a constant minus": lambda a, b, c: c - a,
    "multiply by a constant": lambda a, b, c: a * c,
    "a constant times": lambda a, b, c: c * a,
    "divide by a constant": lambda a, b, c: a / (c + math.copysign(0.5, c)),
    "a constant over": lambda a, b, c: c / (a * a + 0.5),
    "negate": lambda a, b, c: -a,
    "square": lambda a, b, c: a**2,
    "cube": lambda a, b, c: a**3,
    "constant power": lambda a, b, c: (a * a + 0.5) ** c,
    "power": lambda a, b, c: (a.tanh() + 1.5) ** b.tanh(),
    "power of a constant": lambda a, b, c: (abs(c) + 0.5) ** a.tanh(),
    "exp": lambda a, b, c: (a.tanh() * 3).exp(),
    "log": lambda a, b, c: (a * a + 0.5).log(),
    "tanh": lambda a, b, c: a.tanh(),
    "sigmoid": lambda a, b, c: a.sigmoid(),
    "relu": lambda a, b, c: a.relu(),
    "sin": lambda a, b, c: a.sin(),
    "cos": lambda a, b, c: a.cos(),
}
NUMBERS = st.floats(-3, 3, allow_subnormal=False)
LINES = st.builds(
    Line, st.sampled_from(sorted(OPERATIONS)), st.integers(0, 10**6), st.integers(0, 10**6), st.floats(-2, 2)
)


def run(program: Sequence[Line], leaves: Sequence[Any]) -> list[Any]:
    """All results, the leaves first. A line may read any of them, so that nodes are shared."""
    results = list(leaves)
    for line in program:
        first, second = results[-1 - line.first % len(results)], results[-1 - line.second % len(results)]
        results.append(OPERATIONS[line.operation](first, second, line.constant))
    return results


@settings(deadline=None, max_examples=150, suppress_health_check=[HealthCheck.filter_too_much])
@given(st.lists(NUMBERS, min_size=1, max_size=4), st.lists(LINES, min_size=1, max_size=12))
def test_random_expressions_agree_with_pytorch_and_with_central_differences(
    numbers: list[float], program: list[Line]
) -> None:
    leaves = [Value(number) for number in numbers]
    results = run(program, leaves)
    assume(max(abs(one.data) for one in results) < 1e6)
    results[-1].backward()

    tensors = [torch.tensor(number, dtype=torch.float64, requires_grad=True) for number in numbers]
    theirs = run(program, tensors)
    for one in theirs:
        if one.requires_grad:
            one.retain_grad()
    theirs[-1].backward()
    scale = max(1.0, *(abs(one.data) for one in results), *(abs(one.grad) for one in topological_order(results[-1])))
    for one, other in zip(results, theirs, strict=True):
        assert abs(one.data - other.item()) <= CLOSE * scale
        assert abs(one.grad - (0.0 if other.grad is None else other.grad.item())) <= CLOSE * scale

    for at, leaf in enumerate(leaves):
        here = results[-1].data
        up, down = (
            run(program, [Value(n + h * (place == at)) for place, n in enumerate(numbers)])[-1].data
            for h in (1e-5, -1e-5)
        )
        right, left = (up - here) / 1e-5, (here - down) / 1e-5
        if abs(right - left) < 1e-2 * max(1.0, abs(right)):  # no kink between, and no steep bend
            assert (right + left) / 2 == pytest.approx(leaf.grad, rel=1e-2, abs=1e-2 + 1e-9 * scale)


# What the lecture shows, with its numbers.


def test_the_example_of_micrograds_readme() -> None:
    a, b = Value(-4.0), Value(2.0)
    c = a + b
    d = a * b + b**3
    c += c + 1
    c += 1 + c + (-a)
    d += d * 2 + (b + a).relu()
    d += 3 * d + (b - a).relu()
    e = c - d
    g = e**2 / 2.0
    g += 10.0 / e**2
    g.backward()
    assert f"{g.data:.4f} {a.grad:.4f} {b.grad:.4f}" == "24.7041 138.8338 645.5773"


def test_the_expression_of_the_lecture_and_a_step_along_its_gradients() -> None:
    a, b, c, f = Value(2.0, label="a"), Value(-3.0, label="b"), Value(10.0, label="c"), Value(-2.0, label="f")
    e = a * b
    d = e + c
    L = d * f
    assert (e.data, d.data, L.data) == (-6, 4, -8)
    assert (d._prev, d._op, a._prev, a._op) == ({e, c}, "+", set(), "")
    L.backward()
    assert [one.grad for one in (L, f, d, c, e, a, b)] == [1, 4, -2, -2, -2, 6, -4]
    for one in (a, b, c, f):
        one.data += 0.01 * one.grad
    assert f"{((a * b + c) * f).data:.3f}" == "-7.286"


def neuron(tanh: Callable[[Value], Value], b: float = 6.8813735870195432) -> tuple[list[Value], Value, Value]:
    leaves = [Value(2.0), Value(0.0), Value(-3.0), Value(1.0), Value(b)]
    x1, x2, w1, w2, bias = leaves
    n = x1 * w1 + x2 * w2 + bias
    return leaves, n, tanh(n)


@pytest.mark.parametrize(
    "tanh",
    [Value.tanh, lambda n: ((2 * n).exp() - 1) / ((2 * n).exp() + 1), lambda n: 2 * (2 * n).sigmoid() - 1],
    ids=["tanh", "by exp", "by sigmoid"],
)
def test_the_neuron(tanh: Callable[[Value], Value]) -> None:
    leaves, n, o = neuron(tanh)
    o.backward()
    assert (round(n.data, 2), round(o.data, 4), round(n.grad, 4)) == (0.88, 0.7071, 0.5)
    assert [round(one.grad, 4) for one in leaves] == [-1.5, 0.5, 1.0, 0.0, 0.5]
    _, n, o = neuron(tanh, b=8.0)
    assert (n.data, round(o.data, 2)) == (2.0, 0.96)


def test_a_value_used_twice_gets_both_gradients() -> None:
    a = Value(3.0)
    b = a + a
    b.backward()
    assert a.grad == 2
    assert b._prev == {a}
    a, b = Value(-2.0), Value(3.0)
    f = (a * b) * (a + b)
    f.backward()
    assert (f.data, a.grad, b.grad) == (-6, -3, -8)


def test_shared_nodes_need_a_topological_order() -> None:
    a = Value(1.0)
    b = a + a
    c = b + b
    c.backward()
    assert a.grad == 4  # 8 without one


def test_constants_on_either_side() -> None:
    a = Value(4.0)
    found = [2 * a, a * 2, 2 + a, a + 2, 2 - a, a - 2, 2 / a, a / 2, 2**a, a**2, -a, sum([a, a, 1])]
    assert [one.data for one in found] == pytest.approx([8, 8, 6, 6, -2, 2, 0.5, 2, 16, 16, -4, 9])
    assert a**0 * 3 + 0 * a != 3  # it is a value
    a = Value(0.0)
    (a**0 + a**1).backward()
    assert a.grad == 1


@pytest.mark.parametrize(
    ("compute", "told"),
    [
        (lambda: Value(-2.0) ** 0.5, r"\(-2\)\*\*0.5 is not a real number"),
        (lambda: Value(-2.0) ** Value(0.5), r"\(-2\)\*\*\(0.5\) is not a real number"),
        (lambda: 1 / Value(0.0), r"\(0\)\*\*-1 divides by zero"),
        (lambda: Value(0.0).log(), r"log\(0\) is not a real number"),
        (lambda: Value(1000.0).exp(), r"exp\(1000\) is too large"),
        (lambda: Value(1e200) ** 2, r"\(1e\+200\)\*\*2 is too large"),
        (lambda: (Value(0.0) ** 0.5).backward(), r"the derivative of \(0\)\*\*0.5 divides by zero"),
        (lambda: Value(math.inf).sin(), r"sin\(inf\) is not a real number"),
    ],
)
def test_what_has_no_real_result_is_told(compute: Callable[[], object], told: str) -> None:
    with pytest.raises(DomainError, match=told) as error:
        compute()
    assert isinstance(error.value, ArithmeticError)
    assert isinstance(error.value, ZeroDivisionError | OverflowError | ValueError)  # which Python would raise


def test_100_000_operations_in_a_row() -> None:
    x = first = Value(1.0)
    for _ in range(100_000):
        x = x + 1e-5
    x.backward()
    assert (round(x.data, 6), first.grad) == (2.0, 1.0)
    assert len(topological_order(x)) == 200_001
    del x  # frees them all, in a row too


def test_backward_adds_to_what_is_there() -> None:
    a = Value(2.0)
    loss = a * a
    loss.backward()
    loss.backward()
    assert a.grad == 8  # as in micrograd: set gradients to zero before the next time


def test_an_operation_of_ones_own() -> None:
    """Users of micrograd write operations as the lecture does: by the constructor, and a closure for the gradient."""

    def arctan(a: Value) -> Value:
        out = Value(math.atan(a.data), (a,), "atan")

        def backward() -> None:
            a.grad += out.grad / (1 + a.data**2)

        out._backward = backward  # type: ignore[method-assign]
        return out

    a = Value(0.5)
    (2 * arctan(a * 3)).backward()
    assert a.grad == pytest.approx(2 * 3 / (1 + 1.5**2))


@pytest.mark.parametrize(("base", "exponent"), [(-3.0, 2.0), (0.0, 2.0), (2.0, -1.5)])
def test_a_power_of_a_value_has_pytorchs_gradients(base: float, exponent: float) -> None:
    a, b = Value(base), Value(exponent)
    (a**b).backward()
    x, y = (torch.tensor(one, dtype=torch.float64, requires_grad=True) for one in (base, exponent))
    expected = torch.autograd.grad(x**y, (x, y))
    assert [a.grad, b.grad] == pytest.approx([one.item() for one in expected], nan_ok=True)


def test_what_micrograd_lets_one_do() -> None:
    neuron = Neuron(2)
    neuron.nonlin = False
    assert repr(neuron) == "LinearNeuron(2)"
    row = [1.0, 2.0]
    assert neuron(map(Value, row)).data == neuron(row).data
    assert MLP(2, [])(row) == row
    assert MLP(2, []).parameters() == []
    a, b = Value(1.0), Value(2.0)
    out = Value(3.0, _op="mine")
    out._prev = {a, b}
    assert set(topological_order(out)) == {a, b, out}
    with pytest.raises(TypeError, match="'3' is a string, not a number"):
        a + "3"  # type: ignore[operator]


def test_numbers_of_numpy() -> None:
    import numpy as np

    a = Value(np.float64(3.0))
    for one in (np.float64(2) * a, a * np.int64(2), np.float32(2) * a, -np.int64(-2) * a):
        assert isinstance(one, Value)
        assert one.data == 6
    weights = np.array([Value(1.0), Value(2.0)])
    out = (weights @ np.array([3.0, 4.0])).tanh()
    out.backward()
    assert weights[1].grad == pytest.approx(4 * (1 - math.tanh(11) ** 2))


def test_it_is_shown_and_copied() -> None:
    a = Value(2, label="a")
    assert repr(a * 3) == "Value(data=6.0, grad=0.0)"
    assert copy.deepcopy(a + 1).data == 3


# Networks.


def test_a_network_is_micrograds_for_the_same_seed() -> None:
    """The weights come in micrograd's order: neuron by neuron, the biases are zero, and the last layer is linear."""
    random.seed(1337)
    model = MLP(2, [16, 16, 1])
    random.seed(1337)
    weights = [
        [[random.uniform(-1, 1) for _ in range(into)] for _ in range(out)] for into, out in ((2, 16), (16, 16), (16, 1))
    ]
    assert len(model.parameters()) == 337
    assert repr(Layer(2, 2)) == "Layer of [ReLUNeuron(2), ReLUNeuron(2)]"
    assert repr(MLP(2, [1])) == "MLP of [Layer of [LinearNeuron(2)]]"
    assert repr(Neuron(3, nonlin=False)) == "LinearNeuron(3)"
    x = torch.tensor([0.5, -1.0], dtype=torch.float64)
    tensors = [torch.tensor(w, dtype=torch.float64, requires_grad=True) for w in weights]
    expected = tensors[2] @ (tensors[1] @ (tensors[0] @ x).relu()).relu()
    out = model([0.5, -1.0])
    assert out.data == pytest.approx(expected.item(), rel=CLOSE)
    out.backward()
    expected.backward()
    gradients = [g for tensor in tensors for row in tensor.grad.tolist() for g in row]  # type: ignore[union-attr]
    ours = [w.grad for layer in model.layers for neuron in layer.neurons for w in neuron.w]
    assert ours == pytest.approx(gradients, rel=1e-11, abs=1e-13)
    model.zero_grad()
    assert {p.grad for p in model.parameters()} == {0}


def test_the_lectures_network() -> None:
    model = MLP(3, [4, 4, 1], activation="tanh", output="tanh", random_bias=True)
    assert len(model.parameters()) == 41
    assert abs(model([2.0, 3.0, -1.0]).data) < 1
    assert all(neuron.b.data for layer in model.layers for neuron in layer.neurons)


def test_a_layer_of_one_neuron_feeds_the_next() -> None:
    assert isinstance(MLP(2, [1, 1, 1])([1.0, 2.0]), Value)
    assert len(MLP(2, [1, 3])([1.0, 2.0])) == 3


def test_mistakes_are_told() -> None:
    with pytest.raises(ParameterError, match="activation must be one of relu, tanh, sigmoid, linear, got gelu"):
        MLP(2, [2, 1], activation="gelu")
    with pytest.raises(ParameterError, match="x must have 3 numbers, one for each weight, got 2"):
        MLP(3, [1])([1.0, 2.0])


def test_the_import_brings_no_tensor_library() -> None:
    code = "import sys, makemore_cli.scalar; print(sorted({'torch', 'numpy', 'typer'} & set(sys.modules)))"
    assert subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True).stdout == "[]\n"


def test_pytorchs_tanh_passes_back_what_the_table_does() -> None:
    """PyTorch's own backward of tanh takes the output b: a · (1 − b²)."""
    n, above = 0.8814, 0.3
    o = torch.tensor(n, dtype=torch.float64).tanh()
    theirs = torch.ops.aten.tanh_backward(torch.tensor(above, dtype=torch.float64), o)
    a = Value(n)
    (a.tanh() * above).backward()
    assert a.grad == pytest.approx(theirs.item(), rel=CLOSE)
