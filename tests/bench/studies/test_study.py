"""What every study has in common, on scripted workers and a scripted clock."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any
from unittest.mock import Mock

import pytest

from bench.engine.participants import Group, Participant, control_of
from bench.errors import BenchError, WorkerError
from bench.plan.profiles import PROFILES
from bench.plan.scenario import Status, Task, stock_default
from bench.plan.thresholds import DEFAULT
from bench.store import records
from bench.store.records import RunWriter
from bench.studies import page as pages
from bench.studies.evidence import UNCHECKED, EvidenceChecks
from bench.studies.measured import measured_again
from bench.studies.study_folder import Place, StudyRequest

if TYPE_CHECKING:
    from pathlib import Path

SCENARIO = stock_default(Task.INFERENCE, 1)
STOCK = Participant(name="stock", scenario=SCENARIO, worker="stock")
FAST = Participant(name="fast", scenario=SCENARIO, worker="fast", base="stock")
GROUP = Group(name="inference/b1", participants=(STOCK, control_of(STOCK), FAST))


def test_a_known_ratio_comes_out_with_its_verdict(bench: Any) -> None:
    """A participant scripted to take two thirds of the time is 1.5 times as fast."""
    bench.call_ms = {"stock": 150.0, "fast": 100.0}
    measured = bench.study([GROUP]).measure()
    found = measured.judge(DEFAULT).compare("fast", "stock", group=GROUP.name)
    assert found.ratio is not None
    assert found.ratio.estimate == pytest.approx(1.5)
    assert found.ratio.launches == 2
    assert found.verdict == "faster"


def test_every_worker_is_ended(bench: Any) -> None:
    """Those of each launch before the next one's start."""
    bench.study([GROUP]).measure()
    assert len(bench.workers) == 6
    assert not any(worker.alive for worker in bench.workers)


def test_a_participant_that_fails_costs_itself_only(bench: Any) -> None:
    """Its reason stands in the comparison; the others are measured."""
    bench.refused = {"fast": WorkerError(Status.UNAVAILABLE, "it is not installed")}
    measured = bench.study([GROUP]).measure()
    assert measured.groups[GROUP.name]["stock"]
    found = measured.judge(DEFAULT).compare("fast", "stock", group=GROUP.name)
    assert found.verdict == "invalid"
    assert "it is not installed" in (found.reason or "")


def test_other_conditions_than_the_bases_make_a_comparison_invalid(bench: Any) -> None:
    """An allocator of its own would be measured as the participant's speed."""
    bench.call_ms = {"stock": 150.0, "fast": 100.0}
    bench.conditions = {"fast": {"allocator": "tcmalloc"}}
    measured = bench.study([GROUP]).measure()
    found = measured.judge(DEFAULT).compare("fast", "stock", group=GROUP.name)
    assert found.verdict == "invalid"
    assert "glibc against tcmalloc" in (found.reason or "")


def test_what_a_participant_varies_on_purpose_may_differ(bench: Any) -> None:
    """The details of a participant name it."""
    bench.conditions = {"fast": {"threads": 1}}
    varied = Participant(
        name="fast",
        scenario=SCENARIO,
        worker="fast",
        base="stock",
        details={"differs": ("threads",)},
    )
    group = Group(name="g", participants=(STOCK, control_of(STOCK), varied))
    measured = bench.study([group]).measure()
    assert measured.judge(DEFAULT).compare("fast", "stock", group="g").verdict == "same"


@pytest.mark.parametrize(("source", "warned"), [("synthetic", True), ("folder", False)])
def test_a_study_keeps_what_its_images_are(
    bench: Any, tmp_path: Path, source: str, warned: bool
) -> None:
    """Its page warns of synthetic ones; one of an earlier version does not say."""
    bench.data = {"source": source, "images": 8}
    request = StudyRequest(profile=PROFILES["smoke"], results=tmp_path)
    place = Place(folder=tmp_path, request=request, environment={}, writer=Mock(spec=RunWriter))
    study = bench.study([GROUP])
    with place.finished(study.measured):
        study.measure()
    assert place.environment["data"] == bench.data
    assert any("Synthetic pills" in one for one in pages.warnings(place.environment)) == warned
    assert not any("Synthetic" in one for one in pages.warnings({"complete": True}))


