"""Names from a trained model: start from an empty context, draw letter by letter, stop at the end-of-word sign."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass
from itertools import islice

import torch
from jaxtyping import Float, Int
from torch import Tensor

from makemore_cli.config import Config
from makemore_cli.dataset import Dataset, Vocabulary, load
from makemore_cli.errors import MakemoreError
from makemore_cli.model import Model
from makemore_cli.run import Checkpoint

SEEDS = 2**63
SEED_OFFSET = 10  # added to the run's seed, as in the lecture
BATCH = 1024  # names drawn side by side
PATIENCE = 20_000  # draws without a new name, after which `only_new` gives up
LONGEST = 10_000  # letters
COLDEST = 1e-6  # temperature, below which only rounding would decide


@dataclass(frozen=True)
class Options:
    """How to draw. Raises MakemoreError where a number makes no sense."""

    temperature: float = 1.0  # below 1 bolder towards the likely letters, above 1 more even; 0 takes the likeliest
    top_k: int | None = None  # only among the k likeliest letters
    prefix: str = ""  # every name begins with it
    max_length: int = 100  # letters, the prefix included; a longer name is cut there

    def __post_init__(self) -> None:
        """Refuse what makes no sense."""
        if not 0 <= self.temperature < float("inf"):
            raise MakemoreError(f"--temperature {self.temperature}: give 0 (always the likeliest letter) or more")
        if self.top_k is not None and self.top_k < 1:
            raise MakemoreError(f"--top-k {self.top_k}: give at least 1")
        if not 1 <= self.max_length <= LONGEST:
            raise MakemoreError(f"--max-length {self.max_length}: give 1 to {LONGEST:,}")
        if len(self.prefix) > self.max_length:
            raise MakemoreError(f"--prefix {self.prefix}: is longer than --max-length {self.max_length}")


@dataclass(frozen=True)
class Sampled:
    """Names that were drawn, and how many of each kind: "train", "held_out" and "new"."""

    names: list[str]
    kinds: dict[str, int] | None  # None where it can't be told, for the reason that is given
    reason: str = ""


def default_seed(config: Config) -> int:
    """The seed of a run's samples: as in the lecture, the run's own plus 10."""
    return (config.train.seed + SEED_OFFSET) % SEEDS


def sample_run(
    checkpoint: Checkpoint, n: int, seed: int | None, options: Options, *, only_new: bool = False
) -> Sampled:
    """Draw n names from a checkpoint and look them up in the data that it was trained on.

    Without a seed it is `default_seed`. With `only_new` there may be fewer than n.
    Raises MakemoreError, also where `only_new` is asked for and the data is gone or has changed.
    """
    config = checkpoint.config
    if seed is None:
        seed = default_seed(config)
    elif not 0 <= seed < SEEDS:
        raise MakemoreError(f"--seed {seed}: give a number from 0 to 2^63 − 1")
    try:
        dataset = load(config.data, config.model.context_length)
        if dataset.sha256 != checkpoint.data_sha256:
            raise MakemoreError(f"{dataset.path}: has changed since the model was trained on it")
    except MakemoreError as error:
        if only_new:
            raise MakemoreError(f"--new: can't tell which names are new: {error}") from None
        return Sampled(sample(checkpoint.model, checkpoint.vocabulary, n, seed, options), None, str(error))
    if only_new:
        drawn = sample_new(checkpoint.model, dataset, n, seed, options)
    else:
        drawn = sample(checkpoint.model, checkpoint.vocabulary, n, seed, options)
    kinds = Counter(dataset.kind(name) for name in drawn)
    return Sampled(drawn, {kind: kinds[kind] for kind in ("train", "held_out", "new")})


def sample(model: Model, vocabulary: Vocabulary, n: int, seed: int, options: Options | None = None) -> list[str]:
    """Draw n names. The same model, seed and options give the same names, and a larger n only more of them.

    Raises MakemoreError where the prefix has a letter that the model does not know.
    """
    return list(islice(names(model, vocabulary, seed, options or Options()), n))


def sample_new(model: Model, dataset: Dataset, n: int, seed: int, options: Options | None = None) -> list[str]:
    """Draw until there are n different names that the data set does not hold, or PATIENCE draws brought no other.

    What is no name does not count: nothing at all, or letters that were cut off.
    """
    options = options or Options()
    new: dict[str, None] = {}
    since = 0
    for name in names(model, dataset.vocabulary, seed, options):
        if len(new) == n or since == PATIENCE:
            break
        since += 1
        # The sign takes a place, so a name of full length has not come to it.
        if name not in new and 0 < len(name) < options.max_length and dataset.kind(name) == "new":
            new[name] = None
            since = 0
    return list(new)


def names(model: Model, vocabulary: Vocabulary, seed: int, options: Options) -> Iterator[str]:
    """Names without end, drawn BATCH at a time."""
    prefix = vocabulary.encode(options.prefix)
    generator = torch.Generator().manual_seed(seed)
    model = model.to(device="cpu")
    while True:
        for tokens in _draw(model, prefix, generator, options).tolist():
            yield vocabulary.decode(tokens)


@torch.inference_mode()
def _draw(
    model: Model, prefix: list[int], generator: torch.Generator, options: Options
) -> Int[Tensor, "batch max_length"]:
    """Tokens of BATCH names side by side, each filled up with zeros, which is the sign."""
    T, start = model.parameters.sizes.context, len(prefix)
    tokens = torch.zeros((BATCH, T + options.max_length), dtype=torch.int64)
    tokens[:, T : T + start] = torch.tensor(prefix, dtype=torch.int64)
    unfinished = torch.arange(BATCH)
    for at in range(T + start, T + options.max_length):
        probs = _probabilities(model.logits(tokens[unfinished, at - T : at]), options)
        drawn = torch.multinomial(probs, 1, generator=generator)[:, 0]
        tokens[unfinished, at] = drawn
        unfinished = unfinished[drawn != 0]
        if len(unfinished) == 0:
            break
    return tokens[:, T:]


def _probabilities(logits: Float[Tensor, "rows vocabulary"], options: Options) -> Float[Tensor, "rows vocabulary"]:
    """What the next letter is drawn from. Raises MakemoreError for a model whose numbers have overflowed."""
    if not logits.isfinite().all():
        raise MakemoreError("the model's scores are not finite: its parameters are far too large to sample from")
    if options.temperature == 0:
        return torch.nn.functional.one_hot(logits.argmax(1), logits.shape[1]).to(logits.dtype)
    if options.top_k is not None and options.top_k < logits.shape[1]:
        likely = logits.topk(options.top_k, dim=1)
        logits = torch.full_like(logits, -torch.inf).scatter(1, likely.indices, likely.values)
    largest = logits.max(1, keepdim=True).values
    return ((logits - largest) / max(options.temperature, COLDEST)).softmax(1)
