"""Latency under a fixed arrival rate: rates, percentiles, the highest rate that is served."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING, Any

import pytest

from bench.errors import BenchError, WorkerError
from bench.plan.profiles import PROFILES
from bench.plan.scenario import CONTROL_SUFFIX, Status
from bench.plan.thresholds import DEFAULT, STUDIES
from bench.studies import load
from bench.studies.load import LoadRow, Turns
from bench.studies.measured import Measured
from bench.studies.study_folder import StudyRequest
from bench.text.wording import NOTHING
from bench.worker import arrivals
from bench.worker.conditions import DIFFERS

if TYPE_CHECKING:
    from collections.abc import Mapping

ASKED = StudyRequest(profile=PROFILES["smoke"], results=None)  # type: ignore[arg-type] # unused
IPEX_FUSED = "inference/ipex/torchscript+fusion/fp32/channels_last/b1"


def scripted(bench: Any, service_ms: dict[str, float]) -> Any:
    """Workers that serve each request in so many ms, one after the other."""

    def answer(participant: str, fields: Mapping[str, Any]) -> dict[str, Any]:
        name = participant.removesuffix("#control")
        spans = arrivals.serve(
            fields["offsets_ns"],
            fields["begin_ns"],
            call=lambda: bench.clock.spend_ms(service_ms.get(name, 100.0)),
            now_ns=lambda: bench.clock.ns,
            sleep=lambda ns: bench.clock.spend_ms(ns / 1e6),
        )
        return {"start_ns": [s for s, _ in spans], "end_ns": [e for _, e in spans]}

    return answer


def measured(
    bench: Any, service_ms: dict[str, float], rates: tuple[float, ...], requests: int = 40
) -> list[LoadRow]:
    """The rows of a whole study."""
    bench.answers = {"serve": scripted(bench, service_ms)}
    bench.call_ms = service_ms
    rows: list[LoadRow] = []
    turns = Turns(
        run_id="run",
        requests=requests,
        record=rows.append,
        rates=rates,
        now_ns=lambda: bench.clock.ns,
        measured=Measured(),
    )
    study = bench.study([load.group_of(ASKED)], turns)
    study.checks = turns
    study.measure()
    return rows


def rows_of(latencies_ms: list[float]) -> list[LoadRow]:
    """One block of stock default at one rate."""
    return [
        LoadRow(
            run_id="run",
            participant="stock-default",
            launch=0,
            round=0,
            position=0,
            rate_per_s=2.0,
            request=number,
            latency_ms=latency,
            service_ms=1.0,
        )
        for number, latency in enumerate(latencies_ms)
    ]


def test_a_faster_way_serves_a_higher_rate_within_the_bound(bench: Any) -> None:
    """Stock takes 100 ms a call and IPEX 50: at 9 a second only one of them keeps up."""
    service = {"stock-default": 100.0, IPEX_FUSED: 50.0}
    rows = measured(bench, service, (1.0, 9.0, 30.0), requests=80)
    highest = load.highest_rates(load.served(rows, DEFAULT), bound_ms=500.0)
    assert highest["stock-default"] == 1.0
    assert highest[IPEX_FUSED] == 9.0


def test_a_rate_above_what_can_be_served_shows_in_the_latency(bench: Any) -> None:
    """Latency counts from when a request was due: a saturated server's queue is not hidden."""
    rows = measured(bench, {"stock-default": 100.0}, (50.0,))
    own = [row for row in rows if row.participant == "stock-default"]
    assert all(row.service_ms == pytest.approx(100.0) for row in own)
    assert max(row.latency_ms for row in own) > 2000


def test_every_way_sees_the_same_arrivals(bench: Any) -> None:
    """Where all serve alike, all latencies are alike, request by request."""
    rows = measured(bench, {}, (8.0,))
    by_participant: dict[str, list[float]] = {}
    for row in rows:
        by_participant.setdefault(row.participant, []).append(round(row.latency_ms, 3))
    first, *others = by_participant.values()
    assert others
    assert all(other == pytest.approx(first) for other in others)


def test_rates_come_from_stock_defaults_own_calls_where_none_is_named(bench: Any) -> None:
    """From half of what it manages to all of it."""
    rows = measured(bench, {"stock-default": 200.0}, ())
    rates = sorted({row.rate_per_s for row in rows})
    assert rates[0] == pytest.approx(2.5)
    assert rates[-1] == pytest.approx(5.0)


@pytest.mark.parametrize(
    ("broken", "op"), [("start", None), ("prepare", "prepare"), ("call", "call")]
)
def test_without_stock_default_the_rates_must_be_named(
    bench: Any, broken: str, op: str | None
) -> None:
    """Nothing is measured before that is said, wherever it failed."""
    error = WorkerError(Status.CRASHED, f"it ended at its {broken}")

    def fail(participant: str, _fields: Mapping[str, Any]) -> dict[str, Any] | None:
        if participant == "stock-default":
            raise error
        return None

    if op:
        bench.answers = {op: fail}
    else:
        bench.refused = {"stock-default": error}
    rows: list[LoadRow] = []
    turns = Turns(run_id="run", requests=40, record=rows.append, measured=Measured())
    study = bench.study([load.group_of(ASKED)], turns, checks=turns)
    with pytest.raises(BenchError, match=f"{error.reason}.*--rate") as caught:
        study.measure()
    assert caught.value.exit_code == 1
    assert rows == []


