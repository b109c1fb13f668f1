"""What a run knows of each scenario, and how that becomes the rows of its summary files."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from bench.analysis.claims import claims_of
from bench.analysis.timing import as_ended, timing_summary
from bench.plan.scenario import Scenario, Status, group_name
from bench.store.records import IterationRow, KernelRow, ParityRow, ScenarioRow
from bench.worker.conditions import DIFFERS
from bench.worker.protocol import KernelsReply, MemoryReply, PrepareReply

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping, Sequence

    from bench.analysis.claims import Claim


@dataclass(kw_only=True)
class Outcome:
    """One scenario's story so far; the runner adds to it as facts come in."""

    scenario: Scenario
    status: Status = Status.OK
    reason: str | None = None
    import_s: float | None = None
    threads: int | None = None
    prepared: PrepareReply = field(default_factory=PrepareReply)
    memory: MemoryReply = field(default_factory=MemoryReply)
    evidence: KernelsReply = field(default_factory=KernelsReply)
    parity: ParityRow | None = None
    conditions: Mapping[str, Any] = field(default_factory=dict)
    joules: float | None = None
    joules_images: int = 0
    """Images that the energy was used for."""
    trend_calls: int | None = None
    """Warm-up calls before its first launch was level; None where that is not known."""
    unchecked: bool = False
    """Prepared, but its outputs and conditions have not been looked at yet."""
    closed: bool = False
    """Whether its kernels and memory were asked for: once, after its first rounds."""
    differs: list[str] = field(default_factory=list)
    """How its worker's conditions, or its control's, were unlike stock default's in any launch."""

    @property
    def measurable(self) -> bool:
        """Whether it may still take part."""
        return self.status in (Status.OK, Status.NO_STEADY_STATE)

    @property
    def checked(self) -> bool:
        """Whether nothing is left to look at that could still take its verdict away."""
        return not self.measurable or (self.closed and not self.unchecked)

    @property
    def is_new(self) -> bool:
        """Whether nothing was prepared yet: the first worker tells what holds for all."""
        return not self.prepared

    @property
    def worker(self) -> dict[str, Any]:
        """Its entry in environment.json's `workers`."""
        return {**self.conditions, **({DIFFERS: self.differs} if self.differs else {})}

    def unlike(self, sentences: Sequence[str]) -> None:
        """Record what differs from stock default's conditions; each sentence once."""
        self.differs += [sentence for sentence in sentences if sentence not in self.differs]

    def add_energy(self, joules: float | None, images: int) -> None:
        """Count the energy of a block; None where the host has no counters."""
        if joules is not None and images:
            self.joules = (self.joules or 0.0) + joules
            self.joules_images += images

    def fail(self, status: Status, reason: str) -> None:
        """Record why it takes no further part; the first reason stays."""
        if self.measurable:
            self.status, self.reason = status, reason

    def unsteady(self, launch: int) -> None:
        """Flag that it never settled; it is measured all the same."""
        if self.status is Status.OK:
            self.status = Status.NO_STEADY_STATE
            self.reason = f"did not settle during warm-up in launch {launch}; measured all the same"

    def row(
        self,
        run_id: str,
        calls: Sequence[IterationRow],
        peak: Mapping[str, float],
        *,
        ended: bool = True,
    ) -> ScenarioRow:
        """The scenario's line of `scenarios.csv`; `ended` when no round of it will follow."""
        scenario = self.scenario
        timing = timing_summary(calls)
        gflop_per_s = self._gflop_per_s(timing.median_ms)
        peak_here = peak.get(str(scenario.dtype))
        row = ScenarioRow(
            run_id=run_id,
            scenario=scenario.id,
            task=str(scenario.task),
            backend=scenario.backend,
            mode=str(scenario.mode),
            fusion=None if scenario.fusion is None else ("on" if scenario.fusion else "off"),
            dtype=str(scenario.dtype),
            layout=str(scenario.layout),
            batch_size=scenario.batch_size,
            options="+".join(scenario.options) or None,
            environment=scenario.environment,
            threads=self.threads,
            status=str(self.status),
            reason=self.reason,
            rounds=timing.rounds,
            launches=timing.launches,
            median_ms=timing.median_ms,
            p90_ms=timing.p90_ms,
            p99_ms=timing.p99_ms,
            images_per_s=timing.images_per_s(scenario.batch_size),
            import_s=self.import_s,
            prepare_s=self.prepared.get("prepare_s"),
            first_call_ms=timing.first_call_ms,
            warmup_iterations=timing.warmup_iterations,
            peak_rss_mb=self.memory.get("peak_rss_mb"),
            gflop_per_s=gflop_per_s,
            percent_of_peak=(100 * gflop_per_s / peak_here if gflop_per_s and peak_here else None),
            native_dtype=self.prepared.get("native_dtype"),
            isa=self.evidence.get("isa"),
            fused_ops=self.evidence.get("fused_ops"),
            layers_replaced=self.evidence.get(
                "layers_replaced", self.prepared.get("layers_replaced")
            ),
            joules_per_image=None if self.joules is None else self.joules / self.joules_images,
            steady_rss_mb=self.memory.get("rss_mb"),
            reorders=self._reorders(),
            reorder_share=self.evidence.get("graph", {}).get("reorder_share"),
            graph=spell_graph(self.evidence.get("graph", {})),
            page_faults=timing.page_faults,
            joules_images=self.joules_images or None,
            checked=self.checked,
        )
        return as_ended(row) if ended else row

    def kernel_rows(self, run_id: str) -> list[KernelRow]:
        """What oneDNN ran, one row a primitive."""
        return [
            KernelRow(run_id=run_id, scenario=self.scenario.id, **fields)
            for fields in self.evidence.get("kernels", ())
        ]

    def _reorders(self) -> int | None:
        kernels = self.evidence.get("kernels")
        if not kernels:
            known: int | None = self.evidence.get("reorders")
            return known
        primitives: list[str] = [kernel["primitive"] for kernel in kernels]
        return primitives.count("reorder")

    def _gflop_per_s(self, median_ms: float | None) -> float | None:
        flop = self.prepared.get("flop_per_call")
        return flop / median_ms / 1e6 if flop and median_ms else None


def claims_of_plan(scenarios: Iterable[Scenario]) -> tuple[Claim, ...]:
    """The headlines of a run of these scenarios, if all of them can be measured."""
    groups: dict[str, list[ScenarioRow]] = {}
    for scenario in scenarios:
        row = Outcome(scenario=scenario).row("", [], {}, ended=False)
        groups.setdefault(group_name(scenario.group), []).append(row)
    return claims_of(groups)


def spell_graph(graph: Mapping[str, Any]) -> str | None:
    """The mode's own evidence as a cell: `ipex_prepack::convolution_relu_run=13` or `graphs=1`."""
    counts = {**graph.get("nodes", {}), **{n: graph[n] for n in ("graphs", "breaks") if n in graph}}
    said = graph.get("said") or ", ".join(f"{name}={count}" for name, count in counts.items())
    return said or None


def calls_by_scenario(iterations: Sequence[IterationRow]) -> dict[str, list[IterationRow]]:
    """Calls of each scenario in the order they happened; controls under their own name."""
    calls: dict[str, list[IterationRow]] = {}
    for row in iterations:
        calls.setdefault(row.scenario, []).append(row)
    return calls
