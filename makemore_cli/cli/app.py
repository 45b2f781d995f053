"""The commands: parse, call one function, print. Whatever is heavy is imported by the command that needs it."""

from __future__ import annotations

import atexit
import gc
import re
import shlex
import shutil
import sys
from collections.abc import Sequence
from functools import partial
from pathlib import Path
from typing import Annotated, Any

import typer

from makemore_cli import __version__
from makemore_cli.errors import MakemoreError, brief
from makemore_cli.system import output
from makemore_cli.system.signals import INTERRUPTED, Watch

app = typer.Typer(
    name="makemore",
    help="Train the makemore character MLP with gradients written by hand, sample from it, and check the gradients.",
    epilog="Example: makemore train && makemore sample runs/quickstart",
    rich_markup_mode="rich",
    pretty_exceptions_enable=False,
    add_completion=False,
    context_settings={"help_option_names": ["-h", "--help"]},
)
data_app = typer.Typer(help="Data sets.", epilog="Example: makemore data get", rich_markup_mode="rich")
app.add_typer(data_app, name="data")
runs_app = typer.Typer(rich_markup_mode="rich", invoke_without_command=True)
app.add_typer(runs_app, name="runs")

ConfigOption = Annotated[
    str | None,
    typer.Option(
        "--config",
        "-c",
        metavar="FILE",
        help="A YAML file, or a bundled configuration: quickstart (the default), lecture, best, fast, tiny.",
    ),
]
SetOption = Annotated[
    list[str] | None,
    typer.Option(
        "--set",
        metavar="KEY=VALUE",
        help="Change one setting, such as optim.lr=0.05, as often as needed. A run's config.yaml shows all keys.",
    ),
]
DeviceOption = Annotated[
    str | None,
    typer.Option("--device", metavar="DEVICE", help="auto (CUDA where there is one), cpu, cuda or cuda:N."),
]
DataOption = Annotated[
    str | None,
    typer.Option(
        "--data", metavar="FILE", help="Names, one a line; or bundled, or lecture (after `makemore data get`)."
    ),
]
JsonOption = Annotated[bool, typer.Option("--json", help="Print one JSON object on stdout, for programs.")]
RunArgument = Annotated[Path, typer.Argument(metavar="RUN", help="A run folder, or a checkpoint.")]


def _version(asked: bool) -> bool:
    if asked:
        print(f"makemore {__version__}")
        raise typer.Exit
    return asked


@app.callback()
def root(
    version: Annotated[
        bool, typer.Option("--version", help="Print the version.", is_eager=True, callback=_version)
    ] = False,
) -> None:
    """Options that go before a command."""


