"""The engine on scripted workers: what fails costs itself, and what differs is found."""

from __future__ import annotations

import os
import signal
import time
from dataclasses import replace
from typing import TYPE_CHECKING, Any

import pytest

from bench.engine.checks import Checks
from bench.engine.engine import Engine
from bench.engine.participants import Group, Participant, control_of
from bench.errors import RefusalError, WorkerError
from bench.plan.scenario import Layout, Status, Task, stock_default
from bench.plan.thresholds import DEFAULT
from bench.store.events import Event, EventKind

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

    from bench.store.records import IterationRow

    Build = Callable[..., Engine]

pytestmark = pytest.mark.usefixtures("quiet_machine")

STOCK = stock_default(Task.INFERENCE, 1)
NHWC = replace(STOCK, layout=Layout.CHANNELS_LAST)
BASE = Participant(name="base", scenario=STOCK)
OTHER = Participant(name="other", scenario=NHWC, base="base")
PAIR = Group(name="pair", participants=(BASE, OTHER, control_of(BASE)))
NEVER = float("inf")


@pytest.fixture
def build(backend: Any) -> Build:
    """An engine over scripted workers; keywords replace its parts."""

    def make(**changes: Any) -> Engine:
        fields: dict[str, Any] = {
            "run_id": "run",
            "policy": DEFAULT,
            "start": lambda participant, number: backend.launch(
                participant.scenario, participant.is_control, number
            ),
            "clock": backend.clock,
        }
        return Engine(**{**fields, **changes})

    return make


def fails(worker: Any, _fields: Mapping[str, Any]) -> None:
    """A worker that dies when asked."""
    worker.die()
    raise WorkerError(Status.CRASHED, "planted")


def test_participants_share_every_round_and_each_has_its_block(build: Build, backend: Any) -> None:
    """In ms, by launch and round."""
    backend.call_ms = {NHWC.id: 50.0}
    engine = build()
    assert engine.launch(3, PAIR, 4, until=NEVER) == 4
    blocks = engine.blocks["pair"]
    assert {name: set(found) for name, found in blocks.items()} == {
        participant.name: {(3, number) for number in range(4)} for participant in PAIR.participants
    }
    assert blocks["other"][3, 0] == pytest.approx(50.0, rel=0.05)
    assert len(engine.noise) == 4


def test_a_participant_that_fails_costs_itself_only(build: Build, backend: Any) -> None:
    """And is not started again."""
    backend.faults[NHWC.id, "prepare"] = fails
    engine = build()
    assert engine.launch(0, PAIR, 3, until=NEVER) == 3
    assert engine.launch(1, PAIR, 3, until=NEVER) == 3
    assert set(engine.failures) == {"other"}
    assert set(engine.blocks["pair"]) == {"base", "base#control"}
    assert [name for name, _, _ in backend.started].count(NHWC.id) == 1


def test_where_all_are_needed_nothing_is_measured_without_one(build: Build, backend: Any) -> None:
    """Two of three would show nothing."""
    backend.faults[NHWC.id, "prepare"] = fails
    engine = build(needed=True)
    assert engine.launch(0, PAIR, 3, until=NEVER) == 0
    assert engine.blocks.get("pair", {}) == {}


def test_a_worker_that_cannot_start_or_is_refused_says_why(build: Build, backend: Any) -> None:
    """By the launcher, or by the caller once it has prepared."""

    def start(participant: Participant, number: int) -> Any:
        if participant.name == "other":
            raise WorkerError(Status.UNAVAILABLE, "no such backend")
        return backend.launch(participant.scenario, participant.is_control, number)

    engine = build(start=start)
    engine.launch(0, PAIR, 1, until=NEVER)
    assert engine.failures["other"].reason == "no such backend"

    class Refusing(Checks):
        def after_prepare(self, execution: Any) -> None:
            if execution.name == "other":
                raise RefusalError(Status.UNSUPPORTED, "not this part")

    engine = build(checks=Refusing())
    engine.launch(0, PAIR, 1, until=NEVER)
    assert engine.failures["other"].reason == "not this part"


def test_a_worker_whose_greeting_failed_is_ended(build: Build, backend: Any) -> None:
    """It would keep its memory until the experiment ends."""
    backend.greeting_faults["stock"] = WorkerError(Status.UNAVAILABLE, "no such backend")
    assert build().launch(0, PAIR, 1, until=NEVER) == 0
    assert len(backend.started) == 1
    assert not backend.alive


def test_participants_of_one_process_take_turns_in_it(build: Build, backend: Any) -> None:
    """Group after group, until they are ended."""
    later = Group(name="later", participants=(replace(BASE, name="again", worker="base"),))
    engine = build()
    engine.launch(0, PAIR, 1, until=NEVER)
    engine.launch(0, later, 1, until=NEVER)
    assert len(backend.started) == 3
    engine.end()
    assert not backend.alive
    engine.launch(1, later, 1, until=NEVER)
    assert len(backend.started) == 4


def test_rounds_end_in_time_but_not_before_the_least(build: Build, backend: Any) -> None:
    """The time is over when the workers are ready."""
    assert build().launch(0, PAIR, 50, until=backend.clock()) == 0
    assert build().launch(0, PAIR, 50, until=backend.clock(), at_least=3) == 3


