"""Graphs: what stands in their nodes, and that Graphviz, an XML parser and a terminal can read them."""

from __future__ import annotations

import os
import re
import sys
import xml.etree.ElementTree as ElementTree
from itertools import pairwise
from pathlib import Path

import pygraphviz
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from makemore_cli.backprop.shipped import SHIPPED
from makemore_cli.errors import MakemoreError, ParameterError
from makemore_cli.graph import dot
from makemore_cli.graph.graph import Graph, Node, State
from makemore_cli.scalar.engine import Value
from makemore_cli.scalar.experiment import experiment, labelled_loss
from makemore_cli.scalar.expression import NEURON, NEURON_VALUES, Expression
from makemore_cli.scalar.graph_of_value import graph_of_value
from makemore_cli.views import explain
from makemore_cli.views.graph_of_chain import graph_of_chain
from tests.conftest import Cli
from tests.terminal import in_terminal

SVG = "{http://www.w3.org/2000/svg}"


def neuron(step: int | None = None) -> dict[str, Node]:
    found = Expression(NEURON).evaluate(NEURON_VALUES)
    return {node.label: node for node in graph_of_value(found.result, "A neuron", step).nodes}


def texts(svg: bytes) -> list[str]:
    return ["".join(text.itertext()) for text in ElementTree.fromstring(svg).iter(f"{SVG}text")]


def test_the_lectures_neuron() -> None:
    nodes = neuron()
    assert (nodes["o"].data, nodes["n"].grad) == ("0.7071", "0.5000")
    assert [nodes[name].grad for name in ("x1", "w1", "x2", "w2", "b")] == [
        "-1.5000",
        "1.0000",
        "0.5000",
        "0.0000",
        "0.5000",
    ]


def test_backward_steps_one_by_one() -> None:
    """Step by step: o passes to n, n to sum and b, sum to x1w1 and x2w2, and each of these to two leaves."""
    grads = [{name: node.grad for name, node in neuron(step).items()} for step in range(6)]
    changed = [{name for name in now if now[name] != before[name]} for before, now in pairwise(grads)]
    assert changed[:3] == [{"n"}, {"sum", "b"}, {"x1w1", "x2w2"}]
    assert {frozenset(names) for names in changed[3:]} == {frozenset({"x1", "w1"}), frozenset({"x2"})}  # w2 stays 0
    states = {name: node.state for name, node in neuron(2).items()}
    assert (states["o"], states["n"], states["b"], states["x1w1"]) == (
        State.COMPLETE,
        State.PASSING,
        State.COMPLETE,
        State.WAITING,
    )
    for step in (-1, 6):
        with pytest.raises(ParameterError, match="step must be from 0 to 5"):
            neuron(step)


def test_a_number_with_two_uses_is_partial_between_them() -> None:
    a, b = Value(-2.0, label="a"), Value(3.0, label="b")
    f = (a * b) * (a + b)
    states = [{n.label: (n.state, n.grad) for n in graph_of_value(f, "", step).nodes}["a"] for step in range(4)]
    assert [state for state, _ in states] == [State.WAITING, State.WAITING, State.PARTIAL, State.COMPLETE]
    assert states[-1][1] == "-3.0000"
    assert "so far" in dot.to_dot(graph_of_value(f, "", 2))


def test_a_value_used_twice_by_one_operation() -> None:
    a = Value(3.0, label="a")
    node = graph_of_value(a + a, "").nodes[-1]
    assert node.inputs == (0, 0)
    assert dot.to_dot(graph_of_value(a + a, "")).count("n0 -> o1") == 1


def test_graphviz_reads_the_same_graph() -> None:
    loss = labelled_loss(experiment(), 1)
    graph = graph_of_value(loss, "loss")
    read = pygraphviz.AGraph(string=dot.to_dot(graph))
    assert len([name for name in read.nodes() if name[0] == "n"]) == len(graph.nodes)
    operations = [node for node in graph.nodes if node.operation]
    assert len([name for name in read.nodes() if name[0] == "o"]) == len(operations)
    assert len(read.edges()) == len(operations) + sum(len(set(node.inputs)) for node in operations)
    labels = {node.label for node in graph.nodes}
    assert {"x1", "W1_34", "b3_1", "y", "loss"} <= labels
    assert len([label for label in labels if label[:1] in "Wb" and label]) == 41
    inputs = {node.label: node.grad for node in graph.nodes if node.label in ("x1", "x2", "x3")}
    assert all(float(grad) != 0 for grad in inputs.values())  # data have gradients too