@app.command(epilog="Example: makemore train --config tiny --set optim.lr=0.05 --seed 7 --out runs/slow")
def train(
    run: Annotated[
        Path | None, typer.Argument(metavar="RUN", help="With --resume: the run folder.", show_default=False)
    ] = None,
    config: ConfigOption = None,
    data: DataOption = None,
    out: Annotated[
        Path | None,
        typer.Option("--out", metavar="DIR", help="The run folder; without it, runs/ and the configuration's name."),
    ] = None,
    settings: SetOption = None,
    device: DeviceOption = None,
    engine: Annotated[
        str | None,
        typer.Option(
            "--engine",
            metavar="ENGINE",
            help="auto (kernel on the CPU, else tensor), kernel and tensor (by hand), or autograd (to compare).",
        ),
    ] = None,
    seed: Annotated[int | None, typer.Option("--seed", help="Of the initial parameters and the batches.")] = None,
    steps: Annotated[int | None, typer.Option("--steps", help="How many to train.")] = None,
    crosscheck: Annotated[
        int,
        typer.Option(
            "--crosscheck",
            metavar="N",
            min=0,
            help="Every N steps, hold the hand-written gradients against autograd's; stop where they disagree.",
        ),
    ] = 0,
    overwrite: Annotated[bool, typer.Option("--overwrite", help="Replace the run that the folder holds.")] = False,
    resume: Annotated[
        bool,
        typer.Option(
            "--resume",
            help="Go on where RUN was left; without RUN, where the configuration's run folder was left, or begin if "
            "there is none. --steps sets a further goal.",
        ),
    ] = False,
    tensorboard: Annotated[
        bool, typer.Option("--tensorboard", help="Write TensorBoard's event files too, into the run folder.")
    ] = False,
    as_json: JsonOption = False,
    quiet: Annotated[bool, typer.Option("--quiet", "-q", help="No progress, only the result.")] = False,
) -> None:
    """Train on names, evaluate, sample, and leave a run folder."""
    from makemore_cli.config import schema as configuration
    from makemore_cli.runs.checkpoint import CONFIG
    from makemore_cli.runs.run_folder import holds_run

    if run is not None and not resume:
        raise MakemoreError(f"{run}: to go on with it, add --resume; to begin there, give it by --out")
    if run is not None and out is not None:
        raise MakemoreError("--out: a run goes on in its own folder; leave it away")
    if run is not None and config is not None:
        raise MakemoreError("--config: a run goes on with its own configuration; leave it away")
    if resume and overwrite:
        raise MakemoreError("--overwrite: replaces a run, and --resume goes on with it; give one of them")
    if run is not None and not holds_run(run):
        raise MakemoreError(f"{run}: holds no run to go on with; give a run folder that `makemore train` left")
    file = configuration.find(config) if run is None else run / CONFIG
    folder = run or out or Path("runs") / configuration.name(file)
    resume = resume and (run is not None or holds_run(folder))
    resolved = configuration.load(
        file,
        settings or (),
        data__path=data,
        train__device=device,
        train__engine=engine,
        train__seed=seed,
        train__steps=steps,
    )
    if resume and steps is None and not any(setting.startswith("train.steps") for setting in settings or ()):
        goal = configuration.load(folder / CONFIG).train.steps  # which may have been set by --steps
        resolved = configuration.override(resolved, train__steps=max(goal, resolved.train.steps))
    from makemore_cli.training.progress_display import display
    from makemore_cli.training.trainer import train as run_training

    shown = display(quiet)
    if tensorboard:
        from makemore_cli.training.tensorboard_events import Events

        shown = Events(shown)
    summary = run_training(resolved, folder, shown, crosscheck_every=crosscheck, overwrite=overwrite, resume=resume)
    if as_json:
        output.print_json(summary.model_dump(mode="json"))
        return
    output.print_lines(summary.lines())
    if not quiet:
        quoted = shlex.quote(summary.run)
        output.remark(f"More names: makemore sample {quoted}; pictures: makemore report {quoted}")


@app.command(epilog="Example: makemore sweep --config best --space best -n 50 --jobs 2 --data lecture")
def sweep(
    config: ConfigOption = None,
    space: Annotated[
        str | None,
        typer.Option(
            "--space",
            metavar="FILE",
            help="What is searched: a YAML file with keys of the configuration, each with a list of values or "
            "{low: …, high: …}; or a bundled one by its name (best, fast).",
            show_default=False,
        ),
    ] = None,
    n: Annotated[
        int, typer.Option("-n", "--trials", metavar="N", min=1, help="Trials in all, those of earlier calls counted.")
    ] = 20,
    jobs: Annotated[int, typer.Option("--jobs", metavar="N", min=1, help="Trials at a time.")] = 1,
    data: DataOption = None,
    out: Annotated[
        Path | None,
        typer.Option("--out", metavar="DIR", help="The sweep's folder; without it, sweeps/ and the space's name."),
    ] = None,
    storage: Annotated[
        str | None,
        typer.Option(
            "--storage",
            metavar="URL",
            help="Of a data base for Optuna, such as sqlite:///sweep.db, which several machines may share; without it "
            "a journal in the folder.",
        ),
    ] = None,
    settings: SetOption = None,
    as_json: JsonOption = False,
    quiet: Annotated[bool, typer.Option("--quiet", "-q", help="No progress, only the result.")] = False,
) -> None:
    """Search for a good configuration: many runs, judged by their validation losses. Go on by the same command."""
    from makemore_cli.config import schema as configuration

    if space is None:
        raise MakemoreError("--space: give a YAML file that says what is searched, or a bundled one (best, fast)")
    resolved = configuration.load(configuration.find(config), settings or (), data__path=data)
    file = configuration.find(space, "configs/spaces", "space")
    folder = out or Path("sweeps") / file.stem

    from makemore_cli.sweep import search as sweeps

    plan = sweeps.plan(resolved, file, folder, storage=storage, trials=n, jobs=jobs)
    results = sweeps.sweep(plan, (lambda _: None) if quiet else output.remark)
    if as_json:
        output.print_json(results.to_json())
        return
    output.print_rich(results.show)


