"""How likely a model finds names: against the definition, one letter at a time, and as people see it."""

from __future__ import annotations

import io
import json
import math
import re
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import torch
from torch.nn import functional as F

from makemore_cli.errors import MakemoreError
from makemore_cli.inference import evaluate
from makemore_cli.inference.score import SHADES, names_of, score, shade
from makemore_cli.names.dataset import load
from makemore_cli.runs.checkpoint import load_checkpoint
from tests.conftest import NAMES, Cli, logits_in_float64
from tests.terminal import in_terminal


def test_a_letters_probability_is_the_networks(trained: Path) -> None:
    """By PyTorch's own functions in float64, one letter after another."""
    checkpoint = load_checkpoint(trained)
    for found in score(checkpoint.model, checkpoint.vocabulary, ["", "a", *NAMES]):
        context, expected = [0] * 3, []
        for token in [*checkpoint.vocabulary.encode(found.name), 0]:
            probabilities = F.softmax(logits_in_float64(checkpoint.model, torch.tensor([context])), 1)
            expected.append(float(probabilities[0, token]))
            context = [*context[1:], token]
        np.testing.assert_allclose(found.probabilities, expected, rtol=1e-4)
        assert found.loss == pytest.approx(-sum(map(math.log, expected)) / len(expected), rel=1e-5)


def test_the_mean_over_a_split_is_its_loss(trained: Path) -> None:
    """Over more names than are scored at a time."""
    checkpoint = load_checkpoint(trained)
    train = load(checkpoint.config.data, 3).train
    scores = list(score(checkpoint.model, checkpoint.vocabulary, train.names()))
    assert len(scores) > 10_000
    letters = sum(len(found.probabilities) for found in scores)
    mean = sum(found.loss * len(found.probabilities) for found in scores) / letters
    assert mean == pytest.approx(evaluate.loss(checkpoint.model, train), abs=1e-6)


def test_the_command(cli: Cli, trained: Path) -> None:
    names = ["xqzt", "emma", "khaleesi"]
    lines = cli("score", trained, *names).out.splitlines()
    assert [line.split()[1] for line in lines] == ["xqzt.", "emma.", "khaleesi."]
    assert re.fullmatch(r" *\d\.\d{3}  emma\.  e=0\.\d{3} m=0\.\d{3} m=0\.\d{3} a=0\.\d{3} \.=0\.\d{3}", lines[1])
    best_first = cli("score", trained, *names, "--sort").out.splitlines()
    assert best_first == sorted(lines, key=lambda line: float(line.split()[0]))
    told = json.loads(cli("score", trained, *names, "--json").out)
    assert [entry["name"] for entry in told] == names
    unknown = cli("score", trained, "émile")
    assert (unknown.code, unknown.out) == (2, "")
    assert unknown.err.startswith("makemore: 'émile': the model does not know 'é'; its characters are abc")


def test_names_from_a_pipe(trained: Path) -> None:
    command = [sys.executable, "-m", "makemore_cli", "score", str(trained)]
    for given, code, expected in (
        (b"\xef\xbb\xbfanna\r\n\n  ben \n", 0, ["anna.", "ben."]),
        (b"", 0, []),
        (b"anna\nzo\xeb\n", 2, []),
    ):
        result = subprocess.run(command, input=given, capture_output=True, check=False)
        assert result.returncode == code
        assert [line.split()[1].decode() for line in result.stdout.splitlines()] == expected
    assert result.stderr.startswith(b"makemore: stdin, line 2: not UTF-8")
    with pytest.raises(MakemoreError, match="stdin, line 2: a name of more than 1,000 characters"):
        list(names_of(io.BytesIO(b"anna\n" + b"x" * 10**6).readline))


def test_samples_with_their_probabilities(cli: Cli, trained: Path) -> None:
    names = cli("sample", trained, "-n", 7).out.splitlines()
    shown = cli("sample", trained, "-n", 7, "--show-probabilities")
    assert [line.split()[1] for line in shown.out.splitlines()] == [f"{name}." for name in names]
    assert " new\n" in shown.err
    told = json.loads(cli("sample", trained, "-n", 7, "--show-probabilities", "--json").out)
    assert told["names"] == names
    assert [entry["name"] for entry in told["scores"]] == names


def test_colours_in_a_terminal(trained: Path) -> None:
    """Each letter stands on the colour of its probability; without colours there are numbers instead."""
    found = next(iter(score(load_checkpoint(trained).model, load_checkpoint(trained).vocabulary, ["emma"])))
    shown = in_terminal("score", str(trained), "emma", COLORTERM="truecolor")
    behind = re.findall(r"\x1b\[30;48;2;(\d+);(\d+);(\d+)m(\w)", shown)
    expected = [tuple(bytes.fromhex(shade(p)[1:])) for p in found.probabilities[:4]]
    assert [tuple(map(int, colour)) for *colour, _ in behind] == expected
    assert "probability of a character" in shown
    assert "e=0." in in_terminal("score", str(trained), "emma", NO_COLOR="1")


def test_every_probability_has_a_shade() -> None:
    assert [shade(p) for p in (0.0, 0.03, 0.1, 0.2, 0.5, 1.0)] == [
        SHADES[0][1],
        *(colour for _, colour in SHADES[1:]),
        SHADES[-1][1],
    ]
