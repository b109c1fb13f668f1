"""The selfcheck on scripted workers, whose true speeds are known."""

from __future__ import annotations

from contextlib import contextmanager
from dataclasses import replace
from types import SimpleNamespace
from typing import TYPE_CHECKING, Any

import numpy as np
import pytest

from bench.analysis import shares
from bench.errors import WorkerError
from bench.plan.profiles import PROFILES
from bench.plan.scenario import Status, Verdict
from bench.selfcheck.check import (
    FULL,
    QUICK,
    Amount,
    Selfcheck,
    slow_participant,
    stock_participants,
)

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Mapping

    from bench.engine.participants import Participant

    Build = Callable[..., Selfcheck]

pytestmark = pytest.mark.usefixtures("quiet_machine")

FEW = replace(
    QUICK, participants=4, identical=8, in_bursts=4, planted=2, full_size=3, full_participants=3
)
STOCK = stock_participants(1)[0].scenario.id


@pytest.fixture
def build(backend: Any) -> Build:
    """A selfcheck over scripted workers of 15 ms a call; keywords replace its parts."""
    backend.default_ms = 15.0
    for share in (0.03, 0.05, 0.10):
        backend.call_ms[slow_participant(share, 0).scenario.id] = 15.0 * (1 + share)

    def launch(size: int, participant: Participant) -> Any:
        backend.sizes = [*getattr(backend, "sizes", []), size]
        return backend.launch(participant.scenario, False, 0)

    @contextmanager
    def bursts() -> Iterator[None]:
        backend.bursts = getattr(backend, "bursts", 0) + 1
        yield

    def make(amount: Amount = FEW, **changes: Any) -> Selfcheck:
        fields: dict[str, Any] = {
            "launch": launch,
            "bursts": bursts,
            "amount": amount,
            "budget_s": 1e9,
            "clock": backend.clock,
        }
        return Selfcheck(**{**fields, **changes})

    return make


def test_identical_workers_are_the_same_and_slowdowns_are_found(
    build: Build,
) -> None:
    """With 0.2 % of noise everything is found, 3 % too, and measures as what was planted."""
    result = build().run()
    assert result.identical.comparisons == 8
    assert result.identical.wrong == 0
    assert {share: tally.found for share, tally in result.planted.items()} == {
        0.03: 2,
        0.05: 2,
        0.10: 2,
    }
    for share, tally in result.planted.items():
        assert tally.median_slowdown == pytest.approx(share, abs=0.002)


def test_what_is_found_is_reported_launch_by_launch(build: Build, backend: Any) -> None:
    """One launch has no interval over launches, so it finds nothing; the last is the verdict."""
    result = build(replace(FEW, identical=0, full_size=0, in_bursts=0)).run()
    points = result.json()["planted"]["0.05"]["found_after"]
    assert [point["launches"] for point in points] == list(range(1, len(points) + 1))
    assert points[-1]["found"] == result.planted[0.05].found == FEW.planted
    assert points[-1]["comparisons"] == points[0]["comparisons"] == FEW.planted
    assert points[0]["found"] == 0
    seconds = [point["seconds"] for point in points]
    assert 0 < seconds[0] < seconds[-1] < backend.clock()
    assert seconds == sorted(seconds)


def test_a_harness_that_favours_one_place_is_caught(build: Build, backend: Any) -> None:
    """Every launch's first worker is 10 % slower: as a scenario, that is a wrong verdict.

    As baseline or control it leaves nothing to be judged.
    """

    def slower(worker: Any, fields: Mapping[str, Any]) -> dict[str, Any] | None:
        if (worker.number - 1) % 4:
            return None
        times = [int(16.5e6)] * fields["n"]
        backend.clock.spend(sum(times) / 1e9)
        return {"wall_ns": times, "cpu_ns": times, "invalid": None}

    backend.faults[STOCK, "call"] = slower
    result = build(replace(FEW, planted=0, full_size=0, in_bursts=0, identical=4)).run()
    assert result.identical.verdicts == {
        Verdict.SLOWER: 1,
        Verdict.INVALID: 2,
        Verdict.SAME: 1,
    }
    assert result.identical.wrong == 1


def test_parts_differ_in_size_and_bursts(build: Build, backend: Any) -> None:
    """Full size is a run's own; the bursts are on only for their own experiments."""
    build().run()
    assert set(backend.sizes) == {64, 224}
    assert backend.sizes.count(224) == 3 * 3
    assert backend.bursts == 1


