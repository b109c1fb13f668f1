"""The files of a run: their schema, writing them row by row, reading them back.

`results/<run_id>/` is all that the report and the gate ever see. Rows are appended one `write` at a
time, so a kill at any moment leaves whole rows; a last line cut short by a crash is dropped on
reading, with a warning, and any other damage is a `RecordError` naming file, line and column.
An empty cell means "not applicable".
"""

from __future__ import annotations

import json
import math
import os
from contextlib import ExitStack
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any

from bench.errors import RecordError
from bench.store import durable, rows

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping, Sequence
    from pathlib import Path

    from _typeshed import DataclassInstance
    from typing_extensions import Self

    from bench.store.rows import Row


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
    """Of a timed call: whether other work took CPUs from its block, which then does not count.
    Empty in runs of version 0.1, whose rounds alone were looked at."""


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
    """Convolutions and matrix products whose log line carries a fused post-operation."""
    layers_replaced: int | None
    """How many layers `ipex.optimize` replaced; empty for stock."""
    joules_per_image: float | None = None
    """Energy of the CPU packages while its blocks ran; empty where the host has no counters."""
    steady_rss_mb: float | None = None
    """What the worker held after its rounds; the peak is the kernel's high-water mark."""
    reorders: int | None = None
    """Primitives of one call that only change a layout."""
    reorder_share: float | None = None
    """Their share of oneDNN's own time in that call."""
    graph: str | None = None
    """What the mode tells of its work: fused nodes and how many (TorchScript), graphs and breaks
    (compile)."""
    page_faults: float | None = None
    """Pages that the kernel mapped in during a call, the median of its timed calls. Each costs
    time, and how many they are differs between processes of the same code (docs/variables.md)."""
    joules_images: int | None = None
    """Images that the energy was used for: with them a resumed run goes on with the right mean."""
    checked: bool | None = None
    """Whether its outputs, conditions and kernels were all looked at; until then it has no verdict.
    Empty in runs of version 0.1, which looked at them before they wrote a verdict."""


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
    """The smallest difference that is called one, as a share, e.g. 0.005."""
    launches: int
    rounds: int
    verdict: str
    reason: str | None
    standard_error: float | None = None
    """Of the speedup's logarithm. Empty, as all that follow, in runs of version 0.1."""
    degrees_of_freedom: float | None = None
    """Of its t distribution; empty where they are without limit."""
    processes: int = 0
    """Fresh processes of the side that has fewer."""
    borrowed: bool | None = None
    """Whether a side had one process, so that other scenarios' processes tell how they differ."""
    at_least: float | None = None
    """By how much of the baseline's speed it differs at least, as a share, where a difference was
    shown: the end of the interval that is nearer to 1."""
    p_value: float | None = None
    """Of "both are equally fast", two-sided."""
    processes_to_decide: int | None = None
    """Where it is inconclusive: how many further processes of both sides would decide it, if the
    estimate stays; empty for more than anybody would wait for."""
    seconds_to_decide: float | None = None
    """Where it is inconclusive: about how many seconds of further processes would decide it."""


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
    recall_bad_default: float | None = None
    """Stock default's recall on the same images: the difference is the change."""


@dataclass(frozen=True, kw_only=True)
class NoiseRow:
    """One round: how quiet the machine was while it ran."""

    run_id: str
    launch: int
    group: str
    """Comparison group as `task/bN` or `training/bN/frozen`."""
    round: int
    cpu_pressure: float | None
    """Share of the round in which some runnable task of our control group waited for a CPU."""
    steal: float | None
    """Share of CPU time that the hypervisor took (`/proc/stat`)."""
    involuntary_switches: int | None
    probe_ratio: float | None
    """Probe's time over the run's median probe time; above 1 is a slower machine."""
    quiet: bool
    throttled: float | None = None
    """CPU time for which our own CPU quota stopped threads, as a share of the round."""


