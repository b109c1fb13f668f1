"""Rows that were never measured: what a `Plan` of a run makes of every scenario of the matrix."""

from __future__ import annotations

import dataclasses
from typing import TYPE_CHECKING, Any

import numpy as np

from bench.analysis.comparison_groups import group_label
from bench.plan.matrix import matrix
from bench.plan.profiles import PROFILES
from bench.plan.scenario import CONTROL_SUFFIX, Dtype, Mode, Phase, Scenario, Status, Task
from bench.run.outcomes import Outcome
from bench.store.records import (
    IterationRow,
    KernelRow,
    LoggedCallRow,
    NoiseRow,
    ParityRow,
    ScenarioRow,
)
from tests.bench import made_up_layers

if TYPE_CHECKING:
    from collections.abc import Iterable

RUN_ID = "20261124T020000Z-m6i.4xlarge-532bdfb"
GFLOP = 30.7
PEAK = {"fp32": 340.0, "bf16": 340.0, "fp16": 680.0, "int8": 1360.0}
NATIVE_PEAK = {**PEAK, "bf16": 680.0}
"""Peaks of a CPU with bf16 instructions: a speed above the peak is called invalid."""

_EIGHT_MS = {
    ("stock", "eager", None, "contiguous"): 1180.0,
    ("stock", "eager", None, "channels_last"): 888.0,
    ("stock", "torchscript", False, "channels_last"): 877.0,
    ("stock", "torchscript", True, "channels_last"): 834.0,
    ("stock", "compile", None, "channels_last"): 838.0,
    ("stock", "aot", None, "channels_last"): 866.0,
    ("placebo", "eager", None, "contiguous"): 1186.0,
    ("ipex", "eager", None, "channels_last"): 860.0,
    ("ipex", "torchscript", False, "channels_last"): 852.0,
    ("ipex", "torchscript", True, "channels_last"): 818.0,
    ("ipex", "compile", None, "channels_last"): 842.0,
}
_STEP_MS = {"contiguous": 1320.0, "channels_last": 1020.0}


def nominal_ms(scenario: Scenario, *, native_bf16: bool) -> float:
    """Return the time of one call on the imagined machine."""
    if scenario.task is Task.TRAINING:
        ms = _STEP_MS[scenario.layout] * (1.0 if "frozen" in scenario.options else 2.1)
    else:
        key = (scenario.backend, str(scenario.mode), scenario.fusion, str(scenario.layout))
        overhead = {1: 1.0, 4: 0.98}.get(scenario.batch_size, 0.95)
        ms = _EIGHT_MS[key] * scenario.batch_size / 8 * overhead
    if scenario.dtype is Dtype.BF16:
        ms *= 0.55 if native_bf16 else 4.6
    if scenario.dtype is Dtype.FP16:
        ms *= 0.55
    if scenario.dtype is Dtype.INT8:
        ms *= 0.22
    return ms


@dataclasses.dataclass(frozen=True, kw_only=True)
class Plan:
    """The kind of run to make up; by default a good standard run."""

    profile: str = "standard"
    batch_sizes: tuple[int, ...] = ()
    """Those of the profile if empty."""
    native_bf16: bool = False
    int8: bool = False
    """Whether int8 was measured; most rules do not need it."""
    ipex: bool = True
    trained: bool = False
    source: str = "synthetic"
    complete: bool = True
    notes: tuple[str, ...] = ()
    noisy: bool = False
    """Whether no round was quiet and the machine favoured one of two identical workers by 10 %."""
    disturbed: bool = False
    """Whether other work disturbed all blocks but two of every worker."""
    launches: int = 3
    rounds: int = 8
    seed: int = 7
    process: float = 0.005
    """Standard deviation between processes of one scenario, on the log scale."""
    spread: float = 0.012
    """The same between calls."""
    faults: tuple[tuple[str, Status, str], ...] = ()
    only: tuple[str, ...] = ()
    slow_ipex: float = 1.0
    decisions_changed: tuple[tuple[str, int], ...] = ()
    environments: tuple[str, ...] = ()
    elsewhere: float = 1.0
    """How long the other environments take, as a share of the default one's time."""

    @property
    def peak(self) -> dict[str, float]:
        """The peaks of the imagined machine."""
        return NATIVE_PEAK if self.native_bf16 else PEAK

    def scenarios(self) -> list[Scenario]:
        """Return the scenarios of the run's matrix."""
        every = matrix(
            PROFILES[self.profile], self.batch_sizes or None, environments=self.environments
        )
        return [
            scenario
            for scenario in every
            if (not self.only or scenario.id in self.only)
            and (self.int8 or scenario.dtype is not Dtype.INT8)
        ]

    def fault(self, scenario: Scenario) -> tuple[Status, str | None]:
        """Return the scenario's status and its reason."""
        if not self.ipex and scenario.backend in ("ipex", "placebo"):
            return Status.UNAVAILABLE, "intel-extension-for-pytorch is not installed: make bench"
        for name, status, reason in self.faults:
            if name == scenario.id:
                return status, reason
        return Status.OK, None