@app.command(epilog="Example: makemore sample runs/quickstart -n 1000 --prefix ma | sort | uniq -c | sort -n")
def sample(
    run: RunArgument,
    n: Annotated[int, typer.Option("-n", "--number", min=0, help="How many names.")] = 20,
    seed: Annotated[
        int | None,
        typer.Option("--seed", help="The same seed gives the same names; without it, the run's + 10."),
    ] = None,
    temperature: Annotated[
        float,
        typer.Option(
            "--temperature",
            metavar="X",
            help="Below 1 likelier names, above 1 stranger ones; 0 takes the likeliest letter.",
        ),
    ] = 1.0,
    top_k: Annotated[
        int | None, typer.Option("--top-k", metavar="K", help="Draw among the K likeliest letters only.")
    ] = None,
    prefix: Annotated[str, typer.Option("--prefix", metavar="TEXT", help="What every name begins with.")] = "",
    only_new: Annotated[
        bool,
        typer.Option(
            "--new", help="Only names that are neither in the training data nor in the held-out part, each once."
        ),
    ] = False,
    max_length: Annotated[int, typer.Option("--max-length", metavar="N", help="Cut names after N letters.")] = 100,
    lecture: Annotated[
        bool, typer.Option("--lecture", help="Draw by the lecture's own procedure, for its very samples; slow.")
    ] = False,
    show_probabilities: Annotated[
        bool,
        typer.Option(
            "--show-probabilities", help="Each name with its loss in nats a letter, and every letter's probability."
        ),
    ] = False,
    as_json: JsonOption = False,
) -> None:
    """Print names from a trained model, one a line; on stderr, how many of them are in the data."""
    from makemore_cli.inference.sample import PATIENCE, Options, sample_run
    from makemore_cli.runs.checkpoint import load_checkpoint

    checkpoint, options = load_checkpoint(run), Options(temperature, top_k, prefix, max_length)
    sampled = sample_run(checkpoint, n, seed, options, only_new=only_new, lecture=lecture)
    if show_probabilities:
        from makemore_cli.inference.score import score as score_names
        from makemore_cli.inference.score import show

        scores = score_names(checkpoint.model, checkpoint.vocabulary, sampled.each())
        if as_json:
            told = [score.to_json() for score in scores]
            output.print_json({"names": [score["name"] for score in told], "scores": told, "kinds": sampled.kinds})
        else:
            show(scores)
    elif as_json:
        names = sampled.names()
        output.print_json({"names": names, "kinds": sampled.kinds})
    else:
        output.print_texts(sampled.texts())
    kinds = sampled.kinds
    if kinds is None:
        output.remark(f"can't tell which names are new: {sampled.reason}")
    elif sampled.counted:
        of = f"{sampled.counted:,}" if sampled.counted == sampled.drawn else f"the first {sampled.counted:,}"
        output.remark(
            f"{kinds['train']:,} of {of} stand in the training names, {kinds['held_out']:,} in the held-out ones, "
            f"{kinds['new']:,} are new"
        )
    if sampled.drawn < n:
        output.remark(
            f"only {sampled.drawn:,} of {n:,}: the next {PATIENCE:,} draws brought no other new name; "
            "try a higher --temperature or another --prefix"
        )


@app.command(epilog="Example: makemore score runs/quickstart khaleesi emma --sort")
def score(
    run: RunArgument,
    names: Annotated[
        list[str] | None, typer.Argument(metavar="[NAME]...", help="Without any, they are read from stdin, one a line.")
    ] = None,
    sort: Annotated[bool, typer.Option("--sort", help="The most name-like first, of all names.")] = False,
    as_json: JsonOption = False,
) -> None:
    """Print how name-like a model finds names: the loss in nats a letter, and each letter's probability."""
    from makemore_cli.inference.score import names_of, show
    from makemore_cli.inference.score import score as score_names
    from makemore_cli.runs.checkpoint import load_checkpoint

    checkpoint = load_checkpoint(run)
    if not names and (sys.stdin is None or sys.stdin.isatty()):  # None where it is closed
        raise MakemoreError("no names: give some, or pipe them in, one a line")
    scores = score_names(checkpoint.model, checkpoint.vocabulary, names or names_of(sys.stdin.buffer.readline))
    if sort:
        scores = iter(sorted(scores, key=lambda score: score.loss))
    if as_json:
        output.print_json([score.to_json() for score in scores])
    else:
        show(scores)