@pytest.mark.parametrize("name", ["makemore", *SHIPPED])
def test_every_chain_can_be_drawn_at_every_step(name: str) -> None:
    subject = explain.find(name)
    at = subject.numbers(None)[0]
    above = {end: at.gradients.get(end, torch.ones_like(at.values[end])) for end in subject.chain.outputs}
    whole = graph_of_chain(subject.chain, name, at.values, above)
    for step in range(whole.steps + 1):
        graph = graph_of_chain(subject.chain, name, at.values, above, step)
        assert graph.step == step
        pygraphviz.AGraph(string=dot.to_dot(graph))
    grads = {node.label: node.grad for node in whole.nodes}
    assert grads == {node.label: node.grad for node in graph.nodes}
    assert not [node for node in whole.nodes if node.state in (State.WAITING, State.PARTIAL)]
    for tensor in subject.chain.gradient_names:
        numbers = at.gradients[tensor].flatten().double()
        ends = grads[tensor].replace(" to ", ", ").split(", ")
        assert float(ends[0]) == pytest.approx(
            float(numbers[0] if len(numbers) <= 4 else numbers.min()), rel=2e-3, abs=6e-5
        )


def test_partial_gradients_of_a_chain() -> None:
    """After the loss and the maximum's difference have passed back, counts has one of its two parts."""
    subject = explain.network()
    at = subject.numbers(None)[0]
    by_step = [{n.label: n for n in graph_of_chain(subject.chain, "", at.values, {}, step).nodes} for step in range(7)]
    assert [nodes["counts"].state for nodes in by_step] == [
        *[State.WAITING] * 3, State.PARTIAL, State.PARTIAL, State.COMPLETE, State.PASSING,
    ]  # fmt: skip
    part = at.gradients["probs"] * at.values["counts_sum_inv"]
    assert by_step[3]["counts"].grad == f"{part.min():.4f} to {part.max() + 0.0:.4f}"


LABELS = st.text(st.characters(codec="utf-8", exclude_categories=["Cs", "Cc", "Cn"]), max_size=12)


@settings(max_examples=8)
@given(st.lists(LABELS, min_size=1, max_size=12))
def test_any_text_comes_out_of_graphviz_as_it_went_in(labels: list[str]) -> None:
    nodes = tuple(Node(label, "1", "2", State.COMPLETE, operation=f"f{label}", is_line=True) for label in labels)
    graph = Graph("title " + labels[0], nodes, 0, 0)
    shown = texts(dot._laid_out(dot.to_dot(graph)))
    squeezed = {" ".join(text.split()) for text in shown}
    for label in labels:
        expected = " ".join(dot.printable(label).split())
        if expected:
            assert expected in squeezed, (expected, squeezed)
        assert " ".join(f"f{dot.printable(label)}".split()) in squeezed


def test_files(cli: Cli, tmp_path: Path) -> None:
    path = tmp_path / "folder" / "neuron.svg"
    assert cli("graph", "--out", path).out == f"{path}\n"
    assert {"A neuron", "o", "data 0.7071", "grad -1.5000", "tanh"} <= set(texts(path.read_bytes()))
    assert cli("graph", "--out", path, "--step", 1).code == 0  # it replaces its own
    assert any("after 1 of 5 backward steps" in text for text in texts(path.read_bytes()))
    path = tmp_path / "neuron.dot"
    assert cli("graph", "--out", path).code == cli("graph", "--out", path).code == 0
    assert path.read_text() == cli("graph").out
    (tmp_path / "mine.dot").write_text("digraph {}\n")
    result = cli("graph", "--out", tmp_path / "mine.dot")
    assert (result.code, (tmp_path / "mine.dot").read_text()) == (2, "digraph {}\n")


