"""The speed of training by each engine, by the lecture's own loop and by JAX; of sampling; and of evaluation.

All contenders train the same network on the same batches. They take turns, several rounds of them, so that a machine
that is busy for a while slows all of them; what counts is each one's fastest round.
"""

from __future__ import annotations

import importlib.util
import platform
import statistics
import time
from collections.abc import Callable, Iterable
from dataclasses import asdict, dataclass, field
from functools import partial
from importlib.metadata import version
from itertools import product
from typing import Any

import numpy as np
import torch
from rich.console import Console
from torch import Tensor
from torch.nn import functional as F

from makemore_cli.backprop.atomic import backward, forward
from makemore_cli.config import load as configuration
from makemore_cli.config.schema import Config
from makemore_cli.gradcheck.network import NetworkProblem
from makemore_cli.gradcheck.scalar_source import scalar_gradients
from makemore_cli.inference import evaluate
from makemore_cli.inference.next_letters import Options
from makemore_cli.inference.sample import texts
from makemore_cli.names import dataset as data
from makemore_cli.names.splits import Integers
from makemore_cli.network.model import BATCHNORM_EPSILON, Model, Sizes
from makemore_cli.network.parameters import Parameters, initialise
from makemore_cli.network.threads import threads
from makemore_cli.system.console import plain_table
from makemore_cli.system.environment import processor
from makemore_cli.training.engines import KernelEngine, TensorEngine
from makemore_cli.training.setup import set_up

BATCH_SIZES, HIDDEN_SIZES = (32, 256), (64, 200, 1024)
ROUNDS = 7
ROUND_SECONDS = 0.1  # that a round of one contender is to take
CONTEXT, EMBEDDING, VOCABULARY = 3, 10, 27  # the lecture's
MATRIX_SIDE = 1536  # of the matrices that the machine's rate is measured with
LR = 0.01
SCALAR_BATCH, SCALAR_HIDDEN = 32, 64  # the lecture's gradient exercise

Run = Callable[[int], Any]  # trains so many steps


@dataclass(frozen=True)
class Timing:
    """The time that one contender takes for a step."""

    contender: str
    batch_size: int
    hidden_size: int
    threads: int | None  # None where it chooses itself
    microseconds: float  # a step, in its fastest round
    median: float
    speedup: float = 1.0  # over the lecture's loop
    gigaflops: float = 0.0  # in its matrix products
    share: float = 0.0  # of the rate at which PyTorch multiplies large matrices, with as many threads


@dataclass
class Bench:
    """All measurements."""

    machine: dict[str, Any] = field(default_factory=dict)
    steps: list[Timing] = field(default_factory=list)
    others: dict[str, float] = field(default_factory=dict)  # what each is, stands in its name

    def to_json(self) -> dict[str, Any]:
        return {"machine": self.machine, "steps": [asdict(timing) for timing in self.steps], "others": self.others}


def bench(
    batch_sizes: Iterable[int] = BATCH_SIZES,
    hidden_sizes: Iterable[int] = HIDDEN_SIZES,
    rounds: int = ROUNDS,
    say: Callable[[str], None] = lambda _: None,
) -> Bench:
    result = Bench(machine=_machine())
    rate = {1: _matrix_rate(1), torch.get_num_threads(): _matrix_rate(torch.get_num_threads())}
    result.machine["gigaflops"] = {str(count): round(measured, 1) for count, measured in rate.items()}
    for n, H in product(batch_sizes, hidden_sizes):
        say(f"training steps, batch of {n}, {H} hidden units …")
        result.steps += _steps(n, H, rounds, rate, say)
    say("sampling and evaluation …")
    result.others = _others(rounds)
    say("the same gradients on scalars …")
    result.others |= _scalars(rounds)
    return result


def _machine() -> dict[str, Any]:
    packages = ["torch", "numpy", "numba", *(["jax"] if importlib.util.find_spec("jax") else [])]
    return {
        "processor": f"{processor()}, {torch.backends.cpu.get_cpu_capability()}",
        "threads": torch.get_num_threads(),
        "python": platform.python_version(),
        **{package: version(package) for package in packages},
    }


def _matrix_rate(count: int) -> float:
    """Billions of operations a second in a product of large matrices, with so many threads."""
    before = torch.get_num_threads()
    torch.set_num_threads(count)
    a, b = torch.ones(2, MATRIX_SIDE, MATRIX_SIDE)
    out = torch.empty_like(a)
    fastest = min(_timed(lambda: torch.mm(a, b, out=out)) for _ in range(8))
    torch.set_num_threads(before)
    return 2 * MATRIX_SIDE**3 / fastest / 1e9


def _timed(action: Callable[[], Any]) -> float:
    started = time.perf_counter()
    action()
    return time.perf_counter() - started


