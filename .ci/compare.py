"""Whether two checkouts give the same results, byte for byte: what is trained, sampled, scored, evaluated and checked.

    python .ci/compare.py OLD NEW

OLD and NEW are folders of checkouts. Both run with this Python's packages. Two things are not compared, since they may
be written differently: configurations, and what gradcheck calls a source. The exit code is 1 if anything else differs.
"""

from __future__ import annotations

import argparse
import json
import os
import subprocess
import sys
import tempfile
from pathlib import Path
from typing import Any

from safetensors.numpy import load_file

ENGINES = ("kernel", "tensor", "autograd")
RUNS = {"quickstart": 2000, "best": 300}
NAMES = ["emma", "khaleesi", "zoe", "x"]


def makemore(checkout: Path, *arguments: object) -> str:
    """What the command line of a checkout prints."""
    command = [sys.executable, "-m", "makemore_cli", *map(str, arguments)]
    # With several threads, dC of a large batch is added in no fixed order.
    environment = {**os.environ, "PYTHONPATH": str(checkout), "PYTHONSAFEPATH": "1", "OMP_NUM_THREADS": "1"}
    with tempfile.TemporaryDirectory() as nowhere:
        result = subprocess.run(command, cwd=nowhere, env=environment, capture_output=True, text=True, check=False)
    if result.returncode:
        raise RuntimeError(f"{checkout}: {' '.join(command[3:])}: {result.stderr}")
    return result.stdout


def train(checkout: Path, config: str, engine: str, folder: Path, steps: int, *more: object) -> None:
    """Train a bundled configuration for some steps, all of them logged, evaluated and diagnosed now and then."""
    every = ("--set", "train.eval_every=100", "--set", "train.diagnose_every=100")
    options = ("--engine", engine, "--steps", steps, "--device", "cpu", *every)
    makemore(checkout, "train", "--config", config, "--out", folder, "--quiet", *options, *more)


def tensors(folder: Path) -> dict[str, bytes]:
    """The tensors of both checkpoints, and the metrics."""
    found = {"metrics": (folder / "metrics.jsonl").read_bytes()}
    for name in ("checkpoint", "best"):
        arrays = load_file(folder / f"{name}.safetensors")
        found |= {
            f"{name} {key}": repr((value.dtype, value.shape)).encode() + value.tobytes()
            for key, value in arrays.items()
        }
    return found


def without_paths(text: str, *folders: Path) -> str:
    """JSON without the paths of a run and of a checkout."""
    text = json.dumps(without_descriptions(json.loads(text)))
    for folder in folders:
        text = text.replace(str(folder), "…")
    return text


def without_descriptions(report: Any) -> Any:
    """A gradcheck report without what is said about its sections; anything else as it is."""
    if isinstance(report, dict) and "sections" in report:
        return {**report, "sections": [{**section, "about": "…"} for section in report["sections"]]}
    return report


def main() -> int:
    """Compare."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("old", type=Path)
    parser.add_argument("new", type=Path)
    arguments = parser.parse_args()
    checkouts = {"old": arguments.old.resolve(), "new": arguments.new.resolve()}
    same = True

    def compared(what: str, old: object, new: object) -> None:
        nonlocal same
        same &= old == new
        print(f"{'same     ' if old == new else 'DIFFERENT'}  {what}", flush=True)

    with tempfile.TemporaryDirectory() as place:
        for config, steps in RUNS.items():
            for engine in ENGINES:
                folders = {which: Path(place, which, f"{config}-{engine}") for which in checkouts}
                for which, checkout in checkouts.items():
                    train(checkout, config, engine, folders[which], steps)
                old, new = (tensors(folder) for folder in folders.values())
                about = f"{config}, {steps:,} steps, {engine}: {len(old)} tensors and metrics"
                compared(about, old, new)
            commands = {
                "sample": ("sample", "RUN", "-n", 500),
                "sample --temperature 0.7 --top-k 5 --json": (
                    "sample", "RUN", "-n", 50, "--temperature", 0.7, "--top-k", 5, "--json",
                ),
                "score --json": ("score", "RUN", *NAMES, "--json"),
                "eval --json": ("eval", "RUN", "--json"),
                "gradcheck --run --json": ("gradcheck", "--run", "RUN", "--json"),
            }  # fmt: skip
            for title, command in commands.items():
                told = []
                for which, checkout in checkouts.items():
                    run = folders[which]
                    text = makemore(checkout, *(run if part == "RUN" else part for part in command))
                    told.append(without_paths(text, run, checkout) if "--json" in command else text)
                compared(f"{config}: {title}", *told)
        for engine in ENGINES:
            folders = {which: Path(place, which, f"resumed-{engine}") for which in checkouts}
            for which, folder in folders.items():  # both begin with the old one
                train(checkouts["old"], "quickstart", engine, folder, 300)
                makemore(checkouts[which], "train", "--resume", folder, "--steps", 500, "--quiet")
            old, new = (tensors(folder) for folder in folders.values())
            compared(f"an old run resumed to step 500, {engine}", old, new)
        for options in (["--config", "lecture"], ["--of", "kernel"], ["--of", "fused", "--against", "float64"]):
            told = [makemore(checkout, "gradcheck", *options, "--json") for checkout in checkouts.values()]
            compared(f"gradcheck {' '.join(options)} --json", *(without_paths(text) for text in told))
    print("all the same" if same else "not the same")
    return 0 if same else 1


if __name__ == "__main__":
    sys.exit(main())