def calls(plan: Plan, wanted: Iterable[Scenario]) -> list[IterationRow]:
    """Every call of these scenarios and of the control, launch by launch."""
    rng = np.random.default_rng(plan.seed)
    rows: list[IterationRow] = []
    groups: dict[Any, list[tuple[str, float]]] = {}
    for scenario in wanted:
        ms = nominal_ms(scenario, native_bf16=plan.native_bf16)
        if scenario.backend == "ipex":
            ms *= plan.slow_ipex
        if scenario.environment in plan.environments:
            ms *= plan.elsewhere
        participants = groups.setdefault(scenario.group, [])
        if plan.fault(scenario)[0] in (Status.OK, Status.NO_STEADY_STATE, Status.WRONG_OUTPUT):
            participants.append((scenario.id, ms))
            if scenario.is_stock_default:
                participants.append((scenario.id + CONTROL_SUFFIX, ms))
    for launch in range(plan.launches):
        for participants in groups.values():
            rows += _launch(plan, rng, launch, participants)
    return rows


def _launch(
    plan: Plan, rng: np.random.Generator, launch: int, participants: list[tuple[str, float]]
) -> list[IterationRow]:
    process = {name: rng.normal(0, plan.process) for name, _ in participants}
    for name in process:
        if plan.noisy and name.endswith(CONTROL_SUFFIX):
            process[name] += np.log(1.1)
    iteration = dict.fromkeys(process, 0)

    def call(name: str, ms: float, phase: Phase, at: tuple[int, int] | None) -> IterationRow:
        iteration[name] += 1
        clean = not plan.disturbed or (at and (launch, at[0]) in ((0, 0), (0, 1)))
        return IterationRow(
            run_id=RUN_ID,
            scenario=name,
            launch=launch,
            round=at[0] if at else None,
            position=at[1] if at else None,
            iteration=iteration[name] - 1,
            phase=str(phase),
            wall_ns=int(ms * 1e6),
            cpu_ns=int(ms * 1.9e6),
            disturbed=not clean if at else None,
        )

    rows = []
    for name, ms in participants:
        first = 9000.0 if "/compile/" in name else 140.0 if "eager" in name else 600.0
        rows.append(call(name, ms + first, Phase.FIRST_CALL, None))
        rows += [
            call(name, ms * (1 + 0.4 / (n + 1)), Phase.WARMUP, None)
            for n in range(3 if ms > 250 else 12)
        ]
    for round_ in range(plan.rounds):
        drift = 1 + 0.15 * np.sin(round_ + launch) + 0.05 * rng.random()
        for position, at in enumerate(rng.permutation(len(participants))):
            name, ms = participants[at]
            for _ in range(1 if ms > 150 else 3):
                took = ms * drift * np.exp(process[name] + rng.normal(0, plan.spread))
                rows.append(call(name, took, Phase.TIMED, (round_, position)))
    return rows


def scenario_row(plan: Plan, scenario: Scenario, calls: list[IterationRow]) -> ScenarioRow:
    """The summary of a scenario that made these calls."""
    status, reason = plan.fault(scenario)
    started = status not in (Status.UNAVAILABLE, Status.UNSUPPORTED)
    found = Outcome(scenario=scenario, status=status, reason=reason)
    row = found.row(RUN_ID, calls, {}, ended=False)
    median = row.median_ms
    speed = GFLOP * scenario.batch_size / median * 1000 if median else None
    if scenario.task is Task.TRAINING:
        speed = None
    ipex = scenario.backend == "ipex"
    bf16 = scenario.dtype is Dtype.BF16
    ahead = scenario.mode is Mode.AOT
    row = dataclasses.replace(
        row,
        threads=2,
        import_s=4.1 if ipex else 1.9,
        prepare_s=11.5 if scenario.compiles else 0.9,
        peak_rss_mb=(760.0 + 28 * scenario.batch_size + 240 * ipex) if median else None,
        gflop_per_s=speed,
        percent_of_peak=100 * speed / plan.peak[str(scenario.dtype)] if speed else None,
        native_dtype=plan.native_bf16 if bf16 else True,
        isa="avx512_core_bf16" if bf16 and plan.native_bf16 else "avx512_core",
        fused_ops=13 if scenario.fusion or scenario.compiles else 0,
        layers_replaced=14 if ipex else None,
        checked=True,
        build_s=11.0 if ahead else None,
        package_bytes=59 * 2**20 if ahead else None,
        load_ms=300.0 if ahead else None,
    )
    unknown: dict[str, Any] = dict.fromkeys(_OF_A_WORKER)
    return row if started else dataclasses.replace(row, **unknown)


