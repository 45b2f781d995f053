"""The configuration: one validated model, read from YAML, changed by `--set key=value`."""

from __future__ import annotations

import difflib
import math
import re
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Annotated, Any, Literal

import yaml
from pydantic import (
    AfterValidator,
    BaseModel,
    ConfigDict,
    Discriminator,
    Field,
    Tag,
    ValidationError,
    model_validator,
)

from makemore_cli.config.strict_yaml import parse_yaml
from makemore_cli.errors import MakemoreError
from makemore_cli.system.bundled_files import bundled
from makemore_cli.system.files import read

LECTURE_SEED = 2147483647
CONFIG = "config.yaml"  # in a run folder
LARGEST_CONFIG_BYTES = 1 << 20  # bytes of a configuration
# Bounds of numbers that have none by nature. Both lie well within float32, and so do the products and quotients that
# training makes of such a number, as of a learning rate and a decay, or of `clip` and a tiny norm.
TINY, HUGE = 1e-30, 1e30
LATEST_STEP = 10**12  # a step


class Section(BaseModel):
    """Unknown keys are refused, and so is a value of another type ("32" is not 32)."""

    model_config = ConfigDict(extra="forbid", strict=True, frozen=True, allow_inf_nan=False)


class DataConfig(Section):
    """Which names, and how they are split."""

    path: str = Field(
        "bundled", min_length=1, description='"bundled", "lecture" (after `makemore data get`), or a file'
    )
    split_seed: int = Field(42, ge=0, description="shuffles the names before they are split 80 / 10 / 10 %")


class BatchnormConfig(Section):
    """Where the statistics come from that stand in for a batch's own after training."""

    statistics: Literal["calibrated", "running"] = Field(
        "calibrated", description="over the whole training split afterwards, or averages kept while training"
    )
    momentum: float = Field(0.001, gt=0, le=1, description="the new batch's share in the running averages")
    epsilon: float = Field(1e-5, ge=TINY, le=HUGE, description="added to the variance")


class ModelConfig(Section):
    """The network's sizes."""

    # The bounds keep a slip of the finger from asking for more memory than there is in the world.
    context_length: int = Field(3, ge=1, le=2**12, description="T, letters that the next one is guessed from")
    embedding_size: int = Field(10, ge=1, le=2**14, description="E, numbers an embedded letter")
    hidden_size: int = Field(200, ge=1, le=2**18, description="H, hidden units")
    first_bias: bool = Field(True, description="b1, which batchnorm takes out again (the lecture keeps it)")
    batchnorm: BatchnormConfig = BatchnormConfig()


def _ascending(steps: list[int]) -> list[int]:
    if steps != sorted(set(steps)):
        raise ValueError("must ascend, each step once")
    return steps


class StepsSchedule(Section):
    """The learning rate is multiplied by gamma at each milestone."""

    name: Literal["steps"] = "steps"
    milestones: Annotated[list[Annotated[int, Field(ge=1, le=LATEST_STEP)]], AfterValidator(_ascending)] = Field(
        [100_000], description="steps"
    )
    gamma: float = Field(0.1, gt=0, le=HUGE, description="factor")


class CosineSchedule(Section):
    """The learning rate falls along half a cosine, from the end of the warm-up to the last step."""

    name: Literal["cosine"] = "cosine"
    final: float = Field(0.0, ge=0, le=1, description="what it falls to, as a share of the rate")


class LinearSchedule(Section):
    """The learning rate falls along a straight line, from the end of the warm-up to the last step."""

    name: Literal["linear"] = "linear"
    final: float = Field(0.0, ge=0, le=1, description="what it falls to, as a share of the rate")


class ExponentialAverage(Section):
    """Of the parameters after each step, those long ago counted less and less."""

    name: Literal["exponential"] = "exponential"
    decay: float = Field(0.999, ge=0, lt=1, description="what is left of the average's weight after a step")


class MeanAverage(Section):
    """Of the parameters after each of the last steps, all counted alike."""

    name: Literal["mean"] = "mean"
    share: float = Field(0.25, gt=0, le=1, description="of the steps, the last ones")


# Sections that come in kinds, by key: the first is meant where none is named.
KINDS: dict[str, dict[str, type[Section]]] = {
    "schedule": {"steps": StepsSchedule, "cosine": CosineSchedule, "linear": LinearSchedule},
    "average": {"exponential": ExponentialAverage, "mean": MeanAverage},
}


