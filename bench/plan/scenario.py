"""A scenario is one way of running the model; its `id` is a stable name for files and policies.

Nothing here imports torch.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from enum import Enum
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Iterable


class _Word(str, Enum):
    """A closed set of words that read and print as plain strings."""

    def __str__(self) -> str:
        return str(self.value)


class Task(_Word):
    """What one timed call does."""

    INFERENCE = "inference"
    TRAINING = "training"


class Mode(_Word):
    """How PyTorch executes the model."""

    EAGER = "eager"
    TORCHSCRIPT = "torchscript"
    COMPILE = "compile"


class Dtype(_Word):
    """The arithmetic that is asked for; what really ran is evidence, kept beside it."""

    FP32 = "fp32"
    BF16 = "bf16"
    INT8 = "int8"


class Layout(_Word):
    """Memory layout of activations and weights."""

    CONTIGUOUS = "contiguous"
    CHANNELS_LAST = "channels_last"


class Status(_Word):
    """What became of a scenario."""

    OK = "ok"
    UNSUPPORTED = "unsupported"
    UNAVAILABLE = "unavailable"
    CRASHED = "crashed"
    OUT_OF_MEMORY = "out_of_memory"
    TIMEOUT = "timeout"
    WRONG_OUTPUT = "wrong_output"
    NO_STEADY_STATE = "no_steady_state"


MEASURED = (Status.OK, Status.NO_STEADY_STATE)


"""Statuses of scenarios whose times mean something."""


class Verdict(_Word):
    """What a comparison allows to be said."""

    FASTER = "faster"
    SLOWER = "slower"
    SAME = "same"
    INCONCLUSIVE = "inconclusive"
    INVALID = "invalid"


DECIDED = (Verdict.FASTER, Verdict.SLOWER, Verdict.SAME)


"""The verdicts that answer the question."""


class Phase(_Word):
    """Which part of a worker's life a call belongs to."""

    FIRST_CALL = "first_call"
    WARMUP = "warmup"
    TIMED = "timed"


class BaselineKind(_Word):
    """Which baseline a speedup divides by."""

    STOCK_DEFAULT = "stock_default"
    STOCK_TUNED = "stock_tuned"
    CONTROL = "control"
    UNVARIED = "unvaried"
    """The same scenario without its variables: what a variable is worth."""
    STOCK_ALIKE = "stock_alike"
    """Stock default with the same variables: what the scenario is worth under them."""


DEFAULT_ENVIRONMENT = "ipex-2.8"


CONTROL_SUFFIX = "#control"


FROZEN = "frozen"


"""Training option: the shallow blocks are frozen, as in the tutorial."""


FULL = "full"


"""Training option: every parameter trains."""


FUSED_ADAM = "fused_adam"


"""Training option: PyTorch's own fused Adam."""


NO_FREEZING = "no_freezing"


"""Compile option: Inductor without weight freezing."""


SLOWED = "slow"


"""Option of the backend `planted`, with its share: `slow=0.05`. In no profile."""


PREPROCESSING = "preprocessing"


"""Part: a call reads image files, decodes, resizes and normalises them."""


BOXES = "boxes"


"""Part: a call finds the boxes in maps."""


INSPECTION = "inspection"


"""Part: a call takes image files and gives decisions with boxes."""


PREPARATION = "preparation"


"""Part: a call is the backend's preparation of a fresh model."""


PARTS = (PREPROCESSING, BOXES, INSPECTION, PREPARATION)


"""Options of scenarios whose call is not the model's but another part of the product. In no
profile: the gate times them."""


@dataclass(frozen=True, kw_only=True)
class Scenario:
    """One way of running the model.

    `fusion` is None where it does not apply (every mode but TorchScript). `options` are tags that
    tell apart what the other fields do not (see the constants above), in the order they print.
    """

    task: Task
    backend: str
    mode: Mode
    fusion: bool | None = None
    dtype: Dtype = Dtype.FP32
    layout: Layout = Layout.CONTIGUOUS
    batch_size: int
    options: tuple[str, ...] = ()
    environment: str = DEFAULT_ENVIRONMENT

    @property
    def id(self) -> str:
        """The stable name, e.g. `inference/ipex/torchscript+fusion/bf16/channels_last/b8`."""
        mode = f"{self.mode}+fusion" if self.fusion else str(self.mode)
        parts = [self.task, self.backend, mode, self.dtype, self.layout, f"b{self.batch_size}"]
        if self.options:
            parts.append("+".join(self.options))
        name = "/".join(str(part) for part in parts)
        return name if self.environment == DEFAULT_ENVIRONMENT else f"{name}@{self.environment}"

    @property
    def group(self) -> tuple[Task, int, str]:
        """The comparison group: scenarios of one group share rounds and baselines."""
        trained = next((tag for tag in self.options if tag in (FROZEN, FULL)), "")
        return (self.task, self.batch_size, trained)

    @property
    def is_stock_default(self) -> bool:
        """Whether this is what a user has before doing anything."""
        return self == replace(
            self,
            backend="stock",
            mode=Mode.EAGER,
            fusion=None,
            dtype=Dtype.FP32,
            layout=Layout.CONTIGUOUS,
            options=tuple(tag for tag in self.options if tag in (FROZEN, FULL)),
            environment=DEFAULT_ENVIRONMENT,
        )


TRAINING_OPTIONS = (FROZEN, FULL)


Group = tuple[Task, int, str]


"""What `Scenario.group` gives."""


def group_name(group: Group) -> str:
    """How rows and sentences call a comparison group: `inference/b8`, `training/b8/frozen`."""
    task, batch_size, trained = group
    return "/".join(part for part in (str(task), f"b{batch_size}", trained) if part)


def part_of(scenario: Scenario) -> str | None:
    """Which part of the product a call is; None: the model or the optimiser step."""
    return next((tag for tag in scenario.options if tag in PARTS), None)


def only_shows(backend: str, dtype: str, options: Iterable[str]) -> bool:
    """Whether nobody would choose it for its speed.

    The placebo optimises nothing, int8 is another model made from this one, and compiling without
    freezing shows what freezing is worth.
    """
    return backend == "placebo" or dtype == Dtype.INT8 or NO_FREEZING in options


def worker_key(scenario: Scenario) -> Scenario:
    """The part of a scenario that needs a process of its own.

    Batch sizes, and frozen or full training, take turns inside one process.
    """
    options = tuple(tag for tag in scenario.options if tag not in TRAINING_OPTIONS)
    return replace(scenario, batch_size=0, options=options)


def stock_default(task: Task, batch_size: int, options: tuple[str, ...] = ()) -> Scenario:
    """What a user has before doing anything: eager, fp32, contiguous."""
    return Scenario(
        task=task, backend="stock", mode=Mode.EAGER, batch_size=batch_size, options=options
    )
