"""The configuration's schema: its sections, keys, defaults and bounds."""

from __future__ import annotations

import math
from abc import abstractmethod
from typing import Annotated, Any, ClassVar, Literal, get_args

from pydantic import (
    AfterValidator,
    BaseModel,
    ConfigDict,
    Discriminator,
    Field,
    Tag,
    WrapValidator,
    model_validator,
)

LECTURE_SEED = 2147483647
CONFIG = "config.yaml"  # in a run folder
# Bounds of numbers that have none by nature. Both lie well within float32, and so do the products and quotients that
# training makes of such a number, as of a learning rate and a decay, or of `clip` and a tiny norm.
TINY, HUGE = 1e-30, 1e30
LATEST_STEP = 10**12  # a step
MOST_THREADS = 1024


class Section(BaseModel):
    """A part of the configuration. Unknown keys and values of another type are refused ("32" is not 32)."""

    model_config = ConfigDict(extra="forbid", strict=True, frozen=True, allow_inf_nan=False)


class DataConfig(Section):
    """The names, and how they are split."""

    path: str = Field(
        "bundled", min_length=1, description='"bundled", "lecture" (after `makemore data get`), or a file'
    )
    split_seed: int = Field(42, ge=0, description="shuffles the names before they are split 80 / 10 / 10 %")


class BatchnormConfig(Section):
    """Batch normalisation, and the statistics that replace a batch's own after training."""

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
    """An average of the parameters in which the weight of earlier steps decays exponentially."""

    name: Literal["exponential"] = "exponential"
    decay: float = Field(0.999, ge=0, lt=1, description="what is left of the average's weight after a step")


class MeanAverage(Section):
    """The mean of the parameters after each of the last steps."""

    name: Literal["mean"] = "mean"
    share: float = Field(0.25, gt=0, le=1, description="of the steps, the last ones")


def _kind_of(kinds: str) -> Discriminator:
    """The kind of a section: the first one if none is named."""

    def name(value: Any) -> str | None:
        if isinstance(value, dict):
            given = value.get("name", next(iter(KINDS[kinds])))
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


class _Optimiser(Section):
    """Settings that every optimiser has."""

    in_kernel: ClassVar[bool] = False  # whether the compiled pass has this optimiser
    name: str
    lr: float = Field(0.1, ge=0, le=HUGE, description="learning rate at the start, or at the end of the warm-up")
    warmup: int = Field(0, ge=0, le=LATEST_STEP, description="steps in which the learning rate rises from near zero")
    schedule: Schedule | None = StepsSchedule()
    weight_decay: float = Field(0.0, ge=0, le=1e6, description="with sgd added to the gradient, with adamw apart")
    clip: float | None = Field(None, ge=TINY, le=HUGE, description="largest norm of the whole gradient")
    average: Average | None = Field(None, description="of the parameters: what is evaluated, saved and sampled from")

    @property
    @abstractmethod
    def memory(self) -> tuple[str, ...]:
        """The names of the vectors, each as long as all parameters together, that the optimiser itself keeps."""

    @property
    def kept(self) -> tuple[str, ...]:
        """The same, and the parameters' average if one is kept."""
        return self.memory if self.average is None else (*self.memory, "average")

    @model_validator(mode="before")
    @classmethod
    def _without_others_defaults(cls, values: Any) -> Any:
        """Leave out what belongs to another optimiser and has no effect, as a `config.yaml` of before may hold it.

        Anything else of another one is refused.
        """
        if not isinstance(values, dict):
            return values
        values = dict(values)
        for other in KINDS["optim"].values():
            for key in set(other.model_fields) - set(cls.model_fields):
                if key in values and values.pop(key) != other.model_fields[key].default:
                    of, this = (kind.model_fields["name"].default for kind in (other, cls))
                    raise ValueError(f"{key} is {of}'s, and this is {this}")
        return values

    @model_validator(mode="after")
    def _bounded(self) -> _Optimiser:
        """Refuse a learning rate that grows beyond HUGE."""
        if isinstance(self.schedule, StepsSchedule):
            powers = len(self.schedule.milestones) * math.log10(self.schedule.gamma)
            if max(0.0, math.log10(self.lr) if self.lr else 0.0) + powers > math.log10(HUGE):
                raise ValueError("the learning rate would grow beyond 1e30; give a smaller gamma or fewer milestones")
        return self