def _kind_of(key: str) -> Discriminator:
    """Which of its kinds a section is."""

    def name(value: Any) -> str | None:
        if isinstance(value, dict):
            given = value.get("name", next(iter(KINDS[key])))
            return given if isinstance(given, str) else None
        return getattr(value, "name", None)

    return Discriminator(name)


Schedule = Annotated[
    Annotated[StepsSchedule, Tag("steps")]
    | Annotated[CosineSchedule, Tag("cosine")]
    | Annotated[LinearSchedule, Tag("linear")],
    _kind_of("schedule"),
]
Average = Annotated[
    Annotated[ExponentialAverage, Tag("exponential")] | Annotated[MeanAverage, Tag("mean")], _kind_of("average")
]


class OptimConfig(Section):
    """How gradients become updates."""

    name: Literal["sgd", "adamw"] = "sgd"
    lr: float = Field(0.1, ge=0, le=HUGE, description="learning rate at the start, or at the end of the warm-up")
    warmup: int = Field(0, ge=0, le=LATEST_STEP, description="steps in which the learning rate rises from near zero")
    schedule: Schedule | None = StepsSchedule()
    momentum: float = Field(0.0, ge=0, lt=1, description="share of the last velocity that is kept (sgd)")
    nesterov: bool = Field(False, description="look ahead along the velocity (sgd)")
    beta1: float = Field(0.9, ge=0, lt=1, description="decay of the gradient's average (adamw)")
    beta2: float = Field(0.999, ge=0, lt=1, description="decay of the squared gradient's average (adamw)")
    epsilon: float = Field(1e-8, ge=TINY, le=1, description="added to its root (adamw)")
    weight_decay: float = Field(0.0, ge=0, le=1e6, description="with sgd added to the gradient, with adamw apart")
    clip: float | None = Field(None, ge=TINY, le=HUGE, description="largest norm of the whole gradient")
    average: Average | None = Field(None, description="of the parameters: what is evaluated, saved and sampled from")

    @property
    def kept(self) -> tuple[str, ...]:
        """What the optimiser keeps from step to step, each as long as all parameters together."""
        names = ("m", "v") if self.name == "adamw" else ("velocity",) if self.momentum else ()
        return names if self.average is None else (*names, "average")

    @model_validator(mode="after")
    def _of_this_kind(self) -> OptimConfig:
        """Refuse what the optimiser would not look at."""
        for other, keys in {"adamw": ("beta1", "beta2", "epsilon"), "sgd": ("momentum", "nesterov")}.items():
            for key in keys:
                if self.name != other and getattr(self, key) != OptimConfig.model_fields[key].default:
                    raise ValueError(f"{key} is {other}'s, and this is {self.name}")
        if self.nesterov and not self.momentum:
            raise ValueError("nesterov looks ahead along the velocity, so it needs a momentum")
        return self

    @model_validator(mode="after")
    def _bounded(self) -> OptimConfig:
        """Refuse a learning rate that grows out of this world."""
        if isinstance(self.schedule, StepsSchedule):
            powers = len(self.schedule.milestones) * math.log10(self.schedule.gamma)
            if max(0.0, math.log10(self.lr) if self.lr else 0.0) + powers > math.log10(HUGE):
                raise ValueError("the learning rate would grow beyond 1e30; give a smaller gamma or fewer milestones")
        if self.name == "adamw" and self.lr / (1 - self.beta1) > HUGE:  # its first step's size
            raise ValueError("the learning rate over 1 − beta1 would be beyond 1e30; give a smaller one of them")
        return self


