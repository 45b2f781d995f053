"""Gradcheck on the first batch that a configuration would train on."""

from __future__ import annotations

from makemore_cli.config import Config
from makemore_cli.gradcheck.check import Report, gradcheck
from makemore_cli.run import Checkpoint
from makemore_cli.start import start


def check_first_batch(config: Config, checkpoint: Checkpoint | None = None) -> Report:
    """Check at the initial parameters, or at a checkpoint's. Raises MakemoreError for what the user can mend."""
    begun = start(config, checkpoint.vocabulary if checkpoint else None)
    parameters = begun.parameters
    if checkpoint is not None:
        parameters = checkpoint.model.parameters.to(device=begun.config.train.device)
    X, Y = begun.batches(1)
    return gradcheck(parameters, X[0], Y[0], config.model.batchnorm.epsilon)