@dataclass(frozen=True, kw_only=True)
class ClaimRow:
    """One headline: the best of one family of scenarios against the best of another."""

    run_id: str
    claim: str
    """Its id, such as `ipex/inference/b1/fp32`."""
    kind: str
    """`best`, `ipex`, `bf16` or `leaving` (see `bench.analysis.claims`)."""
    group: str
    dtype: str | None
    """Empty where it does not matter."""
    environment: str
    """Of the candidates."""
    candidates: str
    """Ids with spaces between."""
    opponents: str
    best: str | None
    """The fastest candidate; empty where a side has nothing usable."""
    best_opponent: str | None
    speedup: float | None
    """The fastest candidate's over the fastest opponent."""
    speedup_low: float | None
    speedup_high: float | None
    confidence: float
    """Of the interval: all headlines of a run share one error."""
    verdict: str
    reason: str | None
    decided_s: float | None
    """Seconds into measuring from which on it was decided; empty where it stayed open until the
    last look, which may be less sure than those before."""
    processes_to_decide: int | None
    seconds_to_decide: float | None


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


FILES: dict[str, type[DataclassInstance]] = {
    "iterations.csv": IterationRow,
    "scenarios.csv": ScenarioRow,
    "speedups.csv": SpeedupRow,
    "parity.csv": ParityRow,
    "noise.csv": NoiseRow,
    "kernels.csv": KernelRow,
    "claims.csv": ClaimRow,
}
"""The CSV files of a run, and what a row of each is."""

ENVIRONMENT = "environment.json"


class RunWriter:
    """Appends rows to the files of a run, each by exactly one `write`.

    All files get their header at once, so that a folder that cannot be written shows before
    anything is measured. A file is either appended to here or replaced by `replace_rows`, not both.
    `files` are a run's own, unless others are given.

        with RunWriter(folder) as run:
            run.append(IterationRow(...))
    """

    def __init__(
        self, folder: Path, files: Mapping[str, type[DataclassInstance]] | None = None
    ) -> None:
        self.folder = folder
        self._files: dict[type, durable.AppendOnly] = {}
        with ExitStack() as opened:
            for name, row_type in (FILES if files is None else files).items():
                self._files[row_type] = opened.enter_context(_open_rows(folder / name, row_type))
            self._opened = opened.pop_all()

    def append(self, row: DataclassInstance) -> None:
        """Add one row to the file of its type.

        Raises:
            RecordError: a value does not fit its column, or the row could not be written; the file
                then ends with the last whole row.
        """
        self._files[type(row)].append(rows.row_line(row))

    def close(self) -> None:
        """Close all files; harmless when they are closed already."""
        self._opened.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()


def _open_rows(path: Path, row_type: type[DataclassInstance]) -> durable.AppendOnly:
    """Open a file of rows for appending: new ones get a header, cut ones lose the cut line."""
    try:
        content = durable.read(path)
    except FileNotFoundError:
        content = b""
    rows.parse(path.name, content, row_type)
    length = rows.whole_length(content)
    if length and not rows.has_header_of(content, row_type):
        raise RecordError(
            f"{path.name} has other columns than this version writes, so no row can be added: "
            "measure into a new folder"
        )
    if length != len(content):
        durable.truncate(path, length)
    file = durable.AppendOnly(path)
    if not length:
        file.append(rows.header_line(row_type))
    return file


def replace_rows(path: Path, new: Iterable[Row], row_type: type[Row]) -> None:
    """Write a whole file of rows in one step; readers see the old rows or the new ones.

    Raises:
        RecordError: it could not be written; the old file is untouched.
    """
    lines = [rows.header_line(row_type), *(rows.row_line(row) for row in new)]
    durable.replace(path, b"".join(lines))


def write_environment(folder: Path, environment: Mapping[str, Any]) -> None:
    """Write `environment.json` in one step. NaN and infinity become null, which JSON can say.

    Raises:
        RecordError: it could not be written; the old file is untouched.
    """
    text = json.dumps(_plain(environment), indent=2, allow_nan=False)
    durable.replace(folder / ENVIRONMENT, f"{text}\n".encode())


