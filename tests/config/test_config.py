"""The configuration: what it takes, what it refuses, and in which words."""

from __future__ import annotations

from pathlib import Path

import pytest

from makemore_cli.config import load as configuration
from makemore_cli.config.schema import Config, StepsSchedule
from makemore_cli.errors import MakemoreError
from makemore_cli.training.schedules import learning_rates

SHIPPED = ["lecture", "quickstart", "tiny"]


def write(folder: Path, text: str) -> Path:
    path = folder / "own.yaml"
    path.write_text(text)
    return path


@pytest.mark.parametrize("name", SHIPPED)
def test_shipped_configurations_load_and_round_trip(name: str, tmp_path: Path) -> None:
    config = configuration.load(configuration.find(name))
    assert configuration.load(write(tmp_path, configuration.dump(config))) == config


def test_the_lectures_is_the_lectures() -> None:
    config = configuration.load(configuration.find("lecture"))
    assert configuration.override(config, train__diagnose_every=0) == Config()
    m, t = config.model, config.train
    assert (m.context_length, m.embedding_size, m.hidden_size) == (3, 10, 200)
    assert (t.steps, t.batch_size, t.seed) == (200_000, 32, 2147483647)
    assert learning_rates(config.optim, 99_999, 2, 200_000) == [0.1, pytest.approx(0.01)]


def test_the_schedule_multiplies_at_each_milestone() -> None:
    optim = Config().optim.model_copy(update={"lr": 1.0, "schedule": StepsSchedule(milestones=[2, 5], gamma=0.5)})
    assert learning_rates(optim, 0, 7, 7) == [1, 1, 0.5, 0.5, 0.5, 0.25, 0.25]
    assert learning_rates(optim, 4, 2, 7) == [0.5, 0.25]
    assert learning_rates(optim.model_copy(update={"schedule": None}), 10**6, 2, 10**7) == [1, 1]


def test_an_empty_file_is_all_defaults(tmp_path: Path) -> None:
    assert configuration.load(write(tmp_path, "# nothing\n")) == Config()


@pytest.mark.parametrize("text", ["1e-3", "1E-3", ".001", "0.001", "1.0e-3"])
def test_numbers_are_yaml_1_2s(text: str, tmp_path: Path) -> None:
    """PyYAML alone reads 1e-3 as a text."""
    assert configuration.load(write(tmp_path, f"optim: {{lr: {text}}}")).optim.lr == 0.001
    assert configuration.load(write(tmp_path, ""), [f"optim.lr={text}"]).optim.lr == 0.001


