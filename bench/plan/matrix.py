"""The matrix: every scenario of a profile, and which combinations it leaves out."""

from __future__ import annotations

import difflib
import fnmatch
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

from bench.errors import UsageError
from bench.plan.scenario import (
    DEFAULT_ENVIRONMENT,
    FROZEN,
    FUSED_ADAM,
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


INFERENCE_BATCHES = "inference batches"
"""The start of an exclusion that names batch sizes beyond the machine."""
FURTHER_BACKENDS = {
    "openvino": (Dtype.FP32, Dtype.BF16),
    "onnxruntime": (Dtype.FP32,),
}
"""Backends that `--backend` adds, with the dtypes that they run in."""
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
        reason="compile is measured for its fp32 fusion; bf16 in eager and TorchScript",
    ),
    Exclusion(
        what="ipex/*/contiguous",
        reason="ipex.optimize makes the weights channels_last, so the label would be untrue",
    ),
    Exclusion(
        what="inference/stock/{torchscript,compile,*/bf16}/contiguous",
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
        what="int8 beyond stock compile and IPEX TorchScript with fusion, and in `smoke`",
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
    bf16 = [
        replace(scenario, dtype=Dtype.BF16)
        for scenario in (*stock, *ipex)
        if scenario.mode is not Mode.COMPILE
    ]
    placebo = replace(default, backend="placebo")
    int8 = [replace(scenario, dtype=Dtype.INT8) for scenario in (compiled, ipex[2])]
    small = int8 if profile.int8 else []
    if profile.whole_matrix:
        unfrozen = replace(compiled, options=(NO_FREEZING,))
        return [default, *stock, unfrozen, placebo, *ipex, *bf16, *small]
    if batch_size == min(profile.batch_sizes):
        return [default, *stock, placebo, *ipex, bf16[0], bf16[-1], *small]
    return [default, eager, ipex[2]]


def further(backend: str, batch_size: int) -> list[Scenario]:
    """Return a further backend's scenario in each of its dtypes, with contiguous inputs.

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
    """Return every scenario of a profile, group by group, the stock default first in each group.

    `batch_sizes` replaces the profile's. The stock scenarios follow once more for each of the other
    `environments`. `backends` are further ones, for inference.

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
    """Return the batch sizes with each one above `largest` replaced by it, without repeats."""
    return tuple(dict.fromkeys(min(size, largest) for size in wanted))


def select(scenarios: tuple[Scenario, ...], patterns: tuple[str, ...]) -> tuple[Scenario, ...]:
    """Return the scenarios whose id matches a shell-style pattern, with their baselines.

    A pattern without `@` matches in every environment.

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
    """Return what a pattern is matched with: the id, without environment unless it has one."""
    if "@" in pattern:
        return scenario.id
    return replace(scenario, environment=DEFAULT_ENVIRONMENT).id