@app.command(epilog="Example: makemore gradcheck --of fused --against float64 --set train.batch_size=7")
def gradcheck(
    config: ConfigOption = None,
    run: Annotated[
        Path | None,
        typer.Option("--run", metavar="RUN", help="Check at a trained model's parameters, with its configuration."),
    ] = None,
    of: Annotated[
        str | None,
        typer.Option("--of", metavar="SOURCE", help="Check one source of gradients only, such as atomic or fused."),
    ] = None,
    against: Annotated[
        str | None,
        typer.Option(
            "--against",
            metavar="SOURCE",
            help="The witness: autograd (default), functions, float64, finite, complex, or another source.",
        ),
    ] = None,
    user: Annotated[
        Path | None,
        typer.Option(
            "--user",
            metavar="FILE",
            help="Check your own backward pass: a Python file with a function backward(logits, h, …), whose arguments "
            "are names of forward tensors and which returns gradients by name; a script of assignments (dlogits = …); "
            "or a notebook (.ipynb).",
        ),
    ] = None,
    trials: Annotated[
        int | None,
        typer.Option(
            "--trials", metavar="N", min=1, help="Check N problems of random sizes instead, and show the worst."
        ),
    ] = None,
    settings: SetOption = None,
    device: DeviceOption = None,
    as_json: JsonOption = False,
) -> None:
    """Hold every hand-written gradient against autograd's on one batch. Exit code 1 if one disagrees."""
    from makemore_cli.config import schema as configuration

    if run is not None and (config is not None or settings):
        raise MakemoreError("--run: has its own configuration; leave out --config and --set")
    if user is not None and of is not None:
        raise MakemoreError("--user: is what is checked; leave out --of")
    if trials is not None:
        if any(option is not None for option in (config, run, of, against, user, device)) or settings:
            raise MakemoreError("--trials: draws its own problems; leave out the other options")
        _trials(trials, as_json)
        return
    if run is None:
        checkpoint = None
        resolved = configuration.load(configuration.find(config), settings or (), train__device=device)
    else:
        from makemore_cli.runs.checkpoint import load_checkpoint

        checkpoint = load_checkpoint(run)
        resolved = configuration.override(checkpoint.config, train__device=device, train__engine="auto")
    from makemore_cli.training.first_batch_check import check_first_batch

    report = check_first_batch(resolved, checkpoint, of=of, against=against, user=user)
    if as_json:
        output.print_json(report.to_json())
    else:
        from makemore_cli.gradcheck.report import show

        output.print_rich(partial(show, report))
    if not report.ok:
        raise typer.Exit(1)


def _trials(count: int, as_json: bool) -> None:
    from makemore_cli.gradcheck.trials import run_trials

    def progress(done: int) -> None:
        if done % 100 == 0:
            output.remark(f"{done:,} of {count:,} problems")

    trials = run_trials(count, progress=progress)
    if as_json:
        output.print_json(vars(trials))
    else:
        output.print_lines(trials.lines())
    if trials.refused:
        raise typer.Exit(1)


@app.command(epilog="Example: makemore explain logits --numbers && makemore explain batchnorm")
def explain(
    tensor: Annotated[
        str | None,
        typer.Argument(
            metavar="[TENSOR]", help="A tensor of the chain (logits, hprebn, W1, …), cross_entropy or batchnorm."
        ),
    ] = None,
    numbers: Annotated[bool, typer.Option("--numbers", help="With the numbers of a small batch.")] = False,
) -> None:
    """Show how a gradient is made: forward line, backward lines, shapes, rule and why; or the whole chain."""
    from makemore_cli.views.explain import explain as lines

    output.print_lines(lines(tensor, numbers=numbers, width=min(100, shutil.get_terminal_size().columns)))


