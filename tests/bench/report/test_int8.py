"""int8 has an answer of its own, and is never called the fastest way of running the model."""

from __future__ import annotations

from collections.abc import Callable

from bench.analysis.facts import Facts
from bench.analysis.winners import winner
from bench.report.answers.dtypes import int8
from bench.store.records import Run

MakeRun = Callable[..., Run]
DEFAULT = "inference/stock/eager/fp32/contiguous/b1"
STOCK = "inference/stock/compile/int8/channels_last/b1"
IPEX = "inference/ipex/torchscript+fusion/int8/channels_last/b1"


def test_int8_is_no_winner_though_it_is_much_faster(make_run: MakeRun) -> None:
    """It runs another model: what that costs in decisions stands beside its speed."""
    facts = Facts(make_run(only=(DEFAULT, STOCK, IPEX), rounds=4, int8=True))
    answer = int8(facts)
    assert answer is not None
    assert "in every way that could be told. From " in answer.headline
    assert len(answer.lines) == 2
    assert "changed on" in answer.details[0]
    best = winner(facts, next(iter(facts.groups)))
    assert best is None or best.row.dtype == "fp32"


def test_too_few_rounds_are_no_gain(make_run: MakeRun) -> None:
    """An interval of two rounds can be a point, and reads like certainty."""
    answer = int8(Facts(make_run(only=(DEFAULT, STOCK, IPEX), launches=1, rounds=2, int8=True)))
    assert answer is not None
    assert answer.headline == "int8 was not shown to be faster than stock default in fp32."
    assert answer.number == "not shown"
    assert answer.details[0] == "2 of 2 ways could not be told."


def test_without_int8_there_is_no_such_answer(make_run: MakeRun) -> None:
    """Nobody asked."""
    assert int8(Facts(make_run(only=(DEFAULT,), rounds=4))) is None