def test_settings_go_over_the_file_and_options_over_settings(tmp_path: Path) -> None:
    path = write(tmp_path, "train: {steps: 10, batch_size: 4}")
    config = configuration.load(path, ["train.steps=20", "model.batchnorm.statistics=running"], train__steps=30)
    assert (config.train.steps, config.train.batch_size) == (30, 4)
    assert config.model.batchnorm.statistics == "running"
    assert configuration.load(path, ["optim.schedule=null"]).optim.schedule is None
    assert configuration.load(path, ["optim.schedule.milestones=[1, 2]"]).optim.schedule == StepsSchedule(
        milestones=[1, 2]
    )


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("model: {hiden_size: 3}", "model.hiden_size: unknown key; did you mean hidden_size?"),
        ("modle: {}", "modle: unknown key; did you mean model?"),
        ("model: {batchnorm: {momemtum: 1}}", "model.batchnorm.momemtum: unknown key; did you mean momentum?"),
        ("optim: {schedule: {zzz: 1}}", "optim.schedule.zzz: unknown key; known here: name, milestones, gamma"),
        ("model: {hidden_size: '200'}", "model.hidden_size: should be a valid integer, but is '200'"),
        ("model: {hidden_size: 2.5}", "model.hidden_size: should be a valid integer, but is 2.5"),
        ("model: {hidden_size: true}", "model.hidden_size: should be a valid integer, but is True"),
        ("model: {hidden_size: 0}", "model.hidden_size: should be greater than or equal to 1, but is 0"),
        ("model: 3", "model: should be a section, but is 3"),
        ("optim: {lr: -0.1}", "optim.lr: should be greater than or equal to 0, but is -0.1"),
        ("optim: {lr: .nan}", "optim.lr: should be a finite number, but is nan"),
        ("optim: {lr: .inf}", "optim.lr: should be a finite number, but is inf"),
        ("optim: {lr: fast}", "optim.lr: should be a valid number, but is 'fast'"),
        ("optim: {lr:}", "optim.lr: should be a valid number, but is empty"),
        ("optim: {name: adam}", "optim.name: should be one of sgd, adamw, but is 'adam'"),
        (
            "optim: {schedule: {milestones: [5, 2]}}",
            "optim.schedule.milestones: must be strictly increasing, but is [5, 2]",
        ),
        ("train: {batch_size: 1}", "train.batch_size: should be greater than or equal to 2, but is 1"),
        ("train: {device: tpu}", "train.device: should be auto, cpu, cuda, cuda:N or mps, but is 'tpu'"),
        ("train: {engine: jax}", "train.engine: should be 'auto', 'kernel', 'tensor' or 'autograd', but is 'jax'"),
        ("train: {seed: -1}", "train.seed: should be greater than or equal to 0, but is -1"),
        ("train: {steps: 0, batch_size: 0}", "(and 1 more)"),
        ("- 1\n- 2\n", "a configuration has sections (data, model, optim, train), but this is a list"),
        ("just text", "but this is 'just text'"),
        ("model:", "model: should be a section, but is empty"),
        ("optim: {lr: 0.1, lr: 0.5}", "line 1: not valid YAML: lr is given twice"),
        ("train: {steps: 010}", "train.steps: should be a valid integer, but is '010'"),
        ("train: {steps: 1:30}", "train.steps: should be a valid integer, but is '1:30'"),
        ("train: {device: 'cuda:01'}", "train.device: should be auto, cpu, cuda, cuda:N or mps, but is 'cuda:01'"),
        ("[" * 3000, "not valid YAML"),
        ("model: {hidden_size: 3", "line 1: not valid YAML"),
        ("model:\n\thidden_size: 3", "line 2: not valid YAML"),
        ("model: !!python/object/apply:os.system ['true']", "not valid YAML"),
    ],
)
def test_what_is_refused(text: str, message: str, tmp_path: Path) -> None:
    path = write(tmp_path, text)
    with pytest.raises(MakemoreError) as error:
        configuration.load(path)
    assert message in str(error.value)
    assert str(error.value).startswith(str(path))
    assert "\n" not in str(error.value)


@pytest.mark.parametrize(
    ("setting", "message"),
    [
        ("optim.lr", "settings must be key=value, as in optim.lr=0.05, got optim.lr"),
        ("=3", "must be key=value"),
        ("optim.lrr=1", "settings optim.lrr=1: optim.lrr: unknown key; did you mean lr?"),
        ("lr=1", "settings lr=1: lr: unknown key"),
        ("optim.lr.x=1", "settings optim.lr.x=1: lr is a value, not a section"),
        ("optim.lr=[", "settings optim.lr=[, line 1: not valid YAML"),
        ("optim.lr=-1", "settings optim.lr=-1: optim.lr: should be greater than or equal to 0, but is -1"),
        ("model=3", "settings model=3: model: should be"),
    ],
)
def test_settings_that_are_refused(setting: str, message: str, tmp_path: Path) -> None:
    with pytest.raises(MakemoreError) as error:
        configuration.load(write(tmp_path, "optim: {lr: 0.1}"), [setting])
    assert message in str(error.value)


def test_an_override_names_its_option() -> None:
    with pytest.raises(MakemoreError, match=r"^train.steps 0: should be greater than or equal to 1, but is 0$"):
        configuration.override(Config(), train__steps=0)


@pytest.mark.parametrize("name", ["nope", "nope.yaml", "../configs/tiny", "configs/nope.yaml", ""])
def test_a_configuration_that_is_not_there(name: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    with pytest.raises(MakemoreError, match=r"no such configuration; give a YAML file, or a bundled one by its name"):
        configuration.find(name)


def test_a_folder_or_bytes_as_configuration(tmp_path: Path) -> None:
    with pytest.raises(MakemoreError, match="can't be read"):
        configuration.load(tmp_path)
    with pytest.raises(MakemoreError, match="no such configuration"):
        configuration.find(str(tmp_path))
    path = tmp_path / "bytes.yaml"
    path.write_bytes(b"\xff\xfe\x00")
    with pytest.raises(MakemoreError, match="not valid YAML"):
        configuration.load(path)
