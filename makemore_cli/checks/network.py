"""The part of gradcheck that is specific to the makemore network: its problems, sources of gradients and exercises."""

from __future__ import annotations

import random
from collections.abc import Callable, Iterator, Mapping
from dataclasses import replace
from functools import cached_property
from typing import Any

import torch
from torch import Tensor
from torch.nn import functional as F

from makemore_cli.backprop import fused
from makemore_cli.backprop.atomic import PARAMETERS, SHAPES, given, network_chain, network_up_to
from makemore_cli.backprop.chain import Chain
from makemore_cli.backprop.step import Values, step
from makemore_cli.backprop.update_numbers import Factors
from makemore_cli.checks import rounding, sources
from makemore_cli.checks.compare import TOLERANCE, largest
from makemore_cli.checks.problem import Problem
from makemore_cli.checks.sources import AUTOGRAD, CHAIN_SOURCES, Gradients, Pair, Source
from makemore_cli.checks.user import Names
from makemore_cli.errors import MakemoreError, ParameterError
from makemore_cli.network import reference
from makemore_cli.network.model import BATCHNORM_EPSILON, Sizes
from makemore_cli.network.parameters import Parameters, initialise

WITNESSES = 4
RANKS = 3  # processes of the source distributed
USUAL_ERROR = 8.0  # the witness's own error is divided by this for a scale
FARTHEST_LOSS = 1e-9  # largest difference of two losses, relative to the loss or to 1 if that is more


