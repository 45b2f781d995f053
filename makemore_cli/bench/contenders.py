"""What is timed: the engines, and other code that trains the same network on the same batches by plain SGD."""

from __future__ import annotations

import ctypes
import importlib.util
import shlex
import shutil
import subprocess
import tempfile
from collections.abc import Callable
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor
from torch.nn import functional as F

from makemore_cli.bench.timing import Run
from makemore_cli.config.schema import DataConfig
from makemore_cli.errors import MakemoreError
from makemore_cli.names import dataset as data
from makemore_cli.network.model import BATCHNORM_EPSILON, Sizes
from makemore_cli.network.parameters import Parameters, initialise
from makemore_cli.training.engines import KernelEngine, TensorEngine

LR = 0.01
LETTERS = 27  # the lecture's vocabulary
MOST_NUMBERS = 1 << 22  # most examples that are drawn
# The sizes that the hand-written C has as constants.
C_BATCH, C_SIZES = 32, Sizes(LETTERS, 3, 10, 200)
C_FLAGS = ("-O3", "-march=native", "-ffast-math", "-fPIC")


@dataclass(frozen=True)
class Case:
    """The sizes of a network and of its batches."""

    batch_size: int
    hidden: int
    context: int = 3
    embedding: int = 10

    @property
    def sizes(self) -> Sizes:
        return Sizes(LETTERS, self.context, self.embedding, self.hidden)

    @property
    def operations(self) -> int:
        """Operations of a step in the plain network's matrix products: two forward, each with two backward.

        The kernel needs fewer, since it multiplies a character once even if it occurs in many examples.
        """
        return 6 * self.batch_size * self.hidden * (self.context * self.embedding + LETTERS)

    @property
    def most_steps(self) -> int:
        return max(16, min(4096, MOST_NUMBERS // self.batch_size))

    @cached_property
    def problem(self) -> tuple[Parameters, Tensor, Tensor]:
        """Initial parameters, and batches X (steps, n, T) and Y (steps, n) of the bundled names."""
        p, generator = initialise(self.sizes, 0)
        train = data.load(DataConfig(), self.context).train
        index = torch.randint(0, len(train), (self.most_steps, self.batch_size), generator=generator)
        X, Y = train.examples(index.numpy())
        return p, torch.from_numpy(X.astype(np.int64)), torch.from_numpy(Y.astype(np.int64))


def kernel(case: Case, threads: int, say: Callable[[str], None] = lambda _: None) -> Run:
    """The compiled pass."""
    p, X, Y = case.problem
    engine = KernelEngine(p.to(), threads=threads)
    engine.prepare(case.batch_size, say)
    return lambda count: engine.run(X[:count], Y[:count], [LR] * count)


def tensor(case: Case) -> Run:
    """The hand-written pass in PyTorch."""
    p, X, Y = case.problem
    engine = TensorEngine(p.to())
    return lambda count: engine.run(X[:count], Y[:count], [LR] * count)


def lecture(case: Case) -> Run:
    """The training loop as the lecture writes it, with `loss.backward()`."""
    p, X, Y = case.problem
    return lecture_loop(p.to(), X.flatten(0, 1), Y.flatten(), case.batch_size)


def lecture_loop(p: Parameters, Xtr: Tensor, Ytr: Tensor, batch_size: int) -> Run:
    """The lecture's loop on training data. It updates the parameters in place."""
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


def compiles_graphs() -> bool:
    """Whether torch.compile has the C++ compiler that it needs."""
    return any(shutil.which(compiler) for compiler in ("c++", "g++", "clang++"))


def torch_compile(case: Case) -> Run:
    """The whole step, with its gradients and its update, as one graph of torch.compile."""
    p, X, Y = case.problem

    def loss_of(p: dict[str, Tensor], x: Tensor, y: Tensor) -> Tensor:
        hprebn = p["C"][x].flatten(1) @ p["W1"] + p["b1"]
        bnmean, bnvar = hprebn.mean(0, keepdim=True), hprebn.var(0, keepdim=True, unbiased=True)
        bnraw = (hprebn - bnmean) * (bnvar + BATCHNORM_EPSILON) ** -0.5
        h = torch.tanh(p["bngain"] * bnraw + p["bnbias"])
        return F.cross_entropy(h @ p["W2"] + p["b2"], y)

    def step(p: dict[str, Tensor], x: Tensor, y: Tensor) -> tuple[dict[str, Tensor], Tensor]:
        gradients, loss = torch.func.grad_and_value(loss_of)(p, x, y)
        return {name: p[name] - LR * gradient for name, gradient in gradients.items()}, loss

    torch.compiler.reset()  # it keeps only a limited number of versions of a function
    compiled = torch.compile(step, dynamic=False)
    state = {name: view.clone() for name, view in p.views.items()}

    def run(count: int) -> list[Tensor]:
        nonlocal state
        losses = []
        with torch.no_grad():
            for x, y in zip(X[:count], Y[:count], strict=True):
                state, loss = compiled(state, x, y)
                losses.append(loss)
        return losses

    return run


def has_jax() -> bool:
    """Whether JAX is installed."""
    return importlib.util.find_spec("jax") is not None


def jax(case: Case) -> Run:
    """The same in JAX: one compiled scan over all steps."""
    import jax
    import jax.numpy as jnp

    p, X, Y = case.problem

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
    X32, Y32 = jnp.asarray(X.numpy().astype(np.int32)), jnp.asarray(Y.numpy().astype(np.int32))

    def run(count: int) -> Any:
        nonlocal state
        state, losses = scan(state, X32[:count], Y32[:count])
        return losses.block_until_ready()

    return run


def c_commands(source: Path, library: Path) -> list[list[str]]:
    """The commands that compile hand-written C to a shared library. Raises MakemoreError if there is no compiler.

    Linking is a separate command: with -ffast-math in it, GCC makes the library turn off subnormal numbers for the
    whole process.
    """
    compiler = shutil.which("cc") or shutil.which("gcc") or shutil.which("clang")
    if compiler is None:
        raise MakemoreError(f"{source}: can't be compiled: there is no C compiler; install cc, gcc or clang")
    compiled = library.with_suffix(".o")
    return [
        [compiler, *C_FLAGS, "-c", str(source), "-o", str(compiled)],
        [compiler, "-shared", str(compiled), "-o", str(library), "-lm"],
    ]


def hand_written_c(source: Path) -> Run:
    """The function `train` of a C file, such as docs/training_pass.c.

    Raises MakemoreError if it can't be compiled.
    """
    p, X, Y = Case(C_BATCH, C_SIZES.hidden).problem
    with tempfile.TemporaryDirectory(ignore_cleanup_errors=True) as folder:
        library = Path(folder) / "train.so"
        for command in c_commands(source, library):
            compiled = subprocess.run(command, capture_output=True, text=True, check=False)
            if compiled.returncode:
                reason = compiled.stderr.strip().splitlines() or ["no error message"]
                raise MakemoreError(f"{source}: can't be compiled by `{shlex.join(command)}`: {reason[0]}")
        function = ctypes.CDLL(str(library)).train
    function.restype = None
    arrays = [p.views[name].clone().numpy() for name in ("C", "W1", "b1", "W2", "b2", "bngain", "bnbias")]
    arrays += [X.numpy().astype(np.uint8), Y.numpy().astype(np.uint8)]
    losses = np.empty(len(X), np.float32)

    def run(count: int) -> Any:
        pointers = [ctypes.c_void_p(array.ctypes.data) for array in arrays]
        function(*pointers, ctypes.c_long(count), ctypes.c_float(LR), ctypes.c_void_p(losses.ctypes.data))
        return losses[:count].copy()

    return run