def test_conditions_are_compared_with_the_bases(build: Build, backend: Any) -> None:
    """Unless the participant is there for that difference."""
    unlike = {"conditions": {"threads": 1, "allocator": "glibc"}}
    backend.faults[NHWC.id, "conditions"] = lambda *_: unlike
    engine = build()
    engine.launch(0, PAIR, 1, until=NEVER)
    assert "threads" in engine.differences["other"][0]
    allowed = replace(OTHER, details={"differs": ("threads", "openmp")})
    engine = build()
    engine.launch(0, Group(name="pair", participants=(BASE, allowed)), 1, until=NEVER)
    assert engine.differences == {}


def test_a_cpu_taken_away_in_the_rounds_is_found(build: Build, backend: Any) -> None:
    """Conditions are read before and after."""
    reads = iter([[0, 1], [0]])

    def conditions(*_: Any) -> dict[str, Any]:
        return {"conditions": {"threads": 2, "affinity": next(reads)}}

    backend.faults[NHWC.id, "conditions"] = conditions
    engine = build()
    alone = Group(name="alone", participants=(replace(OTHER, base=""),))
    engine.launch(0, alone, 1, until=NEVER)
    assert "changed while it was measured" in engine.differences["other"][0]


@pytest.mark.parametrize("op", ["prepare", "call"])
def test_an_interrupt_waits_for_no_worker(build: Build, backend: Any, op: str) -> None:
    """From the second launch on they prepare and make first calls side by side, in threads."""
    patient: list[str] = []

    def hang(worker: Any, _fields: Mapping[str, Any]) -> None:
        if worker.number <= len(PAIR.participants):
            return  # of the first launch
        if worker.name == NHWC.id:
            os.kill(os.getpid(), signal.SIGINT)
        for _ in range(1000):
            if not worker.alive:
                raise WorkerError(Status.CRASHED, "killed by SIGKILL")
            time.sleep(0.01)
        patient.append(worker.name)

    backend.faults |= {(STOCK.id, op): hang, (NHWC.id, op): hang}
    engine = build(at_once=2)
    engine.launch(0, PAIR, 1, until=NEVER)
    engine.end()
    with pytest.raises(KeyboardInterrupt):
        engine.launch(1, PAIR, 1, until=NEVER)
    assert not backend.alive
    assert patient == []


def test_a_turn_of_the_callers_own_is_what_a_block_takes(build: Build) -> None:
    """Whatever it measures."""
    engine = build(
        turn=lambda execution, round_number, _: 10.0 * len(execution.name) + round_number
    )
    engine.launch(0, PAIR, 2, until=NEVER)
    assert engine.blocks["pair"]["base"] == {(0, 0): 40.0, (0, 1): 41.0}


def test_every_turn_ends_with_a_rest(build: Build, backend: Any) -> None:
    """After the first call, the warm-up and each block, so that one worker holds its heap at once.

    A worker of an older commit does not know the request, and is measured as any other.
    """

    def unknown(_worker: Any, _fields: Mapping[str, Any]) -> None:
        raise WorkerError(Status.CRASHED, "unknown operation 'rest'")

    backend.faults[NHWC.id, "rest"] = unknown
    engine = build()
    assert engine.launch(0, PAIR, 4, until=NEVER) == 4
    assert backend.asked[NHWC.id, "rest"] == 1 + 1 + 4
    assert backend.asked[STOCK.id, "rest"] == 2 * (1 + 1 + 4)  # its control's, too
    assert len(engine.blocks["pair"]["other"]) == 4
    assert not engine.failures


@pytest.mark.parametrize(
    ("call_ms", "discards"),
    [
        ((120.0, 900.0), (1, 0)),  # a cold start is a tenth of the first, nothing of the second
        ((120.0, 130.0), (1, 1)),
        ((490.0, 510.0), (1, 1)),  # about as fast: whoever is compared closely is treated alike
        ((490.0, 700.0), (1, 0)),
        ((600.0, 900.0), (0, 0)),
    ],
)
def test_short_calls_are_measured_without_their_cold_start(
    build: Build, backend: Any, call_ms: tuple[float, float], discards: tuple[int, int]
) -> None:
    """Each block's first call is then a warm-up; two about as fast discard it alike."""
    backend.call_ms = dict(zip((NHWC.id, STOCK.id), call_ms, strict=True))
    rows: list[IterationRow] = []
    build(record_call=rows.append).launch(0, PAIR, 2, until=NEVER)
    in_rounds = [row for row in rows if row.round is not None]
    for name, expected in zip(("other", "base"), discards, strict=True):
        found = [row for row in in_rounds if row.scenario == name]
        assert len(found) > 0
        assert sum(row.phase == "warmup" for row in found) == 2 * expected


def test_a_participant_that_never_settles_is_measured_and_noted(build: Build, backend: Any) -> None:
    """As in a run."""
    backend.spread = 0.3
    rule = replace(DEFAULT.steady_state, max_calls=4)
    events: list[Event] = []
    engine = build(policy=replace(DEFAULT, steady_state=rule), record_event=events.append)
    assert engine.launch(0, PAIR, 1, until=NEVER) == 1
    kinds = {(event.kind, event.subject, event.launch) for event in events}
    assert (EventKind.NO_STEADY_STATE, "base", 0) in kinds
