"""`makemore sample` and `makemore score`."""

from __future__ import annotations

import json
import sys
from collections.abc import Iterable, Iterator
from typing import TYPE_CHECKING, Annotated

import typer

from makemore_cli.cli.app import app
from makemore_cli.cli.options import JsonOption, RunArgument
from makemore_cli.errors import MakemoreError
from makemore_cli.system import output
from makemore_cli.system.progress import progress

if TYPE_CHECKING:
    from rich.text import Text

    from makemore_cli.inference.sample import Sampled
    from makemore_cli.inference.score import Score


@app.command(epilog="Example: makemore sample runs/quickstart -n 1000 --prefix ma | sort | uniq -c | sort -n")
def sample(
    run: RunArgument,
    n: Annotated[int, typer.Option("-n", "--number", min=0, metavar="N", help="Number of names.")] = 20,
    seed: Annotated[
        int | None,
        typer.Option(
            "--seed",
            metavar="N",
            help="Random seed. Default: the run's seed + 10.",
        ),
    ] = None,
    temperature: Annotated[
        float,
        typer.Option(
            "--temperature",
            metavar="X",
            help="Sampling temperature. Below 1, names are more typical; above 1, stranger. 0 always takes the most "
            "likely character.",
        ),
    ] = 1.0,
    top_k: Annotated[
        int | None,
        typer.Option("--top-k", metavar="K", help="Sample from the K most likely characters only. Default: all."),
    ] = None,
    prefix: Annotated[str, typer.Option("--prefix", metavar="TEXT", help="Start every name with TEXT.")] = "",
    only_new: Annotated[
        bool,
        typer.Option(
            "--new", help="Print only names that are not in the data (training, validation or test split), each once."
        ),
    ] = False,
    max_length: Annotated[
        int, typer.Option("--max-length", metavar="N", help="Cut names off after N characters.")
    ] = 100,
    jobs: Annotated[
        int,
        typer.Option("--jobs", "-j", metavar="N", min=1, help="Sample in N processes. The names stay the same."),
    ] = 1,
    lecture: Annotated[
        bool, typer.Option("--lecture", help="Sample exactly as the lecture does, with the same random numbers. Slow.")
    ] = False,
    show_probabilities: Annotated[
        bool,
        typer.Option(
            "--show-probabilities",
            help="Print each name's loss in nats per character, and the probability of each character.",
        ),
    ] = False,
    as_json: JsonOption = False,
) -> None:
    """Sample names from a trained model, one per line. A remark on stderr says how many are in the data."""
    from makemore_cli.inference.next_letters import Options
    from makemore_cli.inference.sample import PATIENCE_DRAWS, sample_run
    from makemore_cli.runs.checkpoint import load_checkpoint

    checkpoint, options = load_checkpoint(run), Options(temperature, top_k, prefix, max_length)
    sampled = sample_run(checkpoint, n, seed, options, only_new=only_new, lecture=lecture, jobs=jobs)
    if show_probabilities:
        from makemore_cli.inference.score import score_batches

        scores = score_batches(checkpoint.model, checkpoint.vocabulary, sampled.each())
        if as_json:
            told = [score.to_json() for batch in scores for score in batch]
            output.print_json({"names": [score["name"] for score in told], "scores": told, "kinds": sampled.kinds})
        else:
            _show(scores)
    elif as_json:
        names = (text.split("\n")[:-1] for text in _with_progress(sampled, n))
        output.print_json_list(names, '{"names": ', lambda: f', "kinds": {json.dumps(sampled.kinds)}}}')
    else:
        output.print_texts(_with_progress(sampled, n))
    kinds = sampled.kinds
    if kinds is None:
        output.remark(f"cannot tell which names are new: {sampled.reason}")
    elif sampled.counted:
        of = f"{sampled.counted:,}" if sampled.counted == sampled.drawn else f"the first {sampled.counted:,}"
        output.remark(
            f"of {of} names: {kinds['train']:,} in the training split, {kinds['held_out']:,} in the validation or test "
            f"split, {kinds['new']:,} new"
        )
    if sampled.drawn < n:
        output.remark(
            f"found only {sampled.drawn:,} of {n:,} new names: the next {PATIENCE_DRAWS:,} samples had no other; "
            "try a higher --temperature or another --prefix"
        )


@app.command(epilog="Example: makemore score runs/quickstart khaleesi emma --sort")
def score(
    run: RunArgument,
    names: Annotated[
        list[str] | None,
        typer.Argument(metavar="[NAME]...", help="Names to score. Default: read from stdin, one per line."),
    ] = None,
    sort: Annotated[bool, typer.Option("--sort", help="Sort by loss, most name-like first.")] = False,
    as_json: JsonOption = False,
) -> None:
    """Score names: print the loss of each in nats per character, and the probability of each character."""
    from makemore_cli.inference.score import names_of, score_batches
    from makemore_cli.runs.checkpoint import load_checkpoint

    checkpoint = load_checkpoint(run)
    if not names and (sys.stdin is None or sys.stdin.isatty()):  # None where it is closed
        raise MakemoreError("no names to score; give some, or pipe them in, one per line")
    scores = score_batches(checkpoint.model, checkpoint.vocabulary, names or names_of(sys.stdin.buffer.readline))
    if sort:
        scores = iter([sorted((score for batch in scores for score in batch), key=lambda score: score.loss)])
    if as_json:
        output.print_json_list([score.to_json() for score in batch] for batch in scores)
    else:
        _show(scores)


def _with_progress(sampled: Sampled, n: int) -> Iterator[str]:
    """The names as they are drawn. Progress is shown unless the names themselves are on the terminal."""
    if sys.stdout.isatty():
        yield from sampled.texts()
        return
    with progress(f"sampling {n:,} names") as report:
        for text in sampled.texts():
            yield text
            report(sampled.drawn / n)


def _show(scores: Iterable[list[Score]]) -> None:
    """Print scores as they come: shaded on a terminal with colours, as numbers elsewhere."""
    from rich.console import Console

    from makemore_cli.inference.score import legend, plain, shaded

    def show(text: Text) -> None:
        output.print_rich(lambda console: console.print(text, soft_wrap=True))

    terminal = Console(highlight=False)
    if not terminal.is_terminal or terminal.color_system is None or terminal.no_color:
        output.print_texts("".join(f"{line}\n" for line in map(plain, batch)) for batch in scores)
        return
    for batch in scores:
        for score in batch:
            show(shaded(score))
    show(legend())
