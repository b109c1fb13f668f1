"""The experiment on processes, on scripted workers: order, planted variances, refusals."""

from __future__ import annotations

import json
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING, Any

import numpy as np
import pytest

from bench.engine.execution import Block, Execution
from bench.engine.worker_process import LOG
from bench.errors import WorkerError
from bench.plan.scenario import Dtype, Mode, Status
from bench.selfcheck.check import Selfcheck
from bench.selfcheck.processes import FULL, QUICK, Design, Processes, scenarios_for

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping
    from pathlib import Path

    from bench.plan.scenario import Scenario

    Build = Callable[..., Processes]

pytestmark = pytest.mark.usefixtures("quiet_machine")

SMALL = replace(QUICK, heaps=3, forks=3)
STOCK, SCRIPT, IPEX_SCRIPT, IPEX = scenarios_for(native_bf16=True)


@dataclass
class Script:
    """What happened in order, and by how much each level makes calls longer."""

    backend: Any
    events: list[tuple[str, str]] = field(default_factory=list)
    draws: np.random.Generator = field(default_factory=lambda: np.random.default_rng(2))
    exec_sd: float = 0.0
    prepare_sd: float = 0.0
    drift: float = 0.0
    """Of the whole machine, over minutes."""

    def begin(self, kind: str, scenario: Scenario, level: float | None = None) -> Any:
        """A worker, or a zygote, whose calls take its own level."""
        self.events.append((kind, scenario.id))
        worker = self.backend.launch(scenario, False, 0)
        own = self.draws.normal(0, self.exec_sd) if level is None else level
        worker.levels = [own, 0.0]
        ask = worker.ask

        def asked(op: str, timeout_s: float, **fields: Any) -> dict[str, Any]:
            if op in ("prepare", "renew", "call"):
                self.events.append((op, scenario.id))
            if op == "prepare":
                worker.levels[1] = self.draws.normal(0, self.prepare_sd)
            reply: dict[str, Any] = ask(op, timeout_s, **fields)
            if op == "call":
                drift = self.drift * np.sin(self.backend.clock() / 60)
                factor = np.exp(sum(worker.levels) + drift)
                reply["wall_ns"] = [int(ns * factor) for ns in reply["wall_ns"]]
            return reply

        worker.ask = asked
        return worker


@pytest.fixture
def script(backend: Any) -> Script:
    """Scripted workers without any level of their own."""
    return Script(backend)


@pytest.fixture
def build(script: Script, tmp_path: Path) -> Build:
    """The experiment on scripted workers; keywords replace its parts."""

    def make(**changes: Any) -> Processes:
        fields: dict[str, Any] = {
            "start": lambda scenario: script.begin("exec", scenario),
            "zygote": lambda scenario: script.begin("zygote", scenario),
            "fork": lambda zygote: script.begin("fork", zygote.key, zygote.levels[0]),
            "folder": tmp_path,
            "scenarios": scenarios_for(native_bf16=True),
            "design": SMALL,
            "clock": script.backend.clock,
        }
        return Processes(**{**fields, **changes})

    return make


def measured(processes: Processes, replicates: int) -> dict[str, Any]:
    """The JSON after so many replicates, as a script reads it."""
    for number in range(replicates):
        processes.replicate(str(number))
    processes.end()
    found: dict[str, Any] = json.loads(json.dumps(processes.result.json()))
    return found


def test_each_level_is_renewed_within_the_one_above(build: Build, script: Script) -> None:
    """Each: exec, (prepare, blocks, (renew, blocks) ...) ..., then zygote and forks."""
    processes = build()
    processes.replicate("0")
    begun = len(script.events)
    processes.replicate("1")
    ops = [
        op for op, participant in script.events[begun:] if participant == IPEX.id and op != "call"
    ]
    prepared = ["prepare", "renew", "renew"]
    assert ops == ["exec", *prepared, *prepared, "zygote", *["fork", "prepare"] * 3]
    calls = [participant for op, participant in script.events[begun:] if op == "call"]
    warming = 3 * (2 + 3)  # first call and two more, of each preparation
    assert calls.count(IPEX.id) == warming + 2 * 3 * 2 + 3 * 2
    processes.end()
    assert not script.backend.alive


