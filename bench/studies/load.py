"""`bench load`: measure latency at a fixed mean arrival rate, and the highest rate served.

Arrivals are drawn before anything runs (Poisson, the same for every scenario). A latency
counts from when an image was due, so it includes the wait behind a busy server.
"""

from __future__ import annotations

import math
import statistics
import time
from collections import defaultdict
from dataclasses import dataclass
from typing import TYPE_CHECKING

from bench.analysis.percentiles import fewest, percentile
from bench.errors import BenchError
from bench.plan.scenario import CONTROL_SUFFIX
from bench.plan.thresholds import STUDIES
from bench.report.table import Cell, Row, Table, number
from bench.store import records
from bench.studies.evidence import EvidenceChecks
from bench.studies.measured import measured_again
from bench.studies.page import CONTROL_REMARK, Page
from bench.studies.scenarios import STOCK_DEFAULT, Runnable, group
from bench.studies.study_folder import workplace
from bench.text.wording import NOTHING, digits, milliseconds
from bench.worker import arrivals

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence
    from pathlib import Path

    from bench.engine.execution import Execution
    from bench.engine.participants import Group, Participant
    from bench.errors import WorkerError
    from bench.plan.thresholds import Policy
    from bench.studies.measured import Measured
    from bench.studies.study_folder import StudyRequest

GROUP = "load/b1"


@dataclass(frozen=True, kw_only=True)
class LoadRow:
    """One request."""

    run_id: str
    participant: str
    launch: int
    round: int
    position: int
    rate_per_s: float
    request: int
    latency_ms: float
    """From when it was due to when it was done."""
    service_ms: float
    """From when it was taken up to when it was done."""


def group_of(request: StudyRequest) -> Group:
    """Return the group of the chosen scenarios.

    Raises:
        UsageError: a pattern selects nothing that this study can run.
    """
    return group(GROUP, Runnable(study="load").chosen(request))


@dataclass(kw_only=True)
class Turns(EvidenceChecks):
    """A turn serves every rate once, lowest first, with the arrivals of that round.

    Without `rates`, stock default's own calls set them.
    """

    run_id: str
    requests: int
    record: Callable[[LoadRow], None]
    rates: tuple[float, ...] = ()
    now_ns: Callable[[], int] = time.monotonic_ns

    def after_first_warm_up(self, execution: Execution) -> None:
        """Set the rates from stock default's warm calls, unless they were given."""
        if not self.rates and execution.is_base:
            typical_ms = statistics.median(execution.warm_ms[-5:])
            self.rates = tuple(round(share * 1000 / typical_ms, 3) for share in STUDIES.load_shares)

    def on_failure(self, participant: Participant, _launch: int, error: WorkerError) -> None:
        """End the study where stock default failed before it set the rates.

        Raises:
            BenchError: there are no rates to serve.
        """
        if not self.rates and participant.name == STOCK_DEFAULT:
            raise BenchError(
                f"stock default, whose calls set the rates, failed ({error.reason}): name rates "
                "with --rate"
            ) from error

    def __call__(self, execution: Execution, round_number: int, position: int) -> float:
        """Serve every rate once; return the median latency at the lowest, in ms."""
        medians = []
        for place, rate in enumerate(self.rates):
            seed = (execution.launch * 1000 + round_number) * 100 + place
            latencies = self._serve(execution, round_number, position, rate, seed)
            medians.append(statistics.median(latencies))
        return medians[0]

    def _serve(
        self, execution: Execution, round_number: int, position: int, rate: float, seed: int
    ) -> list[float]:
        offsets = arrivals.poisson(rate, self.requests, seed)
        begin = self.now_ns() + STUDIES.load_start_ns
        reply = execution.worker.ask(
            "serve",
            execution.policy.call_timeout_s + offsets[-1] / 1e9,
            begin_ns=begin,
            offsets_ns=offsets,
        )
        latencies = arrivals.latencies_ms(offsets, begin, reply["end_ns"])
        for index, latency in enumerate(latencies):
            service = (reply["end_ns"][index] - reply["start_ns"][index]) / 1e6
            self.record(
                LoadRow(
                    run_id=self.run_id,
                    participant=execution.name,
                    launch=execution.launch,
                    round=round_number,
                    position=position,
                    rate_per_s=rate,
                    request=index,
                    latency_ms=latency,
                    service_ms=service,
                )
            )
        return latencies


