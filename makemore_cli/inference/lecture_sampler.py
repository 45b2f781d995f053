"""The lecture's published losses and sampling procedure.

It samples one name at a time, with one `torch.multinomial` per character.
"""

from __future__ import annotations

from collections.abc import Iterator

import torch

from makemore_cli.errors import MakemoreError
from makemore_cli.names.vocabulary import Vocabulary
from makemore_cli.network.model import Model
from makemore_cli.network.parameters import Parameters

LONGEST_NAME_LETTERS = 10_000

# Losses on the lecture's names, in nats per character: training split, validation split.
PUBLISHED = (
    ("the lecture's notebook, as published", 2.0705, 2.1099),
    ("another run, quoted in the notebook", 2.0719, 2.1162),
    ("the previous lecture (no b1, running statistics)", 2.0674, 2.1057),
    ("the next lecture: a deeper, convolutional network (T = 8, 76,000 parameters)", 1.769, 1.993),
)


def names(model: Model, vocabulary: Vocabulary, seed: int) -> Iterator[str]:
    """An endless stream of names, each cut after LONGEST_NAME_LETTERS characters.

    The lecture's `seed` is its run's seed plus 10 (`sample.py`). Raises MakemoreError if the logits are not finite.
    """
    p = Parameters.from_arrays(model.sizes, model.parameters)
    bnmean, bnvar = torch.from_numpy(model.bnmean), torch.from_numpy(model.bnvar)
    g = torch.Generator().manual_seed(seed)
    probabilities: dict[tuple[int, ...], torch.Tensor] = {}  # of the contexts met so far
    while True:
        tokens: list[int] = []
        context = (0,) * model.sizes.context
        while len(tokens) < LONGEST_NAME_LETTERS:
            if context not in probabilities:
                embcat = p.C[torch.tensor([context])].flatten(1)
                hpreact = embcat @ p.W1 if p.b1 is None else embcat @ p.W1 + p.b1
                hpreact = p.bngain * (hpreact - bnmean) * (bnvar + model.epsilon) ** -0.5 + p.bnbias
                logits = torch.tanh(hpreact) @ p.W2 + p.b2
                if not logits.isfinite().all():
                    raise MakemoreError(
                        "the model's logits are not finite: its parameters are far too large to sample from"
                    )
                probabilities[context] = torch.softmax(logits, 1)
            token = int(torch.multinomial(probabilities[context], 1, replacement=True, generator=g))
            if token == 0:
                break
            tokens.append(token)
            context = (*context[1:], token)
        yield vocabulary.decode(tokens)
