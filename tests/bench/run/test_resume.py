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
    return IterationRow(
        run_id="run",
        scenario=STOCK.id,
        launch=launch,
        round=0,
        position=0,
        iteration=0,
        phase="timed",
        wall_ns=10**8,
        cpu_ns=10**8,
    )


def restored(*rows: ScenarioRow, **more: Any) -> resume.Earlier:
    """What such files say of two scenarios."""
    run = Run(Path("a-run"), {"workers": more.pop("workers", {})}, scenarios=rows, **more)
    return resume.restore(run, (STOCK, OTHER))


def test_what_was_known_of_a_scenario_is_known_again() -> None:
    """So that its line of scenarios.csv can be written again from later rounds."""
    before = row(
        prepare_s=0.2,
        build_s=12.5,
        package_bytes=61_000_000,
        load_ms=310.0,
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
    ahead = ("build_s", "package_bytes", "load_ms")
    for name in (*known, *ahead, "native_dtype", "import_s", "threads", "status"):
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


def test_the_time_that_was_used_ends_with_the_last_row() -> None:
    """What passed between the cut and now is not the run's."""
    written = datetime(2026, 11, 24, 3, 5, tzinfo=timezone.utc)
    assert resume.seconds_used(ENVIRONMENT, written) == 300
    early = datetime(2026, 11, 24, 2, 0, tzinfo=timezone.utc)
    assert resume.seconds_used(ENVIRONMENT, early) == 0


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


def test_a_wall_clock_that_was_set_back_gives_no_negative_time() -> None:
    """What a run had used is then unknown and counts as nothing; it never adds to the budget."""
    environment = {"started_utc": "2026-11-24T12:00:00+00:00"}
    set_back = datetime(2026, 11, 24, 11, 0, tzinfo=timezone.utc)
    assert resume.seconds_used(environment, set_back) == 0.0


def test_no_duration_comes_from_a_clock_that_can_jump() -> None:
    """Budgets and calls are timed by monotonic clocks; the wall clock only names and dates."""
    sources = Path(resume.__file__).parent.rglob("*.py")
    found = [path.name for path in sources if re.search(r"\btime\.time(_ns)?\(", path.read_text())]
    assert found == []


def test_energy_goes_on_with_all_its_images() -> None:
    """2 J an image over 30 images and 40 J over 10 more are 2.5 J an image, not 21."""
    run = Run(
        folder=Path(),
        environment=ENVIRONMENT,
        scenarios=(row(joules_per_image=2.0, joules_images=30, checked=True),),
    )
    outcome = resume.restore(run, [STOCK]).outcomes[STOCK.id]
    outcome.add_energy(40.0, 10)
    written = outcome.row("run", [], {}, ended=False)
    assert written.joules_per_image == pytest.approx(2.5)
    assert written.joules_images == 40


def test_energy_of_an_unknown_number_of_images_is_left_out() -> None:
    """Runs of version 0.1 did not keep it; carried on, it would count as one image's."""
    run = Run(folder=Path(), environment=ENVIRONMENT, scenarios=(row(joules_per_image=2.0),))
    outcome = resume.restore(run, [STOCK]).outcomes[STOCK.id]
    outcome.add_energy(40.0, 10)
    assert outcome.row("run", [], {}, ended=False).joules_per_image == pytest.approx(4.0)


@pytest.mark.parametrize(("checked", "is_new"), [(True, False), (None, False), (False, True)])
def test_what_was_not_checked_is_begun_anew(checked: bool | None, is_new: bool) -> None:
    """Else its outputs and kernels would never be looked at; version 0.1 wrote no such rows."""
    run = Run(folder=Path(), environment=ENVIRONMENT, scenarios=(row(checked=checked),))
    assert resume.restore(run, [STOCK]).outcomes[STOCK.id].is_new is is_new
