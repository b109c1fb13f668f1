"""Banners: each is shown when its condition holds, and no other time."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING, Any

import pytest

from bench.analysis import recovered_rows
from bench.analysis.run_facts import Facts
from bench.plan.scenario import Status
from bench.report.answers.answer import TOO_FEW_ROUNDS
from bench.report.banners import banners
from bench.report.machine import shared_settings
from bench.store.events import Event, EventKind, to_environment
from tests.bench.calls import with_rows
from tests.bench.made_up_runs import IPEX_1, MakeRun, answer_of

if TYPE_CHECKING:
    from bench.store.records import Run


def titles(run: Run) -> list[str]:
    """The banners' titles, worst first."""
    return [banner.title for banner in banners(Facts(run))]


def texts(run: Run) -> dict[str, str]:
    """The banners' texts by title."""
    return {banner.title: banner.text for banner in banners(Facts(run))}


@pytest.mark.parametrize(
    ("choices", "title"),
    [
        ({}, "The model is untrained"),
        ({}, "bf16 is emulated on this CPU"),
        ({}, "Synthetic pills"),
        ({}, "IPEX is archived"),
        ({"complete": False}, "The run is incomplete"),
        ({"notes": ("The budget of 1 min was cut.",)}, "The budget cut something"),
        ({"notes": ("A picture is missing.",)}, "Noted while measuring"),
        ({"noisy": True}, "The control failed"),
        ({"disturbed": True}, "The control failed"),
        ({"faults": ((IPEX_1, Status.WRONG_OUTPUT, "x"),)}, "Wrong outputs"),
    ],
)
def test_a_banner_is_shown_if_true(make_run: MakeRun, choices: dict[str, Any], title: str) -> None:
    """Each condition has its banner."""
    assert title in titles(make_run(**choices))


def test_good_run_of_a_trained_model_has_only_the_note_on_ipex(make_run: MakeRun) -> None:
    """Nothing else is wrong with it."""
    run = make_run(native_bf16=True, trained=True, source="folder")
    assert titles(run) == ["IPEX is archived"]


@pytest.mark.parametrize(
    ("described", "title"),
    [
        ({"cgroup_cpu_limit": 2.0, "affinity": [0, 1, 2, 3]}, "A CPU quota of 2"),
        ({"cgroup_cpu_limit": 0.5, "affinity": [0]}, "A CPU quota of 0.5"),
        ({"cgroup_cpu_limit": 4.0, "affinity": [0, 1, 2, 3]}, None),
        ({"slow_cpus": [8, 9]}, "Fast cores only"),
    ],
)
def test_the_machine_banners(
    make_run: MakeRun, described: dict[str, Any], title: str | None
) -> None:
    """It changes what figures mean; where it limits nothing there is none."""
    run = make_run()
    machine = {**run.environment["machine"], **described}
    limited = replace(run, environment={**run.environment, "machine": machine})
    assert set(titles(limited)) - set(titles(run)) == ({title} if title else set())


def test_settings_of_the_workers_hold_neither_paths_nor_packages(make_run: MakeRun) -> None:
    """A path says something about the user, and packages have a line of their own."""
    run = make_run()
    workers = {
        name: {**worker, "env": {"OMP_NUM_THREADS": "8", "CACHE": "/home/me"}}
        for name, worker in run.environment["workers"].items()
    }
    facts = Facts(replace(run, environment={**run.environment, "workers": workers}))
    settings = dict(shared_settings(facts)[0])
    assert settings["Environment variables"] == "OMP_NUM_THREADS 8"
    assert "packages" not in settings


def test_a_cpu_quota_that_stopped_workers_is_a_banner(make_run: MakeRun) -> None:
    """It does not blame other processes."""
    run = make_run()
    noise = tuple(replace(row, throttled=0.3, quiet=False) for row in run.noise)
    stopped = replace(run, noise=noise)
    assert set(titles(stopped)) - set(titles(run)) == {"A CPU quota stopped the workers"}


def test_blocks_that_do_not_count_are_one_sentence(make_run: MakeRun) -> None:
    """A dozen sentences that differ in a scenario's name would push the answers off the screen."""
    lost = [
        Event(kind=EventKind.BLOCK_NOT_COUNTED, subject=f"inference/x/b{n}", reason="it was paused")
        for n in range(11)
    ]
    over = Event(kind=EventKind.BUDGET_EXCEEDED, budget_s=60.0, seconds=10.0)
    run = make_run()
    kept = replace(run, environment={**run.environment, **to_environment([*lost, over])})
    noted = texts(kept)["Noted while measuring"]
    assert noted.startswith("11 ")
    assert noted.count("paused") == 1
    assert texts(kept)["The budget cut something"] == over.sentence


