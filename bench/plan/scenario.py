"""Define scenarios: ways of running the model, each with an `id` that is stable in files."""

from __future__ import annotations

from dataclasses import dataclass, replace
from enum import Enum
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Iterable


class _Word(str, Enum):
    """A closed set of words that print as plain strings."""

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
    AOT = "aot"
    """Compiled ahead of time into a file that every process loads (`torch.export`, AOTInductor)."""


class Dtype(_Word):
    """The requested arithmetic; what really ran is recorded beside it."""

    FP32 = "fp32"
    BF16 = "bf16"
    FP16 = "fp16"
    INT8 = "int8"


class Layout(_Word):
    """Memory layout of activations and weights."""

    CONTIGUOUS = "contiguous"
    CHANNELS_LAST = "channels_last"


class Status(_Word):
    """The result of measuring a scenario."""

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
    """The result of a comparison."""

    FASTER = "faster"
    SLOWER = "slower"
    SAME = "same"
    INCONCLUSIVE = "inconclusive"
    INVALID = "invalid"


DECIDED = (Verdict.FASTER, Verdict.SLOWER, Verdict.SAME)
"""The verdicts that answer the question."""


class Phase(_Word):
    """The part of a worker's life that a call belongs to."""

    FIRST_CALL = "first_call"
    WARMUP = "warmup"
    TIMED = "timed"


class BaselineKind(_Word):
    """The baseline that a speedup divides by."""

    STOCK_DEFAULT = "stock_default"
    STOCK_TUNED = "stock_tuned"
    CONTROL = "control"
    UNVARIED = "unvaried"
    """The same scenario without its variables: what a variable gains."""
    STOCK_ALIKE = "stock_alike"
    """Stock default with the same variables: what the scenario gains under them."""


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
AUTO_KERNELS = "auto_kernel_selection"
"""Option of IPEX: `ipex.optimize(auto_kernel_selection=True)`, with which fp32 linear layers are
oneDNN's and can be fused; MKL's, the default, cannot. For `bench operators` only."""
MAX_AUTOTUNE = "max_autotune"
"""Compile option: Inductor times its own matrix products against the library's, and picks one."""
CPP_WRAPPER = "cpp_wrapper"
"""Compile option: the code between the kernels is C++ and not Python."""
SLOWED = "slow"
"""Option of the backend `planted`, with its share: `slow=0.05`. In no profile."""
SLOWED_LAYER = "slow_layer"
"""Option of the backend `planted`: a layer and how often it is computed, or `alone` for once on one
thread: `slow_layer=features.10:3`. In no profile."""
REQUESTS = "requests"
"""OpenVINO's option: its throughput mode, the images of a call shared among so many concurrent
requests: `requests=8`. In `bench instances` only."""
PREPROCESSING = "preprocessing"
"""Part: a call reads image files, decodes, resizes and normalises them."""
BOXES = "boxes"
"""Part: a call finds the boxes in maps."""
INSPECTION = "inspection"
"""Part: a call takes image files and gives decisions with boxes."""
PREPARATION = "preparation"
"""Part: a call is the backend's preparation of a fresh model."""
PARTS = (PREPROCESSING, BOXES, INSPECTION, PREPARATION)
"""Options of scenarios that call another part of the product than the model; for the gate only."""


@dataclass(frozen=True, kw_only=True)
class Scenario:
    """One way of running the model.

    `fusion` is None in every mode but TorchScript. `options` are tags for what the other fields do
    not cover (see the constants above), in the order in which they print.
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
        """The stable name: `inference/ipex/torchscript+fusion/bf16/channels_last/b8`."""
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

    def option(self, name: str) -> str | None:
        """Return the value of the option `name=value`; None without it."""
        pairs = (tag.partition("=") for tag in self.options)
        return next((value for found, equals, value in pairs if equals and found == name), None)

    @property
    def compiles(self) -> bool:
        """Whether a compiler runs before its first answer, which takes many seconds."""
        return self.mode in (Mode.COMPILE, Mode.AOT)

    @property
    def is_stock_default(self) -> bool:
        """Whether this is PyTorch's default: stock, eager, fp32, contiguous."""
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
"""The type of `Scenario.group`."""


def group_name(group: Group) -> str:
    """Return the name of a comparison group: `inference/b8`, `training/b8/frozen`."""
    task, batch_size, trained = group
    return "/".join(part for part in (str(task), f"b{batch_size}", trained) if part)


def part_of(scenario: Scenario) -> str | None:
    """Return the part of the product that a call is; None for the model or a training step."""
    return next((tag for tag in scenario.options if tag in PARTS), None)


def requests_of(scenario: Scenario) -> int | None:
    """Return how many requests a call of OpenVINO's throughput mode makes; None in any other."""
    value = scenario.option(REQUESTS)
    return None if value is None else int(value)


def only_shows(backend: str, dtype: str, options: Iterable[str]) -> bool:
    """Return whether a scenario is only measured to show something, and not to be chosen.

    The placebo optimises nothing, int8 is another model, and compiling without freezing shows what
    freezing gains.
    """
    return backend == "placebo" or dtype == Dtype.INT8 or NO_FREEZING in options


def worker_key(scenario: Scenario) -> Scenario:
    """Return the part of a scenario that needs a separate process.

    Batch sizes, and frozen or full training, take turns in one process.
    """
    options = tuple(tag for tag in scenario.options if tag not in TRAINING_OPTIONS)
    return replace(scenario, batch_size=0, options=options)


def stock_default(task: Task, batch_size: int, options: tuple[str, ...] = ()) -> Scenario:
    """Return PyTorch's default: stock, eager, fp32, contiguous."""
    return Scenario(
        task=task, backend="stock", mode=Mode.EAGER, batch_size=batch_size, options=options
    )
