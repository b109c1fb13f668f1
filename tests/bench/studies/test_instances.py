"""N workers with M cores each: configurations, placement, throughput."""

from __future__ import annotations

from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING, Any

import pytest

from bench.errors import UsageError, WorkerError
from bench.plan.profiles import PROFILES
from bench.plan.scenario import Status
from bench.plan.thresholds import DEFAULT
from bench.studies import instances
from bench.studies.instances import InstanceRow
from bench.studies.measured import Measured
from bench.studies.parallel_workers import Instances
from bench.studies.study_folder import StudyRequest

if TYPE_CHECKING:
    from collections.abc import Mapping

ASKED = StudyRequest(profile=PROFILES["smoke"], results=None)  # type: ignore[arg-type] # unused


def test_configurations_split_all_cores_and_scale_one_process() -> None:
    """Every split in halves, and one process with fewer cores."""
    assert instances.configurations(8) == [
        (1, 8),
        (2, 4),
        (4, 2),
        (8, 1),
        (1, 4),
        (1, 2),
        (1, 1),
    ]
    assert instances.configurations(1) == [(1, 1)]


def test_no_core_is_given_twice() -> None:
    """Each instance has consecutive ones of its own."""
    assert instances.split((0, 2, 4, 6), 2, 2) == [(0, 2), (4, 6)]
    assert instances.split((0, 2, 4, 6), 1, 3) == [(0, 2, 4)]


@pytest.mark.parametrize("asked", ["2", "2x", "x2", "0x2", "2x0", "axb", "-1x2"])
def test_a_wrong_configuration_is_named(asked: str) -> None:
    """With the form that is meant."""
    with pytest.raises(UsageError, match="is not INSTANCESxCORES"):
        instances.parse([asked], 8)


def test_a_configuration_that_is_named_twice_is_measured_once() -> None:
    """In the order in which they were named."""
    assert instances.parse(["2x1", "1x2", "02x1"], 2) == [(2, 1), (1, 2)]


def test_a_configuration_needs_its_cores() -> None:
    """More threads than cores would be measured as if they were speed."""
    with pytest.raises(UsageError, match="4x4 needs 16 cores, and 8 of"):
        instances.parse(["4x4"], 8)


def test_each_configuration_is_measured_beside_stock_default_on_all_cores() -> None:
    """Which stands in every group with its control, and in no group twice."""
    groups = instances.groups(ASKED, [(1, 2), (2, 1)], 2, 1)
    assert [group.name for group in groups] == ["1x2", "2x1"]
    for group in groups:
        names = [participant.name for participant in group.participants]
        assert names[:2] == ["stock-default/1x2", "stock-default/1x2#control"]
        assert len(set(names)) == len(names)
        assert all(participant.base == names[0] for participant in group.participants[1:])


def test_two_instances_do_twice_the_work_of_one(bench: Any) -> None:
    """What all of them finished while all were at work, over stock default with all cores."""

    def answer(participant: str, _: Mapping[str, Any]) -> dict[str, Any]:
        count = int(participant.removesuffix("#control").rsplit("/", 1)[1].split("x")[0])
        spans = [[(n * 100, (n + 1) * 100) for n in range(20)] for _ in range(count)]
        bench.clock.spend_ms(2000)
        return {
            "instances": [
                {"start_ns": [s * 10**6 for s, _ in one], "end_ns": [e * 10**6 for _, e in one]}
                for one in spans
            ]
        }

    bench.answers = {"call_for": answer}
    rows: list[InstanceRow] = []
    study = bench.study(
        instances.groups(ASKED, [(2, 1)], 2, 1), instances.turn_of("run", 2.0, rows.append)
    )
    study.keep_workers = False
    study.measure()
    page = instances.page(rows, Measured(noise=study.measured.noise), DEFAULT)
    assert "20.0 images per second" in page.lead[0]
    assert "2.00" in page.lead[0]
    assert "2x1" in page.lead[0]


def test_a_configuration_that_failed_keeps_its_row_with_the_reason() -> None:
    """As a scenario of a run does."""
    error = WorkerError(Status.OUT_OF_MEMORY, "killed by the kernel for memory")
    page = instances.page([], Measured(failures={"stock-default/8x1": error}), DEFAULT)
    (row,) = page.tables[0].rows
    assert row.cells[-1].text == "out_of_memory"
    assert "killed by the kernel" in row.cells[-1].note


def blocks(name: str, ms: float, launches: int) -> list[InstanceRow]:
    """Four blocks a launch of a configuration in the group of two processes with a core each."""
    count, cores = name.removesuffix("#control").rsplit("/", 1)[1].split("x")
    return [
        InstanceRow(
            run_id="run",
            participant=name,
            group="2x1",
            base="" if name == "stock-default/1x2" else "stock-default/1x2",
            launch=launch,
            round=turn,
            position=0,
            instances=int(count),
            cores=int(cores),
            batch_size=1,
            calls=20,
            ms_per_call=ms * (1 + 0.001 * ((launch * 7 + turn * 3) % 5)),
            images_per_s=1000 / ms,
        )
        for launch in range(launches)
        for turn in range(4)
    ]


