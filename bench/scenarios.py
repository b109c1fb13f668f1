"""What can be measured: scenarios, the matrix they form, and the profiles that choose from it.

A `Scenario` is one way of running the model. Its `id` is stable: scripts, CSV files and policies
refer to it. Nothing here imports torch.
"""

from __future__ import annotations

import difflib
import fnmatch
from dataclasses import dataclass, replace
from enum import Enum
from typing import TYPE_CHECKING

from bench.errors import UsageError

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


@dataclass(frozen=True, kw_only=True)
class Profile:
    """How much to measure.

    `rounds` are per launch. A batch size above what the machine can do in `Policy.max_call_s` is
    replaced by the largest power of two that it can.
    """

    name: str
    batch_sizes: tuple[int, ...]
    training_batch_size: int
    launches: int
    """Of a study. A run gives each scenario the processes that its claims need."""
    min_rounds: int
    max_rounds: int
    budget_s: float
    processes: int = 1
    """Fewest processes of each scenario of a run, as far as its budget goes."""
    whole_matrix: bool = True
    """False keeps at least one scenario of each kind."""
    vary: tuple[str, ...] = ()
    """Variables (`bench.variables`) that are varied without being asked for."""
    parity_s: float = 2.0
    """A scenario's outputs are compared on the images that it gets through in so long."""
    recommended_parity_s: float = 0.0
    """The same of whoever leads at inference, before it is recommended; 0 for no second look."""
    int8: bool = False
    """Whether int8 is measured too: calibrating and compiling take half a minute a scenario."""


PROFILES = {
    profile.name: profile
    for profile in (
        Profile(
            name="smoke",
            batch_sizes=(1, 4),
            training_batch_size=1,
            launches=2,
            min_rounds=3,
            max_rounds=24,
            budget_s=205,
            whole_matrix=False,
        ),
        Profile(
            name="standard",
            batch_sizes=(1, 8, 32),
            training_batch_size=8,
            launches=3,
            min_rounds=3,
            max_rounds=60,
            budget_s=900,
            vary=("heap",),
            recommended_parity_s=60,
            int8=True,
        ),
        Profile(
            name="full",
            batch_sizes=(1, 2, 4, 8, 16, 32, 64, 128),
            training_batch_size=8,
            launches=5,
            min_rounds=4,
            max_rounds=120,
            budget_s=4 * 3600,
            processes=5,
            vary=("heap", "isa"),
            parity_s=60,
            int8=True,
        ),
    )
}


@dataclass(frozen=True, kw_only=True)
class Exclusion:
    """A combination that the matrix leaves out, and why."""

    what: str
    reason: str


INFERENCE_BATCHES = "inference batches"
"""How an exclusion begins that says which batch sizes the machine could not do."""
FURTHER_BACKENDS = {
    "openvino": (Dtype.FP32, Dtype.BF16),
    "onnxruntime": (Dtype.FP32,),
}
"""Backends that are measured when asked for (`--backend`), and the dtypes that they run in."""
EXCLUSIONS = (
    Exclusion(
        what="training/*/torchscript",
        reason="TorchScript's fusers, stock and IPEX, are inference paths: they refuse training",
    ),
    Exclusion(
        what="training/*/compile",
        reason="freezing is for inference, so it would be another comparison than the tutorial's",
    ),
    Exclusion(
        what="*/compile/bf16",
        reason="the question for compile is fp32 fusion; bf16 is asked of eager and TorchScript",
    ),
    Exclusion(
        what="ipex/*/contiguous",
        reason="ipex.optimize makes the weights channels_last, so the label would be untrue",
    ),
    Exclusion(
        what="inference/stock/{torchscript,compile,*/bf16}/contiguous",
        reason="IPEX gets channels_last, so its fair opponent has it too; what the layout alone is "
        "worth shows in stock eager, which is measured in both",
    ),
    Exclusion(
        what=f"{{{','.join(FURTHER_BACKENDS)}}}/*",
        reason="measured when asked for with --backend, so that what a profile measures does not "
        "depend on what happens to be installed",
    ),
    Exclusion(
        what="placebo/* beyond eager fp32 contiguous",
        reason="the placebo shows what importing IPEX does to the stock default, nothing else",
    ),
    Exclusion(
        what="int8 beyond stock compile and IPEX TorchScript with fusion, and in `smoke`",
        reason="static quantisation is an inference path, and each library has one way of its own "
        "to run it; calibrating and compiling would be most of a smoke run",
    ),
)


OF_OWN_MODELS = (
    Exclusion(
        what="training/* of a model of your own",
        reason="its loss and optimiser are not known here, and a step with others would be another",
    ),
    Exclusion(
        what="*/int8 of a model of your own",
        reason="int8 is calibrated on training images, and which those are is not known here",
    ),
)


def of_own_model(scenarios: Iterable[Scenario]) -> tuple[Scenario, ...]:
    """What of a matrix makes sense for a model of which only the inputs are known."""
    return tuple(
        scenario
        for scenario in scenarios
        if scenario.task is Task.INFERENCE and scenario.dtype is not Dtype.INT8
    )


def _stock(batch_size: int, mode: Mode, dtype: Dtype, *, fusion: bool | None = None) -> Scenario:
    return Scenario(
        task=Task.INFERENCE,
        backend="stock",
        mode=mode,
        fusion=fusion,
        dtype=dtype,
        layout=Layout.CHANNELS_LAST,
        batch_size=batch_size,
    )


def stock_default(task: Task, batch_size: int, options: tuple[str, ...] = ()) -> Scenario:
    """What a user has before doing anything: eager, fp32, contiguous."""
    return Scenario(
        task=task, backend="stock", mode=Mode.EAGER, batch_size=batch_size, options=options
    )


