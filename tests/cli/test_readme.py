"""What the README says is true: its commands run, its figures and names come out, its texts are the code's."""

from __future__ import annotations

import importlib.util
import inspect
import json
import re
import shlex
from pathlib import Path

import pytest
import torch
import yaml

from makemore_cli.backprop import atomic as steps
from makemore_cli.cli.main import main
from makemore_cli.config import load as configuration
from makemore_cli.config.schema import KINDS as OPTIM_KINDS
from makemore_cli.config.schema import Config
from makemore_cli.gradcheck.compare import TOLERANCE
from makemore_cli.gradcheck.network import SOURCES
from makemore_cli.gradcheck.numeric import ENTRIES
from makemore_cli.learn.demo import DEMOS
from makemore_cli.views.plots.gallery import KINDS
from tests.conftest import SLOW, Cli
from tests.gradcheck.test_mutations import MUTATIONS

ROOT = Path(__file__).parents[2]
README = (ROOT / "README.md").read_text(encoding="utf-8")
NUMBERS = {8: "eight", 9: "nine", 10: "ten"}
NEEDS_NETWORK = ["makemore data get"]
FROM_THE_NETWORK = "--data lecture"


def blocks(language: str) -> list[str]:
    return re.findall(rf"^```{language}\n(.*?)^```", README, re.MULTILINE | re.DOTALL)


def commands() -> list[str]:
    lines = [line.split("  #")[0].strip() for block in blocks("sh") for line in block.splitlines()]
    return [line for line in lines if line.startswith("makemore ")]