def _steps(n: int, H: int, rounds: int, rate: dict[int, float], say: Callable[[str], None]) -> list[Timing]:
    sizes = Sizes(VOCABULARY, CONTEXT, EMBEDDING, H)
    parameters, generator = initialise(sizes, 0)
    most = max(16, min(4096, (1 << 22) // n))
    X = torch.randint(0, VOCABULARY, (most, n, CONTEXT), generator=generator)
    Y = torch.randint(0, VOCABULARY, (most, n), generator=generator)
    with threads(parameters, n):
        used = torch.get_num_threads()
        contenders: dict[str, tuple[int | None, Run]] = {
            "kernel": (1, _kernel(parameters.to(), X, Y, say, 1)),
            "tensor": (used, _tensor(parameters.to(), X, Y)),
            "lecture": (used, lecture_loop(parameters.to(), X.flatten(0, 1), Y.flatten(), n)),
        }
        if importlib.util.find_spec("jax"):
            contenders["jax"] = (None, _jax(parameters, X.numpy(), Y.numpy()))
        counts = {}
        for name, (_, run) in contenders.items():
            run(4)
            counts[name] = int(min(most, max(4, ROUND_SECONDS / (_timed(partial(run, 4)) / 4))))
            run(counts[name])  # JAX compiles for each length
        times: dict[str, list[float]] = {name: [] for name in contenders}
        for _ in range(rounds):
            for name, (_, run) in contenders.items():
                times[name].append(_timed(partial(run, counts[name])) / counts[name])
    operations = 6 * n * H * (CONTEXT * EMBEDDING + VOCABULARY)  # a product forward is two more of its size backward
    timings = []
    for name, (count, _) in contenders.items():
        fastest = min(times[name])
        gigaflops = operations / fastest / 1e9
        timings.append(
            Timing(
                name,
                n,
                H,
                count,
                microseconds=round(fastest * 1e6, 2),
                median=round(statistics.median(times[name]) * 1e6, 2),
                speedup=round(min(times["lecture"]) / fastest, 2),
                gigaflops=round(gigaflops, 1),
                share=round(gigaflops / rate.get(count or 0, max(rate.values())), 3),
            )
        )
    return timings


def _kernel(p: Parameters, X: Tensor, Y: Tensor, say: Callable[[str], None], count: int) -> Run:
    engine = KernelEngine(p, threads=count)
    engine.prepare(X.shape[1], say)
    return lambda count: engine.run(X[:count], Y[:count], [LR] * count)


def _tensor(p: Parameters, X: Tensor, Y: Tensor) -> Run:
    engine = TensorEngine(p)
    return lambda count: engine.run(X[:count], Y[:count], [LR] * count)


def lecture_loop(p: Parameters, Xtr: Tensor, Ytr: Tensor, batch_size: int) -> Run:
    """The training loop as the lecture writes it, with `loss.backward()`. It updates the parameters in place."""
    C, W1, b1, W2, b2, bngain, bnbias = parameters = [view.detach().requires_grad_() for view in p.views.values()]
    g = torch.Generator().manual_seed(0)
    lossi = []

    def run(count: int) -> None:
        for _ in range(count):
            ix = torch.randint(0, Xtr.shape[0], (batch_size,), generator=g)
            Xb, Yb = Xtr[ix], Ytr[ix]
            emb = C[Xb]
            embcat = emb.view(emb.shape[0], -1)
            hprebn = embcat @ W1 + b1
            bnmean = hprebn.mean(0, keepdim=True)
            bnvar = hprebn.var(0, keepdim=True, unbiased=True)
            bnvar_inv = (bnvar + BATCHNORM_EPSILON) ** -0.5
            bnraw = (hprebn - bnmean) * bnvar_inv
            hpreact = bngain * bnraw + bnbias
            h = torch.tanh(hpreact)
            logits = h @ W2 + b2
            loss = F.cross_entropy(logits, Yb)
            for parameter in parameters:
                parameter.grad = None
            loss.backward()  # type: ignore[no-untyped-call]
            with torch.no_grad():
                for parameter in parameters:
                    parameter += -LR * parameter.grad  # type: ignore[operator]
            lossi.append(loss.log10().item())

    return run


def _jax(p: Parameters, X: Integers, Y: Integers) -> Run:
    """The same in JAX: one compiled scan over all steps."""
    import jax
    import jax.numpy as jnp

    def loss_of(p: dict[str, Any], x: Any, y: Any) -> Any:
        hprebn = p["C"][x].reshape(x.shape[0], -1) @ p["W1"] + p["b1"]
        bnmean, bnvar = hprebn.mean(0, keepdims=True), hprebn.var(0, keepdims=True, ddof=1)
        h = jnp.tanh(p["bngain"] * (hprebn - bnmean) / jnp.sqrt(bnvar + BATCHNORM_EPSILON) + p["bnbias"])
        logprobs = jax.nn.log_softmax(h @ p["W2"] + p["b2"])
        return -jnp.take_along_axis(logprobs, y[:, None], 1).mean()

    def step(p: dict[str, Any], batch: tuple[Any, Any]) -> tuple[dict[str, Any], Any]:
        loss, gradients = jax.value_and_grad(loss_of)(p, *batch)
        return jax.tree.map(lambda parameter, gradient: parameter - LR * gradient, p, gradients), loss

    scan = jax.jit(lambda p, X, Y: jax.lax.scan(step, p, (X, Y)))
    state = {name: jnp.asarray(array) for name, array in p.arrays().items()}
    X32, Y32 = jnp.asarray(X.astype(np.int32)), jnp.asarray(Y.astype(np.int32))

    def run(count: int) -> None:
        nonlocal state
        state, losses = scan(state, X32[:count], Y32[:count])
        losses.block_until_ready()

    return run


def _others(rounds: int) -> dict[str, float]:
    """Sampling and evaluation, with models that were trained a little on the bundled names."""
    short, long = "model.context_length=3", "model.context_length=8"
    small, dataset = _trained(["train.steps=5000", short])
    large, _ = _trained(
        ["train.steps=500", "train.batch_size=256", long, "model.embedding_size=24", "model.hidden_size=768"]
    )

    def names(model: Model, count: int) -> float:
        def draw() -> None:
            drawn, batches = 0, texts(model, dataset.vocabulary, 1, Options())
            while drawn < count:
                drawn += next(batches)[0]

        return count / min(_timed(draw) for _ in range(min(rounds, 3)))

    def evaluation() -> None:
        model = evaluate.calibrate(small.sizes, small.parameters, dataset.train)
        for split in dataset.splits.values():
            evaluate.loss(model, split)

    first = _timed(evaluation)
    return {
        "names a second, 3 letters of context, 200 hidden units": float(round(names(small, 2_000_000))),
        "names a second, 8 letters of context, 768 hidden units": float(round(names(large, 200_000))),
        "milliseconds to calibrate and take the losses of three splits, the first time": round(first * 1e3, 1),
        "milliseconds for the same again": round(min(_timed(evaluation) for _ in range(rounds)) * 1e3, 1),
    }


def _scalars(rounds: int) -> dict[str, float]:
    """The chain's gradients on one batch, on tensors and on scalar values, one thread each."""
    p, generator = initialise(Sizes(VOCABULARY, CONTEXT, EMBEDDING, SCALAR_HIDDEN), 0)
    X = torch.randint(0, VOCABULARY, (SCALAR_BATCH, CONTEXT), generator=generator)
    Y = torch.randint(0, VOCABULARY, (SCALAR_BATCH,), generator=generator)
    problem = NetworkProblem(p.to(dtype=torch.float64), X, Y, BATCHNORM_EPSILON, 0.0)
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    try:
        tensors = min(_timed(lambda: backward(forward(problem.p, X, Y))) for _ in range(rounds))
        scalars = min(_timed(lambda: scalar_gradients(problem)) for _ in range(min(rounds, 3)))
    finally:
        torch.set_num_threads(before)
    about = f"all gradients of the chain, batch of {SCALAR_BATCH}, {SCALAR_HIDDEN} hidden units, in float64"
    return {
        f"milliseconds on tensors for {about}": round(tensors * 1e3, 3),
        "milliseconds on scalar values for the same": round(scalars * 1e3, 1),
        "times as long on scalar values as on tensors": round(scalars / tensors, 1),
    }


def _trained(settings: list[str]) -> tuple[Model, data.Dataset]:
    config: Config = configuration.load(configuration.find("lecture"), settings)
    setup = set_up(config)
    with threads(setup.parameters, config.train.batch_size):
        X, Y = setup.batches(config.train.steps)
        TensorEngine(setup.parameters).run(X, Y, [0.1] * config.train.steps)  # which needs not be compiled for it
    p = setup.parameters
    return evaluate.calibrate(p.sizes, p.arrays(), setup.dataset.train), setup.dataset


def show(result: Bench, console: Console) -> None:
    for key, value in result.machine.items():
        if key == "gigaflops":
            value = ", ".join(f"{rate:,.0f} with {count} threads" for count, rate in value.items())
            key = "matrix products, billions of operations a second"
        console.print(f"{key}: {value}", soft_wrap=True, highlight=False)
    table = plain_table()
    table.add_column("batch", justify="right")
    table.add_column("hidden", justify="right")
    table.add_column("engine")
    for heading in ("threads", "µs a step", "median", "× lecture", "Gflop/s", "share"):
        table.add_column(heading, justify="right")
    problem = None
    for timing in result.steps:
        if problem not in (None, (timing.batch_size, timing.hidden_size)):
            table.add_section()
        problem = (timing.batch_size, timing.hidden_size)
        table.add_row(
            str(timing.batch_size),
            str(timing.hidden_size),
            timing.contender,
            str(timing.threads or ""),
            f"{timing.microseconds:,.1f}",
            f"{timing.median:,.1f}",
            f"{timing.speedup:.1f}",
            f"{timing.gigaflops:.1f}",
            f"{timing.share:.0%}",
        )
    console.print(table)
    for what, value in result.others.items():
        console.print(f"{value:12,.10g} {what}", soft_wrap=True, highlight=False)
