"""Gradcheck on the first batch that a configuration would train on."""

from __future__ import annotations

from pathlib import Path

from makemore_cli.config.schema import Config
from makemore_cli.gradcheck.check import compare_sources, gradcheck
from makemore_cli.gradcheck.check_user import check_user
from makemore_cli.gradcheck.findings import Report
from makemore_cli.gradcheck.network import NAMES, SOURCES, NetworkProblem
from makemore_cli.gradcheck.sources import check_different, find_source
from makemore_cli.gradcheck.user import UserPass
from makemore_cli.names.dataset import changed
from makemore_cli.network.parameters import Parameters
from makemore_cli.network.threads import threads
from makemore_cli.runs.checkpoint import Checkpoint
from makemore_cli.training.setup import require_float64, resolve, set_up


def check_first_batch(
    config: Config,
    checkpoint: Checkpoint | None = None,
    *,
    of: str | None = None,
    against: str | None = None,
    user: Path | None = None,
) -> Report:
    """Check all gradients, one source (`of`) or a user's pass, at the initial parameters or a checkpoint's.

    Raises MakemoreError for a user's mistake.
    """
    ours = None if of is None else find_source(of, "of", SOURCES)
    witness = find_source("autograd" if against is None else against, "against", SOURCES)
    check_different(ours or SOURCES["atomic"], witness)
    own = UserPass(user, NAMES) if user else None
    require_float64(resolve(config))
    setup = set_up(config, checkpoint.vocabulary if checkpoint else None)
    parameters = setup.parameters
    if checkpoint is not None:
        model = checkpoint.model
        parameters = Parameters.from_arrays(model.sizes, model.parameters).to(device=setup.config.train.device)
    X, Y = setup.batches(1)
    remarks = []
    if checkpoint is not None and setup.dataset.sha256 != checkpoint.data_sha256:
        remarks.append(changed(setup.dataset))
    problem = NetworkProblem(parameters, X[0], Y[0], config.model.batchnorm.epsilon, config.train.label_smoothing)
    with threads(parameters, config.train.batch_size):
        if own is not None:
            report = check_user(problem, own, witness)
        elif ours is not None or against is not None:
            report = compare_sources(problem, ours or SOURCES["atomic"], witness)
        else:
            report = gradcheck(problem)
    report.remarks.extend(remarks)
    return report
