"""README and docs are true: their commands run, their figures and names come out, their references are the code's."""

from __future__ import annotations

import importlib.util
import json
import re
import shlex
import sys
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest
import torch
import yaml

from makemore_cli.backprop import atomic as steps
from makemore_cli.checks.compare import TOLERANCE
from makemore_cli.checks.network import SOURCES
from makemore_cli.checks.numeric import ENTRIES
from makemore_cli.cli.main import main
from makemore_cli.config import load as configuration
from makemore_cli.config.keys import settable
from makemore_cli.config.schema import Config
from makemore_cli.learn.demo import DEMOS
from makemore_cli.views.plots.gallery import KINDS
from tests.checks.test_mutations import MUTATIONS
from tests.conftest import Cli

ROOT = Path(__file__).parents[1]
DOCS = ROOT / "docs"
README = (ROOT / "README.md").read_text(encoding="utf-8")
PAGES = {path.stem: path.read_text(encoding="utf-8") for path in sorted(DOCS.glob("*.md"))}
TEXTS = {"README": README, **PAGES}
NUMBERS = {8: "eight", 9: "nine", 10: "ten"}
# Commands that download, need what was downloaded, or take minutes. They have tests of their own.
NOT_RUN = (
    *("makemore data get", "--data lecture", "makemore bench", "makemore sweep", "--install-completion"),
    *("makemore learn watch", "makemore learn check"),  # which waits, or fails as long as nothing is written
)
FILES = ("my_backward.py", "my_chain.py", "my_check.py", "names.txt")  # that the text asks the reader to have
HAVE_RUN = ("makemore train", "makemore train --config tiny", "makemore learn init")  # whose folders the test has
FAST = ("derivative", "graph", "demo", "glossary", "stability")  # pages whose commands take a second each


def blocks(text: str, language: str) -> list[str]:
    return re.findall(rf"^```{language}\n(.*?)^```", text, re.MULTILINE | re.DOTALL)


def commands(text: str) -> list[str]:
    """The commands of a text, without comments, and without what they are piped into."""
    lines = [line.split("  #")[0].split(" | ")[0] for block in blocks(text, "sh") for line in block.splitlines()]
    return [part.strip() for line in lines for part in line.split(" && ") if part.strip().startswith("makemore ")]


def loaded(name: str, path: Path) -> ModuleType:
    spec = importlib.util.spec_from_file_location(name, path)
    assert spec
    assert spec.loader
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


