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
# Bounds for numbers without natural ones. Both lie well within float32's range, and so do the products and quotients
# that training forms of them, such as learning rate times decay, or `clip` over a tiny norm.
TINY, HUGE = 1e-30, 1e30
LATEST_STEP = 10**12
MOST_THREADS = 1024


class Section(BaseModel):
    """A part of the configuration. Unknown keys and values of the wrong type are rejected ("32" is not 32)."""

    model_config = ConfigDict(extra="forbid", strict=True, frozen=True, allow_inf_nan=False)


class DataConfig(Section):
    """The names, and how they are split."""

    path: str = Field(
        "bundled",
        min_length=1,
        description="Data: bundled, lecture (after `makemore data get`), a file with one name per line (text, gzip or "
        "zstandard), or FILE.parquet:COLUMN.",
    )
    split_seed: int = Field(
        42,
        ge=0,
        description="Random seed of the shuffle before the 80 / 10 / 10 % training, validation and test split.",
    )


class BatchnormConfig(Section):
    """Batch normalisation, and the statistics that replace a batch's own at inference."""

    statistics: Literal["calibrated", "running"] = Field(
        "calibrated",
        description="Mean and variance at inference. calibrated: those of the whole training split; running: running "
        "averages kept during training.",
    )
    momentum: float = Field(
        0.001,
        gt=0,
        le=1,
        description="Weight of the new batch in the running averages. No effect if statistics is calibrated.",
    )
    epsilon: float = Field(1e-5, ge=TINY, le=HUGE, description="Number added to the variance before its square root.")


class ModelConfig(Section):
    """The network's architecture."""

    # The bounds keep a typing error from requesting more memory than any machine has.
    context_length: int = Field(
        3, ge=1, le=2**12, description="Context length T: number of characters that the next one is predicted from."
    )
    embedding_size: int = Field(10, ge=1, le=2**14, description="Embedding size E: numbers per character.")
    hidden_size: int = Field(200, ge=1, le=2**18, description="Hidden size H: number of hidden units.")
    first_bias: bool = Field(
        True, description="Give the first linear layer a bias b1, as the lecture does, although batchnorm cancels it."
    )
    batchnorm: BatchnormConfig = BatchnormConfig()


def _ascending(steps: list[int]) -> list[int]:
    if steps != sorted(set(steps)):
        raise ValueError("must be strictly increasing")
    return steps


class StepsSchedule(Section):
    """The learning rate is multiplied by gamma at each milestone."""

    name: Literal["steps"] = "steps"
    milestones: Annotated[list[Annotated[int, Field(ge=1, le=LATEST_STEP)]], AfterValidator(_ascending)] = Field(
        [100_000],
        description="Numbers of steps after which the learning rate is multiplied by gamma, strictly increasing.",
    )
    gamma: float = Field(0.1, gt=0, le=HUGE, description="Factor for the learning rate at each milestone.")


class CosineSchedule(Section):
    """The learning rate falls along half a cosine, from the end of the warm-up to the last step."""

    name: Literal["cosine"] = "cosine"
    final: float = Field(0.0, ge=0, le=1, description="Final learning rate, as a fraction of optim.lr.")


class LinearSchedule(Section):
    """The learning rate falls linearly, from the end of the warm-up to the last step."""

    name: Literal["linear"] = "linear"
    final: float = Field(0.0, ge=0, le=1, description="Final learning rate, as a fraction of optim.lr.")


class ExponentialAverage(Section):
    """An exponential moving average of the parameters."""

    name: Literal["exponential"] = "exponential"
    decay: float = Field(
        0.999, ge=0, lt=1, description="Weight of the previous average at each step; it is lower early in training."
    )


class MeanAverage(Section):
    """The mean of the parameters after each of the last steps."""

    name: Literal["mean"] = "mean"
    share: float = Field(0.25, gt=0, le=1, description="Fraction of the steps that are averaged, the last ones.")


