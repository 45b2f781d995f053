import math
from contextlib import suppress

import pytest
from hypothesis import assume, given
from hypothesis import strategies as st

from makemore_cli.scalar.derivative import FALLING, best, nudge, slopes, study
from makemore_cli.scalar.expression import FUNCTIONS, Expression, ExpressionError, parse_assignments

LECTURE = "e = a*b; d = e + c; L = d*f"
AT = {"a": 2.0, "b": -3.0, "c": 10.0, "f": -2.0}
README = """
    c = a + b
    d = a * b + b**3
    c += c + 1
    c += 1 + c + (-a)
    d += d * 2 + (b + a).relu()
    d += 3 * d + (b - a).relu()
    e = c - d
    f = e**2
    g = f / 2.0
    g += 10.0 / f
"""


def texts(inner: st.SearchStrategy[str]) -> st.SearchStrategy[str]:
    binary = st.tuples(inner, st.sampled_from(["+", "-", "*", "/", "**"]), inner)
    return st.one_of(
        st.builds("({})".format, inner),
        binary.map(" ".join),
        st.builds("{}({})".format, st.sampled_from(["exp", "log", "tanh", "sin", "cos", "sqrt"]), inner),
        st.builds("-{}".format, inner),
    )


TEXTS = st.recursive(st.sampled_from(["x", "y", "2", "0.5", "3.", "pi", "1e-1"]), texts, max_leaves=8)


@given(TEXTS, st.floats(-2, 2), st.floats(0.1, 2))
def test_random_texts_have_the_value_that_python_gives_them(text: str, x: float, y: float) -> None:
    known = {name: getattr(math, name) for name in ("exp", "log", "tanh", "sin", "cos", "sqrt", "pi")}
    try:
        expected = eval(text, {"__builtins__": {}}, {**known, "x": x, "y": y})
    except (ArithmeticError, ValueError, TypeError):  # a complex number on the way
        expected = None
    expression = Expression(text)
    numbers = {name: value for name, value in (("x", x), ("y", y)) if name in expression.variables}
    try:
        ours = expression.evaluate(numbers).result.data
    except ExpressionError:
        assert expected is None or isinstance(expected, complex) or not math.isfinite(expected)
        return
    assume(expected is not None and not isinstance(expected, complex))
    assert ours == pytest.approx(expected, rel=1e-9, abs=1e-9)


def test_the_readme_of_micrograd_can_be_pasted() -> None:
    result, found = slopes(Expression(README), {"a": -4.0, "b": 2.0})
    grads = {one.name: one.slope for one in found}
    assert f"{result:.4f} {grads['a']:.4f} {grads['b']:.4f}" == "24.7041 138.8338 645.5773"


def test_named_results_have_slopes_each_confirmed_by_nudging() -> None:
    expression = Expression(LECTURE)
    assert (expression.variables, expression.results) == (("a", "b", "c", "f"), ("e", "d", "L"))
    result, found = slopes(expression, AT)
    assert result == -8
    assert {one.name: one.slope for one in found} == {"a": 6, "b": -4, "c": -2, "f": 4, "e": -2, "d": -2, "L": 1}
    for one in found:
        assert nudge(expression, AT, one.name, 1e-4).central == pytest.approx(one.slope, rel=1e-8)
    ascended = study(expression, AT, ascend=0.01).ascended
    assert ascended is not None
    moved, then = ascended
    assert moved == pytest.approx({"a": 2.06, "b": -3.04, "c": 9.98, "f": -1.96})
    assert round(then, 3) == -7.286


def test_the_parabola_of_the_lecture() -> None:
    f = Expression("3*x**2 - 4*x + 5")
    assert [slopes(f, {"x": x})[1][0].slope for x in (3, -3)] == [14, -22]
    assert slopes(f, {"x": 2 / 3})[1][0].slope == pytest.approx(0, abs=1e-15)
    by_h = {h: nudge(f, {"x": 3}, "x", h) for h in (0.001, 1e-15, 1e-17)}
    forward = [by_h[h].forward for h in (0.001, 1e-15, 1e-17)]
    assert forward == pytest.approx([14.003, 10.66, 0], abs=2e-3)
    falling = [nudge(f, {"x": 3}, "x", h) for h in FALLING]
    nearest = best(falling, 14, "forward")
    assert nearest is not None
    assert 1e-9 <= nearest.h <= 1e-7  # about the square root of a float's precision


