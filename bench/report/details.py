"""Make the page's entry of one scenario: its figures, drawings, kernels and code. Pure."""

from __future__ import annotations

from collections import defaultdict
from dataclasses import dataclass
from typing import TYPE_CHECKING

from bench.analysis.run_facts import Facts, group_of, is_stock_default
from bench.plan.scenario import CONTROL_SUFFIX
from bench.recommend.recipes import recipe_of
from bench.report import sparklines
from bench.report.table import megabytes, scenario_name, whole
from bench.report.tables import break_even, package_mb, spell_break_even, start_up_ms
from bench.text import wording
from bench.text.wording import NOTHING, digits, milliseconds, seconds

if TYPE_CHECKING:
    from markupsafe import Markup

    from bench.plan.support import Concern
    from bench.store.records import KernelRow, ScenarioRow


@dataclass(frozen=True, kw_only=True)
class KernelSummary:
    """All calls of one kernel in one call of the model."""

    calls: int
    primitive: str
    implementation: str
    data_types: str
    post_ops: str
    total: str


@dataclass(frozen=True, kw_only=True)
class Detail:  # as many fields as an entry has parts
    """One scenario's entry."""

    anchor: str
    id: str
    name: str
    note: str
    mark: str
    """`archived`, `deprecated` or `private`; empty for a supported scenario."""
    concerns: tuple[Concern, ...]
    """What to know before one builds on it, the gravest first."""
    status: str
    reason: str
    verdict: str
    speedup: str
    facts: tuple[tuple[str, str], ...]
    ratios: Markup | None
    warmup: Markup | None
    kernels: tuple[KernelSummary, ...]
    code: str
    """How to run the model this way; empty where the scenario has no times or no known code."""


def anchors(facts: Facts) -> dict[str, str]:
    """Return an element id for every scenario. Ids are numbers, because names come from a file."""
    return {name: f"s{number}" for number, name in enumerate(facts.scenarios)}


def all_details(facts: Facts) -> list[Detail]:
    """Return one entry a scenario, in the order of the run."""
    names = anchors(facts)
    return [_detail(facts, row, names[row.scenario]) for row in facts.scenarios.values()]


def _detail(facts: Facts, row: ScenarioRow, anchor: str) -> Detail:
    comparison = facts.against_default(row.scenario)
    code = recipe_of(facts, row) if facts.is_measured(row) else None
    return Detail(
        anchor=anchor,
        id=row.scenario,
        name=scenario_name(row),
        note=wording.detail_name(row),
        mark=facts.mark(row),
        concerns=facts.concerns(row),
        status=wording.status_words(row.status),
        reason=row.reason or "",
        verdict=comparison.verdict if comparison else "",
        speedup=wording.with_interval(comparison) if comparison else "",
        facts=tuple(_pairs(facts, row)),
        ratios=_ratios(facts, row, anchor),
        warmup=_warmup(facts, row, anchor),
        kernels=_kernels(facts.kernels.get(row.scenario, [])),
        code=code or "",
    )


