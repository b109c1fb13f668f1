"""What blocks of three sides show: simulated processes and rounds, no workers at all."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

from bench.analysis.comparison import Ratio
from bench.gate.evidence import Evidence, Finding, read_evidence, settle
from bench.gate.result import Outcome
from bench.gate.side import Side
from bench.gate.thresholds import DEFAULT as THRESHOLDS
from bench.plan.thresholds import DEFAULT as POLICY

LAUNCHES, ROUNDS = 4, 9
"""About what the budgets allow for one full-size scenario on two cores."""


def measured(
    rng: np.random.Generator,
    slowdown: float = 0.0,
    *,
    process: float = 0.01,
    round_: float = 0.02,
    first: int = 0,
    unlike: tuple[str, ...] = (),
    failure: str | None = None,
) -> Evidence:
    """Blocks of three sides, each process and each block with its own luck (shares, log scale)."""
    blocks: dict[Side, dict[tuple[int, int], float]] = {side: {} for side in Side}
    for side in Side:
        for launch in range(first, first + LAUNCHES):
            own = 100 * np.exp(rng.normal(0, process)) * (1 + slowdown * (side is Side.HEAD))
            for number in range(ROUNDS):
                blocks[side][launch, number] = own * np.exp(rng.normal(0, round_))
    return Evidence(blocks=blocks, unlike=unlike, failure=failure)


def read(found: Evidence, *, early: bool = False) -> Finding:
    """With the gate's own thresholds."""
    return read_evidence(found, thresholds=THRESHOLDS, policy=POLICY, early=early)


def gate(rng: np.random.Generator, slowdown: float, **luck: float) -> Outcome:
    """A whole gate of one scenario."""
    first = measured(rng, slowdown, **luck)  # type: ignore[arg-type] # shares only
    found = read(first)
    if found.outcome is Outcome.PASSED or found.final:
        return found.outcome
    second = measured(rng, slowdown, first=100, **luck)  # type: ignore[arg-type] # as above
    return settle(read(second), read(first.and_then(second))).outcome


def test_identical_sides_never_give_a_regression() -> None:
    """Sixty gates of a commit against itself, with processes that differ by 1 % and 2 %."""
    rng = np.random.default_rng(1)
    outcomes = [gate(rng, 0.0, process=process) for process in (0.01, 0.02) for _ in range(30)]
    assert Outcome.REGRESSION not in outcomes
    assert outcomes[:30].count(Outcome.PASSED) >= 25


def test_a_tenth_slower_is_always_found() -> None:
    """Thirty gates."""
    rng = np.random.default_rng(2)
    assert {gate(rng, 0.10) for _ in range(30)} == {Outcome.REGRESSION}


def test_a_twentieth_slower_never_passes() -> None:
    """It may stay without a verdict where processes differ; a pass would say it is not there."""
    rng = np.random.default_rng(3)
    outcomes = [gate(rng, 0.055) for _ in range(30)]
    assert outcomes.count(Outcome.PASSED) <= 1
    assert outcomes.count(Outcome.REGRESSION) >= 20


def test_an_early_look_has_to_be_surer() -> None:
    """It keeps silent on some of what the last look would call slower."""
    rng = np.random.default_rng(4)
    found = [measured(rng, slowdown) for slowdown in (0.05, 0.10) for _ in range(10)]
    slower = [one for one in found if read(one).outcome is Outcome.REGRESSION]
    early = [read(one, early=True).outcome for one in slower]
    assert 0 < early.count(Outcome.REGRESSION) < len(slower)


def test_a_failure_outweighs_everything_measured_before() -> None:
    """Half a measurement is not judged."""
    found = read(measured(np.random.default_rng(0), 0.5, failure="the head worker failed"))
    assert (found.outcome, found.final) == (Outcome.NO_VERDICT, True)
    assert "the head worker failed" in found.reason


def test_other_conditions_are_final() -> None:
    """Measuring it once more would only take time."""
    unlike = ("head against base: threads: 2 against 1",)
    found = read(measured(np.random.default_rng(0), 0.5, unlike=unlike))
    assert (found.outcome, found.final) == (Outcome.NO_VERDICT, True)
    assert "threads: 2 against 1" in found.reason


def test_a_machine_so_busy_that_hardly_a_block_is_clean_has_no_verdict() -> None:
    """Of a slowdown by half as well; fresh processes may find a quieter moment."""
    whole = measured(np.random.default_rng(0), 0.5)
    lost = {side: frozenset([*sorted(blocks)][2:]) for side, blocks in whole.blocks.items()}
    found = read(replace(whole, lost=lost, disturbed_shares=dict.fromkeys(lost, 0.9)))
    assert (found.outcome, found.final) == (Outcome.NO_VERDICT, False)
    assert found.facts["disturbed_share"] == 0.9


