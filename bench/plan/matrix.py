"""List every scenario of a profile, and which combinations the matrix leaves out."""

from __future__ import annotations

import difflib
import fnmatch
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

from bench.errors import UsageError
from bench.plan.scenario import (
    CPP_WRAPPER,
    DEFAULT_ENVIRONMENT,
    FROZEN,
    FUSED_ADAM,
    MAX_AUTOTUNE,
    NO_FREEZING,
    TRAINING_OPTIONS,
    Dtype,
    Layout,
    Mode,
    Scenario,
    Task,
    stock_default,
)

if TYPE_CHECKING:
    from collections.abc import Iterable

    from bench.plan.profiles import Profile


@dataclass(frozen=True, kw_only=True)
class Exclusion:
    """A combination that the matrix leaves out, and why."""

    what: str
    reason: str


@dataclass(frozen=True, kw_only=True)
class FurtherBackend:
    """A backend that `--backend` adds."""

    dtypes: tuple[Dtype, ...]
    layout: Layout = Layout.CONTIGUOUS
    elsewhere: bool = False
    """Whether it needs a newer PyTorch than IPEX's, so that the other environments have it."""


INFERENCE_BATCHES = "inference batches"
"""The start of an exclusion that names batch sizes beyond the machine."""
FURTHER_BACKENDS = {
    "openvino": FurtherBackend(dtypes=(Dtype.FP32, Dtype.BF16)),
    "onnxruntime": FurtherBackend(dtypes=(Dtype.FP32, Dtype.INT8)),
    "zentorch": FurtherBackend(
        dtypes=(Dtype.FP32, Dtype.BF16), layout=Layout.CHANNELS_LAST, elsewhere=True
    ),
}
"""By name."""
EXCLUSIONS = (
    Exclusion(
        what="training/*/{torchscript,aot}",
        reason="TorchScript's fusers, stock and IPEX, and AOTInductor's packages are for inference",
    ),
    Exclusion(
        what="training/ipex/compile",
        reason="IPEX's compile backend packs weights by freezing them, which training cannot; "
        "without that a compiled step is Inductor's, which stock PyTorch has",
    ),
    Exclusion(
        what="inference/ipex/aot",
        reason="IPEX has no ahead-of-time mode",
    ),
    Exclusion(
        what="inference/stock/aot beyond the smallest batch, except in `full`",
        reason="its kernels are those of compile; what it gains is the start, which the smallest "
        "batch shows",
    ),
    Exclusion(
        what="compile with max_autotune or cpp_wrapper, and fp16, except in `full`",
        reason="each is a further compilation, and few CPUs compute in fp16; of fp16 stock eager "
        "and compile are measured",
    ),
    Exclusion(
        what="training/stock/compile, except in `full`",
        reason="forward and backward compile for half a minute a scenario, which a standard run "
        "needs to decide its headlines",
    ),
    Exclusion(
        what="in `smoke`: aot, compile in bf16, and compiled training",
        reason="each compiles for 8 to 30 s, and the whole run has three minutes and a half",
    ),
    Exclusion(
        what="ipex/*/contiguous",
        reason="ipex.optimize makes the weights channels_last, so the label would be untrue",
    ),
    Exclusion(
        what="inference/stock/{torchscript,compile,aot,*/bf16,*/fp16}/contiguous",
        reason="IPEX gets channels_last, so its fair opponent has it too; stock eager is measured "
        "in both, which shows what the layout alone gains",
    ),
    Exclusion(
        what=f"{{{','.join(FURTHER_BACKENDS)}}}/*",
        reason="measured with --backend only, so that what a profile measures does not depend on "
        "what happens to be installed",
    ),
    Exclusion(
        what="placebo/* beyond eager fp32 contiguous",
        reason="the placebo shows what importing IPEX does to the stock default, nothing else",
    ),
    Exclusion(
        what="int8 beyond stock compile, IPEX fused TorchScript and ONNX Runtime, and in `smoke`",
        reason="static quantisation is an inference path, and each library has one way of its own "
        "to run it; calibrating and compiling would be most of a smoke run",
    ),
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


def _inference(profile: Profile, batch_size: int) -> list[Scenario]:
    default = stock_default(Task.INFERENCE, batch_size)
    eager = _stock(batch_size, Mode.EAGER, Dtype.FP32)
    script = _stock(batch_size, Mode.TORCHSCRIPT, Dtype.FP32, fusion=False)
    fused = replace(script, fusion=True)
    compiled = _stock(batch_size, Mode.COMPILE, Dtype.FP32)
    stock = [eager, script, fused, compiled]
    ipex = [replace(scenario, backend="ipex") for scenario in stock]
    bf16 = [replace(scenario, dtype=Dtype.BF16) for scenario in (*stock, *ipex)]
    placebo = replace(default, backend="placebo")
    smallest = batch_size == min(profile.batch_sizes)
    int8 = [replace(scenario, dtype=Dtype.INT8) for scenario in (compiled, ipex[2])]
    more = int8 if profile.int8 else []
    if profile.whole_matrix:
        unfrozen = replace(compiled, options=(NO_FREEZING,))
        ahead = [replace(one, mode=Mode.AOT) for one in (compiled, bf16[3])]
        more += ahead if smallest or profile.variants else []
        if profile.variants:
            more += _variants(eager, compiled)
        return [default, *stock, unfrozen, placebo, *ipex, *bf16, *more]
    if smallest:  # each of IPEX's has its equal in stock PyTorch, or it would gain what stock has
        return [default, *stock, placebo, *ipex, bf16[0], bf16[2], bf16[6], *more]
    return [default, fused, ipex[2]]


def _variants(eager: Scenario, compiled: Scenario) -> list[Scenario]:
    """Return compile's other options in fp32 and bf16, and both ways in fp16."""
    options = [replace(compiled, options=(tag,)) for tag in (MAX_AUTOTUNE, CPP_WRAPPER)]
    bf16 = [replace(one, dtype=Dtype.BF16) for one in options]
    return [*options, *bf16, *(replace(one, dtype=Dtype.FP16) for one in (eager, compiled))]


def further(backend: str, batch_size: int, environments: Iterable[str] = ()) -> list[Scenario]:
    """Return a further backend's scenario in each of its dtypes.

    It runs in the default environment, or in each of these others if it needs a newer PyTorch.

    Raises:
        UsageError: there is no such further backend, or no environment that it can run in.
    """
    if backend not in FURTHER_BACKENDS:
        known = ", ".join(FURTHER_BACKENDS)
        raise UsageError(f"there is no further backend {backend!r}: choose one of {known}")
    found = FURTHER_BACKENDS[backend]
    where = tuple(environments) if found.elsewhere else (DEFAULT_ENVIRONMENT,)
    if not where:
        raise UsageError(
            f"--backend {backend} needs a newer PyTorch than IPEX's, so it runs in another "
            "environment: name one in `bench run`, e.g. --env torch-latest=.venv-latest"
        )
    default = stock_default(Task.INFERENCE, batch_size)
    return [
        replace(
            default,
            backend=backend,
            mode=Mode.COMPILE,
            dtype=dtype,
            layout=found.layout,
            environment=name,
        )
        for name in where
        for dtype in found.dtypes
    ]


def _training(profile: Profile, trained: str) -> list[Scenario]:
    default = stock_default(Task.TRAINING, profile.training_batch_size, (trained,))
    tuned = replace(default, layout=Layout.CHANNELS_LAST, options=(trained, FUSED_ADAM))
    ipex = replace(default, backend="ipex", layout=Layout.CHANNELS_LAST)
    fp32 = [default, tuned, ipex]
    if profile.variants:
        fp32.insert(2, replace(tuned, mode=Mode.COMPILE))
    bf16 = [replace(scenario, dtype=Dtype.BF16) for scenario in fp32]
    if profile.whole_matrix:
        return [*fp32, *bf16]
    return [*fp32, *bf16[1:]] if trained == FROZEN else fp32


def matrix(
    profile: Profile,
    batch_sizes: tuple[int, ...] | None = None,
    *,
    environments: Iterable[str] = (),
    backends: Iterable[str] = (),
) -> tuple[Scenario, ...]:
    """Return every scenario of a profile, group by group, the stock default first in each group.

    `batch_sizes` replaces the profile's. The stock scenarios follow once more for each of the other
    `environments`. `backends` are further ones, for inference.

    Raises:
        UsageError: there is no such further backend, or no environment that it can run in.
    """
    named, environments = tuple(dict.fromkeys(backends)), tuple(environments)
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
    added = (
        scenario
        for size in sizes
        for name in named
        for scenario in further(name, size, environments)
        if profile.int8 or scenario.dtype is not Dtype.INT8
    )
    return (*own, *added, *others)


def capped(scenarios: Iterable[Scenario], largest: int) -> tuple[Scenario, ...]:
    """Return the scenarios with larger batches of inference replaced by the largest, each once."""
    return tuple(
        dict.fromkeys(
            replace(one, batch_size=min(one.batch_size, largest))
            if one.task is Task.INFERENCE
            else one
            for one in scenarios
        )
    )


def matching(scenarios: Iterable[Scenario], pattern: str) -> list[Scenario]:
    """Return the scenarios whose id matches a shell-style pattern.

    A pattern without `@` matches in every environment.
    """
    return [one for one in scenarios if fnmatch.fnmatch(_named_in(one, pattern), pattern)]


def select(scenarios: tuple[Scenario, ...], patterns: tuple[str, ...]) -> tuple[Scenario, ...]:
    """Return the scenarios that a pattern matches (see `matching`), with their baselines.

    Raises:
        UsageError: a pattern matches nothing; the line names the nearest ids.
    """
    if not patterns:
        return scenarios
    ids = [scenario.id for scenario in scenarios]
    wanted: set[str] = set()
    for pattern in patterns:
        matched = [one.id for one in matching(scenarios, pattern)]
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
    """Return what a pattern is matched with: the id, without environment unless it has one."""
    if "@" in pattern:
        return scenario.id
    return replace(scenario, environment=DEFAULT_ENVIRONMENT).id