def test_named_rates_are_served_without_stock_default(bench: Any) -> None:
    """The others need nothing of it."""
    bench.refused = {"stock-default": WorkerError(Status.CRASHED, "it ended")}
    rows = measured(bench, {IPEX_FUSED: 50.0}, (1.0,))
    assert {row.rate_per_s for row in rows} == {1.0}
    assert IPEX_FUSED in {row.participant for row in rows}


@pytest.mark.parametrize("name", ["smoke", "standard", "full"])
def test_the_fewest_rounds_of_one_launch_have_a_p99(name: str) -> None:
    """Whatever the budget is; so few have no upper end, so they can show that it misses a bound."""
    rows = rows_of([1.0] * STUDIES.load_requests[name] * PROFILES[name].min_rounds)
    (found,) = load.served(rows, DEFAULT)
    assert found.p99 == (1.0, 1.0, math.inf)
    assert not found.meets(1e9)


@pytest.mark.parametrize(("requests", "within"), [(367, "not shown"), (368, "yes")])
def test_a_bound_is_kept_only_by_enough_requests(requests: int, within: str) -> None:
    """.99 to the power of 367 is above .025: all of them may lie below p99."""
    page = load.page(rows_of([1.0] * requests), Measured(), DEFAULT, 300.0)
    assert any(CONTROL_SUFFIX in remark for remark in page.remarks)
    *_, p99, shown = page.tables[0].rows[0].cells
    assert (shown.text, "∞" in p99.note) == (within, within == "not shown")
    assert any("upper end" in sentence for sentence in page.lead) == (within == "not shown")


def test_rates_above_one_that_is_missed_do_not_count() -> None:
    """A lucky high rate does not make up for a lower one that missed the bound."""
    good, bad = (10.0, 9.0, 11.0), (99.0, 90.0, 120.0)
    found = [
        load.Served(participant="a", rate_per_s=rate, requests=100, p50=good, p99=p99)
        for rate, p99 in ((1.0, good), (2.0, bad), (3.0, good))
    ]
    assert load.highest_rates(found, 20.0) == {"a": 1.0}


def test_too_few_requests_give_no_p99_and_the_page_says_so(bench: Any) -> None:
    """Never the maximum under another name."""
    rows = measured(bench, {}, (5.0,))[:20]
    page = load.page(rows, Measured(), DEFAULT, 300.0)
    assert any("too few requests" in sentence for sentence in page.lead)
    assert not any("at none of these rates" in sentence for sentence in page.lead)
    assert page.tables[0].rows[0].cells[-1].text == NOTHING


@pytest.mark.parametrize(
    ("p99", "words"),
    [
        ((400.0, 350.0, 450.0), "at none of these rates"),
        ((290.0, 250.0, 350.0), "not shown at any of these rates"),
        ((200.0, 150.0, 250.0), "up to 2.00 images per second"),
    ],
)
def test_a_bound_that_was_missed_is_told_from_one_that_was_not_shown(
    p99: tuple[float, float, float], words: str
) -> None:
    """An interval across the bound is no miss."""
    one = load.Served(participant="a", rate_per_s=2.0, requests=100, p50=(1.0, 1.0, 1.0), p99=p99)
    (sentence,) = load.lead([one], Measured(), 300.0)
    assert words in sentence


def test_an_untrue_label_has_no_rate() -> None:
    """What was served was another scenario."""
    good = (10.0, 9.0, 11.0)
    one = load.Served(participant="a", rate_per_s=1.0, requests=100, p50=good, p99=good)
    (sentence,) = load.lead([one], Measured(contradictions={"a": "it ran in f32"}), 300.0)
    assert sentence == "a: invalid, it ran in f32."


def test_a_way_that_was_not_compared_with_its_label_has_no_rate() -> None:
    """The study was cut before that; the estimates stay."""
    rows = rows_of([1.0] * 400)
    page = load.page(rows, Measured(unchecked={rows[0].participant: "not compared"}), DEFAULT, 9.0)
    assert page.lead[0] == "stock-default: inconclusive, not compared."
    shown = page.tables[0].rows[0].cells[-1]
    assert (shown.text, shown.note) == ("inconclusive", "not compared")


def test_a_worker_under_other_conditions_has_no_rate() -> None:
    """As in the other studies; the table says it, too."""
    (row, *_) = rows = rows_of([1.0] * 400)
    measured = Measured(workers={row.participant: {DIFFERS: ["threads: 2 against 4"]}})
    page = load.page(rows, measured, DEFAULT, 300.0)
    assert "invalid" in page.lead[0]
    assert "threads: 2 against 4" in page.lead[0]
    shown = page.tables[0].rows[0].cells[-1]
    assert (shown.text, "threads: 2 against 4" in shown.note) == ("invalid", True)