@pytest.mark.parametrize(
    ("kind", "words"), [(EventKind.PROBE_FAILED, "planted"), (EventKind.INTERRUPTED, "40 s")]
)
def test_an_incomplete_run_says_why_it_ended(
    make_run: MakeRun, kind: EventKind, words: str
) -> None:
    """A killed run has no event of its end, though it may have others."""
    run = make_run(complete=False)
    kept = to_environment([Event(kind=kind, seconds=40.0, reason="planted")])
    cut = replace(run, environment={**run.environment, **kept})
    assert words in texts(cut)["The run is incomplete"]


def test_batch_sizes_that_the_machine_could_not_do_have_a_reason(make_run: MakeRun) -> None:
    """Entries of another kind, or damaged ones, have no such banner."""
    run = make_run()
    left_out = {"what": "inference batches of 16 and above", "reason": "20 workers need 21 GiB"}
    matrix = {**run.environment["matrix"], "excluded": [left_out, "nonsense", {"what": "int8"}]}
    cut = replace(run, environment={**run.environment, "matrix": matrix})
    title = "Larger batches are left out"
    assert sorted([*titles(run), title]) == sorted(titles(cut))
    assert left_out["reason"] in texts(cut)[title]


def test_stopping_banners_come_first(make_run: MakeRun) -> None:
    """What forbids a decision is read before what limits it."""
    levels = [banner.level for banner in banners(Facts(make_run(complete=False, noisy=True)))]
    assert levels[:2] == ["stop", "stop"]
    assert "stop" not in levels[2:]


def test_scenarios_without_row_or_times_are_counted(make_run: MakeRun, mishaps: Any) -> None:
    """Of a run that was killed half-way, and of one with crashes and timeouts."""
    run = make_run(complete=False, faults=mishaps)
    total = len(run.scenarios)
    cut = texts(replace(run, scenarios=run.scenarios[:10]))["The run is incomplete"]
    assert f"{total - 10} of {total}" in cut
    failed = [row for row in run.scenarios if row.median_ms is None]
    found = texts(run)["Not everything could be measured"]
    assert found.startswith(f"{len(failed)} of {total} ")


def test_too_few_rounds_is_not_no_difference(make_run: MakeRun) -> None:
    """Two rounds allow no verdict: the page says that, and claims nothing about the difference."""
    facts = Facts(make_run(profile="smoke", launches=1, rounds=2))
    for key in ("latency", "ipex", "bf16"):
        answer = answer_of(facts, key)
        assert answer.headline == TOO_FEW_ROUNDS, key
        assert answer.tone == "unknown"
    assert "Too little was measured" in titles(facts.run)
    assert not any("importing IPEX" in line for line in answer_of(facts, "ipex").details)


@pytest.mark.parametrize("profile", ["smoke", "full"])
def test_rows_made_from_calls_equal_those_of_the_summary(make_run: MakeRun, profile: str) -> None:
    """Every scenario id is understood, and the values that both know agree."""
    run = make_run(profile=profile, rounds=2, launches=1)
    bare = replace(run, scenarios=(), speedups=())
    made = {row.scenario: row for row in recovered_rows.scenario_rows(bare)}
    assert set(made) == {row.scenario for row in run.scenarios}
    fields = ("task", "backend", "mode", "fusion", "dtype", "layout", "batch_size", "options")
    for row in run.scenarios:
        for field in (*fields, "environment", "median_ms", "rounds", "first_call_ms"):
            assert getattr(made[row.scenario], field) == getattr(row, field), field


def test_rows_that_have_times_are_not_said_to_have_none(make_run: MakeRun) -> None:
    """A scenario whose label its kernels contradict was timed before."""
    run = make_run()
    refused = {"status": Status.UNSUPPORTED, "reason": "its label is not what was run"}
    text = texts(with_rows(run, "scenarios", IPEX_1, **refused))["Not everything could be measured"]
    assert text.startswith(f"1 of {len(run.scenarios)} scenarios gave times that do not count.")
    assert "gave no times" not in text
