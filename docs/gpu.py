"""What a GPU should be tried with: `python docs/gpu.py [DEVICE]`.

For several sizes, this checks the training pass in float32 against float64 on the CPU, and times training steps: as a
CUDA graph, with each operation launched by itself, and by autograd.
"""

from __future__ import annotations

import sys
import time
from itertools import product

import torch

from makemore_cli.backprop.fused import training_pass
from makemore_cli.bench.contenders import LR, Case
from makemore_cli.training.engines import AutogradEngine, Engine, TensorEngine

CASES = [Case(n, H) for n, H in product((32, 256, 4096, 65_536), (200, 1024, 4096))]
STEPS, ROUNDS = 64, 5


class Launched(TensorEngine):
    """The tensor engine, which launches each operation by itself."""

    @property
    def recorder(self) -> None:
        return None


def seconds(kind: type[Engine], case: Case, device: str, steps: int) -> float:
    """The fastest round's time for a step."""
    p, X, Y = case.problem
    engine, steps = kind(p.to(device=device)), min(steps, len(X))
    X, Y = X[:steps].to(device), Y[:steps].to(device)
    taken = []
    for _ in range(1 + ROUNDS):
        started = time.perf_counter()
        engine.run(X, Y, [LR] * steps).cpu()  # the copy waits for the last step
        taken.append(time.perf_counter() - started)
    return min(taken[1:]) / steps


def largest_error(case: Case, device: str) -> float:
    """The largest error of a gradient in float32 on the device, over the largest entry of that gradient."""
    p, X, Y = case.problem
    true = training_pass(p.to(dtype=torch.float64), X[0], Y[0]).gradients.views
    ours = training_pass(p.to(device=device), X[0].to(device), Y[0].to(device)).gradients.views
    # b1 is left out: its true gradient is zero.
    return max(
        float((ours[name].cpu() - one).abs().max() / one.abs().max()) for name, one in true.items() if name != "b1"
    )


def main(device: str = "cuda", cases: list[Case] = CASES, steps: int = STEPS) -> None:
    """Print a line for each case."""
    print(f"{torch.cuda.get_device_name() if device.startswith('cuda') else device}, PyTorch {torch.__version__}")
    print(f"{'batch':>6} {'hidden':>6} {'largest error':>13}   steps per second: graph, launched, autograd")
    for case in cases:
        rates = [1 / seconds(kind, case, device, steps) for kind in (TensorEngine, Launched, AutogradEngine)]
        shown = "  ".join(f"{rate:9,.0f}" for rate in rates)
        print(f"{case.batch_size:6} {case.hidden:6} {largest_error(case, device):13.1e}   {shown}")


if __name__ == "__main__":
    main(*sys.argv[1:2])