def measure(rates: Sequence[float], bound_ms: float | None, request: StudyRequest) -> Path:
    """Measure, and return the study's folder.

    Raises:
        UsageError: a pattern selects nothing that this study can run.
        BenchError: it cannot be measured, or stock default failed and no rate is named.
    """
    chosen = group_of(request)
    with workplace("load", request, LoadRow, facts={"bound_ms": bound_ms}) as place:
        study = place.study([chosen])
        study.turn = study.checks = Turns(
            run_id=place.run_id,
            requests=STUDIES.load_requests[request.profile.name],
            record=place.writer.append,
            rates=tuple(sorted(set(rates))),
            measured=study.measured,
        )
        with place.finished(study.measured):
            study.measure()
        return place.folder


# ---- what it means -------------------------------------------------------------------------------


@dataclass(frozen=True, kw_only=True)
class Served:
    """The latencies of one scenario at one rate."""

    participant: str
    rate_per_s: float
    requests: int
    p50: tuple[float, float, float] | None
    """Estimate and interval, in ms; None for too few requests. Its end may be infinite."""
    p99: tuple[float, float, float] | None

    def meets(self, bound_ms: float) -> bool:
        """Return whether the whole interval of p99 lies within the bound."""
        return self.p99 is not None and self.p99[2] <= bound_ms


def served(rows: Sequence[LoadRow], policy: Policy) -> list[Served]:
    """Return the latencies of every scenario at every rate."""
    found: dict[tuple[str, float], dict[tuple[int, int], list[float]]] = defaultdict(
        lambda: defaultdict(list)
    )
    for row in rows:
        found[row.participant, row.rate_per_s][row.launch, row.round].append(row.latency_ms)
    return [
        Served(
            participant=participant,
            rate_per_s=rate,
            requests=sum(map(len, blocks.values())),
            p50=_percentile(blocks, 0.5, policy),
            p99=_percentile(blocks, 0.99, policy),
        )
        for (participant, rate), blocks in sorted(found.items())
    ]


def _percentile(
    blocks: Mapping[tuple[int, int], Sequence[float]], share: float, policy: Policy
) -> tuple[float, float, float] | None:
    return percentile(
        blocks,
        share,
        beyond=STUDIES.beyond_percentile,
        dependence_at=STUDIES.load_dependence_at,
        confidence=policy.verdict.confidence,
    )


def bound_of(rows: Sequence[LoadRow], given_ms: float | None) -> float | None:
    """Return the given bound, else a multiple of stock default's service time."""
    if given_ms is not None:
        return given_ms
    own = [row.service_ms for row in rows if row.participant == STOCK_DEFAULT]
    return STUDIES.load_bound_calls * statistics.median(own) if own else None


def highest_rates(found: Sequence[Served], bound_ms: float) -> dict[str, float | None]:
    """Return scenario -> the highest rate up to which every rate meets the bound, or None."""
    highest: dict[str, float | None] = {}
    stopped: set[str] = set()
    for one in sorted(found, key=lambda one: one.rate_per_s):
        highest.setdefault(one.participant, None)
        if one.participant in stopped:
            continue
        if one.meets(bound_ms):
            highest[one.participant] = one.rate_per_s
        else:
            stopped.add(one.participant)
    return highest


def read_page(folder: Path) -> Page:
    """Build the page of a measured study from its folder."""
    rows, _ = records.read_rows(folder / "load.csv", LoadRow)
    measured, policy = measured_again(folder, {})
    given = records.read_environment(folder).get("bound_ms")
    return page(rows, measured, policy, given if isinstance(given, (int, float)) else None)


