"""Declare the columns of a run's CSV files: a type for the rows of each. Empty cells are None."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from _typeshed import DataclassInstance


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
    page_faults: int | None = None
    """Pages that the kernel mapped in during the call; empty where the worker does not say."""
    disturbed: bool | None = None
    """Whether other work took CPUs from the block of a timed call, which then does not count.
    Empty in runs of version 0.1, which recorded noise by the round only."""


@dataclass(frozen=True, kw_only=True)
class ScenarioRow:  # as many fields as its file has columns
    """One scenario of the run, measured or not."""

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
    """False where the CPU emulates the dtype (bf16 without AVX512_BF16 or AMX)."""
    isa: str | None
    """Widest instruction set that oneDNN's own log shows, e.g. `avx512_core_bf16`."""
    fused_ops: int | None
    """Convolutions and matrix products whose log line carries a fused post-operation."""
    layers_replaced: int | None
    """How many layers `ipex.optimize` replaced; empty for stock."""
    joules_per_image: float | None = None
    """Energy of the CPU packages while its blocks ran; empty where the host has no counters."""
    steady_rss_mb: float | None = None
    """The worker's memory after its rounds; the peak is the kernel's high-water mark."""
    reorders: int | None = None
    """Primitives of one call that only change a layout."""
    reorder_share: float | None = None
    """Their share of oneDNN's own time in that call."""
    graph: str | None = None
    """Fused nodes and their count (TorchScript); graphs and graph breaks, with tuned products and
    graphs that C++ runs if any (compile); loaded packages (aot)."""
    page_faults: float | None = None
    """Pages that the kernel mapped in during a call, the median of the timed calls. Each costs
    time; their number differs between processes of the same code (docs/variables.md)."""
    joules_images: int | None = None
    """Images that the energy was used for; a resumed run needs them to continue the mean."""
    checked: bool | None = None
    """Whether its outputs, conditions and kernels were all checked; before that it has no verdict.
    Empty in runs of version 0.1, which checked before they wrote a verdict."""
    build_s: float | None = None
    """Seconds to build the package of a model that is compiled ahead of time: once, and part of
    `prepare_s`. Empty for every other mode."""
    package_bytes: int | None = None
    """Size of that file."""
    load_ms: float | None = None
    """Time to load it in a process: with the first call, its time to a first answer."""


@dataclass(frozen=True, kw_only=True)
class SpeedupRow:  # as many fields as its file has columns
    """The speedup of one scenario over one baseline."""

    run_id: str
    scenario: str
    baseline_kind: str
    baseline: str
    speedup: float | None
    speedup_low: float | None
    speedup_high: float | None
    margin: float | None
    """The smallest difference that counts, as a share: 0.005."""
    launches: int
    rounds: int
    verdict: str
    reason: str | None
    standard_error: float | None = None
    """Of the speedup's logarithm. Empty, as all that follow, in runs of version 0.1."""
    degrees_of_freedom: float | None = None
    """Of its t distribution; empty where they are infinite."""
    processes: int = 0
    """Fresh processes of the side that has fewer."""
    borrowed: bool | None = None
    """Whether a side had one process, so that the variance is borrowed from other scenarios."""
    at_least: float | None = None
    """The difference at least, as a share, where one was shown: the interval's end nearer to 1."""
    p_value: float | None = None
    """Two-sided, of "both are equally fast"."""
    processes_to_decide: int | None = None
    """If inconclusive: further processes of both sides that would decide it, should the estimate
    stay; empty for more than 50."""
    seconds_to_decide: float | None = None
    """If inconclusive: about how many seconds these processes take."""


@dataclass(frozen=True, kw_only=True)
class ParityRow:
    """How far one scenario's outputs are from stock default's on the same images."""

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
    """The largest `max_abs_error` that is allowed."""
    within_tolerance: bool
    trained: bool
    """False for random weights: the decisions then mean nothing."""
    recall_bad_default: float | None = None
    """Stock default's recall on the same images."""


@dataclass(frozen=True, kw_only=True)
class NoiseRow:
    """How quiet the machine was during one round."""

    run_id: str
    launch: int
    group: str
    """Comparison group: `inference/b8`, `training/b8/frozen`."""
    round: int
    cpu_pressure: float | None
    """Share of the round in which some runnable task of our control group waited for a CPU."""
    steal: float | None
    """Share of CPU time that the hypervisor took (`/proc/stat`)."""
    involuntary_switches: int | None
    probe_ratio: float | None
    """Time of the probe over the run's median; above 1 the machine was slower."""
    quiet: bool
    throttled: float | None = None
    """CPU time for which our own CPU quota stopped threads, as a share of the round."""


@dataclass(frozen=True, kw_only=True)
class ClaimRow:  # as many fields as its file has columns
    """One claim: the best of one family of scenarios compared with the best of another."""

    run_id: str
    claim: str
    """Its id, such as `ipex/inference/b1/fp32`."""
    kind: str
    """`best`, `supported`, `ipex`, `bf16` or `leaving` (see `bench.analysis.claims`)."""
    group: str
    dtype: str | None
    """Empty where it does not matter."""
    environment: str
    """Of the candidates."""
    candidates: str
    """Scenario ids, separated by spaces."""
    opponents: str
    best: str | None
    """The fastest candidate; empty where a side has nothing usable."""
    best_opponent: str | None
    speedup: float | None
    """Of the fastest candidate over the fastest opponent."""
    speedup_low: float | None
    speedup_high: float | None
    confidence: float
    """Of the interval; all claims of a run share one error."""
    verdict: str
    reason: str | None
    decided_s: float | None
    """Seconds into measuring when it was decided; empty if only the last look decided it, or none
    did."""
    processes_to_decide: int | None
    seconds_to_decide: float | None


@dataclass(frozen=True, kw_only=True)
class KernelRow:
    """One primitive that oneDNN executed in one call of a scenario, which is no result."""

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
    """In the first of its logged calls; `logged_calls.csv` has all."""
    kind: str | None = None
    """oneDNN's propagation kind, such as `forward_inference` or `backward_weights`. Empty in files
    of versions that logged one call."""
    fpmath: str | None = None
    """What oneDNN may multiply fp32 data in, where that is less than fp32."""


@dataclass(frozen=True, kw_only=True)
class LoggedCallRow:
    """One call of a scenario under oneDNN's log. It executed the primitives of `kernels.csv`."""

    run_id: str
    scenario: str
    launch: int
    call: int
    """Counts from 0 within (scenario, launch)."""
    wall_ms: float
    """Of the whole call, with what the log costs."""
    unlogged_ms: float | None
    """The median of the calls without a log just before it; empty in earlier versions."""
    kernels_ms: str
    """Of each primitive, in the order of `kernels.csv`, separated by spaces."""


FILES: dict[str, type[DataclassInstance]] = {
    "iterations.csv": IterationRow,
    "scenarios.csv": ScenarioRow,
    "speedups.csv": SpeedupRow,
    "parity.csv": ParityRow,
    "noise.csv": NoiseRow,
    "kernels.csv": KernelRow,
    "logged_calls.csv": LoggedCallRow,
    "claims.csv": ClaimRow,
}
"""The CSV files of a run and the type of their rows."""