def test_a_car_is_eight_times_as_fast_as_a_walker() -> None:
    _, found = slopes(Expression("bicycle = 4*walker; car = 2*bicycle"), {"walker": 1.0})
    assert {one.name: one.slope for one in found} == {"walker": 8, "bicycle": 2, "car": 1}


def test_another_name_of_a_value_has_its_own_slope() -> None:
    _, found = slopes(Expression("y = a; z = y*a"), {"a": 3.0})
    assert {one.name: one.slope for one in found} == {"a": 6, "y": 3, "z": 1}


def test_the_text_may_give_the_numbers() -> None:
    expression = Expression("a = 2; b = -3; c = 5*2; f = -2; " + LECTURE)
    assert slopes(expression, {})[0] == -8
    assert slopes(expression, {"c": 11})[0] == -10
    assert Expression("a = 2; b = 3").evaluate({}).result.data == 3
    assert Expression("2*a; b = 3*a").evaluate({"a": 1.0}).result.data == 3  # the last statement's
    assert Expression("b = 3*a; b; 2*a").evaluate({"a": 1.0}).result.data == 2
    assert (Expression("b = 3*a; b").result_name, Expression("2*a").result_name) == ("b", "")
    assert Expression("0\r1").evaluate({}).result.data == 1  # lines may end as they like
    assert Expression("2*pi").evaluate({}).result.data == 2 * math.pi
    assert Expression("pi = 3; 2*pi").evaluate({}).result.data == 6


@pytest.mark.parametrize(
    ("text", "told"),
    [
        ("__import__('os')", "column 1: __import__ is not a known function"),
        ("x.__class__", r"column 1: x.__class__ is not allowed"),
        ("exp.__globals__['os']", "is not allowed"),
        ("x.tanh.__self__()", "is not allowed"),
        ("(lambda: x)()", "is not allowed"),
        ("[x for x in (1,)]", "is not allowed"),
        ("f'{x}'", "is not allowed"),
        ("x if x else 2", "is not allowed"),
        ("x and 2", "is not allowed"),
        ("x == 2", "is not allowed"),
        ("x % 2", "is not allowed"),
        ("x // 2", "is not allowed"),
        ("True", "is not allowed"),
        ("1j", "is not allowed"),
        ("'a'", "is not allowed"),
        ("x = y = 2", "is not allowed"),
        ("x, y = 1, 2", "is not allowed"),
        ("x: float = 2", "is not allowed"),
        ("import os", "is not allowed"),
        ("while 1: x", "is not allowed"),
        ("(x := 2)", "is not allowed"),
        ("exp(*x)", "column 5: "),
        ("exp(x=2)", "exp takes one argument"),
        ("exp()", "exp takes one argument"),
        ("exp", r"exp is a function: write exp\(…\)"),
        ("tanh = 2", "tanh is a function"),
        ("gelu(x)", "gelu is not a known function; choose one of exp, log"),
        ("(" * 4000 + "x" + ")" * 900, "too many nested parentheses|nested too deeply|never closed"),
        ("-" * 4999 + "x", "nested too deeply"),
        ("x" + "+x" * 5000, "has 10,001 characters; at most 5,000 are allowed"),
        ("٣*x", "column 1: invalid character"),
        ("x²", "column 2: invalid character"),
        ("2x", "write a product with"),
        ("x^2", r"column 1: \^ is not a power: use \*\*"),
        ("x +", "column 4: invalid syntax"),
        ("a b", "column 3: invalid syntax"),
        ("é + )", r"column 5: unmatched '\)'"),
        ("é + gelu(x)", "column 5: gelu is not a known function"),
        ("y = x\nz = y +\n", "line 2, column 8: invalid syntax"),
        ("y = x\nz = gelu(y)\n", "line 2, column 5: gelu"),
        ("y = x\rz = gelu(y)\r\n", "line 2, column 5: gelu"),
        ("", "the expression is empty"),
        ("# nothing", "the expression is empty"),
        ("x = x + 1", "x is a variable"),
        ("y = 2*x; y = 3", "y is a computed result"),
        ("9" * 400 + "*x", "too large"),
        ("1e400", "too large"),
        ("x\0", "null bytes"),
        ("\ud800", "can't encode"),
    ],
)  # fmt: skip
def test_what_is_no_expression_is_told_with_its_column(text: str, told: str) -> None:
    with pytest.raises(ExpressionError, match=told):
        Expression(text).evaluate({"x": 1.0})