@pytest.mark.parametrize(
    ("launches", "rounds", "words"),
    [(0, 0, "too slow for the gate"), (1, 9, "too slow for the gate"), (2, 1, "2 paired rounds")],
)
def test_too_little_is_no_verdict(launches: int, rounds: int, words: str) -> None:
    """Nothing at all, one launch, and two rounds in all."""
    whole = measured(np.random.default_rng(0), 0.5)
    blocks = {
        side: {key: ms for key, ms in found.items() if key[0] < launches and key[1] < rounds}
        for side, found in whole.blocks.items()
    }
    found = read(Evidence(blocks=blocks))
    assert found.outcome is Outcome.NO_VERDICT
    assert words in found.reason


def test_two_measurements_keep_all_their_launches() -> None:
    """Launches of the second are numbered apart, so none overwrites one of the first."""
    rng = np.random.default_rng(0)
    both = measured(rng).and_then(measured(rng, first=100))
    assert {side: len(found) for side, found in both.blocks.items()} == dict.fromkeys(
        Side, 2 * LAUNCHES * ROUNDS
    )


def finding(outcome: Outcome, estimate: float | None, *, final: bool = False) -> Finding:
    """A finding whose ratio has this estimate."""
    ratio = estimate and Ratio(estimate=estimate, low=0.5, high=2.0, launches=3, rounds=9)
    return Finding(outcome=outcome, reason="x", ratio=ratio or None, limit=1 / 1.02, final=final)


FINDINGS = {
    "same": finding(Outcome.PASSED, 1.0),
    "slow": finding(Outcome.REGRESSION, 0.9),
    "unsure": finding(Outcome.NO_VERDICT, 0.99),
    "unsure and slow": finding(Outcome.NO_VERDICT, 0.95),
    "broken": finding(Outcome.NO_VERDICT, None, final=True),
}


@pytest.mark.parametrize(
    ("second", "together", "outcome"),
    [
        ("same", "same", Outcome.PASSED),
        ("same", "slow", Outcome.PASSED),
        ("slow", "slow", Outcome.REGRESSION),
        ("unsure", "slow", Outcome.NO_VERDICT),
        ("unsure and slow", "slow", Outcome.REGRESSION),
        ("unsure", "same", Outcome.PASSED),
        ("slow", "unsure", Outcome.NO_VERDICT),
        ("broken", "slow", Outcome.NO_VERDICT),
    ],
)
def test_the_second_measurement_may_clear_alone_but_not_convict_alone(
    second: str, together: str, outcome: Outcome
) -> None:
    """The first measurement, whose chance raised the suspicion, may not convict alone either."""
    assert settle(FINDINGS[second], FINDINGS[together]).outcome is outcome


def launches(found: Evidence, number: int) -> Evidence:
    """The first launches of it."""
    first = sorted({launch for launch, _ in found.blocks[Side.HEAD]})[:number]
    blocks = {
        side: {key: ms for key, ms in blocks.items() if key[0] in first}
        for side, blocks in found.blocks.items()
    }
    return replace(found, blocks=blocks)


@pytest.mark.parametrize(("number", "outcome"), [(1, Outcome.NO_VERDICT), (2, Outcome.REGRESSION)])
def test_one_fresh_launch_confirms_nothing(number: int, outcome: Outcome) -> None:
    """Where the time is used up, a single process of each side would convict."""
    rng = np.random.default_rng(0)
    first = measured(rng, 0.10)
    second = launches(measured(rng, 0.10, first=100), number)
    together = read(first.and_then(second))
    assert together.outcome is Outcome.REGRESSION
    assert settle(read(second), together).outcome is outcome


@pytest.mark.parametrize("sides", [(Side.HEAD,), tuple(Side)])
def test_a_side_that_lost_every_block_may_be_measured_again(sides: tuple[Side, ...]) -> None:
    """Other work is to blame, as the reason says, and not a machine that is too slow."""
    whole = measured(np.random.default_rng(0), 0.5)
    lost = {side: frozenset(whole.blocks[side]) for side in sides}
    found = read(replace(whole, lost=lost, disturbed_shares=dict.fromkeys(sides, 1.0)))
    assert (found.outcome, found.final) == (Outcome.NO_VERDICT, False)
    assert "other work disturbed 36 of the 36 blocks" in found.reason


def test_what_is_not_confirmed_says_why_once() -> None:
    """The reason of the fresh processes stands beside it in the report."""
    found = settle(FINDINGS["unsure"], replace(FINDINGS["slow"], reason="slower"))
    assert found.reason.startswith("slower, but fresh processes alone do not show it")
    assert FINDINGS["unsure"].reason not in found.reason.removeprefix("slower").split()
