import json
import sys
from pathlib import Path

import pytest

from tests.conftest import Cli

PARABOLA = "3*x**2 - 4*x + 5"


def test_the_table_of_falling_h(cli: Cli) -> None:
    result = cli("derivative", PARABOLA, "--at", 3)
    assert result.code == 0
    lines = result.out.splitlines()
    assert lines[0] == "f(x = 3) = 20"
    assert "slope with respect to x: 14 (by backpropagation)" in lines
    rows = {cells[0]: cells[1] for cells in map(str.split, lines[5:22])}
    assert (rows["0.001"], rows["1e-15"], rows["1e-17"]) == ("14.003", "10.6581410364", "0")
    assert "Smallest error: at h = 1e-08 (forward difference)" in result.out
    assert "A larger h makes the forward difference worse: the curve bends between x and x + h." in lines
    assert "lost in rounding" in lines[-1]
    assert "curve bends" not in cli("derivative", "2*x", "--at", 1).out
    assert "rounding" not in cli("derivative", "x**2", "--at", 0).out


def test_several_variables(cli: Cli) -> None:
    result = cli("derivative", "e = a*b; d = e + c; L = d*f", "a=2", "b=-3", "c=10", "f=-2", "--ascend", 0.01)
    rows = {cells[0]: cells[1:] for cells in map(str.split, result.out.splitlines()) if cells}
    assert rows["L"][:2] == ["-8", "1"]
    assert [rows[name][1] for name in "abcfed"] == ["6", "-4", "-2", "4", "-2", "-2"]
    assert "the result is -7.286496" in result.out
    assert cli("derivative", "a*b + c", "a=2", "b=-3", "c=10").out.count("3.9997") == 1


def test_json(cli: Cli) -> None:
    found = json.loads(cli("derivative", "a*b", "a=2", "b=-3", "--by", "a", "--h", 0.5, "--ascend", 1, "--json").out)
    assert found["result"] == -6
    assert found["slopes"]["a"] == {"value": 2, "slope": -3}
    assert found["nudges"]["a"] == [{"h": 0.5, "up": -7.5, "forward": -3, "central": -3}]
    assert found["ascended"] == {"values": {"a": -1, "b": -1}, "result": 1}


def test_an_expression_may_begin_with_a_minus(cli: Cli) -> None:
    assert "slope with respect to x: 2 (by backpropagation)" in cli("derivative", "-x**2", "--at", -1).out
    assert cli("derivative", "-2", "--json").out.startswith('{"result": -2.0')


def test_a_nudge_may_leave_the_domain(cli: Cli) -> None:
    result = cli("derivative", "log(x)", "--at", 0.05)
    assert result.code == 0
    assert "no value" in result.out


@pytest.mark.slow
def test_the_picture(cli: Cli, tmp_path: Path) -> None:
    for place, (text, at) in enumerate([(PARABOLA, 3), ("log(x)", 1e-9), ("x**200", 30), ("0*x", 5), ("$x_2", 1)]):
        path = tmp_path / f"{place}.png"
        result = cli("derivative", text, "--at", at, "--plot", path)
        if text[0] == "$":
            assert "invalid" in result.err
        else:
            assert (result.code, result.err) == (0, f"wrote {path}\n")
            assert path.read_bytes().startswith(b"\x89PNG")
    svg = tmp_path / "new folder" / "slope.svg"
    assert cli("derivative", PARABOLA, "--at", 3, "--plot", svg).code == 0
    assert "At x = 3 the slope is 14" in svg.read_text()
    (tmp_path / "mine.svg").write_text("mine")
    result = cli("derivative", PARABOLA, "--at", 3, "--plot", tmp_path / "mine.svg")
    assert "exists, but was not made by makemore" in result.err
    assert (tmp_path / "mine.svg").read_text() == "mine"


@pytest.mark.parametrize(
    ("arguments", "told"),
    [
        (("__import__('os')",), "column 1: __import__ is not a known function"),
        (("(" * 10_000 + "x" + ")" * 10_000, "--at", 1), "20,001 characters"),
        (("9**9**9",), "too large for a floating-point number"),
        (("٣*x", "--at", 1), "invalid character"),
        (("1/x", "--at", 0), "divides by zero"),
        (("sqrt(x)", "--at", 0), "the derivative of (0)**0.5 divides by zero"),
        (("x",), "x has no value: add x=NUMBER"),
        (("a*b", "--at", 1), "--at gives one variable its number, but there are a, b"),
        (("2", "--at", 1), "--at gives a variable its number, but the expression has no variable"),
        (("x", "--at", "nan"), "x must be a finite number, got nan"),
        (("x", "--at", 1, "--h", 0), "--h must be above 0 and finite, got 0"),
        (("x", "--at", 1, "--h", "nan"), "--h must be above 0 and finite, got nan"),
        (("x", "--at", 1, "--by", "y"), "--by must be one of x, got y"),
        (("a*b", "a=1", "b=1", "--plot", "x.png"), "choose it with --by NAME"),
        (("x", "--at", 1, "--plot", "x.pdf"), "--plot must be a .png or .svg file"),
        (("x", "--plt", "x.png"), "--plt: write a variable and its number"),
        (("x**2", "--at", 3, "x=4"), "--at gives a variable its number, but there are numbers for all: x"),
        (("a*b", "a=2", "b=3", "a=4"), "a=4: a already has a number"),
        (("x", "--at", 1, "--ascend", "inf"), "--ascend must be finite, got inf"),
        (("exp(x)", "--at", 700, "--ascend", 1), "too large"),
        (("\x1b[31mx",), r"\x1b[31mx: column 1: invalid"),
    ],
)
def test_mistakes_are_one_line(cli: Cli, arguments: tuple[object, ...], told: str) -> None:
    result = cli("derivative", *arguments)
    assert result.code == 2
    assert result.out == ""
    assert told in result.err
    assert result.err.count("\n") == 1


@pytest.mark.skipif(sys.platform == "win32", reason="a shell's quotes")
def test_it_starts_without_a_tensor_library(cli: Cli) -> None:
    import subprocess

    code = (
        "import sys; from makemore_cli.cli.main import main; main(['derivative', 'x', '--at', '1']); "
        "print(sorted({'torch', 'numpy', 'matplotlib'} & set(sys.modules)), file=sys.stderr)"
    )
    ran = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert ran.stderr == "[]\n"