def _kind_of(kinds: str) -> Discriminator:
    """Tell the kinds of a section apart by `name`; the first one is the default."""

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
    """Settings that all optimisers share."""

    in_kernel: ClassVar[bool] = False  # whether the kernel has this optimiser
    name: str
    lr: float = Field(0.1, ge=0, le=HUGE, description="Learning rate at the start, or at the end of the warm-up.")
    warmup: int = Field(
        0, ge=0, le=LATEST_STEP, description="Number of steps in which the learning rate rises linearly; 0: none."
    )
    schedule: Schedule | None = Field(
        StepsSchedule(), description="Learning-rate schedule: steps, cosine or linear; null: constant learning rate."
    )
    weight_decay: float = Field(
        0.0, ge=0, le=1e6, description="Weight decay: sgd adds it to the gradient, adamw decouples it; 0: none."
    )
    clip: float | None = Field(
        None,
        ge=TINY,
        le=HUGE,
        description="Maximum norm of the whole gradient; a longer one is scaled down to it. null: no clipping.",
    )
    average: Average | None = Field(
        None,
        description="Average of the parameters (exponential or mean) to evaluate, save and sample from; null: the "
        "parameters themselves.",
    )

    @property
    @abstractmethod
    def memory(self) -> tuple[str, ...]:
        """Names of the optimiser's state vectors, each as long as all parameters together."""

    @property
    def kept(self) -> tuple[str, ...]:
        """The same, and `average` if the parameters are averaged."""
        return self.memory if self.average is None else (*self.memory, "average")

    @model_validator(mode="before")
    @classmethod
    def _without_others_defaults(cls, values: Any) -> Any:
        """Drop another optimiser's keys if they have their defaults, since an older `config.yaml` may hold them.

        Raises ValueError for another value of such a key.
        """
        if not isinstance(values, dict):
            return values
        values = dict(values)
        for other in KINDS["optim"].values():
            for key in set(other.model_fields) - set(cls.model_fields):
                if key in values and values.pop(key) != other.model_fields[key].default:
                    of, this = (kind.model_fields["name"].default for kind in (other, cls))
                    raise ValueError(f"{key} belongs to {of}, but optim.name is {this}")
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
    """Stochastic gradient descent, optionally with momentum, as `torch.optim.SGD`."""

    in_kernel = True
    name: Literal["sgd"] = "sgd"
    momentum: float = Field(
        0.0, ge=0, lt=1, description="Fraction of the velocity that is kept from step to step; 0: no momentum."
    )
    nesterov: bool = Field(False, description="Use Nesterov momentum; needs a momentum above 0.")

    @property
    def memory(self) -> tuple[str, ...]:
        return ("velocity",) if self.momentum else ()

    @model_validator(mode="after")
    def _looks_ahead_along_something(self) -> SgdConfig:
        if self.nesterov and not self.momentum:
            raise ValueError("nesterov needs a momentum above 0")
        return self


class AdamWConfig(_Optimiser):
    """Adam with decoupled weight decay, as `torch.optim.AdamW`."""

    in_kernel = True
    name: Literal["adamw"] = "adamw"
    beta1: float = Field(0.9, ge=0, lt=1, description="Decay per step of the gradient's moving average.")
    beta2: float = Field(0.999, ge=0, lt=1, description="Decay per step of the squared gradient's moving average.")
    epsilon: float = Field(1e-8, ge=TINY, le=1, description="Number added to the update's denominator, for stability.")

    @property
    def memory(self) -> tuple[str, ...]:
        return "m", "v"

    @model_validator(mode="after")
    def _first_step_bounded(self) -> AdamWConfig:
        if self.lr / (1 - self.beta1) > HUGE:
            raise ValueError("lr / (1 − beta1) is beyond 1e30; give a smaller lr or beta1")
        return self