@pytest.fixture(scope="module")
def quickstart(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder in which `makemore train` was run, as the README's first command does."""
    folder = tmp_path_factory.mktemp("readme")
    assert main(["train", "--quiet", "--out", str(folder / "runs" / "quickstart")]) == 0
    return folder


def test_the_two_commands_make_their_own_environment() -> None:
    lines = [line for block in blocks("sh") for line in block.splitlines() if "venv" in line]
    assert len(lines) == 2
    assert all(line.startswith("python3 -m venv .venv && .venv/bin/pip install -e ") for line in lines)
    assert lines[0].endswith(" && .venv/bin/makemore train")
    assert lines[1].endswith(" && .venv/bin/pytest")


@pytest.mark.slow
def test_the_figures_and_names_to_expect(quickstart: Path) -> None:
    """Losses to the second digit and most names, since another processor rounds otherwise."""
    summary = json.loads((quickstart / "runs" / "quickstart" / "summary.json").read_text())
    expected = blocks("text")[0]
    for split in ("train", "val", "test"):
        promised = re.search(rf"^{split} loss +(\d\.\d{{4}})$", expected, re.MULTILINE)
        assert promised
        assert summary["loss"][split] == pytest.approx(float(promised[1]), abs=0.005)
    assert f"parameters  {summary['parameters']:,}\n" in expected
    names = re.findall(r"^(?:samples)? +([a-z]+)$", expected, re.MULTILINE)
    assert len(names) == 10
    assert sum(ours == promised for ours, promised in zip(summary["samples"], names, strict=True)) >= 7


@pytest.mark.slow
def test_every_command_runs(quickstart: Path, cli: Cli, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(quickstart)
    assert set(NEEDS_NETWORK) <= set(commands())
    for command in commands():
        if command not in NEEDS_NETWORK and FROM_THE_NETWORK not in command:
            result = cli(*shlex.split(command)[1:])
            assert result.code == 0, f"{command}: {result.err}"


def test_the_step_it_shows_is_the_code() -> None:
    shown = next(block for block in blocks("python") if block.startswith("step("))
    source = inspect.getsource(steps)
    assert re.sub(r"\s+", " ", shown.strip()) in re.sub(r"\s+", " ", source)


def test_its_pictures_are_made_by_the_command_it_prints() -> None:
    """They lie where it puts them, and it draws no others."""
    (command,) = [command for command in commands() if command.endswith("--out docs/pictures")]
    drawn = set(re.search(r"--what (\S+)", command)[1].split(","))
    drawn.add("sweep")  # which is copied from the folder of a sweep
    assert drawn == set(re.findall(r"^!\[.*\]\(docs/pictures/(.*)\.png\)$", README, re.MULTILINE))
    assert drawn == {path.stem for path in (ROOT / "docs" / "pictures").iterdir()}
    for name in drawn:
        assert b"makemore" in (ROOT / "docs" / "pictures" / f"{name}.png").read_bytes()[:4096]


def test_it_names_every_picture() -> None:
    text = README[README.index("## See it") :]
    assert all(f"`{name}`" in text or f"pictures/{name}.png" in text for name in KINDS)
    assert f"{NUMBERS[len(KINDS)]} pictures" in text


def test_its_counts_are_the_codes() -> None:
    assert f"its {sum(len(s.backward) for s in steps.STEPS)} backward lines" in README
    assert len(steps.STEPS) == 20
    assert "One of its twenty steps" in README


def test_the_table_of_keys_is_the_schema() -> None:
    """Every key of the configuration has a row, and no row is of a key that there isn't."""
    rows = re.findall(r"^\| (`(?:data|model|optim|train)\..*?) \|", README, re.MULTILINE)
    named = set()
    for row in rows:
        keys = re.findall(r"`([\w.]+)`", row)
        section = keys[0].rpartition(".")[0]
        named |= {key if "." in key else f"{section}.{key}" for key in keys}
    everything = yaml.safe_load(configuration.dump(Config()))
    for kind in OPTIM_KINDS["optim"].values():
        everything["optim"] |= kind().model_dump()

    def leaves(value: object, path: str) -> set[str]:
        if not isinstance(value, dict) or path == "optim.schedule":
            return {path}
        return {leaf for key, inner in value.items() for leaf in leaves(inner, f"{path}.{key}".lstrip("."))}

    assert named == leaves(everything, "")


def test_the_map_names_every_folder() -> None:
    lines = README[README.index("    makemore_cli/\n") : README.index("    configs/ ")].splitlines()[1:]
    named = [line.split()[0] for line in lines]
    folders = {f"{path.parent.name}/" for path in (ROOT / "makemore_cli").glob("*/__init__.py")}
    assert set(named) == folders
    assert len(named) == len(set(named))


def test_the_data_readme_and_the_rebuilt_names() -> None:
    """`data/rebuild.py` gives the very file again, with the Faker that is pinned."""
    spec = importlib.util.spec_from_file_location("rebuild", ROOT / "data" / "rebuild.py")
    assert spec
    assert spec.loader
    rebuild = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(rebuild)
    content = (ROOT / "data" / "names.txt").read_bytes()
    assert rebuild.build() == content
    text = (ROOT / "data" / "README.md").read_text(encoding="utf-8")
    assert f"{len(content.splitlines()):,} given names" in text
    assert f"{len(content):,} bytes" in text
    assert rebuild.fold("Ng'ang'a") == "nganga"
    assert rebuild.fold("Ástþór") == "astthor"


def test_the_documentation_of_gradcheck(tmp_path: Path, cli: Cli) -> None:
    """Its example runs, its counts and names are the code's."""
    text = (ROOT / "docs" / "gradcheck.md").read_text(encoding="utf-8")
    (example,) = re.findall(r"^```python\n(.*?)^```", text, re.MULTILINE | re.DOTALL)
    (tmp_path / "my_backward.py").write_text(example)
    result = cli("gradcheck", "--user", tmp_path / "my_backward.py")
    assert result.code == 0, result.out
    assert "All agree: 3 of 3 gradients" in result.out
    assert f"{len(MUTATIONS)} in all" in text
    for name, source in SOURCES.items():
        assert f"`{name}`" in text or name in ("atomic", "fused", "kernel")
        if source.accuracy:
            assert "counted as 10⁻⁷" in text
            assert source.accuracy == 1e-7
    assert {torch.float32: 3e-6, torch.float64: 1e-12} == TOLERANCE
    assert "3·10⁻⁶ in float32 and 10⁻¹² in float64" in text
    assert f"look at {ENTRIES} entries" in " ".join(text.split())


@pytest.mark.slow
def test_the_page_on_your_own_network(tmp_path: Path, cli: Cli, monkeypatch: pytest.MonkeyPatch) -> None:
    """Its files are checked with the verdicts that it shows, and its commands run."""
    monkeypatch.chdir(tmp_path)
    page = (ROOT / "docs" / "own_network.md").read_text(encoding="utf-8")
    codes = {"rms_norm.py": 1, "two_layers.py": 0, "legendre.py": 0}
    files = dict(re.findall(r"^```python\n# (\w+\.py)\n(.*?)^```", page, re.M | re.S))
    assert files.keys() == codes.keys()
    for name, text in files.items():
        Path(name).write_text(f"# {name}\n{text}")
        assert cli("gradcheck", "--chain", name).code == codes[name], name
    told = re.search(r"^```text\n(.*?)^```", page, re.M | re.S)[1]
    assert told in cli("gradcheck", "--chain", "rms_norm.py").out
    Path("rms_norm.py").write_text(files["rms_norm.py"].replace(".sum(1),", ".sum(1, keepdim=True),"))
    Path("my_chain.py").write_text(cli("gradcheck", "--chain-template").out)
    for line in ("--chain rms_norm.py", "--chain my_chain.py", "--chain rms_norm.py --trials 50", "--chain linear"):
        assert cli("gradcheck", *line.split()).code == 0, line
    assert cli("explain", "--chain", "rms_norm.py", "inv", "--entries").code == 0
    assert cli("gradcheck", "--chain", "rms_norm.py", "--seed", "3", "--size", "D=8", "--json").code == 0


PAGES = ("derivative", "graph", "scalar", "demo")


@pytest.mark.parametrize("name", [pytest.param(page, marks=[SLOW] if page == "scalar" else []) for page in PAGES])
def test_the_page_of_a_command(name: str, tmp_path: Path, cli: Cli, monkeypatch: pytest.MonkeyPatch) -> None:
    """It opens with the command; all its commands run, and print what it shows."""
    monkeypatch.chdir(tmp_path)
    page = (ROOT / "docs" / f"{name}.md").read_text(encoding="utf-8")
    parts = re.findall(r"^```(sh|text|python)\n(.*?)^```", page, re.M | re.S)
    assert re.match(rf"# .*\n\n```sh\nmakemore {name}", page)
    out = ""
    for language, text in parts:
        if language == "sh":
            for line in text.splitlines():
                result = cli(*shlex.split(line.split("  #")[0])[1:])
                assert result.code == 0, f"{line}: {result.err}"
                out = result.out
        elif language == "text":
            assert text in out
        else:
            exec(text, {})
    for link in re.findall(r"\]\((?!https)(.*?)\)", page):
        assert (ROOT / "docs" / link).exists(), link


def test_the_page_of_demonstrations_lists_them_all() -> None:
    page = (ROOT / "docs" / "demo.md").read_text(encoding="utf-8")
    assert dict(re.findall(r"^\| `([\w-]+)` \| (.*) \|$", page, re.M)) == {k: v.title for k, v in DEMOS.items()}