def _pairs(facts: Facts, row: ScenarioRow) -> list[tuple[str, str]]:
    tuned = facts.against_tuned(row.scenario)
    start_up, peak, calls = start_up_ms(row), row.percent_of_peak, break_even(facts, row)
    native = {True: "native", False: "EMULATED on this CPU", None: "unknown whether native"}
    pairs = [
        ("Median of a call", milliseconds(row.median_ms)),
        ("p90 / p99", f"{milliseconds(row.p90_ms)} / {milliseconds(row.p99_ms)}"),
        (f"{facts.nouns.items.capitalize()} per second", digits(row.images_per_s)),
        ("Over stock tuned", wording.with_interval(tuned) if tuned else NOTHING),
        ("Launches / rounds", f"{row.launches} / {row.rounds}"),
        ("Threads", str(row.threads or NOTHING)),
        ("Import / prepare", f"{seconds(row.import_s)} / {seconds(row.prepare_s)}"),
        ("First call", milliseconds(row.first_call_ms)),
        ("Until the first answer", seconds(None if start_up is None else start_up / 1000)),
        ("Start earned back after", spell_break_even(calls)),
        ("Peak memory", megabytes(row.peak_rss_mb)),
        ("Pages faulted in by a call", whole(row.page_faults)),
        (
            "Share of the machine's peak",
            NOTHING if peak is None else f"{peak:.0f} % ({digits(row.gflop_per_s)} GFLOP/s)",
        ),
        ("Widest instructions seen", row.isa or NOTHING),
        ("Arithmetic", f"{row.dtype}, {native[row.native_dtype]}"),
        ("Operators with a fused one", whole(row.fused_ops)),
    ]
    if row.load_ms is not None:
        built = f"{seconds(row.build_s)}, {megabytes(package_mb(row))}"
        pairs.insert(7, ("Built once / loaded", f"{built} / {milliseconds(row.load_ms)}"))
    if facts.is_measured(row) and row.scenario not in facts.kernels:
        is_known = facts.run.kernels and row.checked is not False
        none = "oneDNN logged none: the call ran on others"
        pairs.append(("Kernels", none if is_known else "unknown: kernels.csv has none of it"))
    if row.layers_replaced is not None:
        pairs.append(("Layers that ipex.optimize replaced", whole(row.layers_replaced)))
    if row.graph:
        pairs.append(("Graph", row.graph))
    if row.backend == "zentorch" and row.graph:
        pairs.append(("Operators that zentorch replaced", _zentorchs(row.graph)))
    if parity := facts.parity.get(row.scenario):
        agrees = "agrees" if parity.within_tolerance else "WRONG"
        error = f"{wording.tiny(parity.max_abs_error)} of {wording.tiny(parity.tolerance)} allowed"
        pairs.append(("Outputs", f"{agrees}, largest error {error}"))
        if facts.decides:
            name = f"{facts.nouns.decision.capitalize()}s changed"
            pairs.append((name, whole(parity.decisions_changed)))
    return pairs


def _ratios(facts: Facts, row: ScenarioRow, anchor: str) -> Markup | None:
    """Draw the ratios to stock default beside the control's; stock default has the latter only."""
    default = facts.default_of(group_of(row))
    control = facts.ratios_in_time(default.scenario + CONTROL_SUFFIX) if default else []
    mine = [] if is_stock_default(row) else facts.ratios_in_time(row.scenario)
    values = [ratio for *_, ratio in (control if is_stock_default(row) else mine)]
    if not values:
        return None
    low, high = wording.times(min(values)), wording.times(max(values))
    description = f"{len(values)} rounds, from {low} to {high}"
    return sparklines.ratios(f"{anchor}r", mine, control, description)


def _warmup(facts: Facts, row: ScenarioRow, anchor: str) -> Markup | None:
    calls = facts.warmup(row.scenario)
    if len(calls) < 2:
        return None
    description = (
        f"first call {milliseconds(calls[0])}, last warm-up call {milliseconds(calls[-1])}, "
        f"{len(calls)} calls"
    )
    return sparklines.warmup(f"{anchor}w", calls, description)


def _kernels(rows: list[KernelRow]) -> tuple[KernelSummary, ...]:
    """Add up equal kernels, in the order in which they first ran."""
    times_ms: dict[tuple[str, str, str, str], list[float]] = defaultdict(list)
    for row in rows:
        key = (row.primitive, row.implementation, row.data_types, row.post_ops or NOTHING)
        times_ms[key].append(row.ms)
    return tuple(
        KernelSummary(
            calls=len(times),
            primitive=key[0],
            implementation=key[1],
            data_types=key[2],
            post_ops=key[3],
            total=milliseconds(sum(times)),
        )
        for key, times in times_ms.items()
    )


def _zentorchs(graph: str) -> str:
    """Say which operators of a call are zentorch's, and whether it replaced a convolution."""
    counts = dict(pair.rpartition("=")[::2] for pair in graph.split(", "))
    own = {name: count for name, count in counts.items() if name.startswith("zentorch::")}
    words = ", ".join(f"{count} {name.partition('::')[2]}" for name, count in own.items())
    convolutions = any("conv" in name for name in own)
    return f"{words or 'none'}; {'convolutions too' if convolutions else 'no convolution'}"
