"""Figures besides the training step: the exercises, sampling, evaluation, scalars. Their names describe them."""

from __future__ import annotations

import torch

from makemore_cli.backprop import fused
from makemore_cli.backprop.atomic import backward, forward, network_chain
from makemore_cli.backprop.step import run
from makemore_cli.bench.timing import Run, in_turns, timed, torch_threads
from makemore_cli.checks.network import NetworkProblem
from makemore_cli.checks.scalar_source import scalar_gradients
from makemore_cli.config import load as configuration
from makemore_cli.config.schema import Config
from makemore_cli.inference import evaluate
from makemore_cli.inference.batches import Batches
from makemore_cli.inference.next_letters import Options
from makemore_cli.inference.sample import texts
from makemore_cli.names import dataset as data
from makemore_cli.network.model import BATCHNORM_EPSILON, Model, Sizes
from makemore_cli.network.parameters import initialise
from makemore_cli.network.threads import threads
from makemore_cli.training.engines import TensorEngine
from makemore_cli.training.setup import set_up

# The lecture's gradient exercise.
BATCH, SIZES = 32, Sizes(27, 3, 10, 64)


def exercises(rounds: int) -> dict[str, float]:
    """Times of the lecture's exercise 1, of the expressions of exercises 2 and 3, and of whole passes."""
    p, generator = initialise(SIZES, 0)
    X = torch.randint(0, SIZES.vocabulary, (BATCH, SIZES.context), generator=generator)
    Y = torch.randint(0, SIZES.vocabulary, (BATCH,), generator=generator)
    chain, values = network_chain(), forward(p, X, Y)
    names = [s.name for s in chain.steps]
    loss_steps = chain.steps[names.index("logits") + 1 :]
    batchnorm, batchnorm_steps = chain.up_to("hpreact"), names.index("hpreact") - names.index("hprebn")
    dhpreact = torch.randn_like(values["hpreact"])

    def cross_entropy() -> None:
        found = dict(values)
        for s in loss_steps:
            found[s.name] = run(s.forward, found)
        chain.backward(found, steps=len(loss_steps))

    def batchnorm_backward() -> None:
        batchnorm.backward(values, {"hpreact": dhpreact}, steps=batchnorm_steps)

    bnraw, bnvar_inv, logits = values["bnraw"], values["bnvar_inv"], values["logits"]
    both = {
        "cross-entropy, forward and backward, step by step (exercise 1)": cross_entropy,
        "the same in one expression (exercise 2)": lambda: fused.cross_entropy(logits, Y),
        "batchnorm's backward pass, step by step (exercise 1)": batchnorm_backward,
        "the same in one expression (exercise 3)": lambda: fused.batchnorm_backward(
            dhpreact, bnraw, bnvar_inv, p.bngain
        ),
        "the whole pass, step by step": lambda: backward(forward(p, X, Y)),
        "the whole pass with both expressions (exercise 4)": lambda: fused.training_pass(p, X, Y),
    }
    contenders: dict[str, Run] = {
        name: lambda count, once=once: [once() for _ in range(count)]  # type: ignore[misc]
        for name, once in both.items()
    }
    with torch_threads(1):
        times = in_turns(contenders, rounds, 1 << 20)
    return {f"microseconds for {name}": round(taken.fastest * 1e6, 1) for name, taken in times.items()}


def sampling_and_evaluation(rounds: int) -> dict[str, float]:
    """Speed of sampling and evaluation, with models that were briefly trained on the bundled names."""
    short, long = "model.context_length=3", "model.context_length=8"
    small, dataset = _trained(["train.steps=5000", short])
    large, _ = _trained(
        ["train.steps=500", "train.batch_size=256", long, "model.embedding_size=24", "model.hidden_size=768"]
    )

    def names(model: Model, count: int) -> float:
        def draw() -> None:
            drawn, drawn_texts = 0, texts(Batches(model, dataset.vocabulary, 1, Options()))
            while drawn < count:
                drawn += next(drawn_texts)[0]

        return count / min(timed(draw) for _ in range(min(rounds, 3)))

    def evaluation() -> None:
        model = evaluate.calibrate(small.sizes, small.parameters, dataset.train)
        for split in dataset.splits.values():
            evaluate.loss(model, split)

    first = timed(evaluation)
    return {
        "names a second, 3 letters of context, 200 hidden units": float(round(names(small, 2_000_000))),
        "names a second, 8 letters of context, 768 hidden units": float(round(names(large, 200_000))),
        "milliseconds to calibrate and take the losses of three splits, the first time": round(first * 1e3, 1),
        "milliseconds for the same again": round(min(timed(evaluation) for _ in range(rounds)) * 1e3, 1),
    }


def scalars(rounds: int) -> dict[str, float]:
    """Times of the chain's gradients on one batch, on tensors and on scalar values, with one thread each."""
    p, generator = initialise(SIZES, 0)
    X = torch.randint(0, SIZES.vocabulary, (BATCH, SIZES.context), generator=generator)
    Y = torch.randint(0, SIZES.vocabulary, (BATCH,), generator=generator)
    problem = NetworkProblem(p.to(dtype=torch.float64), X, Y, BATCHNORM_EPSILON, 0.0)
    with torch_threads(1):
        tensors = min(timed(lambda: backward(forward(problem.p, X, Y))) for _ in range(rounds))
        values = min(timed(lambda: scalar_gradients(problem)) for _ in range(min(rounds, 3)))
    about = f"all gradients of the chain, batch of {BATCH}, {SIZES.hidden} hidden units, in float64"
    return {
        f"milliseconds on tensors for {about}": round(tensors * 1e3, 3),
        "milliseconds on scalar values for the same": round(values * 1e3, 1),
        "times as long on scalar values as on tensors": round(values / tensors, 1),
    }


def _trained(settings: list[str]) -> tuple[Model, data.Dataset]:
    config: Config = configuration.load(configuration.find("lecture"), settings)
    setup = set_up(config)
    with threads(setup.parameters, config.train.batch_size):
        X, Y = setup.batches(config.train.steps)
        TensorEngine(setup.parameters).run(X, Y, [0.1] * config.train.steps)  # needs no compilation
    p = setup.parameters
    return evaluate.calibrate(p.sizes, p.arrays(), setup.dataset.train), setup.dataset