def test_orders_are_balanced(build: Build, monkeypatch: pytest.MonkeyPatch) -> None:
    """In a cycle of five each is at every place equally often, the reference too."""
    processes = build(design=replace(SMALL, prepares=5, heaps=2, blocks=3))
    turns: list[str] = []
    run_block = Execution.run_block

    def noted(execution: Execution, *arguments: Any, **options: Any) -> Block:
        turns.append(execution.name)
        return run_block(execution, *arguments, **options)

    monkeypatch.setattr(Execution, "run_block", noted)
    processes.replicate("0")
    processes.end()
    cycle = [tuple(turns[first : first + 5]) for first in range(0, 50, 5)]
    assert {len(set(order)) for order in cycle} == {5}
    for place in range(5):
        at_place = [order[place] for order in cycle]
        assert {at_place.count(name) for name in cycle[0]} == {2}
    assert f"{STOCK.id}#control" in cycle[0]


def test_preparing_again_misses_what_processes_differ_by(build: Build, script: Script) -> None:
    """A zygote's forks share its level, so they miss it too; both are refused."""
    script.exec_sd = 0.03
    found = measured(build(), 4)["pooled"]
    assert found["components"]["exec"]["estimate"] == pytest.approx(0.03**2, rel=0.6)
    assert found["components"]["prepare"]["estimate"] < 0.003**2
    assert found["components"]["zygote"]["estimate"] == pytest.approx(0.03**2, rel=0.6)
    assert {level for level, one in found["misses"].items() if one["accepted"]} == set()


def test_what_preparations_differ_by_is_seen_above_heaps(build: Build, script: Script) -> None:
    """Then a fresh process is not needed for it."""
    script.prepare_sd = 0.03
    design = replace(QUICK, prepares=8, forks=8)
    found = measured(build(design=design), 6)["pooled"]
    accepted = {level: one["accepted"] for level, one in found["misses"].items()}
    assert accepted == {"prepare": True, "fork": True, "heap": False}
    assert found["components"]["fork"]["estimate"] == pytest.approx(0.03**2, rel=0.5)
    assert found["whole"]["estimate"] == pytest.approx(0.03**2, rel=0.5)


def test_what_the_machine_does_to_all_cancels(build: Build, script: Script) -> None:
    """A reference worker in every round shows it; a tenth of drift is no tenth of variance."""
    script.drift = 0.1
    found = measured(build(design=QUICK), 3)["pooled"]
    assert found["components"]["exec"]["estimate"] < 0.003**2
    assert found["components"]["block"]["estimate"] < 0.01**2


@pytest.mark.parametrize(("spoilt", "lost"), [(1, 0), (100, 1)])
def test_a_round_that_lost_a_block_is_made_again(
    build: Build, script: Script, monkeypatch: pytest.MonkeyPatch, spoilt: int, lost: int
) -> None:
    """So that no replicate of minutes is lost for one; not forever."""
    left = {"n": spoilt}
    run_block = Execution.run_block

    def disturbed(participant: Execution, *arguments: Any, **options: Any) -> Block:
        block = run_block(participant, *arguments, **options)
        if participant.name == IPEX.id and left["n"] > 0:
            left["n"] -= 1
            participant.blocks_ms.clear()
        return block

    monkeypatch.setattr(Execution, "run_block", disturbed)
    processes = build()
    found = measured(processes, 1)
    assert (found["replicates"], found["replicates_lost"]) == (1 - lost, lost)


def test_what_renewing_takes_is_reported(build: Build) -> None:
    """On the scripted clock: a second a start, no time a fork but its own greeting."""
    found = measured(build(), 2)["seconds"]
    assert found["exec"] == found["zygote"] == pytest.approx(1.0)
    assert found["heap"] == pytest.approx(0.01)
    assert found["prepare"] == pytest.approx(0.2 + (3 + 1 + 1) * 0.1, rel=0.05)