_REMARK = (
    "Poisson arrivals, scheduled beforehand and the same for every scenario; a latency counts "
    "from when an image was due, so waiting is in it. One process, one image a call. The "
    "rates are a grid: the highest rate is the highest of them up to which the whole "
    "interval of p99 lies within the bound. p99 needs a hundred requests, and its upper end {} "
    "independent ones: requests that wait in one queue count for fewer."
)


def page(
    rows: Sequence[LoadRow], measured: Measured, policy: Policy, given_ms: float | None
) -> Page:
    """Build the study's page."""
    found = served(rows, policy)
    bound = bound_of(rows, given_ms)
    enough = fewest(0.99, confidence=policy.verdict.confidence)
    return Page(
        title="Latency under a fixed arrival rate",
        lead=tuple(lead(found, measured, bound)),
        tables=(_table(found, measured.objections, bound),),
        remarks=(_REMARK.format(enough), CONTROL_REMARK),
    )


def lead(found: Sequence[Served], measured: Measured, bound: float | None) -> list[str]:
    """Return the answers, a sentence each."""
    sentences = []
    if bound is not None:
        for participant, rate in highest_rates(found, bound).items():
            if participant.endswith(CONTROL_SUFFIX):
                continue
            said = f"p99 within {milliseconds(bound)} {_up_to(found, participant, rate, bound)}"
            if participant in measured.objections:
                said = ", ".join(measured.objections[participant])
            sentences.append(f"{participant}: {said}.")
    if any(one.p99 is None for one in found):
        sentences.append("Some rates had too few requests for a p99: raise --budget.")
    elif any(one.p99 and math.isinf(one.p99[2]) for one in found):
        sentences.append(
            "Some rates had too few requests for an upper end of p99, without which no bound is "
            "shown to hold: take --profile full, and name few rates with --rate."
        )
    sentences += [
        f"{participant}: {error.reason}." for participant, error in measured.failures.items()
    ]
    return sentences or ["Nothing was measured."]


def _up_to(found: Sequence[Served], participant: str, rate: float | None, bound: float) -> str:
    """Name the highest rate; without one, say whether the lowest missed the bound or is open."""
    if rate:
        return f"up to {digits(rate)} images per second"
    lowest = min(
        (one for one in found if one.participant == participant), key=lambda one: one.rate_per_s
    )
    return {
        NOTHING: "is not known: too few requests",
        "no": "at none of these rates",
    }.get(_within(lowest, bound), "not shown at any of these rates")


def _table(
    found: Sequence[Served], objections: Mapping[str, tuple[str, str]], bound: float | None
) -> Table:
    said = (objections.get(one.participant, (_within(one, bound), "")) for one in found)
    return Table(
        name="load",
        caption="Latency from when an image was due, by rate of arrival.",
        columns=("Scenario", "Images per second", "Requests", "p50", "p99", "Within bound"),
        rows=tuple(
            Row(
                cells=(
                    Cell(text=one.participant),
                    number(digits(one.rate_per_s), one.rate_per_s),
                    number(str(one.requests), one.requests),
                    _latency(one.p50),
                    _latency(one.p99),
                    Cell(text=text, note=note),
                )
            )
            for one, (text, note) in zip(found, said, strict=True)
        ),
        numeric=(1, 2, 3, 4),
    )


def _within(one: Served, bound: float | None) -> str:
    if bound is None or one.p99 is None:
        return NOTHING
    if one.meets(bound):
        return "yes"
    return "no" if one.p99[1] > bound else "not shown"


def _latency(value: tuple[float, float, float] | None) -> Cell:
    if value is None:
        return number(NOTHING, None)
    estimate, low, high = value
    upper = digits(high) if math.isfinite(high) else "∞"
    return number(milliseconds(estimate), estimate, f"[{digits(low)}, {upper}]")
