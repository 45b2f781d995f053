"""The report on a run: one HTML file that needs no network and no other file, and whose first part needs no script."""

from __future__ import annotations

import base64
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from makemore_cli.checks.check import check_batch
from makemore_cli.checks.findings import Report
from makemore_cli.checks.network import NetworkProblem
from makemore_cli.config import load as configuration
from makemore_cli.errors import MakemoreError
from makemore_cli.inference import evaluate
from makemore_cli.inference.lecture_sampler import PUBLISHED
from makemore_cli.inference.next_letters import Options
from makemore_cli.inference.sample import sample_run
from makemore_cli.inference.score import meanings, score, shade
from makemore_cli.names.download import SHA256
from makemore_cli.names.splits import SPLITS
from makemore_cli.runs.comparison import run_info
from makemore_cli.runs.file_names import REPORT
from makemore_cli.system.environment import environment
from makemore_cli.system.files import check_replaceable, write_atomically
from makemore_cli.training.first_batch import first_batch
from makemore_cli.views.diagnostics import inspect
from makemore_cli.views.page.explain_page import MOST_ROWS, network_data
from makemore_cli.views.page.page import CHAIN, PLAY, REPORT_STYLE, TRAIN, parts, templates
from makemore_cli.views.page.run_data import run_data
from makemore_cli.views.plots.gallery import KINDS, Subject, pictures
from makemore_cli.views.plots.style import Picture

REPORT_NAMES = 50
ORIGINS = {"train": "in the training split", "held_out": "in the held-out data", "new": "new", None: "unknown"}


@dataclass(frozen=True)
class ShadedName:
    """A sampled name, with a colour for each character."""

    letters: list[tuple[str, str, str]]  # each character, its colour, its probability
    loss: float  # nats per character
    kind: str


@dataclass(frozen=True)
class Figure:
    """A plot in the page."""

    name: str
    alt: str
    about: str
    source: str  # a data URL
    width: int  # in CSS pixels
    height: int


def write_report(run: Path, out: Path | None = None) -> tuple[Path, list[str]]:
    """Write a run's report. Returns its path, and remarks on changed data and on parts that are left out.

    The default for `out` is `report.html` in the run folder. Raises MakemoreError.
    """
    subject = Subject(run)
    info = run_info(subject.folder)
    path = out or subject.folder / REPORT
    check_replaceable(path)
    missing: dict[str, list[str]] = {}
    figures = [_figure(name, picture) for name, picture in pictures(subject, KINDS, missing)]
    numbers: dict[str, Any] | None = None
    gradcheck: Report | None = None
    views, live = [PLAY, TRAIN], run_data(subject.name, subject.checkpoint, None)
    loss = info.loss if subject.run == subject.folder else {}
    try:
        dataset = subject.dataset
        loss = {split: evaluate.loss(subject.checkpoint.model, dataset.splits[split]) for split in SPLITS}
        numbers = inspect(subject.seen)
        live = run_data(subject.name, subject.checkpoint, dataset)
    except MakemoreError as error:
        missing.setdefault(str(error), []).append("diagnostics")
    try:
        config = configuration.override(subject.checkpoint.config, train__device="auto", train__engine="auto")
        problem, _ = first_batch(config, subject.checkpoint)
        gradcheck = check_batch(problem)
    except MakemoreError as error:
        missing.setdefault(str(error), []).append("gradcheck")
    else:
        try:
            live["chain"] = _chain(problem, subject)
            views.insert(0, CHAIN)
        except MakemoreError as error:
            missing.setdefault(str(error), []).append("chain")
    left_out = [f"{', '.join(names)}: {reason}" for reason, names in missing.items()]
    page = (
        templates()
        .get_template("report.html.jinja")
        .render(
            run=str(run),
            name=subject.name,
            info=info,
            step=subject.checkpoint.step,
            parameters=subject.checkpoint.model.sizes.parameters,
            splits=SPLITS,
            loss=loss,
            published=PUBLISHED,
            is_lecture=subject.checkpoint.data_sha256 == SHA256,
            names=_names(subject),
            legend=list(meanings()),
            figures=figures,
            numbers=numbers,
            gradcheck=gradcheck,
            left_out=left_out,
            config=configuration.dump(subject.checkpoint.config),
            environments={"trained with": info.environment, "report written with": environment()},
            **parts(views, live, REPORT_STYLE),
            now=datetime.now(UTC).astimezone().strftime("%Y-%m-%d %H:%M"),
        )
    )
    write_atomically(path, page.encode(errors="backslashreplace"))
    return path, [*subject.remarks, *(f"left out: {what}" for what in left_out)]


def _chain(problem: NetworkProblem, subject: Subject) -> dict[str, Any]:
    n = min(len(problem.X), MOST_ROWS)
    about = (
        f"The first {n} examples of the next training batch, at the parameters after step {subject.checkpoint.step:,}. "
        "The loss of so few examples differs from the run's."
    )
    vocabulary = subject.checkpoint.vocabulary
    p, X, Y = problem.p, problem.X, problem.Y
    return network_data(p, X, Y, vocabulary, epsilon=problem.eps, smoothing=problem.smoothing, about=about)


def _figure(name: str, picture: Picture) -> Figure:
    width, height = picture.shape()
    code = base64.b64encode(picture.render("svg", titled=False)).decode()
    return Figure(
        name,
        picture.title,
        KINDS[name].explained,
        f"data:image/svg+xml;base64,{code}",
        round(96 * width),
        round(96 * height),
    )


def _names(subject: Subject) -> list[ShadedName]:
    checkpoint = subject.checkpoint
    sampled = sample_run(checkpoint, REPORT_NAMES, None, Options())
    names = sampled.names()
    scores = score(checkpoint.model, checkpoint.vocabulary, names)
    return [
        ShadedName(
            [(letter, shade(p), f"{p:.1%}") for letter, p in zip(scored.letters, scored.probabilities, strict=True)],
            scored.loss,
            ORIGINS[kind],
        )
        for scored, kind in zip(scores, sampled.kinds_of(names), strict=True)
    ]