class NetworkProblem(Problem):
    """A batch X, Y at parameters p. Raises ValueError for a batch of one example, which has no variance."""

    tolerances = TOLERANCE

    def __init__(
        self, p: Parameters, X: Tensor, Y: Tensor, eps: float, smoothing: float, *, measure_rounding: bool = False
    ) -> None:
        self.p, self.X, self.Y, self.eps, self.smoothing = p, X, Y, eps, smoothing
        chain = network_chain(p.sizes.first_bias, smoothing > 0)
        one = torch.ones((), dtype=p.flat.dtype, device=p.flat.device)
        super().__init__(
            chain, given(p, X, Y, eps, smoothing), {"n": len(X)}, {"loss": one}, measure_rounding=measure_rounding
        )

    @property
    def subject(self) -> dict[str, Any]:
        return {"batch_size": len(self.X)}

    @property
    def title(self) -> str:
        return f"A batch of {len(self.X)}"

    def at_parameters(self, p: Parameters) -> NetworkProblem:
        """The same batch at other parameters."""
        return NetworkProblem(p, self.X, self.Y, self.eps, self.smoothing, measure_rounding=self.measure_rounding)

    def to(self, dtype: torch.dtype) -> NetworkProblem:
        return self.at_parameters(self.p.to(dtype=dtype))

    @cached_property
    def elsewhere(self) -> NetworkProblem:
        return self.at_parameters(tame(self.p))

    @cached_property
    def truth(self) -> Gradients:
        """Autograd's gradients; if the chain's probabilities underflow, those from the logits down use log_softmax.

        The logarithm of a probability that is zero in floating point has no gradient, although the loss has one.
        """
        if not self.underflows:
            return self.autograd
        values = sources.with_leaves(self)
        loss = F.cross_entropy(values["logits"], self.Y, label_smoothing=self.smoothing)
        names = [name for name in self.autograd if name in up_to_the_logits(self.p)]
        return self.autograd | sources.downwards({**values, "loss": loss}, self.above, names)

    @cached_property
    def underflows(self) -> bool:
        """Whether the chain's probabilities underflow, so that their logarithm has no gradient."""
        return any(not gradient.isfinite().all() for gradient in self.autograd.values())

    @cached_property
    def size(self) -> dict[str, float]:
        """The largest entry of each gradient.

        The true gradients of logit_maxes and b1 are zero. Their size is the largest sum of |dnorm_logits| over a row,
        and of |dhprebn| over a column: they are sums of these terms.
        """
        size = {name: largest(gradient.abs()) for name, gradient in self.truth.items()}
        size["logit_maxes"] = largest(self.truth["norm_logits"].abs().sum(1))
        if "b1" in size:
            size["b1"] = largest(self.truth["hprebn"].abs().sum(0))
        return size

    @cached_property
    def scale(self) -> dict[str, float]:
        """The scale of each gradient's rounding error.

        The chain's rounding errors are smaller than those of other ways to compute the same: it subtracts the mean once
        and takes the variance of the result. Where a column's mean is large compared with its deviation, a pass that
        computes the two separately has a larger error. So the error of the training pass's witness counts too: its
        float32 gradients against its float64 ones.
        """
        moved = rounding.sensitivity(self)
        if "b1" in moved:  # b1 sums n entries of dhprebn, whose errors are equal for equal contexts
            moved["b1"] = max(moved["b1"], len(self.X) * moved["hprebn"])
        scale = rounding.scales(self.size, moved)
        return scale | {name: max(scale[name], error / USUAL_ERROR) for name, error in self._witness_errors().items()}

    def _witness_errors(self) -> dict[str, float]:
        """The error of each parameter's float32 gradient through PyTorch's functions, in units of float32's rounding.

        It is the largest over WITNESSES sets of parameters next to these, so that it is not small by chance.
        """
        p, unit = self.p, torch.finfo(torch.float32).eps / 2
        generator = torch.Generator().manual_seed(0)
        errors = dict.fromkeys(p.views, 0.0)
        for _ in range(WITNESSES):
            jitter = torch.rand(p.flat.shape, generator=generator).to(p.flat.device) * 2 - 1
            near = Parameters(p.sizes, p.flat.float() * (1 + 4 * unit * jitter))
            single = functions(self.at_parameters(near))
            double = functions(self.at_parameters(near.to(dtype=torch.float64)))
            for name in errors:
                errors[name] = max(errors[name], float((single[name] - double[name]).abs().max()) / unit)
        return errors

    def begin(self, values: Values, rounded: Callable[..., Tensor]) -> Iterator[Mapping[str, Tensor]]:
        """From the logits, by cross-entropy's single expression; and from the loss, unless probabilities underflow.

        The two round differently. Where a batch is predicted with certainty, softmax − onehot is the rounding error of
        1 − 1, while the chain adds up the small probabilities of the other characters.
        """
        logits = values["logits"]
        target = F.one_hot(self.Y, logits.shape[1]).to(logits) * (1 - self.smoothing) + self.smoothing / logits.shape[1]
        yield {"logits": (rounded(logits.softmax(1)) - target) / len(self.Y)}
        if values["logprobs"].isfinite().all():
            yield self.in_float64.above

    @cached_property
    def alike(self) -> Tensor:
        """Equal contexts give equal rows."""
        rows: Tensor = torch.unique(self.X, dim=0, return_inverse=True)[1]
        return rows

    @property
    def analytic_chain(self) -> Chain:
        """The chain with each row's maximum read where the real part is largest."""
        by_real_part = step("logit_maxes", lambda logits: logits.gather(1, logits.real.argmax(1, keepdim=True)))
        return replace(
            self.chain, steps=tuple(by_real_part if s.name == by_real_part.name else s for s in self.chain.steps)
        )

    @property
    def first_section(self) -> tuple[str, str]:
        return "atomic chain", "exercise 1, line by line"

    @property
    def pairs(self) -> tuple[Pair, ...]:
        return EXERCISES

    def faults(self) -> list[str]:
        return wrong_losses(self, SOURCES["fused"])


def tame(p: Parameters, seed: int = 0) -> Parameters:
    """Random parameters of the same sizes and precision: matrices scaled by their fan-in, vectors away from zero."""
    generator = torch.Generator().manual_seed(seed)
    other = p.to()
    for view in other.views.values():
        draw = torch.randn(view.shape, generator=generator, dtype=torch.float64)
        if view.dim() == 2 and view.shape[0] > 1:
            draw = draw * 1.5 / view.shape[0] ** 0.5
        else:
            draw = draw.sign() * (0.4 + torch.rand(view.shape, generator=generator, dtype=torch.float64))
        view.copy_(draw)
    return other