_OF_A_WORKER = (
    *("threads", "import_s", "prepare_s", "native_dtype", "isa", "fused_ops"),
    *("layers_replaced", "checked", "build_s", "package_bytes", "load_ms"),
)
"""Columns that only a worker can fill."""


def parity(plan: Plan, rows: list[ScenarioRow]) -> list[ParityRow]:
    """Errors of the size that each dtype has, and what the plan changes."""
    rng = np.random.default_rng(plan.seed + 1)
    changed = dict(plan.decisions_changed)
    found = []
    for row in rows:
        if row.status not in (Status.OK, Status.NO_STEADY_STATE, Status.WRONG_OUTPUT):
            continue
        error = float(rng.uniform(1, 9)) * (3e-3 if row.dtype == "bf16" else 3e-7)
        wrong = row.status == Status.WRONG_OUTPUT
        inference = row.task == "inference"
        found.append(
            ParityRow(
                run_id=RUN_ID,
                scenario=row.scenario,
                images=32,
                max_abs_error=0.71 if wrong else error,
                max_abs_map_error=error * 4 if inference else None,
                decisions_changed=changed.get(row.scenario, 0) if inference else None,
                accuracy=(0.94 if plan.trained else 0.5) if inference else None,
                recall_bad=(0.91 if plan.trained else 0.5) if inference else None,
                tolerance=5e-2 if row.dtype == "bf16" else 1e-3,
                within_tolerance=not wrong,
                trained=plan.trained,
            )
        )
    return found


def noise(plan: Plan, rows: list[ScenarioRow]) -> list[NoiseRow]:
    """One row a round of every group."""
    rng = np.random.default_rng(plan.seed + 2)
    groups = dict.fromkeys(group_label(row) for row in rows)
    busy = plan.noisy or plan.disturbed
    return [
        NoiseRow(
            run_id=RUN_ID,
            launch=launch,
            group=group,
            round=round_,
            cpu_pressure=float(rng.uniform(0.55, 0.95) if busy else rng.uniform(0, 0.06)),
            steal=float(rng.uniform(0, 0.01)),
            involuntary_switches=int(rng.integers(0, 40)),
            probe_ratio=float(rng.uniform(0.96, 1.08)),
            quiet=not busy,
        )
        for launch in range(plan.launches)
        for group in groups
        for round_ in range(plan.rounds)
    ]


def kernels(rows: list[ScenarioRow]) -> list[KernelRow]:
    """VGG-16's convolutions, nine tenths of each scenario's median, and stock's reorders."""
    found = []
    for row in rows:
        if row.median_ms is None:
            continue
        rate = sum(made_up_layers.GFLOP) * row.batch_size / (0.9 * row.median_ms) * 1000
        names = [
            dataclasses.replace(
                made_up_layers.convolution(place, batch=row.batch_size, gflop_per_s=rate),
                post_ops="eltwise_relu" if row.fused_ops else None,
            )
            for place in range(len(made_up_layers.VGG16))
        ]
        reorders = [made_up_layers.reorder(0.01 * row.median_ms)] * 3
        executed = [*names, *(reorders if row.layout == "contiguous" else [])]
        found += made_up_layers.numbered(executed, row.scenario, RUN_ID)
    return found


def logged_calls(rows: list[ScenarioRow], kernels: list[KernelRow]) -> list[LoggedCallRow]:
    """Three logged calls of each scenario, with what its kernels took."""
    rng = np.random.default_rng(3)
    by_name: dict[str, list[KernelRow]] = {}
    for kernel in kernels:
        by_name.setdefault(kernel.scenario, []).append(kernel)
    return [
        call
        for row in rows
        if row.median_ms is not None
        for call in made_up_layers.logged(
            by_name[row.scenario], rng, calls=3, outside_ms=0.07 * row.median_ms
        )
    ]