class TrainConfig(Section):
    """The run. A period of 0 means never."""

    steps: int = Field(200_000, ge=1, le=LATEST_STEP)
    context_dropout: float = Field(0.0, ge=0, lt=1, description="share of a context's letters read as . in training")
    label_smoothing: float = Field(0.0, ge=0, lt=1, description="share of the target that all letters have alike")
    batch_size: int = Field(32, ge=2, le=2**24, description="B; at least 2, since the variance divides by B − 1")
    seed: int = Field(LECTURE_SEED, ge=0, lt=2**63, description="of the initial parameters and the batches")
    engine: Literal["auto", "kernel", "tensor", "autograd"] = "auto"
    device: str = Field(
        "auto", pattern=r"^(auto|cpu|cuda(:(0|[1-9]\d{0,3}))?)$", description="auto, cpu, cuda or cuda:N"
    )
    dtype: Literal["float32", "float64"] = "float32"
    checkpoint_every: int = Field(
        0, ge=0, le=LATEST_STEP, description="steps between checkpoints; there is always one at the end"
    )
    eval_every: int = Field(0, ge=0, le=LATEST_STEP, description="steps between train and validation losses")
    sample_every: int = Field(0, ge=0, le=LATEST_STEP, description="steps between a few sampled names")
    diagnose_every: int = Field(
        0, ge=0, le=LATEST_STEP, description="steps between looks at saturation and at the updates' sizes"
    )


class Config(Section):
    """The whole configuration. Defaults are the lecture's, on the bundled names."""

    data: DataConfig = DataConfig()
    model: ModelConfig = ModelConfig()
    optim: OptimConfig = OptimConfig()
    train: TrainConfig = TrainConfig()

    @model_validator(mode="after")
    def _one_average(self) -> Config:
        """Refuse statistics of batches that the averaged parameters never saw."""
        if self.optim.average is not None and self.model.batchnorm.statistics == "running":
            raise ValueError(
                "optim.average: averaged parameters need batchnorm statistics of their own: "
                "model.batchnorm.statistics must be calibrated"
            )
        return self


def name(file: Path) -> str:
    """What a configuration is called: as its file, or as the run whose folder it stands in."""
    return file.absolute().parent.name if file.name == CONFIG else file.stem


def find(config: str | None, folder: str = "configs", what: str = "configuration") -> Path:
    """The configuration file that a user names: a path, or a bundled one by its bare name ("lecture")."""
    name = "quickstart" if config is None else config
    path = Path(name)
    try:
        if config and path.exists() and not path.is_dir():
            return path
    except OSError as error:
        raise MakemoreError(f"{name}: the {what} can't be read: {error.strerror}") from None
    shipped = bundled(f"{folder}/{name}.yaml")
    if re.fullmatch(r"[\w-]+", name) and shipped.is_file():
        return shipped
    known = ", ".join(sorted(file.stem for file in shipped.parent.glob("*.yaml")))
    raise MakemoreError(f"{name}: no such {what}; give a YAML file, or a bundled one by its name ({known})")


def load(path: Path, settings: Iterable[str] = (), **overrides: Any) -> Config:
    """Read a YAML file and apply `--set` settings and then overrides ("train.steps" written train__steps).

    Overrides that are None are left out. Raises MakemoreError, which names the file or setting and the key.
    """
    raw = read_mapping(path, "a configuration has sections (data, model, optim, train)")
    validate(raw, str(path))  # a mistake in the file is the file's, whatever is set besides
    for setting in settings:
        key, equals, value = setting.partition("=")
        if not equals or not key.strip():
            raise MakemoreError(f"--set {_cut(setting)}: write key=value, for example --set optim.lr=0.05")
        source = f"--set {_cut(setting)}"
        _assign(raw, key.strip(), parse_yaml(value, source), source)
        validate(raw, source)
    return override(validate(raw, str(path)), **overrides)


def read_mapping(path: Path, expected: str) -> dict[Any, Any]:
    """What a YAML file holds, which is to be keys and values. Raises MakemoreError, which says what was expected."""
    try:
        text = read(path, LARGEST_CONFIG_BYTES)
    except OSError as error:
        raise MakemoreError(f"{path}: can't be read: {error.strerror}") from None
    raw = parse_yaml(text, str(path))
    if raw is None:
        raw = {}
    if not isinstance(raw, dict):
        raise MakemoreError(f"{path}: {expected}, but this is {kind(raw)}")
    return raw


def change(config: Config, settings: Mapping[str, Any], source: str) -> Config:
    """The configuration with other values at some dotted keys. Raises MakemoreError, which names the source."""
    raw = config.model_dump()
    for key, value in settings.items():
        _assign(raw, key, value, source)
    return validate(raw, source)