@pytest.mark.parametrize("is_refuted", [False, True])
def test_a_configuration_that_failed_later_does_not_lead(is_refuted: bool) -> None:
    """Killed in the second launch, or refuted: its reason stands beside what it showed before."""
    whole, pair, reason = "stock-default/1x2", "stock-default/2x1", "killed for memory in launch 2"
    rows = [
        *blocks(whole, 160.0, 2),
        *blocks(f"{whole}#control", 160.0, 2),
        *blocks(pair, 120.0, 2 if is_refuted else 1),
    ]
    measured = Measured()
    if is_refuted:
        measured.contradictions[pair] = reason
    else:
        measured.failures[pair] = WorkerError(Status.OUT_OF_MEMORY, reason)
    page = instances.page(rows, measured, DEFAULT)
    assert [sentence.split(":")[0] for sentence in page.lead] == [whole, pair]
    assert reason in page.lead[1]
    shown = page.tables[0].rows[1].cells[-1]
    assert shown.text == ("ok" if is_refuted else "out_of_memory")
    assert reason in shown.note


@dataclass
class Process:
    """A worker that remembers in which order it was talked to."""

    name: str
    log: list[str]
    reply: dict[str, Any] = field(default_factory=dict)
    error: WorkerError | None = None
    alive: bool = True
    pid: int = 1

    def greet(self, timeout_s: float) -> dict[str, Any]:
        return {"ok": True, "hello": {"name": self.name}}

    def send(self, op: str, **_: object) -> None:
        self.log.append(f"send {op} {self.name}")

    def receive(self, op: str, timeout_s: float) -> dict[str, Any]:
        self.log.append(f"receive {op} {self.name}")
        if self.error:
            raise self.error
        return self.reply

    def ask(self, op: str, timeout_s: float, **fields: object) -> dict[str, Any]:
        self.send(op, **fields)
        return self.receive(op, timeout_s)

    def stop(self) -> None:
        self.alive = False


def test_instances_are_all_asked_before_any_is_waited_for() -> None:
    """Else they would run one after the other."""
    log: list[str] = []
    pair = Instances(workers=[Process("a", log, {"x": 1}), Process("b", log, {"x": 2})])
    reply = pair.ask("call_for", 1.0, seconds=1)
    assert log == ["send call_for a", "send call_for b", "receive call_for a", "receive call_for b"]
    assert [one["x"] for one in reply["instances"]] == [1, 2]


def test_the_probe_and_the_conditions_are_asked_of_one() -> None:
    """Two probes at once would measure each other."""
    log: list[str] = []
    pair = Instances(workers=[Process("a", log), Process("b", log)])
    pair.ask("probe", 1.0)
    assert log == ["send probe a", "receive probe a"]


def test_timed_calls_of_instances_are_the_slowest_ones() -> None:
    """Warming up is over when all are warm."""
    one = {"wall_ns": [10, 40], "cpu_ns": [5, 5], "invalid": None}
    two = {"wall_ns": [20, 30], "cpu_ns": [5, 6], "invalid": "recompiled"}
    pair = Instances(workers=[Process("a", [], one), Process("b", [], two)])
    reply = pair.ask("call", 1.0, n=2, phase="warmup")
    assert reply["wall_ns"] == [20, 40]
    assert reply["cpu_ns"] == [10, 11]
    assert reply["invalid"] == "recompiled"


def test_one_instance_that_dies_ends_all() -> None:
    """The rest would go on computing beside whoever is measured next."""
    error = WorkerError(Status.CRASHED, "it died")
    workers = [Process("a", []), Process("b", [], error=error)]
    with pytest.raises(WorkerError, match="it died"):
        Instances(workers=workers).ask("call_for", 1.0, seconds=1)
    assert not any(worker.alive for worker in workers)


OPENVINO = replace(ASKED, backends=("openvino",))
PLAIN = "inference/openvino/"


def test_openvinos_throughput_mode_stands_beside_the_processes() -> None:
    """One process with several cores has it; several processes share requests themselves."""
    groups = instances.groups(OPENVINO, [(1, 4), (2, 2), (1, 1)], 4, 2)
    found = {one.name: one for group in groups for one in group.participants}
    assert [name for name in found if name.startswith("openvino-throughput")] == [
        "openvino-throughput/1x4"
    ]
    scenario = found["openvino-throughput/1x4"].scenario
    assert (scenario.options, scenario.batch_size) == (("requests=16",), 32)
    assert {one.scenario.batch_size for name, one in found.items() if name.startswith(PLAIN)} == {2}
    plain = instances.groups(ASKED, [(1, 4)], 4, 1)
    assert not any("throughput" in one.name for group in plain for one in group.participants)


def test_a_call_of_the_throughput_mode_counts_as_its_requests(bench: Any) -> None:
    """800 ms for eight requests are as fast as 100 ms for one."""

    def answer(participant: str, _: Mapping[str, Any]) -> dict[str, Any]:
        ms = 800 if participant.startswith("openvino-throughput") else 100
        bench.clock.spend_ms(2400)
        starts = range(0, 2400, ms)
        spans = {
            "start_ns": [s * 10**6 for s in starts],
            "end_ns": [(s + ms) * 10**6 for s in starts],
        }
        return {"instances": [spans]}

    bench.answers = {"call_for": answer}
    rows: list[InstanceRow] = []
    groups = instances.groups(OPENVINO, [(1, 2)], 2, 1)
    study = bench.study(groups, instances.turn_of("run", 2.0, rows.append))
    study.measure()
    assert {row.ms_per_call for row in rows} == {100.0}
    assert {row.images_per_s for row in rows} == {10.0}
    assert {row.calls for row in rows} == {24}
    page = instances.page(rows, Measured(noise=study.measured.noise), DEFAULT)
    assert any("openvino-throughput" in remark for remark in page.remarks)