@app.command(epilog="Example: makemore plot runs/quickstart --what loss,embedding,next-letter --format svg")
def plot(
    runs: Annotated[
        list[Path],
        typer.Argument(metavar="RUN...", help="A run folder, or a checkpoint; of several, the losses in one picture."),
    ],
    what: Annotated[
        str | None,
        typer.Option(
            "--what",
            metavar="NAME,NAME",
            help="loss, ratios, saturation, activations, gradients, weight-gradients, dlogits, embedding, next-letter; "
            "without it, all.",
        ),
    ] = None,
    out: Annotated[
        Path | None,
        typer.Option("--out", metavar="DIR", help="Without it, plots/ in the run's folder; of several runs, here."),
    ] = None,
    format: Annotated[str, typer.Option("--format", metavar="FORMAT", help="png or svg.")] = "png",
) -> None:
    """Draw pictures of a run, and print where they are."""
    from makemore_cli.views.plots.gallery import plot as draw

    left_out: dict[str, list[str]] = {}
    output.print_lines(str(path) for path in draw(runs, what, out, format, left_out))
    for reason, names in left_out.items():
        output.remark(f"left out: {', '.join(names)}: {reason}")


@app.command(epilog="Example: makemore report runs/quickstart --out quickstart.html")
def report(
    run: RunArgument,
    out: Annotated[
        Path | None, typer.Option("--out", metavar="FILE", help="Without it, report.html in the run's folder.")
    ] = None,
) -> None:
    """Write all there is to see of a run on one page, a single HTML file, and print where it is."""
    from makemore_cli.views.report import write_report

    path, left_out = write_report(run, out)
    output.print_lines([str(path)])
    for what in left_out:
        output.remark(f"left out: {what}")


@app.command(epilog="Example: makemore inspect runs/quickstart --json")
def inspect(run: RunArgument, as_json: JsonOption = False) -> None:
    """Print how a network is doing: dead neurons, saturation, ratios, gradient norms, with a verdict on each."""
    from makemore_cli.views.diagnostics import inspect as inspect_network
    from makemore_cli.views.diagnostics import look_at_run, show

    numbers = inspect_network(look_at_run(run))
    if as_json:
        output.print_json(numbers)
    else:
        output.print_rich(partial(show, numbers), width=160)


@runs_app.callback(epilog="Example: makemore runs --sort val")
def runs(
    context: typer.Context,
    folder: Annotated[Path, typer.Option("--dir", metavar="DIR", help="Where to look for runs.")] = Path("runs"),
    sort: Annotated[
        str, typer.Option("--sort", metavar="COLUMN", help="name, data, train, val, test, steps, time or date.")
    ] = "name",
    as_json: JsonOption = False,
) -> None:
    """List the runs in a folder, with what they came to."""
    if context.invoked_subcommand is not None:
        return
    from makemore_cli.runs.comparison import find_runs, show_runs, sort_runs

    found = sort_runs(find_runs(folder), sort)
    if as_json:
        output.print_json([info.to_json() for info in found])
    elif found:
        output.print_rich(partial(show_runs, found), width=160)
    else:
        output.remark(f"{folder}: holds no runs")


@runs_app.command("diff", epilog="Example: makemore runs diff runs/quickstart runs/tiny")
def runs_diff(
    first: Annotated[Path, typer.Argument(metavar="A", help="A run folder.")],
    second: Annotated[Path, typer.Argument(metavar="B", help="Another one.")],
    as_json: JsonOption = False,
) -> None:
    """Show which settings of two runs differ, and what that did to the losses."""
    from makemore_cli.runs.comparison import Difference, run_info, show_difference

    difference = Difference(run_info(first), run_info(second))
    if as_json:
        output.print_json(difference.to_json())
    else:
        output.print_rich(partial(show_difference, difference), width=160)


@app.command("eval", epilog="Example: makemore eval runs/quickstart --json")
def evaluate(run: RunArgument, data: DataOption = None, as_json: JsonOption = False) -> None:
    """Print a model's losses on its own data, or on another file's names split the same way."""
    from makemore_cli.inference import evaluate as evaluation
    from makemore_cli.names.dataset import load as load_data
    from makemore_cli.runs.checkpoint import load_checkpoint

    checkpoint = load_checkpoint(run)
    config = checkpoint.config.data
    if data is not None:
        config = config.model_copy(update={"path": data})
    dataset = load_data(config, checkpoint.config.model.context_length, checkpoint.vocabulary)
    if data is None and dataset.sha256 != checkpoint.data_sha256:
        output.remark(f"{dataset.path}: has changed since the model was trained on it")
    loss = {name: evaluation.loss(checkpoint.model, split) for name, split in dataset.splits.items()}
    examples = {name: len(split) for name, split in dataset.splits.items()}
    if as_json:
        output.print_json({"run": str(run), "data": str(dataset.path), "examples": examples, "loss": loss})
    else:
        output.print_lines(f"{name + ' loss':<12}{loss[name]:.4f} over {examples[name]:,} examples" for name in loss)


