"""Collect what a run knows of each scenario, and make the rows of its summary files."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from bench.analysis.claims import claims_of
from bench.analysis.timing import ENDED_BEFORE, as_ended, timing_summary
from bench.plan import variables
from bench.plan.scenario import Scenario, Status, group_name
from bench.store.records import IterationRow, KernelRow, ParityRow, ScenarioRow
from bench.worker.conditions import DIFFERS
from bench.worker.protocol import KernelsReply, MemoryReply, PrepareReply

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping, Sequence

    from bench.analysis.claims import Claim


NO_TURN = "not measured: the budget"
"""How the reason of a scenario begins that the budget left out."""


def had_no_turn(reason: str | None) -> bool:
    """Return whether a scenario has this reason because the run ended before its turn."""
    return reason is not None and reason.startswith((NO_TURN, ENDED_BEFORE))


@dataclass(kw_only=True)
class Outcome:
    """What is known of one scenario so far."""

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
    differs: list[str] = field(default_factory=list)
    """How the conditions of its workers, or its control's, differed from stock default's."""
    joules: float | None = None
    joules_images: int = 0
    """Images that the energy was used for."""
    unchecked: bool = False
    """Whether it is prepared and its outputs and conditions were not checked yet."""
    closed: bool = False
    """Whether its kernels and memory were read: once, after its first rounds."""

    @property
    def measurable(self) -> bool:
        """Whether it may take part in further launches."""
        return self.status in (Status.OK, Status.NO_STEADY_STATE)

    @property
    def checked(self) -> bool:
        """Whether no check is left that could take its verdict away."""
        return not self.measurable or (self.closed and not self.unchecked)

    @property
    def is_new(self) -> bool:
        """Whether it was never prepared: its first worker provides what holds for all."""
        return not self.prepared

    @property
    def worker(self) -> dict[str, Any]:
        """Its entry in environment.json's `workers`."""
        return {**self.conditions, **({DIFFERS: self.differs} if self.differs else {})}

    def add_differences(self, sentences: Sequence[str]) -> None:
        """Record how conditions differ from stock default's, each sentence once."""
        self.differs += [sentence for sentence in sentences if sentence not in self.differs]

    def add_energy(self, joules: float | None, images: int) -> None:
        """Add the energy of a launch; None where the host has no counters."""
        if joules is not None and images:
            self.joules = (self.joules or 0.0) + joules
            self.joules_images += images

    def fail(self, status: Status, reason: str) -> None:
        """Record why it takes no further part; the first reason stays."""
        if self.measurable:
            self.status, self.reason = status, reason

    def flag_unsteady(self, launch: int) -> None:
        """Record that it reached no steady state; it is measured all the same."""
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
        """Return its row of `scenarios.csv`; `ended` when no round will follow."""
        scenario = self.scenario
        timing = timing_summary(calls)
        flop, ms = self.prepared.get("flop_per_call"), timing.median_ms
        gflop_per_s = flop / ms / 1e6 if flop and ms else None
        peak_rate = peak.get(str(variables.tolerated(scenario)))
        graph = self.evidence.get("graph", {})
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
            **vars(timing),
            images_per_s=timing.images_per_s(scenario.batch_size),
            import_s=self.import_s,
            prepare_s=self.prepared.get("prepare_s"),
            peak_rss_mb=self.memory.get("peak_rss_mb"),
            gflop_per_s=gflop_per_s,
            percent_of_peak=100 * gflop_per_s / peak_rate if gflop_per_s and peak_rate else None,
            native_dtype=self.prepared.get("native_dtype"),
            isa=self.evidence.get("isa"),
            fused_ops=self.evidence.get("fused_ops"),
            layers_replaced=self.evidence.get(
                "layers_replaced", self.prepared.get("layers_replaced")
            ),
            joules_per_image=None if self.joules is None else self.joules / self.joules_images,
            steady_rss_mb=self.memory.get("rss_mb"),
            reorders=self._reorders(),
            reorder_share=graph.get("reorder_share"),
            graph=_spell_graph(graph),
            joules_images=self.joules_images or None,
            checked=self.checked,
            build_s=self.prepared.get("build_s"),
            package_bytes=self.prepared.get("package_bytes"),
            load_ms=self.prepared.get("load_ms"),
        )
        return as_ended(row, calls) if ended else row

    def kernel_rows(self, run_id: str) -> list[KernelRow]:
        """Return the primitives that oneDNN ran, a row each."""
        return [
            KernelRow(run_id=run_id, scenario=self.scenario.id, **fields)
            for fields in self.evidence.get("kernels", ())
        ]

    def _reorders(self) -> int | None:
        kernels = self.evidence.get("kernels")
        if not kernels:
            known: int | None = self.evidence.get("reorders")  # of a resumed run
            return known
        return [kernel["primitive"] for kernel in kernels].count("reorder")


_COUNTED = ("graphs", "breaks", "tuned", "cpp_wrappers", "packages")
"""What compilers report, in this order."""


def _spell_graph(graph: Mapping[str, Any]) -> str | None:
    """Return the mode's evidence as a cell: `ipex_prepack::convolution_relu_run=13`, `graphs=1`."""
    counts = {**graph.get("nodes", {}), **{n: graph[n] for n in _COUNTED if n in graph}}
    cell = graph.get("cell") or ", ".join(f"{name}={count}" for name, count in counts.items())
    return cell or None


def claims_of_plan(scenarios: Iterable[Scenario]) -> tuple[Claim, ...]:
    """Return the headlines of a run of these scenarios, if all of them can be measured."""
    groups: dict[str, list[ScenarioRow]] = {}
    for scenario in scenarios:
        row = Outcome(scenario=scenario).row("", [], {}, ended=False)
        groups.setdefault(group_name(scenario.group), []).append(row)
    return claims_of(groups)
