"""In a real Jupyter kernel: the lecture's cells with checks, progress, interrupting, and what is shown."""

from __future__ import annotations

import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import nbformat
import pytest
from jupyter_client.manager import KernelManager
from nbclient import NotebookClient

import makemore_cli as mm
from tests.api.lecture_cells import CELLS, MISTAKES

pytestmark = [
    pytest.mark.slow,
    pytest.mark.filterwarnings("ignore::DeprecationWarning", "ignore::ResourceWarning"),
]
START = """
import torch
import torch.nn.functional as F
import makemore_cli as mm
p = mm.problem("lecture")
globals().update(p)
"""
CHECK = "p.check(globals())"


def executed(cells: list[str], folder: Path) -> list[Any]:
    """The cells' outputs, by a kernel."""
    notebook = nbformat.v4.new_notebook(cells=[nbformat.v4.new_code_cell(cell) for cell in cells])
    NotebookClient(notebook, timeout=300, resources={"metadata": {"path": str(folder)}}).execute()
    return [cell.outputs for cell in notebook.cells]


def shown(outputs: list[Any], kind: str) -> str:
    return "".join(output.data[kind] for output in outputs if kind in output.get("data", {}))


def test_the_lectures_lines_and_mistakes_in_them(tmp_path: Path) -> None:
    cells, expected = [START], [None]
    for cell in CELLS:
        cells += [f"{cell}\n{CHECK}"]
        expected += [None]
    for mistake in MISTAKES:
        lines = [cell.replace(mistake.right, mistake.wrong) for cell in CELLS]
        stop = next(place for place, cell in enumerate(CELLS) if mistake.right in cell) + 1
        stop += mistake.tensor == "bndiff"  # an alias does harm when one of the two is changed
        cells.append("\n".join([START, *lines[:stop], CHECK]))
        expected.append(mistake)
    outputs = executed(cells, tmp_path)
    last = outputs[len(CELLS)]
    assert "All agree" in shown(last, "text/html")
    assert "26 of 26 gradients" in shown(last, "text/html")
    for mistake, output in zip(expected, outputs, strict=True):
        if mistake is not None:
            told = shown(output, "text/plain")
            assert "wrong" in told, mistake
            assert mistake.told in told, mistake


def test_a_run_shows_its_progress_and_results(tmp_path: Path) -> None:
    outputs = executed(
        [
            "import makemore_cli as mm\nrun = mm.train('tiny')",
            "run",
            "run.plot('dlogits')",
            "run.score(['emma'])[0]",
            "run.metrics",
            "mm.Value(2.0) * 3 + 1",
            "try:\n    mm.train('tiny')\nexcept mm.MakemoreError as error:\n    print(error)",
        ],
        tmp_path,
    )
    progress = shown(outputs[0], "text/html")
    assert "steps/s" in progress
    assert "characters" in progress
    assert len(outputs[0]) == 1, "one output, updated in place"
    assert "val loss" in shown(outputs[1], "text/html")
    assert shown(outputs[2], "image/png")
    assert "<span" in shown(outputs[3], "text/html")
    assert "<table>" in shown(outputs[4], "text/html")
    assert "<svg" in shown(outputs[5], "image/svg+xml")
    assert "holds a run already" in outputs[6][0].text


@pytest.fixture
def kernel(tmp_path: Path) -> Iterator[tuple[KernelManager, Any]]:
    manager = KernelManager(kernel_name="python3")
    manager.start_kernel(cwd=str(tmp_path))
    client = manager.client()
    client.start_channels()
    client.wait_for_ready(timeout=60)
    yield manager, client
    client.stop_channels()
    manager.shutdown_kernel(now=True)


def reply_to(client: Any, request: str) -> dict[str, Any]:
    """The kernel's reply to a request; a late one to an earlier request is skipped."""
    while True:
        reply = client.get_shell_msg(timeout=60)
        if reply["parent_header"].get("msg_id") == request:
            content: dict[str, Any] = reply["content"]
            return content


def test_interrupting_a_cell_saves_the_run(kernel: tuple[KernelManager, Any], tmp_path: Path) -> None:
    manager, client = kernel
    cell = "import makemore_cli as mm\nx = 5\nrun = mm.train('tiny', steps=100_000_000)"
    request = client.execute(cell)
    metrics, deadline = tmp_path / "runs" / "tiny" / "metrics.jsonl", time.monotonic() + 60
    while not metrics.exists() or metrics.stat().st_size < 1000:
        assert time.monotonic() < deadline
        time.sleep(0.05)
    manager.interrupt_kernel()
    reply = reply_to(client, request)
    assert reply["ename"] == "KeyboardInterrupt"
    assert "and saved" in reply["evalue"]
    step = mm.load(tmp_path / "runs" / "tiny").step
    assert step > 0
    # The kernel lives, with its variables, and the run can be resumed.
    again = client.execute_interactive(
        f"x += 1\nrun = mm.train('tiny', resume=True, steps={step + 10})\nprint(x, run.step)", timeout=60
    )
    assert again["content"]["status"] == "ok", again["content"]
    assert mm.load(tmp_path / "runs" / "tiny").step == step + 10


def test_an_error_is_one_line(kernel: tuple[KernelManager, Any]) -> None:
    _, client = kernel
    reply = reply_to(client, client.execute("import makemore_cli as mm\nmm.load('nothing')"))
    assert reply["ename"] == "MakemoreError"
    (line,) = reply["traceback"]
    assert line.startswith("MakemoreError: ")
    assert line.endswith("nothing: no such run; give a run folder or a checkpoint")