def test_bursts_are_counted_apart(build: Build) -> None:
    """Their counts are not those of a quiet machine."""
    result = build(replace(FEW, identical=0, planted=0, full_size=0)).run()
    assert result.identical.comparisons == 0
    assert result.identical_in_bursts.comparisons == 4


def test_a_part_alone_has_the_whole_budget(build: Build, backend: Any) -> None:
    """The hours can be split; a part that is not chosen is not measured."""
    result = build(parts=("planted",)).run()
    assert result.identical.comparisons == 0
    assert not hasattr(backend, "bursts")
    assert result.planted[0.05].comparisons == FEW.planted
    cut = build(parts=("identical",), budget_s=1.0).run()
    assert any("4 of 8 comparisons fitted into 1 s" in note for note in cut.notes)


def test_the_time_is_kept_and_said(build: Build) -> None:
    """One experiment of each kind at least, and no further one that would pass the part's time."""
    result = build(budget_s=1.0).run()
    assert result.identical.comparisons == 4
    assert result.planted[0.05].comparisons == 1
    assert any("4 of 8 comparisons fitted" in note for note in result.notes)


def test_a_noisy_machine_makes_no_experiment_endless(build: Build, backend: Any) -> None:
    """Every launch has its minimum of rounds, and no more when the time of its part is over."""
    backend.jitter = np.random.default_rng(1)
    spread = backend.jitter.normal

    def noisy(_mean: float, _spread: float, n: int) -> Any:
        return np.abs(spread(1.0, 0.2, n)) + 0.5

    backend.jitter = SimpleNamespace(normal=noisy)
    amount = replace(FEW, planted=0, full_size=0, in_bursts=0, identical=4)
    began = backend.clock()
    build(amount).run()
    whole = backend.clock() - began
    calls = backend.asked[STOCK, "call"]
    began, backend.asked[STOCK, "call"] = backend.clock(), 0
    build(amount, budget_s=1.0).run()
    assert backend.clock() - began < whole
    assert backend.asked[STOCK, "call"] < calls
    launches, participants = PROFILES["standard"].launches, amount.participants
    assert backend.asked[STOCK, "call"] >= launches * participants * PROFILES["standard"].min_rounds


def test_where_the_time_went_is_reported(build: Build) -> None:
    """The share of calls leaves out starting workers; of all time it does not."""
    result = build(replace(FEW, planted=0, full_size=0, in_bursts=0)).run()
    assert result.measuring_share is not None
    assert result.rounds_share is not None
    assert 0.5 < result.rounds_share < 1
    assert result.measuring_share < result.rounds_share
    assert result.seconds > 0


def test_a_worker_that_fails_ends_it_and_leaves_none_behind(build: Build, backend: Any) -> None:
    """A rate must not depend on a broken machine; what was counted stays."""
    calls = {"n": 0}

    def fail(worker: Any, _fields: Mapping[str, Any]) -> None:
        calls["n"] += 1
        if calls["n"] > 400:
            worker.die()
            raise WorkerError(Status.CRASHED, "planted")

    backend.faults[STOCK, "call"] = fail
    check, began = build(replace(FEW, identical=1000)), backend.clock()
    with pytest.raises(WorkerError, match="planted"):
        check.run()
    assert not backend.alive
    assert check.result.identical.comparisons > 0
    assert check.result.seconds == pytest.approx(backend.clock() - began)


def test_the_quick_one_has_an_experiment_of_each_kind() -> None:
    """Where it is the only part that was named, nothing would be measured otherwise."""
    assert min(QUICK.identical, QUICK.planted, QUICK.full_size, QUICK.in_bursts) > 0
    assert QUICK.full_participants >= 5  # no two are compared twice


def test_the_amounts_are_what_the_bounds_ask_for() -> None:
    """Enough that none wrong of identical ones proves 1 %, and all found of planted ones 90 %."""
    assert shares.at_most(0, FULL.identical) < 0.01
    assert shares.at_most(0, FULL.in_bursts) < 0.01
    assert FULL.full_size >= 24
    assert shares.at_least(FULL.planted, FULL.planted) > 0.9
    assert FULL.planted % FULL.copies == 0
    assert (
        min(QUICK.participants, FULL.participants, FULL.full_participants) >= 5
    )  # no two are compared twice