def test_without_graphviz(cli: Cli, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("importlib.util.find_spec", lambda name: None)
    monkeypatch.setenv("PATH", str(tmp_path))
    result = cli("graph", "--out", tmp_path / "x.svg")
    assert "an .svg file needs Graphviz; install it (pip install pygraphviz), or write a .dot file" in result.err
    assert cli("graph", "--out", tmp_path / "x.dot").code == 0
    program = tmp_path / "dot"  # as Graphviz's own would be found
    program.write_text(
        f"#!{sys.executable}\nimport sys\nprint('<svg width=\"1pt\"><text>', len(sys.stdin.read()), '</text></svg>')\n"
    )
    program.chmod(0o755)
    assert cli("graph", "--out", tmp_path / "x.svg").code == 0
    assert b"makemore graph" in (tmp_path / "x.svg").read_bytes()
    program.write_text(f"#!{sys.executable}\nraise SystemExit(1)\n")
    assert "Graphviz can't draw the graph" in cli("graph", "--out", tmp_path / "y.svg").err
    assert not (tmp_path / "y.svg").exists()


def test_a_layout_that_takes_too_long(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(dot, "LAYOUT_SECONDS", 0.01)
    with pytest.raises(MakemoreError, match="Graphviz did not finish within"):
        dot._laid_out("digraph {}")


def test_the_tree(cli: Cli) -> None:
    lines = cli("graph", "--format", "tree").out.splitlines()
    assert lines[1] == "o = tanh(n)   data 0.7071   grad 1.0000"
    assert "    │   ├── x1w1 = x1 * w1   data -6.0000   grad 0.5000" in lines
    shared = cli("graph", "s = a*a; t = s + s*s", "a=3", "--format", "tree").out
    assert shared.count("data 9.0000") == 1
    assert "s, as above" in shared
    order = cli("graph", "s = a*a; t = tanh(s)*s", "a=3", "--format", "tree").out
    assert order.index("s = a * a") < order.index("s, as above")
    deep = cli("graph", "x" + "+x" * 300, "x=1", "--format", "tree")
    assert deep.code == 0
    assert len(deep.out.splitlines()) == 601  # the heading, 300 sums, and x under each
    wide = cli("graph", "--chain", "makemore", "--format", "tree").out
    assert "h = torch.tanh(hpreact)   3×4" in wide
    several = cli("graph", "--chain", "linear_batches", "--format", "tree")
    assert several.out.count("y = x @ W + b") == 1


@pytest.mark.skipif(os.name == "nt", reason="a terminal of POSIX")
def test_the_neuron_with_other_numbers(cli: Cli) -> None:
    lines = cli("graph", "b=8", "--format", "tree").out.splitlines()
    assert lines[1].startswith("o = tanh(n)   data 0.9640")
    assert lines[2].startswith("└── n = sum + b   data 2.0000")
    assert cli("graph", "b = 2*a", "a=1", "--format", "tree").out.splitlines()[1].startswith("b = 2.0000 * a")
    assert "z = copy(a)" in cli("graph", "z = a; 2*z", "a=1", "--format", "tree").out


def test_on_a_terminal_it_is_a_tree() -> None:
    shown = re.sub(r"\x1b\[[0-9;]*m", "", in_terminal("graph"))
    assert "└── n = sum + b   data 0.8814   grad 0.5000" in shown
    assert "\x1b[1;36mn = sum + b" in in_terminal("graph", "--step", "2")


@pytest.mark.parametrize(
    ("arguments", "told"),
    [
        (("a{|}<b>",), "column 2: invalid syntax"),
        (("x",), "x has no value"),
        (("1/x", "x=0"), "divides by zero"),
        (("sqrt(x)", "x=0"), "the derivative of (0)**0.5 divides by zero"),
        (("--step", 9), "--step must be from 0 to 5, the number of backward steps, got 9"),
        (("--chain", "nope"), "nope: no such file or bundled chain; the bundled chains are makemore, linear"),
        (("--chain", "linear", "--scalar-mlp"), "give only one of them"),
        (("x", "x=1", "--scalar-mlp"), "give only one of them"),
        (("--scalar-mlp", "x=1"), "give only one of them"),
        (("--examples", 2), "--examples: applies to --scalar-mlp only"),
        (("--scalar-mlp", "--examples", 5), "--examples must be from 1 to 4, got 5"),
        (("--chain", ""), "no such file or bundled chain"),
        (("--out", "x.svg", "--format", "tree"), "omit --format"),
        (("x1=5", "zz=3"), "zz is not a variable of the expression"),
        (("--out", "x.png"), "--out must be a .svg or .dot file, got x.png"),
        (("--format", "gif"), "--format must be tree or dot, got gif"),
    ],
)
def test_mistakes_are_one_line(cli: Cli, arguments: tuple[object, ...], told: str) -> None:
    result = cli("graph", *arguments)
    assert (result.code, result.out) == (2, "")
    assert told in result.err
    assert result.err.count("\n") == 1