def up_to_the_logits(p: Parameters) -> set[str]:
    """The parameters, and the tensors of the chain up to the logits."""
    return {*p.views, *network_up_to("logits", p.sizes.first_bias).by_name}


# The network's sources, besides those of any chain.


def training_pass(problem: NetworkProblem) -> Gradients:
    """The hand-written pass that training uses: the parameters' gradients."""
    return _fused(problem).gradients.views


def _fused(problem: NetworkProblem) -> fused.Pass:
    return fused.training_pass(problem.p, problem.X, problem.Y, problem.eps, problem.smoothing)


def kernel(problem: NetworkProblem) -> Gradients:
    """The same pass, compiled for the CPU, in either precision: the parameters' gradients."""
    return kernel_pass(problem)[1]


def kernel_pass(problem: NetworkProblem) -> tuple[float, Gradients]:
    """The compiled pass: loss and gradients. Raises ParameterError for a problem that is not on the CPU."""
    from makemore_cli.backprop.kernel.kernel import Kernel

    p, X, Y = problem.p, problem.X, problem.Y
    if p.flat.device.type != "cpu":
        raise ParameterError("train.device", "must be cpu for the source kernel")
    compiled = Kernel(p.sizes, len(X), p.flat.numpy().dtype, problem.eps, smoothing=problem.smoothing)
    compiled.prepare()
    compiled.load(p.arrays())
    loss = compiled.train(X[None].numpy(), Y[None].numpy(), [Factors(0.0)])
    return float(loss[0]), {name: torch.from_numpy(array) for name, array in compiled.gradients().items()}


def distributed(problem: NetworkProblem) -> Gradients:
    """The pass of processes that share the batch: the parameters' gradients, as rank 0 has them."""
    _, flat = distributed_pass(problem)
    return Parameters(problem.p.sizes, flat).views


def distributed_pass(problem: NetworkProblem) -> tuple[float, Tensor]:
    """The loss and the flat gradient, of processes on this machine that share the batch.

    Raises MakemoreError if the ranks do not hold the same bits.
    """
    from makemore_cli.distributed.loopback import on_loopback

    p = problem.p
    first, *others = on_loopback(RANKS).training_pass(p, problem.X, problem.Y, problem.eps, problem.smoothing)
    for rank, other in enumerate(others, 1):
        if other.gradient.tobytes() != first.gradient.tobytes() or other.loss != first.loss:
            raise MakemoreError(
                f"rank {rank} has a different gradient or loss from rank 0, so their parameters would diverge"
            )
    return first.loss, torch.from_numpy(first.gradient).to(p.flat.device)


def distributed_losses(problem: NetworkProblem) -> dict[str, float]:
    return {"the shared training pass": distributed_pass(problem)[0]}


def kernel_losses(problem: NetworkProblem) -> dict[str, float]:
    return {"the compiled training pass": kernel_pass(problem)[0]}


def fused_losses(problem: NetworkProblem) -> dict[str, float]:
    return {"the training pass": float(_fused(problem).loss)}


def functions(problem: NetworkProblem) -> Gradients:
    """Autograd through the network in PyTorch's own functions: the parameters' gradients."""
    leaves = {name: view.detach().requires_grad_() for name, view in problem.p.views.items()}
    loss, _, _ = reference.forward(leaves, problem.X, problem.Y, problem.eps, problem.smoothing)
    return dict(zip(leaves, torch.autograd.grad(loss, tuple(leaves.values())), strict=True))


