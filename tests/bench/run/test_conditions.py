"""What a run does where two workers' conditions differ."""

from __future__ import annotations

from collections import Counter
from dataclasses import replace
from typing import TYPE_CHECKING, Any

import pytest

from bench.plan.scenario import Status
from tests.bench.run.runs import (
    DEFAULT_1,
    IPEX_1,
    IPEX_4,
    LAST_1,
    SMOKE,
    Build,
    raising,
    rows_of,
    speedup_of,
)

if TYPE_CHECKING:
    from collections.abc import Mapping


def loaded(allocator: str = "glibc", openmp: str = "libgomp.so.1") -> Any:
    """A worker's answer: what it has loaded."""
    found = {"threads": 2, "allocator": allocator, "openmp": [openmp]}
    return lambda *_: {"conditions": found}


def test_another_allocator_makes_the_comparison_invalid(run: Build, backend: Any) -> None:
    """The allocator alone is worth more than what is compared; both times stay in the files."""
    backend.call_ms = {DEFAULT_1.id: 150.0, IPEX_1.id: 100.0}
    backend.faults[IPEX_1.id, "conditions"] = loaded("tcmalloc")
    runner = run()
    row = speedup_of(runner, IPEX_1)
    assert row.verdict == "invalid"
    assert "allocator: glibc against tcmalloc" in (row.reason or "")
    assert row.speedup == pytest.approx(1.5, rel=0.01)
    workers = runner.state.workers()
    assert workers[IPEX_1.id]["differs"] == ["allocator: glibc against tcmalloc"]
    assert "differs" not in workers[IPEX_4.id]
    assert speedup_of(runner, IPEX_4).verdict == "same"


def test_another_environment_may_have_its_own_runtime(run: Build, backend: Any) -> None:
    """In the default environment it makes a comparison invalid; its allocator always does."""
    elsewhere = replace(DEFAULT_1, environment="torch-latest")
    allocator = replace(LAST_1, environment="torch-latest")
    backend.faults[IPEX_1.id, "conditions"] = loaded(openmp="libomp.so")
    backend.faults[elsewhere.id, "conditions"] = loaded(openmp="libomp.so")
    backend.faults[allocator.id, "conditions"] = loaded("tcmalloc")
    runner = run(DEFAULT_1, IPEX_1, elsewhere, allocator)
    verdicts = [speedup_of(runner, one).verdict for one in (IPEX_1, elsewhere, allocator)]
    assert verdicts == ["invalid", "same", "invalid"]


def test_conditions_are_compared_in_every_launch(run: Build, backend: Any) -> None:
    """A difference of the second processes counts as much; the first ones' are kept."""

    def later(*_: Any) -> Any:
        second = backend.asked[IPEX_1.id, "conditions"] == 2
        return loaded("tcmalloc")() if second else None

    backend.faults[IPEX_1.id, "conditions"] = later
    runner = run(DEFAULT_1, IPEX_1)
    assert speedup_of(runner, IPEX_1).verdict == "invalid"
    assert runner.state.workers()[IPEX_1.id]["allocator"] == "glibc"


def test_without_conditions_those_of_the_greeting_stay(run: Build, backend: Any) -> None:
    """It may be of an older commit."""
    backend.faults[IPEX_1.id, "conditions"] = raising(Status.CRASHED, dies=False)
    runner = run(DEFAULT_1, IPEX_1, profile=SMOKE)
    assert rows_of(runner)[IPEX_1.id].status == "ok"
    assert runner.state.workers()[IPEX_1.id]["allocator"] == "glibc"


def test_a_control_under_other_conditions_leaves_no_verdict(run: Build, backend: Any) -> None:
    """Its spread would be no noise floor for anything in the group."""

    def control(worker: Any, _fields: Mapping[str, Any]) -> Any:
        return loaded("tcmalloc")() if backend.started[worker.number - 1][1] else None

    backend.faults[DEFAULT_1.id, "conditions"] = control
    row = speedup_of(run(DEFAULT_1, IPEX_1, profile=SMOKE), IPEX_1)
    assert row.verdict == "invalid"
    assert "of its control, allocator" in (row.reason or "")


@pytest.mark.parametrize(
    ("what", "values"),
    [("affinity", ([0, 1], [0])), ("cpu_quota", ("max 100000", "50000 100000"))],
)
def test_a_cpu_taken_away_while_measuring_leaves_no_verdict(
    run: Build, backend: Any, what: str, values: tuple[Any, Any]
) -> None:
    """By affinity or by a cgroup: the conditions are read again after the rounds."""
    reads: Counter[int] = Counter()

    def conditions(worker: Any, _fields: Mapping[str, Any]) -> dict[str, Any]:
        reads[worker.number] += 1
        now = values[reads[worker.number] % 2 == 0]
        return {"conditions": {**backend.conditions_of(worker), what: now}}

    for scenario in (DEFAULT_1, IPEX_1):
        backend.faults[scenario.id, "conditions"] = conditions
    row = speedup_of(run(DEFAULT_1, IPEX_1, profile=SMOKE), IPEX_1)
    assert row.verdict == "invalid"
    assert what in str(row.reason)
