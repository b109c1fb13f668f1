"""The files of a run: their schema, writing them row by row, reading them back.

`results/<run_id>/` is all that the report and the gate ever see. Rows are appended one `write` at a
time, so a kill at any moment leaves whole rows; a last line cut short by a crash is dropped on
reading, with a warning, and any other damage is a `RecordError` naming file, line and column.
An empty cell means "not applicable".
"""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True, kw_only=True)
class IterationRow:
    """One timed call, from the very first."""

    run_id: str
    scenario: str
    """Scenario id; the control worker's ends in `#control`."""
    launch: int
    round: int | None
    """Counts from 0 within a launch; empty before the rounds start (first call, warm-up)."""
    position: int | None
    """Place of the block within its round, from 0."""
    iteration: int
    """Counts from 0 within (scenario, launch), across phases."""
    phase: str
    wall_ns: int
    cpu_ns: int
    """CPU time of the worker process, all threads, over the same call."""


@dataclass(frozen=True, kw_only=True)
class ScenarioRow:
    """One scenario of the run, whatever became of it."""

    run_id: str
    scenario: str
    task: str
    backend: str
    mode: str
    fusion: str | None
    """`on`, `off`, or empty where it does not apply."""
    dtype: str
    layout: str
    batch_size: int
    options: str | None
    environment: str
    threads: int | None
    status: str
    reason: str | None
    rounds: int
    launches: int
    median_ms: float | None
    p90_ms: float | None
    p99_ms: float | None
    images_per_s: float | None
    import_s: float | None
    prepare_s: float | None
    first_call_ms: float | None
    warmup_iterations: int | None
    peak_rss_mb: float | None
    gflop_per_s: float | None
    percent_of_peak: float | None
    native_dtype: bool | None
    """False where the dtype is emulated (bf16 without AVX512_BF16 or AMX)."""
    isa: str | None
    """Widest instruction set that oneDNN's own log shows, e.g. `avx512_core_bf16`."""
    fused_ops: int | None
    """Convolutions whose log line carries a fused post-operation."""
    layers_replaced: int | None
    """How many layers `ipex.optimize` replaced; empty for stock."""


@dataclass(frozen=True, kw_only=True)
class SpeedupRow:
    """One scenario against one baseline."""

    run_id: str
    scenario: str
    baseline_kind: str
    baseline: str
    speedup: float | None
    speedup_low: float | None
    speedup_high: float | None
    margin: float | None
    """The verdict's margin as a share, e.g. 0.03."""
    launches: int
    rounds: int
    verdict: str
    reason: str | None


@dataclass(frozen=True, kw_only=True)
class ParityRow:
    """One scenario's outputs against the stock default's, on the same images."""

    run_id: str
    scenario: str
    images: int
    max_abs_error: float | None
    """Largest absolute difference of class probabilities (inference) or of the loss (training)."""
    max_abs_map_error: float | None
    """Largest absolute difference of the normalised maps (0..1)."""
    decisions_changed: int | None
    accuracy: float | None
    recall_bad: float | None
    tolerance: float
    """What `max_abs_error` was held to."""
    within_tolerance: bool
    trained: bool
    """False when the model's weights were random: its decisions then mean nothing."""


@dataclass(frozen=True, kw_only=True)
class NoiseRow:
    """One round: how quiet the machine was while it ran."""

    run_id: str
    launch: int
    group: str
    """Comparison group as `task/bN` or `training/bN/frozen`."""
    round: int
    cpu_pressure: float | None
    """Share of the round in which some runnable task waited for a CPU (`/proc/pressure/cpu`)."""
    steal: float | None
    """Share of CPU time that the hypervisor took (`/proc/stat`)."""
    involuntary_switches: int | None
    probe_ratio: float | None
    """Probe's time over the run's median probe time; above 1 is a slower machine."""
    quiet: bool


@dataclass(frozen=True, kw_only=True)
class KernelRow:
    """One primitive that oneDNN executed in one untimed call of a scenario."""

    run_id: str
    scenario: str
    position: int
    primitive: str
    implementation: str
    isa: str | None
    data_types: str
    layouts: str
    post_ops: str | None
    problem: str
    ms: float