@pytest.mark.parametrize(
    ("text", "at", "told"),
    [
        ("9**9**9", {}, r"column 1: \(9\)\*\*387420489 is too large"),
        ("1 + 1/(x - 1)", {"x": 1.0}, r"column 5: \(0\)\*\*-1 divides by zero"),
        ("log(x)", {"x": -1.0}, r"column 1: log\(-1\) is not a real number"),
        ("1e308*x*10", {"x": 1.0}, "the result is too large"),
        ("x", {}, "x has no value: add x=NUMBER$"),
        ("e**x", {"x": 1.0}, r"e has no value: add e=NUMBER; for Euler's number write exp\(1\)"),
        ("x", {"x": 1.0, "z": 2.0}, "z is not a variable of the expression, whose variables are x"),
        ("2", {"z": 2.0}, "z is not a variable of the expression, which has none"),
        ("y = 2*x; y", {"x": 1.0, "y": 2.0}, "y is computed by the expression"),
        ("x", {"x": math.nan}, "x must be a finite number, got nan"),
    ],
)
def test_what_has_no_value_is_told(text: str, at: dict[str, float], told: str) -> None:
    with pytest.raises(ExpressionError, match=told):
        Expression(text).evaluate(at)


@given(st.text(max_size=30))
def test_any_text_is_read_or_told(text: str) -> None:
    with suppress(ExpressionError):
        Expression(text)


@given(
    st.lists(
        st.sampled_from(["x", "y", "2", "+", "-", "*", "**", "/", "(", ")", "=", ";", "exp", ".", ",", "\n", " "]),
        max_size=12,
    )
)
def test_any_row_of_words_is_read_or_told(words: list[str]) -> None:
    with suppress(ExpressionError):
        expression = Expression("".join(words))
        expression.evaluate({name: 1.5 for name in expression.variables if name not in expression.defaults})


def test_a_long_sum_is_computed() -> None:
    expression = Expression("x" + "+x" * 2400)
    assert slopes(expression, {"x": 1.0})[1][0].slope == 2401


def test_every_function_has_a_slope() -> None:
    for name in FUNCTIONS:
        expression = Expression(f"{name}(x)")
        _, (found,) = slopes(expression, {"x": 0.7})
        assert nudge(expression, {"x": 0.7}, "x", 1e-6).central == pytest.approx(found.slope, rel=1e-8)


def test_a_slope_that_is_no_number() -> None:
    with pytest.raises(ExpressionError, match="the slope with respect to x is too large"):
        slopes(Expression("x*1e200*1e200"), {"x": 0.0})
    with pytest.raises(ExpressionError, match="the result is not a number: infinities cancel"):
        Expression("0*(x*1e308*10)").evaluate({"x": 5.0})
    _, found = slopes(Expression("n = 2; x**n"), {"x": -3.0})
    by = {one.name: one.slope for one in found}
    assert by["x"] == -6
    assert math.isnan(by["n"])


def test_assignments_are_read() -> None:
    with pytest.raises(ExpressionError, match="a=3: a already has a number"):
        parse_assignments(["a=2", "a=3"])
    assert parse_assignments(["a=2", "b = -3e-1", "ｃ=1"]) == {"a": 2, "b": -0.3, "c": 1}
    for text in ("a", "a=", "=2", "a=b", "a=1_000", "a b=2", "--plt"):
        with pytest.raises(ExpressionError, match="write a variable and its number"):
            parse_assignments([text])