def _plain(value: Any) -> Any:  # noqa: ANN401 - JSON is made of anything
    """The value as JSON knows it: paths as text, numpy numbers as numbers, tuples as lists."""
    if isinstance(value, dict):
        return {str(key): _plain(part) for key, part in value.items()}
    if isinstance(value, (list, tuple, set, frozenset)):
        parts = sorted(value) if isinstance(value, (set, frozenset)) else value
        return [_plain(part) for part in parts]
    if isinstance(value, float):
        return float(value) if math.isfinite(value) else None
    if value is None or isinstance(value, (bool, int, str)):
        return value
    if isinstance(value, os.PathLike):
        return os.fspath(value)
    return _plain(value.item())  # a numpy scalar


def read_rows(path: Path, row_type: type[Row]) -> tuple[list[Row], list[str]]:
    """The rows of a file, and warnings about what is missing or was left out.

    A file that is not there reads as empty, with a warning.

    Raises:
        RecordError: the file is damaged; names the file, line, column and value.
    """
    try:
        content = durable.read(path)
    except FileNotFoundError:
        return [], [f"{path.name}: the file is missing"]
    return rows.parse(str(path), content, row_type)


@dataclass(frozen=True)
class Run:
    """Everything that is on disk about one run."""

    folder: Path
    environment: dict[str, Any]
    iterations: tuple[IterationRow, ...] = ()
    scenarios: tuple[ScenarioRow, ...] = ()
    speedups: tuple[SpeedupRow, ...] = ()
    parity: tuple[ParityRow, ...] = ()
    noise: tuple[NoiseRow, ...] = ()
    kernels: tuple[KernelRow, ...] = ()
    claims: tuple[ClaimRow, ...] = ()
    """Of a run that plans by its claims; earlier versions wrote none."""
    warnings: tuple[str, ...] = ()
    """What is missing or was left out, a sentence each."""


def read_run(folder: Path) -> Run:
    """Read a run's folder.

    Raises:
        RecordError: it is not a run's folder, or one of its files is damaged.
    """
    environment = read_environment(folder)
    warnings: list[str] = []

    def read(name: str, row_type: type[Row]) -> tuple[Row, ...]:
        found, notes = read_rows(folder / name, row_type)
        warnings.extend(notes)
        return tuple(found)

    run = Run(
        folder=folder,
        environment=environment,
        iterations=read("iterations.csv", IterationRow),
        scenarios=read("scenarios.csv", ScenarioRow),
        speedups=read("speedups.csv", SpeedupRow),
        parity=read("parity.csv", ParityRow),
        noise=read("noise.csv", NoiseRow),
        kernels=read("kernels.csv", KernelRow),
        claims=read("claims.csv", ClaimRow) if (folder / "claims.csv").exists() else (),
    )
    warnings += _foreign_rows(run)
    return replace(run, warnings=tuple(warnings))


def read_environment(folder: Path) -> dict[str, Any]:
    """The content of a run's `environment.json`.

    Raises:
        RecordError: the folder is not a run's, or the file is damaged.
    """
    path = folder / ENVIRONMENT
    try:
        content = durable.read(path)
    except FileNotFoundError as error:
        what = "has no environment.json" if folder.is_dir() else "does not exist"
        raise RecordError(
            f"{folder} is not a run: it {what}; name a folder such as results/<run_id>"
        ) from error
    try:
        environment = json.loads(content.decode("utf-8-sig"), parse_constant=_refuse)
    except (ValueError, RecursionError) as error:
        raise RecordError(f"{path} is damaged: {rows.excerpt(str(error))}") from error
    if not isinstance(environment, dict):
        raise RecordError(f"{path} is damaged: it holds {rows.excerpt(environment)}, not an object")
    return environment


def _refuse(constant: str) -> None:
    raise ValueError(f"{constant} is not a number that JSON knows")


def _foreign_rows(run: Run) -> list[str]:
    """A warning for each file with rows of another run: someone copied files together."""
    own = run.environment.get("run_id")
    files: Sequence[Sequence[Any]] = (
        run.iterations,
        run.scenarios,
        run.speedups,
        run.parity,
        run.noise,
        run.kernels,
        run.claims,
    )
    return [
        f"{name}: holds rows of another run than {own}: {', '.join(sorted(others)[:3])}"
        for name, found in zip(FILES, files, strict=True)
        if own is not None and (others := {row.run_id for row in found} - {own})
    ]
