"""Who is called fastest, and who not slower: chosen by the data, so it takes surer comparisons."""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Callable

import pytest

from bench.analysis import winners
from bench.analysis.facts import Facts, Group
from bench.plan.scenario import Verdict
from bench.report import answers
from bench.store.records import Run
from tests.bench.calls import longer

MakeRun = Callable[..., Run]
DEFAULT = "inference/stock/eager/fp32/contiguous/b1"
IPEX = "inference/ipex/torchscript+fusion/fp32/channels_last/b1"
BATCH_1 = Group("inference", 1, "")


@pytest.fixture(scope="module")
def close(make_run: MakeRun) -> tuple[Facts, str]:
    """A run with a rival that one comparison alone calls slower than the best, and a surer not.

    Longer calls move an interval and leave its width, so the rival is put where just that is so.
    """
    run = make_run()
    best = winners.winner(Facts(run), BATCH_1)
    assert best is not None
    assert best.row.scenario == IPEX
    second = winners.runner_up(Facts(run), best)
    assert second is not None
    rival = second[0].scenario
    facts = Facts(dataclasses.replace(run, speedups=()))
    ends = [facts.compare(rival, IPEX, confidence=sure) for sure in (0.95, surer(facts))]
    alone, among_all = (found.high for found in ends if found is not None)
    assert alone < among_all
    limit = 1 / (1 + facts.policy.verdict.minimal_effect)
    return Facts(longer(run, rival, math.sqrt(alone * among_all) / limit)), rival


def surer(facts: Facts) -> float:
    """The confidence of each comparison with the best of batch 1, of all that it was chosen from.

    All candidates stand against it but itself, and stock default.
    """
    return 1 - 0.05 / len(winners.candidates(facts, BATCH_1))


def test_a_rival_is_called_slower_only_by_a_surer_comparison(close: tuple[Facts, str]) -> None:
    """The best was chosen by the same rounds, so luck is on its side in every one of them."""
    facts, rival = close
    best = winners.winner(facts, BATCH_1)
    assert best is not None
    assert best.row.scenario == IPEX
    alone = facts.compare(rival, IPEX)
    assert alone is not None
    assert alone.verdict == Verdict.SLOWER
    level = {row.scenario: comparison for row, comparison in best.level}
    assert set(level) == {rival}
    assert level[rival].verdict != Verdict.SLOWER
    assert level[rival].estimate == alone.estimate
    assert level[rival].high > alone.high
    assert " leads: " in said(facts, "latency").headline


def test_the_runner_up_is_as_sure_as_who_is_level(close: tuple[Facts, str]) -> None:
    """Nobody is level with the best and shown to be slower in the same breath."""
    facts, rival = close
    best = winners.winner(facts, BATCH_1)
    assert best is not None
    second = winners.runner_up(facts, best)
    assert second is not None
    assert second[0].scenario == rival
    assert second[1].verdict != Verdict.FASTER


def test_every_rival_that_is_not_level_is_slower_in_the_surer_comparison(
    close: tuple[Facts, str],
) -> None:
    """Each of them, and none is forgotten."""
    facts, _ = close
    best = winners.winner(facts, BATCH_1)
    assert best is not None
    rivals = [row for row, _ in winners.candidates(facts, BATCH_1) if row is not best.row]
    default = facts.default_of(BATCH_1)
    assert default is not None
    for row in (*rivals, default):
        found = facts.compare(row.scenario, best.row.scenario, confidence=surer(facts))
        assert found is not None
        assert (found.verdict == Verdict.SLOWER) == (row not in [one for one, _ in best.level])


def test_the_winner_over_stock_default_is_the_headlines_claim(make_run: MakeRun) -> None:
    """Its interval allows for all that could have won, and for all headlines of the run."""
    facts = Facts(make_run())
    for group in facts.groups:
        best = winners.winner(facts, group)
        assert best is not None
        claim = facts.claims.answer("best", group.noise_name, named=best.row.scenario)
        alone = facts.against_default(best.row.scenario)
        assert best.comparison == claim
        assert claim is not None
        assert alone is not None
        assert claim.estimate == pytest.approx(alone.estimate, rel=1e-9)
        assert claim.low < alone.low
        assert claim.high > alone.high


def test_with_one_candidate_only_the_number_of_headlines_widens_its_interval(
    make_run: MakeRun,
) -> None:
    """There was nobody else to be chosen from."""
    facts = Facts(make_run(only=(DEFAULT, IPEX)))
    best = winners.winner(facts, BATCH_1)
    alone = facts.compare(IPEX, DEFAULT, confidence=facts.claims.confidence)
    assert best is not None
    assert best.comparison is not None
    assert alone is not None
    assert best.comparison.low == pytest.approx(alone.low, rel=1e-9)
    assert best.comparison.high == pytest.approx(alone.high, rel=1e-9)


def said(facts: Facts, key: str) -> answers.Answer:
    """The answer of that key."""
    return next(answer for answer in answers.answers(facts) if answer.key == key)
