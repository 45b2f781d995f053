"""A page that explains a chain: its graph, its lines with their numbers, and what a mistake does."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from torch import Tensor

from makemore_cli.backprop.atomic import given, network_chain
from makemore_cli.backprop.derivations import DERIVATIONS
from makemore_cli.backprop.shipped import SHIPPED
from makemore_cli.config import load as configuration
from makemore_cli.config.schema import Config
from makemore_cli.errors import MakemoreError
from makemore_cli.names.vocabulary import END, Vocabulary
from makemore_cli.network.model import BATCHNORM_EPSILON
from makemore_cli.network.parameters import Parameters
from makemore_cli.training.setup import set_up
from makemore_cli.views.explain import LEGEND, Subject, shipped, tensors_of, unknown
from makemore_cli.views.explain import network as network_subject
from makemore_cli.views.page.chain_data import chain_data
from makemore_cli.views.page.page import CHAIN, write_page

HIDDEN = 64  # as in the lecture
SMOOTHING = 0.1
MOST_ROWS = 32  # of a batch, in a page
# The tensor that a derivation's name opens; its gradient is the fused line in which the derivation ends.
DERIVED = {"batchnorm": "hprebn", "cross_entropy": "logits", "label_smoothing": "logits"}


def write_explain_page(path: Path, name: str | None = None, subject: Subject | None = None) -> None:
    """Write a page on a chain; the default is the network's, on a batch of the bundled names.

    `name` is the tensor, or the derivation of the network, with which the page opens; or a bundled chain. Raises
    MakemoreError.
    """
    if name in SHIPPED and subject is None:
        subject, name = shipped(name), None
    known = network_subject() if subject is None else subject
    start: dict[str, Any] = {}
    if name in DERIVED and name in known.derivations:
        start = {"tensor": DERIVED[name], "lines": "fused"}
    elif name in known.derivations:
        raise MakemoreError(f"{name}: there is no page on it; choose a tensor, or one of {', '.join(DERIVED)}")
    elif name is not None:
        tensors = tensors_of(known.chain)
        chosen = name if name in tensors else name.removeprefix("d")
        if chosen not in tensors:
            raise unknown(name, known)
        start = {"tensor": chosen}
    if known.chain is network_chain():
        data = _network(SMOOTHING if name == "label_smoothing" else 0.0)
    else:
        at = known.numbers(None)[0]
        above = {output: at.gradients[output] for output in known.chain.outputs if output in at.gradients}
        title = known.chain.name if known.lesson is None else known.lesson.title
        about = at.says[:1].upper() + at.says[1:].rstrip(".") + "."
        data = chain_data(known.chain, at.values, above or None, title=title, about=about, legend=known.legend)
    write_page(path, data["title"], data["about"], (CHAIN,), {"chain": data | ({"start": start} if start else {})})


def _network(smoothing: float) -> dict[str, Any]:
    config = configuration.override(Config(), model__hidden_size=HIDDEN, train__label_smoothing=smoothing)
    setup = set_up(configuration.override(config, train__device="cpu"))
    X, Y = setup.batches(1)
    return network_data(
        setup.parameters,
        X[0],
        Y[0],
        setup.dataset.vocabulary,
        smoothing=smoothing,
        about="The first batch of the bundled names, at the initial parameters.",
    )


def network_data(
    parameters: Parameters,
    X: Tensor,
    Y: Tensor,
    vocabulary: Vocabulary,
    *,
    epsilon: float = BATCHNORM_EPSILON,
    smoothing: float = 0.0,
    about: str = "",
) -> dict[str, Any]:
    """The network's chain on a batch, of which the first 32 examples are kept, with names for rows and columns."""
    X, Y = X[:MOST_ROWS], Y[:MOST_ROWS]
    signs = END + vocabulary.letters
    examples = [
        f"{''.join(signs[token] for token in context)} → {signs[target]}"
        for context, target in zip(X.tolist(), Y.tolist(), strict=True)
    ]
    return chain_data(
        network_chain(parameters.sizes.first_bias, smoothing > 0),
        given(parameters, X, Y, epsilon, smoothing),
        title="The chain, from the characters to the loss",
        about=about,
        legend=LEGEND,
        labels={"n": examples, "V": list(signs)},
        derivations=DERIVATIONS.values(),
    )