class SgdConfig(_Optimiser):
    """Stochastic gradient descent, with momentum if wanted: `torch.optim.SGD`."""

    in_kernel = True
    name: Literal["sgd"] = "sgd"
    momentum: float = Field(0.0, ge=0, lt=1, description="share of the last velocity that is kept")
    nesterov: bool = Field(False, description="look ahead along the velocity")

    @property
    def memory(self) -> tuple[str, ...]:
        return ("velocity",) if self.momentum else ()

    @model_validator(mode="after")
    def _looks_ahead_along_something(self) -> SgdConfig:
        if self.nesterov and not self.momentum:
            raise ValueError("nesterov looks ahead along the velocity, so it needs a momentum")
        return self


class AdamWConfig(_Optimiser):
    """Adam with decoupled weight decay: `torch.optim.AdamW`."""

    in_kernel = True
    name: Literal["adamw"] = "adamw"
    beta1: float = Field(0.9, ge=0, lt=1, description="decay of the gradient's average")
    beta2: float = Field(0.999, ge=0, lt=1, description="decay of the squared gradient's average")
    epsilon: float = Field(1e-8, ge=TINY, le=1, description="added to its root")

    @property
    def memory(self) -> tuple[str, ...]:
        return "m", "v"

    @model_validator(mode="after")
    def _first_step_bounded(self) -> AdamWConfig:
        if self.lr / (1 - self.beta1) > HUGE:
            raise ValueError("the learning rate over 1 − beta1 would be beyond 1e30; give a smaller one of them")
        return self


OptimConfig = Annotated[Annotated[SgdConfig, Tag("sgd")] | Annotated[AdamWConfig, Tag("adamw")], _kind_of("optim")]


def _kinds_in(union: Any) -> dict[str, type[Section]]:
    """The classes of a union, by their tags."""
    tagged = [get_args(kind) for kind in get_args(get_args(union)[0])]
    return {tag.tag: kind for kind, tag in tagged}


# Sections that come in kinds, by key: the first is meant if none is named.
KINDS = {"optim": _kinds_in(OptimConfig), "schedule": _kinds_in(Schedule), "average": _kinds_in(Average)}


def _auto_or_count(threads: Any, _: Any) -> Any:
    """One message for both kinds: pydantic would have one for each."""
    if threads != "auto" and not (type(threads) is int and 1 <= threads <= MOST_THREADS):
        raise ValueError(f"should be auto or a whole number from 1 to {MOST_THREADS}")
    return threads


class TrainConfig(Section):
    """The training. A period of 0 means never."""

    steps: int = Field(200_000, ge=1, le=LATEST_STEP)
    context_dropout: float = Field(0.0, ge=0, lt=1, description="share of a context's letters read as . in training")
    label_smoothing: float = Field(0.0, ge=0, lt=1, description="share of the target that all letters have alike")
    batch_size: int = Field(32, ge=2, le=2**24, description="B; at least 2, since the variance divides by B − 1")
    seed: int = Field(LECTURE_SEED, ge=0, lt=2**63, description="of the initial parameters and the batches")
    engine: Literal["auto", "kernel", "tensor", "autograd"] = "auto"
    device: str = Field(
        "auto", pattern=r"^(auto|cpu|cuda(:(0|[1-9]\d{0,3}))?)$", description="auto, cpu, cuda or cuda:N"
    )
    threads: Annotated[int | Literal["auto"], WrapValidator(_auto_or_count)] = Field(
        "auto", description="largest number of CPU threads; with auto, the kernel measures how many are fastest"
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
    optim: OptimConfig = SgdConfig()
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
