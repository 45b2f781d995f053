"""Measure validation loss against wall-clock seconds, and draw docs/pictures/loss-seconds.png.

    python docs/loss_seconds.py --data FILE [--other NAME='COMMAND' …]

FILE is the lecture's names.txt. The clock starts with the command, so importing counts. Another program is any
command that prints its loss at each evaluation, as in "test loss: 2.04" or "val 2.04".
"""

from __future__ import annotations

import argparse
import json
import re
import shlex
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import matplotlib.pyplot as plt

from makemore_cli.views.plots.style import drawing

PICTURE = Path(__file__).parent / "pictures" / "loss-seconds.png"
EVERY = {"fast": 100, "lecture": 10_000, "best": 4000}  # steps between evaluations
LOSS = re.compile(r"(\d\.\d+) val\b|val loss +(\d\.\d+)|(?:test|val)(?: loss)?:? +(\d\.\d+)")
TICKS = (2, 5, 10, 20, 50, 100, 200, 500, 1000)
Curve = list[tuple[float, float]]


def measure(command: list[str], seconds: float) -> Curve:
    """Seconds since the start and loss at each evaluation, until the command ends or the time is over."""
    began, curve = time.perf_counter(), []
    with subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, bufsize=1) as process:
        assert process.stdout is not None
        for line in process.stdout:
            if not line.startswith("test loss") and (found := LOSS.search(line)):  # which makemore prints at the end
                curve.append((time.perf_counter() - began, float(next(filter(None, found.groups())))))
            if time.perf_counter() - began > seconds:
                process.terminate()
                break
    return curve


def draw(curves: dict[str, Curve]) -> None:
    with drawing():
        figure, axes = plt.subplots(figsize=(7.5, 4.5), layout="constrained")
        for name, curve in curves.items():
            axes.plot(*zip(*curve, strict=True), marker=".", label=f"{name}: {curve[-1][1]:.3f}")
        axes.set_xscale("log")
        ticks = [tick for tick in TICKS if any(seconds >= tick for curve in curves.values() for seconds, _ in curve)]
        axes.set_xticks(ticks, [str(tick) for tick in ticks])
        axes.minorticks_off()
        axes.set_ylim(top=2.3)
        axes.set_xlabel("seconds since the start of the command")
        axes.set_ylabel("validation loss, nats per character")
        axes.legend()
        figure.suptitle("Validation loss against wall-clock time")
        figure.savefig(PICTURE, metadata={"Software": "makemore"})


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--data", required=True)
    parser.add_argument("--other", action="append", default=[])
    parser.add_argument("--seconds", type=float, default=200)
    given = parser.parse_args()
    curves = {}
    with tempfile.TemporaryDirectory() as folder:
        commands = {
            f"makemore train --config {name}": [
                *(sys.executable, "-m", "makemore_cli", "train", "--config", name, "--data", given.data),
                *("--set", f"train.eval_every={every}", "--out", f"{folder}/{name}"),
            ]
            for name, every in EVERY.items()
        }
        others = dict(other.split("=", 1) for other in given.other)
        for name, command in (commands | {name: shlex.split(other) for name, other in others.items()}).items():
            curves[name] = measure(command, given.seconds)
            print(json.dumps({name: curves[name]}), flush=True)
    draw(curves)


if __name__ == "__main__":
    main()