SOURCES = {
    source.name: source
    for source in (
        CHAIN_SOURCES["atomic"],
        Source("fused", "the hand-written training pass", training_pass, losses=fused_losses),
        Source("kernel", "the hand-written training pass, compiled", kernel, losses=kernel_losses),
        Source(
            "distributed",
            f"the hand-written training pass, shared by {RANKS} processes",
            distributed,
            losses=distributed_losses,
        ),
        CHAIN_SOURCES["autograd"],
        Source("functions", "autograd through PyTorch's own functions", functions, witness="atomic"),
        *(CHAIN_SOURCES[name] for name in ("float64", "finite", "complex", "scalar")),
    )
}


def wrong_losses(problem: Problem, of: Source) -> list[str]:
    """Messages on losses, of the chain and of a training pass, that differ from that of PyTorch's own functions."""
    if of.losses is None or not isinstance(problem, NetworkProblem):
        return []
    problem = problem.to(torch.float64)
    truth = float(reference.forward(problem.p.views, problem.X, problem.Y, problem.eps, problem.smoothing)[0])
    losses = of.losses(problem)
    if not problem.underflows:
        losses["the chain"] = float(problem.values["loss"])
    return [
        f"{name} computes a loss of {loss:.8g}, but PyTorch's functions compute {truth:.8g}"
        for name, loss in losses.items()
        if not abs(loss - truth) <= FARTHEST_LOSS * max(1.0, abs(truth))  # also true for NaN
    ]


# The names of the network's forward pass, and the notebook's names for them.
NAMES = Names(
    frozenset(SHAPES),
    frozenset({"n", "eps", "smoothing"}),
    (tuple(PARAMETERS),),
    aliases={"Xb": "X", "Yb": "Y", "batch_size": "n"},
    sizes={"vocab_size": ("C", 0), "n_embd": ("C", 1), "n_hidden": ("W2", 0), "block_size": ("X", 1)},
)


def random_problem(draw: random.Random) -> tuple[NetworkProblem, str]:
    """A problem of random sizes, precision and seed, and its description. About half of the draws are degenerate."""
    n, H = draw.choice([2, 3, 7, 16, 32, 64, 100]), draw.choice([1, 2, 15, 16, 64, 65, 200])
    T, E, V = draw.choice([1, 2, 3, 5, 8]), draw.choice([1, 2, 10, 24]), draw.choice([2, 3, 27, 60])
    first_bias, dtype, seed = draw.random() < 0.8, draw.choice([torch.float32, torch.float64]), draw.randrange(2**31)
    smoothing = draw.choice([0.0, 0.0, 0.1, 0.5])
    parameters, generator = initialise(Sizes(V, T, E, H, first_bias), seed)
    X = torch.randint(0, V, (n, T), generator=generator)
    Y = torch.randint(0, V, (n,), generator=generator)
    parameters = parameters.to(dtype=dtype)
    problem = NetworkProblem(parameters, X, Y, BATCHNORM_EPSILON, smoothing, measure_rounding=True)
    precision = str(dtype).removeprefix("torch.")
    return problem, f"n={n} T={T} E={E} H={H} V={V} b1={first_bias} smoothing={smoothing} {precision} seed={seed}"


# The lecture's exercises 2 to 4, each with its witness.


def _cross_entropy(problem: NetworkProblem) -> Gradients:
    _, dlogits = fused.cross_entropy(problem.values["logits"], problem.Y, problem.smoothing)
    return {"logits": dlogits}


def _batchnorm(problem: NetworkProblem) -> Gradients:
    values = problem.values
    dhprebn, dbngain, dbnbias = fused.batchnorm_backward(
        problem.truth["hpreact"], values["bnraw"], values["bnvar_inv"], values["bngain"]
    )
    return {"hprebn": dhprebn, "bngain": dbngain, "bnbias": dbnbias}


EXERCISES = (
    Pair(Source("fused cross-entropy", "exercise 2, in one expression", _cross_entropy), AUTOGRAD),
    Pair(Source("fused batchnorm", "exercise 3, in one expression", _batchnorm), AUTOGRAD),
    Pair(
        Source("training pass", "exercise 4, used in training; the source kernel is its compiled form", training_pass),
        SOURCES["functions"],
        all_of_witness=True,
    ),
)