def test_a_used_up_budget_ends_after_the_launch_that_runs_and_says_so(bench: Any) -> None:
    """The first launch gives every group its minimum of rounds whatever it takes."""
    other = Group(name="other", participants=(STOCK, control_of(STOCK)))
    measured = bench.study([GROUP, other], budget_s=0.5).measure()
    assert {launch for launch, _ in measured.groups[GROUP.name]["fast"]} == {0}
    assert {row.group for row in measured.noise} == {GROUP.name, "other"}
    (note,) = measured.notes
    assert "fewer than 2 launches of inference/b1 (1), other (1)" in note


def test_a_launch_that_had_no_round_left_is_not_passed_over(bench: Any) -> None:
    """Workers of a second launch were started, and then the budget was over: one launch counts."""
    began = bench.clock()
    bench.study([GROUP], budget_s=0.5).measure()
    one_launch_s = bench.clock() - began
    measured = bench.study([GROUP], budget_s=one_launch_s + 0.1).measure()
    assert len(bench.workers) == 9, "the second launch was to begin"
    assert {launch for launch, _ in measured.groups[GROUP.name]["fast"]} == {0}
    assert "inference/b1 (1)" in measured.notes[0]


def test_all_launches_leave_no_note(bench: Any) -> None:
    """Nothing is missing, so nothing is said."""
    assert bench.study([GROUP]).measure().notes == []


def test_workers_serve_the_next_group_unless_told_not_to(bench: Any) -> None:
    """Instances must not hold the memory of another configuration's."""
    other = Group(name="other", participants=(STOCK, control_of(STOCK)))
    bench.study([GROUP, other]).measure()
    assert len(bench.workers) == 6
    bench.workers.clear()
    bench.study([GROUP, other], keep_workers=False).measure()
    assert len(bench.workers) == 10


def test_no_time_is_promised_while_the_budget_ends_nothing(bench: Any) -> None:
    """The first launch runs its least rounds whatever the budget is, minutes after its end."""
    said: list[tuple[str, float | None]] = []
    bench.study([GROUP], budget_s=100.0, say=lambda *told: said.append(told)).measure()
    first = {left for what, left in said if what.startswith("launch 1/2")}
    later = [left for what, left in said if what.startswith("launch 2/2")]
    assert first == {None}
    assert later
    assert all(left is not None and 0 <= left <= 100 for left in later)


def place_of(folder: Path) -> Place:
    """A study's folder under way."""
    request = StudyRequest(profile=PROFILES["smoke"], results=folder)
    environment = {"complete": False}
    writer = Mock(spec=RunWriter)
    return Place(folder=folder, request=request, environment=environment, writer=writer)


def test_a_study_of_which_nothing_could_start_is_an_error(bench: Any, tmp_path: Path) -> None:
    """As for a run; what failed first is said, and is kept in the folder."""
    error = WorkerError(Status.CRASHED, "there is no model m.safetensors")
    bench.refused = dict.fromkeys(("stock", "stock#control", "fast"), error)
    place, study = place_of(tmp_path), bench.study([GROUP])
    no_model = pytest.raises(BenchError, match="stock: there is no model")
    with no_model as caught, place.finished(study.measured):
        study.measure()
    assert caught.value.exit_code == 1
    assert place.environment["failures"]["fast"]["reason"] == error.reason


def test_what_was_not_compared_with_its_label_has_no_verdict(bench: Any, tmp_path: Path) -> None:
    """A study that is cut reads no evidence; its page, made again, gives no verdict either."""
    bench.call_ms = {"stock": 150.0, "fast": 100.0}
    place, study = place_of(tmp_path), bench.study([GROUP])
    study.checks = EvidenceChecks(measured=study.measured)
    study.record_noise = lambda row: interrupt() if row.round == 2 else None
    with place.finished(study.measured):
        study.measure()
    assert (place.environment["complete"], place.environment["interrupted"]) == (False, True)
    records.write_environment(tmp_path, place.environment)
    again, _ = measured_again(tmp_path, study.measured.groups)
    for measured in (study.measured, again):
        found = measured.judge(DEFAULT).compare("fast", "stock", group=GROUP.name)
        assert (found.verdict, found.reason) == ("inconclusive", UNCHECKED)
    whole = bench.study([GROUP])
    whole.checks = EvidenceChecks(measured=whole.measured)
    assert whole.measure().unchecked == {}


def interrupt() -> None:
    """Ctrl-C."""
    raise KeyboardInterrupt