def _inference(profile: Profile, batch_size: int) -> list[Scenario]:
    default = stock_default(Task.INFERENCE, batch_size)
    eager = _stock(batch_size, Mode.EAGER, Dtype.FP32)
    script = _stock(batch_size, Mode.TORCHSCRIPT, Dtype.FP32, fusion=False)
    fused = replace(script, fusion=True)
    compiled = _stock(batch_size, Mode.COMPILE, Dtype.FP32)
    stock = [eager, script, fused, compiled]
    ipex = [replace(scenario, backend="ipex") for scenario in stock]
    bf16 = [
        replace(scenario, dtype=Dtype.BF16)
        for scenario in (*stock, *ipex)
        if scenario.mode is not Mode.COMPILE
    ]
    placebo = replace(default, backend="placebo")
    if profile.whole_matrix:
        unfrozen = replace(compiled, options=(NO_FREEZING,))
        int8 = [replace(scenario, dtype=Dtype.INT8) for scenario in (compiled, ipex[2])]
        small = int8 if profile.int8 else []
        return [default, *stock, unfrozen, placebo, *ipex, *bf16, *small]
    if batch_size == min(profile.batch_sizes):
        return [default, *stock, placebo, *ipex, bf16[0], bf16[-1]]
    return [default, eager, ipex[2]]


def further(backend: str, batch_size: int) -> list[Scenario]:
    """In each of its dtypes. They lay tensors out as they like, from inputs as a user has them.

    Raises:
        UsageError: there is no such further backend.
    """
    if backend not in FURTHER_BACKENDS:
        known = ", ".join(FURTHER_BACKENDS)
        raise UsageError(f"there is no further backend {backend!r}: choose one of {known}")
    default = stock_default(Task.INFERENCE, batch_size)
    return [
        replace(default, backend=backend, mode=Mode.COMPILE, dtype=dtype)
        for dtype in FURTHER_BACKENDS[backend]
    ]


def _training(profile: Profile, trained: str) -> list[Scenario]:
    default = stock_default(Task.TRAINING, profile.training_batch_size, (trained,))
    tuned = replace(default, layout=Layout.CHANNELS_LAST, options=(trained, FUSED_ADAM))
    ipex = replace(default, backend="ipex", layout=Layout.CHANNELS_LAST)
    fp32 = [default, tuned, ipex]
    bf16 = [replace(scenario, dtype=Dtype.BF16) for scenario in fp32]
    if profile.whole_matrix:
        return [*fp32, *bf16]
    return [*fp32, bf16[2]] if trained == FROZEN else [default, ipex]


def matrix(
    profile: Profile,
    batch_sizes: tuple[int, ...] | None = None,
    *,
    environments: Iterable[str] = (),
    backends: Iterable[str] = (),
) -> tuple[Scenario, ...]:
    """Every scenario of a profile, group by group, the stock default first in each group.

    `batch_sizes` replaces the profile's own where the machine caps them. Of each of the other
    `environments` the stock scenarios follow: the same ways of running the model on other packages.
    `backends` are further ones, for inference.

    Raises:
        UsageError: there is no such further backend.
    """
    named = tuple(dict.fromkeys(backends))
    sizes = profile.batch_sizes if batch_sizes is None else batch_sizes
    inference = [scenario for size in sizes for scenario in _inference(profile, size)]
    training = [s for trained in TRAINING_OPTIONS for s in _training(profile, trained)]
    own = (*inference, *training)
    others = (
        replace(scenario, environment=name)
        for name in environments
        for scenario in own
        if scenario.backend == "stock"
    )
    added = (s for size in sizes for name in named for s in further(name, size))
    return (*own, *added, *others)


def capped_batch_sizes(wanted: tuple[int, ...], largest: int) -> tuple[int, ...]:
    """The wanted batch sizes with each one above `largest` replaced by it, without repeats."""
    return tuple(dict.fromkeys(min(size, largest) for size in wanted))


def select(scenarios: tuple[Scenario, ...], patterns: tuple[str, ...]) -> tuple[Scenario, ...]:
    """The scenarios whose id matches any of the shell-style patterns, each with its baseline.

    A pattern without `@` means the way of running the model, in every environment.

    Raises:
        UsageError: a pattern matches nothing; the line names the nearest ids.
    """
    if not patterns:
        return scenarios
    ids = [scenario.id for scenario in scenarios]
    wanted: set[str] = set()
    for pattern in patterns:
        matched = [s.id for s in scenarios if fnmatch.fnmatch(_named_in(s, pattern), pattern)]
        if not matched:
            near = difflib.get_close_matches(pattern, ids, n=3, cutoff=0.3)
            hint = f"; nearest: {', '.join(near)}" if near else ""
            raise UsageError(
                f"no scenario matches {pattern!r}{hint} (`bench scenarios` lists them all)"
            )
        wanted.update(matched)
    groups = {scenario.group for scenario in scenarios if scenario.id in wanted}
    return tuple(
        scenario
        for scenario in scenarios
        if scenario.id in wanted or (scenario.is_stock_default and scenario.group in groups)
    )


def _named_in(scenario: Scenario, pattern: str) -> str:
    """What a pattern is held against: the id, without the environment unless it asks for one."""
    if "@" in pattern:
        return scenario.id
    return replace(scenario, environment=DEFAULT_ENVIRONMENT).id


def profile_named(name: str) -> Profile:
    """The profile of that name.

    Raises:
        UsageError: there is none.
    """
    if name not in PROFILES:
        raise UsageError(f"there is no profile {name!r}: choose one of {', '.join(PROFILES)}")
    return PROFILES[name]
