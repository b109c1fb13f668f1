"""What the files of a cut run say, and which runs may not go on here."""

from __future__ import annotations

import json
import re
from dataclasses import asdict, replace
from datetime import datetime, timezone
from pathlib import Path
from typing import Any

import pytest

from bench.engine.environments import Environment
from bench.errors import BenchError
from bench.plan.scenario import Status, Task, stock_default
from bench.plan.thresholds import DEFAULT
from bench.run import resume
from bench.store.records import IterationRow, Run, ScenarioRow
from bench.store.rows import columns
from tests.bench.calls import timed_call

STOCK = stock_default(Task.INFERENCE, 1)
OTHER = stock_default(Task.INFERENCE, 4)
ENVIRONMENT = {
    "complete": False,
    "matrix": {"scenarios": [STOCK.id]},
    "request": {"seed": 0},
    "machine": {"fingerprint": "f"},
    "commit": "c" * 40,
    "policy": json.loads(json.dumps(asdict(DEFAULT))),
    "started_utc": "2026-11-24T03:00:00+00:00",
}


def check(**changes: Any) -> None:
    """Whether that run may go on with this code on this machine."""
    environment = {**ENVIRONMENT, **changes}
    resume.check_unfinished(environment, "a-run")
    resume.check_same(environment, "a-run", fingerprint="f", commit="c" * 40, policy=DEFAULT)


def test_a_cut_run_of_this_machine_code_and_policy_may_go_on() -> None:
    """Its policy comes back from JSON, where tuples are lists."""
    check()


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        ({"complete": True}, "is complete"),
        ({"matrix": None}, "before it measured anything"),
        ({"request": None}, "before it measured anything"),
        ({"machine": {"fingerprint": "g"}}, "another machine"),
        ({"commit": "d" * 40}, "dddddddddddd"),
        ({"policy": {"max_call_s": 9}}, "another policy"),
    ],
)
def test_another_run_may_not(changes: dict[str, Any], words: str) -> None:
    """One folder, one machine, one code; the line says which it is not."""
    with pytest.raises(BenchError, match=words):
        check(**changes)


def row(**fields: Any) -> ScenarioRow:
    """A line of scenarios.csv."""
    empty = {c.name: None if c.optional else c.kind() for c in columns(ScenarioRow)}
    return ScenarioRow(**{**empty, "scenario": STOCK.id, "status": "ok", "rounds": 2, **fields})


def call(launch: int) -> IterationRow:
    """A timed call of that launch."""
    return timed_call(STOCK.id, launch, 0, 100.0)


def restored(*rows: ScenarioRow, **more: Any) -> resume.Earlier:
    """What such files say of two scenarios."""
    run = Run(Path("a-run"), {"workers": more.pop("workers", {})}, scenarios=rows, **more)
    return resume.restore(run, (STOCK, OTHER))


def test_what_was_known_of_a_scenario_is_known_again() -> None:
    """So that its line of scenarios.csv can be written again from later rounds."""
    before = row(
        prepare_s=0.2,
        native_dtype=True,
        gflop_per_s=307.0,
        median_ms=100.0,
        peak_rss_mb=800.0,
        isa="avx512_core",
        fused_ops=13,
        layers_replaced=14,
        import_s=1.5,
        threads=2,
    )
    outcome = restored(before, iterations=(call(0),)).outcomes[STOCK.id]
    after = outcome.row("run", [call(0), replace(call(0), round=1)], {})
    known = ("prepare_s", "gflop_per_s", "peak_rss_mb", "isa", "fused_ops", "layers_replaced")
    for name in (*known, "native_dtype", "import_s", "threads", "status"):
        assert getattr(after, name) == getattr(before, name), name
    assert not outcome.is_new


def test_conditions_and_what_differed_are_known_again() -> None:
    """A comparison that was invalid for them stays so."""
    workers = {STOCK.id: {"threads": 2, "differs": ["threads: 2 against 4"]}}
    outcome = restored(row(), workers=workers).outcomes[STOCK.id]
    assert outcome.worker == workers[STOCK.id]


def test_a_failure_stays_one() -> None:
    """It is not tried again: its rows would mix what was found wrong with what came later."""
    outcome = restored(row(status="crashed", reason="planted", rounds=0)).outcomes[STOCK.id]
    assert outcome.status is Status.CRASHED
    assert outcome.reason == "planted"


def test_who_never_had_a_round_starts_over() -> None:
    """Whether its line says so or is missing."""
    found = restored(row(status="unavailable", reason="not measured", rounds=0))
    assert found.outcomes[STOCK.id].is_new
    assert found.outcomes[STOCK.id].status is Status.OK
    assert found.outcomes[OTHER.id].is_new


def test_the_next_launch_has_a_new_number() -> None:
    """The one that was cut included: its rounds are whole and count."""
    assert restored(row(), iterations=(call(0), call(2))).launches == 3
    assert restored(row()).launches == 0


@pytest.mark.parametrize(("hour", "minute", "seconds"), [(3, 5, 300), (2, 0, 0)])
def test_used_time_ends_with_the_last_row(
    hour: int, minute: int, seconds: float
) -> None:
    """What passed between the cut and now is not the run's; a clock set back adds no budget."""
    written = datetime(2026, 11, 24, hour, minute, tzinfo=timezone.utc)
    assert resume.seconds_used(ENVIRONMENT, written) == seconds


def test_a_run_goes_on_with_the_packages_it_began_with_only() -> None:
    """Another PyTorch in another environment's folder would be two under one name."""
    then = Environment(
        python=Path("python"), version="3.11.7", packages={"torch": "2.14.1"}, frameworks={}
    )
    before = {"latest": then.kept()}
    resume.check_environments(before, "a-run", {"latest": then})
    now = replace(then, packages={"torch": "2.15.0"})
    with pytest.raises(BenchError, match=r"other packages in environment latest \(torch\)"):
        resume.check_environments(before, "a-run", {"latest": now})




def test_no_duration_comes_from_a_clock_that_can_jump() -> None:
    """Budgets and calls are timed by monotonic clocks; the wall clock only names and dates."""
    sources = Path(resume.__file__).parent.rglob("*.py")
    found = [path.name for path in sources if re.search(r"\btime\.time(_ns)?\(", path.read_text())]
    assert found == []


@pytest.mark.parametrize(("images", "joules"), [(30, 2.5), (None, 4.0)])
def test_energy_goes_on_with_all_its_images(images: int | None, joules: float) -> None:
    """2 J an image over 30 images and 40 J over 10 more are 2.5 J an image, not 21.

    Runs of version 0.1 did not keep the number; carried on, it would count as one image's.
    """
    before = row(joules_per_image=2.0, joules_images=images, checked=True)
    outcome = restored(before).outcomes[STOCK.id]
    outcome.add_energy(40.0, 10)
    written = outcome.row("run", [], {}, ended=False)
    assert written.joules_per_image == pytest.approx(joules)
    assert written.joules_images == 10 + (images or 0)


@pytest.mark.parametrize(("checked", "is_new"), [(True, False), (None, False), (False, True)])
def test_what_was_not_checked_is_begun_anew(checked: bool | None, is_new: bool) -> None:
    """Else its outputs and kernels would never be looked at; version 0.1 wrote no such rows."""
    assert restored(row(checked=checked)).outcomes[STOCK.id].is_new is is_new
