"""An interactive page for one run: explore its network, and train it in the browser."""

from __future__ import annotations

from pathlib import Path

from makemore_cli.errors import MakemoreError
from makemore_cli.names import dataset as names
from makemore_cli.runs.checkpoint import load_checkpoint
from makemore_cli.runs.file_names import PLAY
from makemore_cli.views.page.page import PLAY as PLAY_VIEW
from makemore_cli.views.page.page import TRAIN, write_page
from makemore_cli.views.page.run_data import run_data


def write_play_page(run: Path, out: Path | None = None) -> tuple[Path, list[str]]:
    """Write a run's page. Returns its path, and remarks on data that is missing or has changed.

    The default for `out` is `play.html` in the run folder. Raises MakemoreError.
    """
    checkpoint = load_checkpoint(run)
    folder = run.parent if run.is_file() else run
    path, remarks, dataset = out or folder / PLAY, [], None
    try:
        config = checkpoint.config
        dataset = names.load(config.data, config.model.context_length, sha256=checkpoint.data_sha256)
    except MakemoreError as error:
        remarks.append(f"left out: the names: {error}")
    name = folder.absolute().name
    about = f"Step {checkpoint.step:,}; {checkpoint.model.sizes.parameters:,} parameters"
    write_page(path, name, about, (PLAY_VIEW, TRAIN), run_data(name, checkpoint, dataset))
    return path, remarks
