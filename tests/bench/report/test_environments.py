"""What leaving IPEX costs or gains, said on the page and on the first screen."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from typing import Any

import pytest

from bench.analysis.facts import Facts
from bench.report import build
from bench.report.answers import environments
from bench.report.answers.environments import leaving
from bench.store.records import Run

MakeRun = Callable[..., Run]
LATEST = {"environments": {"torch-latest": {"version": "3.11.7", "packages": {"torch": "2.14.1"}}}}


def with_latest(make_run: MakeRun, elsewhere: float, **plan: Any) -> Run:
    """A run with another environment whose calls take that share of the time."""
    run = make_run(profile="smoke", environments=("torch-latest",), elsewhere=elsewhere, **plan)
    return replace(run, environment={**run.environment, **LATEST})


def test_without_another_environment_the_page_does_not_ask(make_run: MakeRun) -> None:
    """No section, no entry in the contents, no answer."""
    run = make_run(profile="smoke")
    assert leaving(Facts(run)) is None
    assert 'id="leaving"' not in build(run)
    assert "#leaving" not in build(run)


@pytest.mark.parametrize(
    ("elsewhere", "word", "tone"),
    [(0.7, "faster for inference/b1 in fp32", "good"), (1.5, "SLOWER everywhere", "bad")],
)
def test_a_gain_or_a_loss_by_leaving_is_the_headline(
    make_run: MakeRun, elsewhere: float, word: str, tone: str
) -> None:
    """It names the environment, its PyTorch, and that IPEX cannot be in it."""
    answer = leaving(Facts(with_latest(make_run, elsewhere)))
    assert answer is not None
    assert word in answer.headline
    assert answer.tone == tone
    assert "torch-latest" in answer.question
    assert any("2.14.1" in text and "cannot be beside it" in text for text in answer.details)


@pytest.mark.parametrize("plan", [{"noisy": True}, {"disturbed": True}])
def test_a_run_too_noisy_for_any_comparison_claims_none(
    make_run: MakeRun, plan: dict[str, Any]
) -> None:
    """Nothing is faster or slower, and the sentence does not sound as if."""
    answer = leaving(Facts(with_latest(make_run, 0.7, **plan)))
    assert answer is not None
    assert answer.headline == (
        "No comparison of newer stock PyTorch with IPEX is valid in this run."
    )
    assert answer.tone == "unknown"


def test_the_table_has_an_interval_for_each_task_dtype_and_batch(make_run: MakeRun) -> None:
    """The environment that IPEX runs in comes first: what stopping costs without a new PyTorch."""
    facts = Facts(with_latest(make_run, 1.0))
    rows = environments.table(facts, {}).rows
    places = [(row.cells[0].text, row.cells[1].text) for row in rows]
    assert places[:2] == [
        ("inference/b1 in fp32", "ipex-2.8"),
        ("inference/b1 in fp32", "torch-latest"),
    ]
    assert {place.split(" in ")[0] for place, _ in places} >= {
        "inference/b1",
        "inference/b4",
        "training/b1/frozen",
        "training/b1/full",
    }
    assert all("[" in row.cells[2].note for row in rows if row.cells[2].text.startswith("1."))
    page = build(facts.run)
    assert 'id="leaving"' in page
    assert 'href="#leaving"' in page