def override(config: Config, **overrides: Any) -> Config:
    """The configuration with some options changed ("train.steps" written train__steps); those that are None are left.

    Raises MakemoreError, which names the option.
    """
    for name, value in overrides.items():
        if value is not None:
            section, key = name.split("__")
            config = change(config, {f"{section}.{key}": value}, f"--{'data' if key == 'path' else key} {value}")
    return config


def _assign(raw: dict[str, Any], key: str, value: Any, source: str) -> None:
    """Put a value at a dotted key, making sections on the way."""
    *sections, last = key.split(".")
    place = raw
    for section in sections:
        if place.get(section) is None:
            place[section] = {}
        place = place[section]
        if not isinstance(place, dict):
            raise MakemoreError(f"{source}: {section} is no section, but a value")
    place[last] = value


def validate(raw: Any, source: str) -> Config:
    """A Config from plain values. Raises MakemoreError with the first mistake, its key and its source."""
    try:
        return Config.model_validate(raw)
    except ValidationError as error:
        mistakes = error.errors()
        more = f" (and {len(mistakes) - 1} more)" if len(mistakes) > 1 else ""
        raise MakemoreError(f"{source}: {_describe(mistakes[0])}{more}") from None


def _describe(mistake: Any) -> str:
    """One of pydantic's mistakes as a sentence: the key, what is wrong with it, and what it may be."""
    path = [str(part) for part in mistake["loc"]]
    # Between such a section and its keys, pydantic puts the name of its kind.
    kinds = KINDS.get(path[1], {}) if path[:1] == ["optim"] and path[1:] else {}
    section = kinds[path.pop(2)] if kinds and path[2:] else None
    key = ".".join(path)
    if mistake["type"] in ("union_tag_invalid", "union_tag_not_found"):
        if not isinstance(mistake["input"], dict):
            return f"{key}: should be a section, but is {kind(mistake['input'])}"
        return f"{key}.name: should be one of {', '.join(kinds)}, but is {kind(mistake['input'].get('name'))}"
    if mistake["type"] == "extra_forbidden":
        known = list(section.model_fields) if section else _keys(path[:-1])
        close = difflib.get_close_matches(path[-1], known, n=1)
        hint = f"did you mean {close[0]}?" if close else f"known here: {', '.join(known)}"
        return f"{_cut(key)}: unknown key; {hint}"
    if mistake["type"] == "value_error" and isinstance(mistake["input"], dict):
        return f"{key}: {mistake['ctx']['error']}" if key else str(mistake["ctx"]["error"])
    given = mistake["input"]
    message = re.sub(r"^(Input|Value error,) ?", "", mistake["msg"])
    message = re.sub(r"0\.0{5,}\d+|\b10{12,}\b", lambda number: f"{float(number[0]):g}", message)
    if mistake["type"] == "string_pattern_mismatch":
        message = "should be auto, cpu, cuda or cuda:N"
    if mistake["type"] == "model_type":
        message = "should be a section"
    return f"{key}: {message}, but is {_cut(repr(given)) if isinstance(given, list) else kind(given)}"


def _keys(path: list[str]) -> list[str]:
    """Keys of the section at a path."""
    section: Any = Config
    for part in path:
        section = section.model_fields[part].annotation
        # `Section | None` stands for the section.
        section = next((a for a in getattr(section, "__args__", ()) if a is not type(None)), section)
    return list(section.model_fields)


def kind(value: Any) -> str:
    """A value as a message shows it, cut where it is long."""
    if value is None:
        return "empty"
    if isinstance(value, dict):
        return "a section"
    if isinstance(value, list):
        return "a list"
    if isinstance(value, float) and not math.isfinite(value):
        return str(value)
    return _cut(repr(value))


def _cut(text: str) -> str:
    return text if len(text) <= 100 else f"{text[:100]}…"


def flatten(section: Mapping[str, Any], prefix: str = "") -> dict[str, Any]:
    """Every setting of a section by its dotted key."""
    settings: dict[str, Any] = {}
    for key, value in section.items():
        settings |= flatten(value, f"{prefix}{key}.") if isinstance(value, dict) else {prefix + key: value}
    return settings


def dump(config: Config) -> str:
    """The configuration as YAML, every key written out; `load` reads it back to an equal one."""
    return yaml.safe_dump(config.model_dump(), sort_keys=False, allow_unicode=True)
