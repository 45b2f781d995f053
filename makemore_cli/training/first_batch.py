"""The first batch that a configuration would train on, as a problem for gradcheck."""

from __future__ import annotations

from makemore_cli.checks.following import with_gradients
from makemore_cli.checks.network import NetworkProblem
from makemore_cli.config.schema import Config
from makemore_cli.names.dataset import changed
from makemore_cli.network.parameters import Parameters
from makemore_cli.runs.checkpoint import Checkpoint
from makemore_cli.training.setup import require_float64, resolve, set_up


@with_gradients
def first_batch(
    config: Config, checkpoint: Checkpoint | None = None, names: bytes | None = None
) -> tuple[NetworkProblem, list[str]]:
    """The first batch at the initial parameters, or at a checkpoint's; and remarks, if the model's data has changed.

    `names` is the content of a file of names, in place of the configuration's. Raises MakemoreError for a user's
    mistake.
    """
    require_float64(resolve(config))
    setup = set_up(config, checkpoint.vocabulary if checkpoint else None, names)
    parameters, remarks = setup.parameters, []
    if checkpoint is not None:
        model = checkpoint.model
        trained = Parameters.from_arrays(model.sizes, model.parameters)
        parameters = trained.to(dtype=parameters.flat.dtype, device=setup.config.train.device)
        if setup.dataset.sha256 != checkpoint.data_sha256:
            remarks.append(changed(setup.dataset.path))
    X, Y = setup.batches(1)
    eps, smoothing = config.model.batchnorm.epsilon, config.train.label_smoothing
    return NetworkProblem(parameters, X[0], Y[0], eps, smoothing), remarks