@pytest.mark.parametrize("fault", ["outputs", "conditions", "fork", "log"])
def test_unsound_forks_are_left_out(
    build: Build, script: Script, tmp_path: Path, fault: str
) -> None:
    """What fresh processes showed stays, and no more forks are made."""
    backend, forked = script.backend, []
    (tmp_path / "stock.log").write_text("what it printed\n")

    def fork(zygote: Any) -> Any:
        if fault == "fork":
            raise WorkerError(Status.UNSUPPORTED, "planted: threads")
        if fault == "log":
            raise WorkerError(Status.CRASHED, f"exit code 3{LOG}stock.log")
        forked.append(script.begin("fork", zygote.key, 0.0))
        return forked[-1]

    def outputs(worker: Any, fields: Mapping[str, Any]) -> None:
        backend.output_offset[IPEX.id] = 0.1 if worker in forked else 0.0

    def conditions(worker: Any, _fields: Mapping[str, Any]) -> dict[str, Any]:
        return {"conditions": {"threads": 1 if worker in forked else 2}}

    if fault == "outputs":
        backend.faults[IPEX.id, "outputs"] = outputs
    if fault == "conditions":
        backend.faults[IPEX.id, "conditions"] = conditions
    found = measured(build(fork=fork), 2)
    why = {"outputs": "other outputs", "conditions": "threads: 2 against 1", "fork": "planted"}
    why["log"] = "what it printed"  # the log goes with the folder
    assert why[fault] in found["forks_refused"]
    assert set(found["pooled"]["misses"]) == {"prepare", "heap"}
    assert found["log_ratios"]["fork"] is None
    assert script.events.count(("zygote", IPEX.id)) == 1
    assert not backend.alive


def test_a_fresh_worker_that_fails_ends_it(build: Build, script: Script) -> None:
    """As in every other part: something is wrong with the machine."""
    calls = {"n": 0}

    def fail(_worker: Any, _fields: Mapping[str, Any]) -> None:
        calls["n"] += 1
        if calls["n"] > 10:
            raise WorkerError(Status.CRASHED, "planted")

    script.backend.faults[SCRIPT.id, "call"] = fail
    processes = build()
    with pytest.raises(WorkerError, match="planted"):
        processes.replicate("0")
    processes.end()
    assert not script.backend.alive


def test_a_participant_without_its_backend_is_left_out(build: Build, script: Script) -> None:
    """IPEX exists for x86-64 alone; stock's participants answer the question there."""
    missing = WorkerError(Status.UNAVAILABLE, "IPEX is not installed")
    script.backend.greeting_faults["ipex"] = missing
    found = measured(build(), 2)
    assert list(found["participants"]) == [STOCK.id, SCRIPT.id]
    assert [f"{one.id} is left out: IPEX is not installed." for one in (IPEX_SCRIPT, IPEX)] == (
        found["notes"]
    )


def test_the_participants_are_stock_and_ipex_eager_and_torchscript() -> None:
    """bf16 where it is native, since emulation would be most of the time."""
    assert [
        (participant.backend, participant.mode) for participant in scenarios_for(native_bf16=False)
    ] == [
        ("stock", Mode.EAGER),
        ("stock", Mode.TORCHSCRIPT),
        ("ipex", Mode.TORCHSCRIPT),
        ("ipex", Mode.EAGER),
    ]
    assert IPEX.dtype is Dtype.BF16
    assert scenarios_for(native_bf16=False)[-1].dtype is Dtype.FP32


def test_a_selfcheck_has_it_as_a_part_that_keeps_its_budget(build: Build, script: Script) -> None:
    """Whole replicates only, with a note of those that did not fit."""

    def run(budget_s: float) -> Selfcheck:
        one = Selfcheck(
            launch=lambda *_: pytest.fail("no other part was asked for"),
            bursts=lambda: pytest.fail("nor bursts"),
            parts=("processes",),
            budget_s=budget_s,
            processes=build(),
            clock=script.backend.clock,
        )
        one.run()
        return one

    whole = run(1e6).result
    assert whole.json()["processes"]["replicates"] == SMALL.execs
    assert "not measured" not in whole.table()
    assert not script.backend.alive
    cut = run(1.0).result
    assert cut.json()["processes"]["replicates"] == 1
    assert cut.notes == ["processes: 1 of 2 replicates fitted into 1 s (--budget raises it)."]
    assert "needs two replicates" in cut.table()


@pytest.mark.parametrize("design", [FULL, QUICK])
def test_each_level_has_two_units_at_least(design: Design) -> None:
    """One shows no variance."""
    assert min(vars(design).values()) >= 2