@pytest.fixture(scope="module")
def quickstart(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder in which README's first command was run, and `makemore train --config tiny`."""
    folder = tmp_path_factory.mktemp("readme")
    for name in ("quickstart", "tiny"):
        assert main(["train", "--config", name, "--quiet", "--out", str(folder / "runs" / name)]) == 0
    assert main(["learn", "init", str(folder / "exercises")]) == 0
    return folder


def test_the_two_commands_make_their_own_environment() -> None:
    lines = [line for block in blocks(README, "sh") for line in block.splitlines() if "venv" in line]
    assert len(lines) == 2
    assert all(
        line.startswith("python3 -m venv .venv && .venv/bin/pip install -c constraints.txt -e ") for line in lines
    )
    assert lines[0].endswith(" && .venv/bin/makemore train")
    assert lines[1].endswith(" && .venv/bin/pytest")


@pytest.mark.slow
def test_the_figures_and_names_to_expect(quickstart: Path) -> None:
    """Losses to the second digit and most names, since another processor rounds otherwise."""
    summary = json.loads((quickstart / "runs" / "quickstart" / "summary.json").read_text())
    expected = blocks(README, "text")[0]
    for split in ("train", "val", "test"):
        promised = re.search(rf"^{split} loss +(\d\.\d{{4}})$", expected, re.MULTILINE)
        assert promised
        assert summary["loss"][split] == pytest.approx(float(promised[1]), abs=0.005)
    assert f"parameters  {summary['parameters']:,}\n" in expected
    names = re.findall(r"^(?:samples)? +([a-z]+)$", expected, re.MULTILINE)
    assert len(names) == 10
    assert sum(ours == promised for ours, promised in zip(summary["samples"], names, strict=True)) >= 7


def run_all(name: str, cli: Cli) -> None:
    """Run the commands of a text that no text before it has, or whose output it shows, and compare the output."""
    parts = re.findall(r"^```(sh|text)\n(.*?)^```", TEXTS[name], re.MULTILINE | re.DOTALL)
    for (language, block), (following, shown) in zip(parts, [*parts[1:], ("", "")], strict=True):
        found = commands(f"```sh\n{block}```") if language == "sh" else []
        shows = following == "text" and name in (*FAST, "scalar")
        for place, command in enumerate(found, 1):
            if any(part in command for part in NOT_RUN + FILES) or command in HAVE_RUN:
                continue
            compared = shows and place == len(found)
            if compared or name == next(text for text in TEXTS if command in commands(TEXTS[text])):
                result = cli(*shlex.split(command)[1:])
                assert result.code == 0, f"{command}: {result.err}"
                assert not compared or shown in result.out


@pytest.mark.parametrize("name", FAST)
def test_a_page_without_runs(name: str, tmp_path: Path, cli: Cli, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    run_all(name, cli)


@pytest.mark.slow
@pytest.mark.parametrize("name", sorted(TEXTS.keys() - {*FAST, "own_network"}))
def test_every_command_of_a_page_runs(name: str, quickstart: Path, cli: Cli, monkeypatch: pytest.MonkeyPatch) -> None:
    """Python blocks of two pages run as well. The page on commands has the examples of the help."""
    monkeypatch.chdir(quickstart)
    Path("docs").mkdir(exist_ok=True)
    run_all(name, cli)
    if name in ("scalar", "python"):
        scope: dict[str, Any] = {"__name__": "page"}
        monkeypatch.setitem(sys.modules, "page", ModuleType("page"))
        for block in blocks(PAGES[name], "python"):
            exec(block, scope)


@pytest.mark.parametrize("name", sorted(PAGES))
def test_a_page_opens_with_a_command_and_its_links_lead_somewhere(name: str) -> None:
    page = PAGES[name]
    assert re.match(r"# .*\n\n```sh\n\S", page)
    for link in re.findall(r"\]\((?!https?:|#)(.*?)(?:#.*?)?\)", page):
        assert (DOCS / link).resolve().is_relative_to(DOCS), f"{link} is outside of the site"
        assert (DOCS / link).exists(), link


def test_the_readmes_links_lead_somewhere() -> None:
    for link in re.findall(r"\]\((?!https?:|#)(.*?)(?:#.*?)?\)", README):
        assert (ROOT / link).exists(), link
    assert len(README.splitlines()) <= 140


def test_the_site_lists_every_page() -> None:
    def files(entry: Any) -> list[str]:
        if isinstance(entry, str):
            return [entry]
        return [file for inner in (entry.values() if isinstance(entry, dict) else entry) for file in files(inner)]

    nav = files(yaml.safe_load((ROOT / "mkdocs.yml").read_text(encoding="utf-8"))["nav"])
    assert sorted(nav) == [f"{name}.md" for name in PAGES]
    index = PAGES["index"] + README
    assert all(
        f"{name}.md" in index or name in ("changelog", "security", "stability", "glossary", "index") for name in PAGES
    )


@pytest.mark.parametrize("name", ["api", "backward_pass", "commands", "configuration"])
def test_generated_pages_are_up_to_date(name: str) -> None:
    references = loaded("references", DOCS / "references.py")
    assert sorted(references.PAGES) == ["api", "backward_pass", "commands", "configuration"]
    assert PAGES[name] == references.page(name), "run `python docs/references.py`"


def test_the_configuration_page_has_every_key() -> None:
    """Those of the schema, and those of a configuration that is written out."""
    rows = set(re.findall(r"^\| `([\w.]+)` \|", PAGES["configuration"], re.MULTILINE))
    kinds = {"optim.name", "optim.schedule.name", "optim.average.name"}
    assert rows | kinds == settable().keys()

    def leaves(value: object, path: str) -> set[str]:
        if not isinstance(value, dict):
            return {path}
        return {leaf for key, inner in value.items() for leaf in leaves(inner, f"{path}.{key}".lstrip("."))}

    written = leaves(yaml.safe_load(configuration.dump(Config())), "")
    assert written <= rows | kinds


def test_plots_are_made_by_the_command_on_the_page() -> None:
    """They are where it puts them, and it draws no others."""
    (command,) = [command for command in commands(PAGES["plots"]) if command.endswith("--out docs/pictures")]
    drawn = set(re.search(r"--what (\S+)", command)[1].split(","))
    shown = {
        name for text in PAGES.values() for name in re.findall(r"^!\[.*\]\(pictures/(.*)\.png\)$", text, re.MULTILINE)
    }
    assert drawn == set(re.findall(r"^!\[.*\]\(pictures/(.*)\.png\)$", PAGES["plots"], re.MULTILINE))
    assert shown - drawn <= {
        "sweep",
        "loss-seconds",
        "chain-page",
        "train-page",
    }  # which other commands and scripts make
    assert shown == {path.stem for path in (DOCS / "pictures").iterdir()}
    for name in drawn:
        assert b"makemore" in (DOCS / "pictures" / f"{name}.png").read_bytes()[:4096]


def test_the_page_on_plots_names_every_plot() -> None:
    assert all(f"`{name}`" in PAGES["plots"] for name in KINDS)
    assert f"{NUMBERS[len(KINDS)]} plots" in PAGES["plots"]


def test_counts_are_the_codes() -> None:
    lines = sum(len(step.backward) for step in steps.STEPS)
    assert f"a chain of {len(steps.STEPS)} forward lines with {lines} backward lines" in " ".join(README.split())
    assert len(re.findall(r"^## \d+\. ", PAGES["backward_pass"], re.MULTILINE)) == len(steps.STEPS)


def test_the_readme_and_the_page_on_speed_have_the_same_figures() -> None:
    """README's table is the row of the lecture's sizes."""
    row = re.search(r"^\| 32 \| 200 \| (.*) \|$", PAGES["speed"], re.MULTILINE)[1]
    measured = {figure.strip("* ").replace(",", "") for figure in row.split("|")}
    table = README[README.index("| | µs per step") : README.index("`makemore bench` measures")]
    shown = [
        float(figure.strip("*").replace(",", ""))
        for figure in re.findall(r"\| (\*{0,2}[\d,.]+\*{0,2}) \| [*\d. ]*\|$", table, re.M)
    ]
    assert len(shown) == len(measured)
    assert sorted(shown) == pytest.approx(sorted(float(f) for f in measured), rel=0.01)


def test_the_map_names_every_folder() -> None:
    page = PAGES["design"]
    lines = page[page.index("    makemore_cli/\n") : page.index("    configs/ ")].splitlines()[1:]
    named = [line.split()[0] for line in lines]
    folders = {f"{path.parent.name}/" for path in (ROOT / "makemore_cli").glob("*/__init__.py")}
    assert set(named) == folders
    assert len(named) == len(set(named))


def test_the_data_readme_and_the_rebuilt_names() -> None:
    """`data/rebuild.py` gives the very file again, with the Faker that is pinned."""
    rebuild = loaded("rebuild", ROOT / "data" / "rebuild.py")
    content = (ROOT / "data" / "names.txt").read_bytes()
    assert rebuild.build() == content
    text = (ROOT / "data" / "README.md").read_text(encoding="utf-8")
    assert f"{len(content.splitlines()):,} given names" in text
    assert f"{len(content):,} bytes" in text
    assert rebuild.fold("Ng'ang'a") == "nganga"
    assert rebuild.fold("Ástþór") == "astthor"


def test_the_page_on_gradcheck(tmp_path: Path, cli: Cli) -> None:
    """Its example runs, its counts and names are the code's."""
    text = PAGES["gradcheck"]
    (example,) = blocks(text, "python")
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
    assert f"{ENTRIES} entries" in " ".join(text.split())


@pytest.mark.slow
def test_the_page_on_your_own_network(tmp_path: Path, cli: Cli, monkeypatch: pytest.MonkeyPatch) -> None:
    """Its files are checked with the verdicts that it shows, and its commands run."""
    monkeypatch.chdir(tmp_path)
    page = PAGES["own_network"]
    codes = {"rms_norm.py": 1, "two_layers.py": 0, "legendre.py": 0}
    files = dict(re.findall(r"^```python\n# (\w+\.py)\n(.*?)^```", page, re.MULTILINE | re.DOTALL))
    assert files.keys() == codes.keys()
    for name, text in files.items():
        Path(name).write_text(f"# {name}\n{text}")
        assert cli("gradcheck", "--chain", name).code == codes[name], name
    told = blocks(page, "text")[0]
    assert told in cli("gradcheck", "--chain", "rms_norm.py").out
    Path("rms_norm.py").write_text(files["rms_norm.py"].replace(".sum(1),", ".sum(1, keepdim=True),"))
    Path("my_chain.py").write_text(cli("gradcheck", "--chain-template").out)
    for line in ("--chain rms_norm.py", "--chain my_chain.py", "--chain rms_norm.py --trials 50", "--chain linear"):
        assert cli("gradcheck", *line.split()).code == 0, line
    assert cli("explain", "--chain", "rms_norm.py", "inv", "--entries").code == 0
    assert cli("gradcheck", "--chain", "rms_norm.py", "--seed", "3", "--size", "D=8", "--json").code == 0


def test_the_page_of_demonstrations_lists_them_all() -> None:
    listed = dict(re.findall(r"^\| `([\w-]+)` \| (.*) \|$", PAGES["demo"], re.MULTILINE))
    assert listed == {name: demo.title for name, demo in DEMOS.items()}
