"""What the tests share: a command line that runs in this process, small data, one small trained run."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest
import torch
from hypothesis import HealthCheck, settings
from jaxtyping import install_import_hook
from torch.nn import functional as F

# The shapes that signatures state are checked while the tests run. The type checker sees to the rest.
PACKAGE = Path(__file__).parent.parent / "makemore_cli"
MODULES = [
    ".".join(file.relative_to(PACKAGE.parent).with_suffix("").parts)
    for file in PACKAGE.rglob("*.py")
    if "from jaxtyping import" in file.read_text(encoding="utf-8")
]
install_import_hook(MODULES, "beartype.beartype")

from makemore_cli.cli.main import main  # noqa: E402
from makemore_cli.network.model import Model, Sizes  # noqa: E402
from makemore_cli.network.parameters import Parameters, initialise  # noqa: E402

# Failures print how to replay themselves; runs differ from each other, so that more is tried over time.
settings.register_profile(
    "makemore", deadline=None, print_blob=True, suppress_health_check=[HealthCheck.function_scoped_fixture]
)
settings.load_profile("makemore")

# All problems here are small, and two threads would wait for each other.
torch.set_num_threads(1)


@pytest.fixture(autouse=True)
def _one_thread() -> Iterator[None]:
    """What a worker process sets for itself stays, if a test runs it in this one."""
    yield
    torch.set_num_threads(1)


NAMES = ["emma", "olivia", "ava", "isabella", "sophia", "mia", "amelia", "noah", "liam", "jacob", "ethan", "oliver"]


@dataclass
class Result:
    """What a command left behind."""

    code: int
    out: str
    err: str


Cli = Callable[..., Result]


@pytest.fixture
def cli(capfd: pytest.CaptureFixture[str]) -> Cli:
    """Run the command line in this process."""

    def run(*arguments: object) -> Result:
        capfd.readouterr()
        code = main([str(argument) for argument in arguments])
        captured = capfd.readouterr()
        return Result(code, captured.out, captured.err)

    return run


@pytest.fixture
def names_file(tmp_path: Path) -> Path:
    """A dozen names."""
    path = tmp_path / "names.txt"
    path.write_text("\n".join(NAMES) + "\n")
    return path


@pytest.fixture(scope="session")
def trained(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The folder of a finished run of `tiny`. Not to be changed."""
    folder = tmp_path_factory.mktemp("runs") / "tiny"
    assert main(["train", "--config", "tiny", "--out", str(folder), "--quiet"]) == 0
    return folder


def problem(
    n: int = 32,
    T: int = 3,
    E: int = 10,
    H: int = 64,
    V: int = 27,
    *,
    first_bias: bool = True,
    dtype: torch.dtype = torch.float32,
    seed: int = 0,
    device: str = "cpu",
) -> tuple[Parameters, torch.Tensor, torch.Tensor]:
    """Initial parameters and a random batch."""
    parameters, generator = initialise(Sizes(V, T, E, H, first_bias), seed)
    X = torch.randint(0, V, (n, T), generator=generator).to(device)
    Y = torch.randint(0, V, (n,), generator=generator).to(device)
    return parameters.to(dtype=dtype, device=device), X, Y


def logits_in_float64(model: Model, X: torch.Tensor) -> torch.Tensor:
    """A trained network in PyTorch's own functions."""
    p = {name: torch.from_numpy(array).double() for name, array in model.parameters.items()}
    mean, var = (torch.from_numpy(statistic).double()[0] for statistic in (model.bnmean, model.bnvar))
    hprebn = F.linear(F.embedding(X, p["C"]).flatten(1), p["W1"].T, p.get("b1"))
    hpreact = F.batch_norm(hprebn, mean, var, p["bngain"][0], p["bnbias"][0], eps=model.epsilon)
    return F.linear(torch.tanh(hpreact), p["W2"].T, p["b2"])


@pytest.hookimpl(tryfirst=True)  # before pytest leaves the slow ones out
def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Where a test carries the marker `every(k)`, all of its cases but each k-th are slow."""
    seen: Counter[str] = Counter()
    for item in items:
        if (every := item.get_closest_marker("every")) is not None:
            test = item.nodeid.split("[")[0]
            if seen[test] % every.args[0]:
                item.add_marker(pytest.mark.slow)
            seen[test] += 1


SLOW = pytest.mark.slow  # for single parameters; `pytest -m slow` runs what has it
DEVICES = ["cpu", pytest.param("cuda", marks=pytest.mark.skipif(not torch.cuda.is_available(), reason="no CUDA here"))]
