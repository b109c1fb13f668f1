"""What the page tells about one scenario when its entry is opened. Pure."""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass
from typing import TYPE_CHECKING

from bench.analysis.facts import Facts, group_of, is_stock_default
from bench.plan.scenario import CONTROL_SUFFIX
from bench.recommend.recipes import recipe
from bench.report import sparklines
from bench.report.table import whole
from bench.report.tables import break_even, start_up_ms
from bench.text import wording
from bench.text.wording import NOTHING, digits, milliseconds, seconds

if TYPE_CHECKING:
    from markupsafe import Markup

    from bench.store.records import KernelRow, ScenarioRow


@dataclass(frozen=True, kw_only=True)
class KernelSummary:
    """Equal primitives of one call, counted."""

    calls: int
    primitive: str
    implementation: str
    data_types: str
    post_ops: str
    total: str


@dataclass(frozen=True, kw_only=True)
class Detail:
    """One scenario's entry."""

    anchor: str
    id: str
    name: str
    note: str
    status: str
    reason: str
    verdict: str
    speedup: str
    facts: tuple[tuple[str, str], ...]
    ratios: Markup | None
    warmup: Markup | None
    kernels: tuple[KernelSummary, ...]
    code: str
    """How to run the model that way; empty where nothing was measured or nobody knows."""


def anchors(facts: Facts) -> dict[str, str]:
    """An id for every scenario's entry. Numbers, because names come from a file."""
    return {name: f"s{number}" for number, name in enumerate(facts.scenarios)}


def all_details(facts: Facts) -> list[Detail]:
    """One entry a scenario, in the order of the run."""
    names = anchors(facts)
    return [detail(facts, row, names[row.scenario]) for row in facts.scenarios.values()]


def detail(facts: Facts, row: ScenarioRow, anchor: str) -> Detail:
    """Everything the run knows of one scenario."""
    comparison = facts.against_default(row.scenario)
    return Detail(
        anchor=anchor,
        id=row.scenario,
        name="Stock default" if is_stock_default(row) else wording.way_name(row),
        note=wording.detail_name(row),
        status=wording.status_words(row.status),
        reason=row.reason or "",
        verdict=comparison.verdict if comparison else "",
        speedup=wording.with_interval(comparison) if comparison else "",
        facts=tuple(_pairs(facts, row)),
        ratios=_ratios(facts, row, anchor),
        warmup=_warmup(facts, row, anchor),
        kernels=kernel_summary(facts.kernels.get(row.scenario, [])),
        code=_code(facts, row),
    )


def _code(facts: Facts, row: ScenarioRow) -> str:
    if not facts.is_measured(row):
        return ""
    return recipe(row, keeps_heap=facts.keeps_heap(row.scenario)) or ""


def _pairs(facts: Facts, row: ScenarioRow) -> list[tuple[str, str]]:
    tuned = facts.against_tuned(row.scenario)
    parity = facts.parity.get(row.scenario)
    pairs = [
        ("Median of a call", milliseconds(row.median_ms)),
        ("p90 / p99", f"{milliseconds(row.p90_ms)} / {milliseconds(row.p99_ms)}"),
        ("Images per second", digits(row.images_per_s)),
        ("Over stock tuned", wording.with_interval(tuned) if tuned else NOTHING),
        ("Launches / rounds", f"{row.launches} / {row.rounds}"),
        ("Threads", str(row.threads or NOTHING)),
        ("Import / prepare", f"{seconds(row.import_s)} / {seconds(row.prepare_s)}"),
        ("First call", milliseconds(row.first_call_ms)),
        ("Until the first answer", _total(start_up_ms(row))),
        ("Start earned back after", _earned_back(facts, row)),
        ("Peak memory", f"{digits(row.peak_rss_mb)} MB" if row.peak_rss_mb else NOTHING),
        ("Pages faulted in by a call", whole(row.page_faults)),
        ("Share of the machine's peak", _peak(row)),
        ("Widest instructions seen", row.isa or NOTHING),
        ("Arithmetic", _arithmetic(row)),
        ("Operators with a fused one", whole(row.fused_ops)),
    ]
    if facts.is_measured(row) and row.scenario not in facts.kernels:
        pairs.append(("Kernels", "oneDNN logged none: its call ran on others"))
    if row.layers_replaced is not None:
        pairs.append(("Layers that ipex.optimize replaced", whole(row.layers_replaced)))
    if parity is not None:
        agrees = "agrees" if parity.within_tolerance else "WRONG"
        error = f"{wording.tiny(parity.max_abs_error)} of {wording.tiny(parity.tolerance)} allowed"
        pairs.append(("Outputs", f"{agrees}, largest error {error}"))
        pairs.append(("Decisions changed", whole(parity.decisions_changed)))
    return pairs


def _total(value_ms: float | None) -> str:
    return NOTHING if value_ms is None else seconds(value_ms / 1000)


def _earned_back(facts: Facts, row: ScenarioRow) -> str:
    calls = break_even(facts, row)
    if calls is None:
        return NOTHING
    return "at once" if calls == 0 else f"{digits(calls, 2)} calls"


def _peak(row: ScenarioRow) -> str:
    if row.percent_of_peak is None:
        return NOTHING
    return f"{row.percent_of_peak:.0f} % ({digits(row.gflop_per_s)} GFLOP/s)"


def _arithmetic(row: ScenarioRow) -> str:
    words = {True: "native", False: "EMULATED on this CPU", None: "unknown whether native"}
    return f"{row.dtype}, {words[row.native_dtype]}"


def _ratios(facts: Facts, row: ScenarioRow, anchor: str) -> Markup | None:
    if is_stock_default(row):
        mine, control = [], facts.ratios_in_time(row.scenario + CONTROL_SUFFIX)
    else:
        mine = facts.ratios_in_time(row.scenario)
        control = _control_ratios(facts, row)
    if not mine and not (is_stock_default(row) and control):
        return None
    values = [ratio for *_, ratio in (mine or control)]
    description = (
        f"{len(values)} rounds, from {wording.times(min(values))} to {wording.times(max(values))}"
    )
    return sparklines.ratios(f"{anchor}r", mine, control, description)


def _control_ratios(facts: Facts, row: ScenarioRow) -> list[tuple[int, int, float]]:
    default = facts.default_of(group_of(row))
    return facts.ratios_in_time(default.scenario + CONTROL_SUFFIX) if default else []


def _warmup(facts: Facts, row: ScenarioRow, anchor: str) -> Markup | None:
    calls = facts.warmup(row.scenario)
    if len(calls) < 2:
        return None
    description = (
        f"first call {milliseconds(calls[0])}, last warm-up call {milliseconds(calls[-1])}, "
        f"{len(calls)} calls"
    )
    return sparklines.warmup(f"{anchor}w", calls, description)


def kernel_summary(rows: list[KernelRow]) -> tuple[KernelSummary, ...]:
    """Equal primitives counted, in the order they first ran."""
    calls: Counter[tuple[str, str, str, str]] = Counter()
    total: Counter[tuple[str, str, str, str]] = Counter()
    for row in rows:
        key = (row.primitive, row.implementation, row.data_types, row.post_ops or NOTHING)
        calls[key] += 1
        total[key] += row.ms  # type: ignore[assignment]  # a Counter adds floats as well
    return tuple(
        KernelSummary(
            calls=number,
            primitive=key[0],
            implementation=key[1],
            data_types=key[2],
            post_ops=key[3],
            total=milliseconds(total[key]),
        )
        for key, number in calls.items()
    )