OptimConfig = Annotated[Annotated[SgdConfig, Tag("sgd")] | Annotated[AdamWConfig, Tag("adamw")], _kind_of("optim")]


def _kinds_in(union: Any) -> dict[str, type[Section]]:
    """The classes of a union, by their tags."""
    tagged = [get_args(kind) for kind in get_args(get_args(union)[0])]
    return {tag.tag: kind for kind, tag in tagged}


# Sections with several kinds, by key. The first kind is the default.
KINDS = {"optim": _kinds_in(OptimConfig), "schedule": _kinds_in(Schedule), "average": _kinds_in(Average)}


def _auto_or_count(threads: Any, _: Any) -> Any:
    """Validate both types with one message; pydantic would give one for each."""
    if threads != "auto" and not (type(threads) is int and 1 <= threads <= MOST_THREADS):
        raise ValueError(f"should be auto or a whole number from 1 to {MOST_THREADS}")
    return threads


class TrainConfig(Section):
    """Training. A period of 0 means never."""

    steps: int = Field(200_000, ge=1, le=LATEST_STEP, description="Number of training steps.")
    context_dropout: float = Field(
        0.0, ge=0, lt=1, description="Probability that a context character is replaced by `.` in training; 0: never."
    )
    label_smoothing: float = Field(
        0.0, ge=0, lt=1, description="Label smoothing: probability mass spread evenly over the vocabulary; 0: none."
    )
    batch_size: int = Field(
        32, ge=2, le=2**24, description="Batch size B in examples, at least 2, since the variance divides by B − 1."
    )
    seed: int = Field(
        LECTURE_SEED, ge=0, lt=2**63, description="Random seed of initial parameters, batches and context dropout."
    )
    engine: Literal["auto", "kernel", "tensor", "autograd"] = Field(
        "auto",
        description="Training engine: kernel (hand-written gradients, compiled, CPU only), tensor (hand-written "
        "gradients in PyTorch) or autograd; auto: kernel if possible, else tensor.",
    )
    device: str = Field(
        "auto",
        pattern=r"^(auto|cpu|mps|cuda(:(0|[1-9]\d{0,3}))?)$",
        description="Device: cpu, cuda, cuda:N or mps (Apple GPU); auto: CUDA if available, else the CPU.",
    )
    threads: Annotated[int | Literal["auto"], WrapValidator(_auto_or_count)] = Field(
        "auto", description="Maximum number of CPU threads; auto: the kernel measures which number is fastest."
    )
    dtype: Literal["float32", "float64"] = Field(
        "float32", description="Floating-point type of the parameters: float32 or float64."
    )
    checkpoint_every: int = Field(
        0,
        ge=0,
        le=LATEST_STEP,
        description="Steps between checkpoints, which are also evaluated; 0: never. In any case, one is written about "
        "every minute and at the end.",
    )
    eval_every: int = Field(
        0, ge=0, le=LATEST_STEP, description="Steps between evaluations of the training and validation loss; 0: never."
    )
    sample_every: int = Field(0, ge=0, le=LATEST_STEP, description="Steps between samples of a few names; 0: never.")
    diagnose_every: int = Field(
        0,
        ge=0,
        le=LATEST_STEP,
        description="Steps between diagnostics of saturation, gradients and update-to-parameter ratios; 0: never.",
    )


class Config(Section):
    """The whole configuration. The defaults are the lecture's, on the bundled names."""

    data: DataConfig = DataConfig()
    model: ModelConfig = ModelConfig()
    optim: OptimConfig = SgdConfig()
    train: TrainConfig = TrainConfig()

    @model_validator(mode="after")
    def _one_average(self) -> Config:
        """Refuse running statistics with averaged parameters: they belong to the parameters themselves."""
        if self.optim.average is not None and self.model.batchnorm.statistics == "running":
            raise ValueError(
                "optim.average: averaged parameters need their own batchnorm statistics; set "
                "model.batchnorm.statistics to calibrated"
            )
        return self
