"""Failures of the micrograd lecture, on scalar values."""

from __future__ import annotations

from collections.abc import Callable

from makemore_cli.learn.demo import Result, Table
from makemore_cli.scalar.engine import Value, topological_order
from makemore_cli.scalar.experiment import experiment


class _Overwriting(Value):
    """A value whose gradient is the last part that it received, not the sum."""

    @property
    def grad(self) -> float:
        return self._last

    @grad.setter
    def grad(self, total: float) -> None:
        before = getattr(self, "_sum", 0.0)
        self._last, self._sum = total - before, total


def overwritten_gradient() -> Result:
    rows = []
    for text, numbers, compute in (
        ("b = a + a", (3.0,), lambda a: a + a),
        ("f = (a·b)·(a + b)", (-2.0, 3.0), lambda a, b: (a * b) * (a + b)),
    ):
        wrong = [_Overwriting(number) for number in numbers]
        compute(*wrong).backward()
        right = [Value(number) for number in numbers]
        compute(*right).backward()
        rows += [
            (text, f"d{name}", w.grad, r.grad, _nudged(compute, numbers, at))
            for at, (name, w, r) in enumerate(zip("ab", wrong, right, strict=False))
        ]
    table = Table("", ("expression", "gradient", "with =", "with +=", "by nudging"), tuple(rows))
    return Result(
        "Each use of a number passes a gradient back to it. The second either replaces the first (=) or is added (+=).",
        (table,),
        "A number that is used twice affects the result along two paths. Its gradient is the sum over both.",
    )


def no_topological_order() -> Result:
    rows = []
    for text, compute in (
        ("c = a + a", _twice),
        ("b = a + a; c = b + b", lambda a: _twice(_twice(a))),
        ("c = (a + a) · a", lambda a: (a + a) * a),
    ):
        wrong = Value(1.0)
        end = compute(wrong)
        end.grad = 1.0
        _recurse(end)
        right = Value(1.0)
        compute(right).backward()
        rows.append((text, wrong.grad, right.grad, _nudged(compute, (1.0,), 0)))
    table = Table("", ("expression, a = 1", "by recursion", "in order", "by nudging"), tuple(rows))
    return Result(
        "Each number passes its gradient on either whenever it receives some (by recursion), or once, after all of its "
        "uses (in order).",
        (table,),
        "Recursion is right only if no intermediate number is used twice: it would pass the same gradient on twice. "
        "In topological order, each number waits for all of its uses.",
    )


def _twice(a: Value) -> Value:
    return a + a


def _recurse(value: Value) -> None:
    value._backward()
    for child in value._children:
        _recurse(child)


def no_start_gradient() -> Result:
    rows = []
    for start in (0.0, 1.0):
        x1, w1, b = Value(2.0), Value(-3.0), Value(6.8813735870195432)
        end = (x1 * w1 + b).tanh()
        end.grad = start
        for value in reversed(topological_order(end)):
            value._backward()
        rows.append((start, x1.grad, w1.grad, b.grad))
    return Result(
        "A neuron, o = tanh(x1·w1 + b). The gradient of o is first left at 0, then set to 1.",
        (Table("", ("do", "dx1", "dw1", "db"), tuple(rows)),),
        "Every gradient is a multiple of the result's own, ∂o/∂o = 1. If that is left at 0, all gradients are 0, and "
        "no error is raised.",
    )


def called_closure() -> Result:
    def add(a: Value, b: Value, store: Callable[[Callable[[], None]], object]) -> Value:
        out = Value(a.data + b.data, (a, b), "+")

        def backward() -> None:
            a.grad += out.grad
            b.grad += out.grad

        out._backward = store(backward)  # type: ignore[assignment]
        return out

    stored_a, stored_b = Value(2.0), Value(-3.0)
    add(stored_a, stored_b, lambda backward: backward).backward()
    called_a, called_b = Value(2.0), Value(-3.0)
    try:
        add(called_a, called_b, lambda backward: backward()).backward()
        told = ""
    except TypeError as error:
        told = str(error)
    rows = (
        ("out._backward = backward", stored_a.grad, stored_b.grad, ""),
        ("out._backward = backward()", called_a.grad, called_b.grad, told),
    )
    return Result(
        "A user-defined operation, c = a + b, stores a function that passes the gradient on.",
        (Table("", ("line", "da", "db", "error"), rows),),
        "With brackets, the function runs at once, when the gradient of c is still 0, and its return value, None, is "
        "stored. Store the function itself.",
    )


def forgotten_zero_grad() -> Result:
    usual, forgotten = experiment(), experiment(zero_grad=False)
    rows = [
        (step.step, step.loss, other.loss)
        for step, other in zip(usual.train(), forgotten.train(), strict=True)
        if step.step % 2 == 0
    ]
    small = experiment(lr=0.2)
    *_, last = small.train()
    return Result(
        "The lecture's network of 41 parameters is trained on its four examples for 20 steps, at learning rate 0.05.",
        (Table("the loss", ("step", "with zero_grad", "without"), tuple(rows)),),
        "Training converges all the same: gradients accumulate, and the steps grow as if the learning rate increased. "
        f"(With zero_grad and a learning rate of 0.2, the loss ends at {last.loss:.2g}.) The mistake is easy to miss "
        "here, but on a harder problem, training overshoots.",
    )


def large_step() -> Result:
    rates = (0.01, 0.05, 0.3, 1.0)
    runs = [list(experiment(lr=lr).train()) for lr in rates]
    rows = tuple((step, *(run[step].loss for run in runs)) for step in (0, 1, 2, 3, 4, 5, 10, 20))
    saturated = max(abs(score) for score in runs[-1][-1].scores)
    return Result(
        "The lecture's network is trained on its four examples, with four learning rates.",
        (Table("the loss", ("step", *(f"rate {lr:g}" for lr in rates)), rows),),
        "If the learning rate is too small, training is slow. If it is too large, the first steps overshoot to where "
        f"tanh is flat: the largest prediction is {saturated:.4g} in absolute value, almost no gradient comes back, "
        "and the network stays there.",
    )


def _nudged(compute: Callable[..., Value], numbers: tuple[float, ...], at: int) -> float:
    h = 1e-6
    up, down = (
        compute(*(Value(number + nudge * (place == at)) for place, number in enumerate(numbers))).data
        for nudge in (h, -h)
    )
    return round((up - down) / (2 * h), 6)