@app.command(epilog="Example: makemore bench --batch-size 32 --hidden-size 200")
def bench(
    batch_size: Annotated[
        list[int] | None,
        typer.Option("--batch-size", metavar="N", min=2, help="Of the training steps; 32 and 256. Can be repeated."),
    ] = None,
    hidden_size: Annotated[
        list[int] | None,
        typer.Option("--hidden-size", metavar="N", min=1, help="64, 200 and 1024. Can be repeated."),
    ] = None,
    rounds: Annotated[int, typer.Option("--rounds", metavar="N", min=1, help="Turns that each contender takes.")] = 7,
    as_json: JsonOption = False,
) -> None:
    """Time the engines beside the lecture's own loop, and JAX where it is installed; sampling; evaluation."""
    from makemore_cli.bench import BATCH_SIZES, HIDDEN_SIZES, show
    from makemore_cli.bench import bench as run_bench

    result = run_bench(batch_size or BATCH_SIZES, hidden_size or HIDDEN_SIZES, rounds, output.remark)
    if as_json:
        output.print_json(result.to_json())
    else:
        output.print_rich(partial(show, result))


@data_app.command("get", epilog="Example: makemore data get && makemore train --config lecture --data lecture")
def data_get(
    url: Annotated[
        str | None, typer.Option("--url", help="Fetch the file from elsewhere; its checksum must be the same.")
    ] = None,
) -> None:
    """Fetch the lecture's own names.txt once, and verify it. `--data lecture` then uses it.

    It goes to your cache, or to the folder that the environment variable MAKEMORE_CACHE names.
    """
    from makemore_cli.names.download import URL, get_names

    output.print_lines([str(get_names(url or URL))])
    output.remark("verified; use it with --data lecture")


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the command line. Returns the exit code; a user's mistake is one line on stderr and 2."""
    output.prepare()
    if arguments is not None:
        return _run(arguments)
    # A process of its own. Imports leave some hundred thousand objects. To look through them for garbage takes half a
    # second while they are made, and as much again at the end.
    gc.set_threshold(100_000)
    atexit.register(gc.freeze)
    with Watch("stopping as soon as the present computation ends"):
        return _run(sys.argv[1:])


def _run(arguments: Sequence[str]) -> int:
    # Typer's usage errors, whichever parser is under it.
    usage_error: Any = typer.BadParameter.__base__
    try:
        # As most people would write it first; the option takes no value, since it may stand alone.
        given = [part for argument in arguments for part in re.split(r"(?<=^--resume)=", argument)]
        code = app(args=given or ["--help"], prog_name="makemore", standalone_mode=False)
        sys.stdout.flush()
    except MakemoreError as error:
        output.remark(f"makemore: {error}")
        return error.exit_code
    except KeyboardInterrupt:
        code = INTERRUPTED
    except usage_error as error:
        context = getattr(error, "ctx", None)
        command = context.command_path if context is not None else "makemore"
        told = brief(" ".join(error.format_message().split()).rstrip("."))
        output.remark(f"{command}: {told}; see `{command} --help`")
        return 2
    except output.ReaderGoneError:
        output.silence()
        return 128 + 13  # as if ended by SIGPIPE
    except OSError as error:  # a full disk under stdout, say
        output.silence()
        output.remark(brief(f"makemore: can't go on: {error.filename or 'stdout'}: {error.strerror}"))
        return 2
    except (MemoryError, RuntimeError) as error:
        if not isinstance(error, MemoryError) and "memory" not in str(error):
            raise
        output.remark(
            "makemore: not enough memory; try a smaller batch_size, hidden_size, embedding_size or context_length"
        )
        return 2
    if code == INTERRUPTED:  # which Typer makes of Ctrl-C
        output.remark("makemore: interrupted")
    return code if isinstance(code, int) else 0
