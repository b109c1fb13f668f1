"""`bench instances`: measure the throughput of N workers with M cores each.

Every instance is a process bound to its own consecutive physical cores, one thread each, as
`torch.backends.xeon.run_cpu` places them. In a block all instances of a configuration run at once;
only the time in which all of them work counts.
"""

from __future__ import annotations

from collections import defaultdict
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

from bench.analysis.judge import Judge, level
from bench.engine.participants import Group, Participant, control_of
from bench.errors import UsageError, WorkerError
from bench.machine import worker_settings
from bench.plan.scenario import CONTROL_SUFFIX, REQUESTS, Dtype, Status, Verdict, requests_of
from bench.plan.thresholds import STUDIES
from bench.report.table import Cell, Row, Table, number
from bench.store import records
from bench.studies.evidence import EvidenceChecks
from bench.studies.measured import measured_again
from bench.studies.page import REASON, Page, speedup_cells, status_cell
from bench.studies.parallel_workers import Instances
from bench.studies.scenarios import STOCK_DEFAULT, Runnable
from bench.studies.study_folder import workplace
from bench.text.wording import NOTHING, digits, with_interval
from bench.worker import arrivals

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence
    from pathlib import Path

    from bench.engine.execution import Execution
    from bench.engine.worker_process import WorkerHandle
    from bench.plan.scenario import Scenario
    from bench.plan.thresholds import Policy
    from bench.studies.measured import Measured
    from bench.studies.study_folder import Place, StudyRequest

THROUGHPUT = "openvino-throughput"
"""The way that runs OpenVINO in its throughput mode."""
PLACED = ("threads", "affinity", "OMP_NUM_THREADS", "MKL_NUM_THREADS")
"""Conditions that differ between configurations on purpose."""


@dataclass(frozen=True, kw_only=True)
class InstanceRow:
    """One block of one configuration: all its instances at once."""

    run_id: str
    participant: str
    group: str
    base: str
    launch: int
    round: int
    position: int
    instances: int
    cores: int
    """Of each instance."""
    batch_size: int
    calls: int
    """Of all instances, whole ones."""
    ms_per_call: float
    """Of all instances together, while all of them were at work."""
    images_per_s: float


def configurations(cores: int) -> list[tuple[int, int]]:
    """Return (instances, cores each): one with all, halves down to one, then one with fewer."""
    side_by_side, scaling = [], []
    each = cores
    while each >= 1:
        side_by_side.append((cores // each, each))
        if each != cores:
            scaling.append((1, each))
        each //= 2
    return list(dict.fromkeys((*side_by_side, *scaling)))


def parse(given: Sequence[str], cores: int) -> list[tuple[int, int]]:
    """Parse `NxM` of each `--config`; none means all that fit.

    Raises:
        UsageError: one is not of that form, or needs more cores than there are.
    """
    chosen = []
    for text in given:
        left, _, right = text.partition("x")
        if not (left.isdecimal() and right.isdecimal() and int(left) and int(right)):
            raise UsageError(f"--config {text!r} is not INSTANCESxCORES, e.g. 2x4")
        if int(left) * int(right) > cores:
            raise UsageError(
                f"--config {text} needs {int(left) * int(right)} cores, and {cores} of one node can"
                " be used here: give fewer"
            )
        chosen.append((int(left), int(right)))
    return list(dict.fromkeys(chosen)) or configurations(cores)


def split(cpus: tuple[int, ...], instances: int, cores: int) -> list[tuple[int, ...]]:
    """Return the CPUs of each instance: consecutive, none twice."""
    return [cpus[number * cores : (number + 1) * cores] for number in range(instances)]


def groups(
    request: StudyRequest, configs: Sequence[tuple[int, int]], cores: int, batch_size: int
) -> list[Group]:
    """Return a group for each configuration: the scenarios in it, and stock default on all cores.

    Raises:
        UsageError: a pattern selects nothing that this study can run.
    """
    chosen = Runnable(study="instances", batch_size=batch_size).chosen(request)
    found = []
    for instances, each in configs:
        group = f"{instances}x{each}"
        whole = _participant(STOCK_DEFAULT, chosen[STOCK_DEFAULT], 1, cores, group)
        here = {**chosen, **_throughput_mode(chosen, instances, each)}
        participants = [
            _participant(name, scenario, instances, each, group, whole.name)
            for name, scenario in here.items()
            if (name, instances, each) != (STOCK_DEFAULT, 1, cores)
        ]
        found.append(Group(name=group, participants=(whole, control_of(whole), *participants)))
    return found


def _throughput_mode(
    chosen: dict[str, Scenario], instances: int, cores: int
) -> dict[str, Scenario]:
    """Return OpenVINO's own way of having instances: streams in one process of several cores."""
    ways = (one for one in chosen.values() if one.backend == "openvino")
    way = next((one for one in ways if one.dtype is Dtype.FP32), None)
    if way is None or instances > 1 or cores < 2:
        return {}
    requests = STUDIES.requests_per_core * cores
    together = replace(
        way, batch_size=requests * way.batch_size, options=(f"{REQUESTS}={requests}",)
    )
    return {THROUGHPUT: together}


def _participant(
    name: str, scenario: Scenario, instances: int, cores: int, group: str, base: str = ""
) -> Participant:
    full = f"{name}/{instances}x{cores}"
    details = {"group": group, "instances": instances, "cores": cores, "differs": PLACED}
    return Participant(name=full, scenario=scenario, worker=full, base=base, details=details)


def launcher(place: Place) -> Callable[[Participant, int], WorkerHandle]:
    """Return the function that starts the instances of a participant."""

    def launch(participant: Participant, number: int) -> WorkerHandle:
        count, cores = participant.details["instances"], participant.details["cores"]
        return Instances(
            workers=[
                place.start(participant, number, cpus, f"-{index + 1}")  # type: ignore[misc] # processes
                for index, cpus in enumerate(split(place.cpus, count, cores))
            ]
        )

    return launch


def turn_of(
    run_id: str, seconds: float, record: Callable[[InstanceRow], None]
) -> Callable[[Execution, int, int], float]:
    """Return a turn: all instances at once for `seconds`; its time is that of one call of all.

    A call of the throughput mode counts as its requests, so that times are of equal batches.
    """

    def turn(execution: Execution, round_number: int, position: int) -> float:
        reply = execution.worker.ask(
            "call_for", execution.policy.call_timeout_s + seconds, seconds=seconds
        )
        spans = [
            list(zip(one["start_ns"], one["end_ns"], strict=True)) for one in reply["instances"]
        ]
        per_call = arrivals.ms_per_call(spans)
        if per_call is None:
            raise WorkerError(Status.CRASHED, "the instances were never at work at the same time")
        requests = requests_of(execution.scenario) or 1
        details = execution.participant.details
        each, size = per_call / requests, execution.scenario.batch_size // requests
        record(
            InstanceRow(
                run_id=run_id,
                participant=execution.name,
                group=details["group"],
                base=execution.participant.base,
                launch=execution.launch,
                round=round_number,
                position=position,
                instances=details["instances"],
                cores=details["cores"],
                batch_size=size,
                calls=requests * sum(map(len, spans)),
                ms_per_call=each,
                images_per_s=1000 * size / each,
            )
        )
        return each

    return turn


def measure(config: Sequence[str], batch_size: int, request: StudyRequest) -> Path:
    """Measure, and return the study's folder.

    Raises:
        UsageError: a configuration does not fit, or a pattern selects nothing.
        BenchError: it cannot be measured.
    """
    cores = len(worker_settings.chosen_cpus(request.threads))
    found = groups(request, parse(config, cores), cores, batch_size)
    with workplace("instances", request, InstanceRow) as place:
        turn = turn_of(place.run_id, STUDIES.instances_block_s, place.writer.append)
        study = place.study(found, turn)
        study.checks = EvidenceChecks(measured=study.measured)
        study.launch = launcher(place)
        study.keep_workers = False
        with place.finished(study.measured):
            study.measure()
        return place.folder


# ---- what it means -------------------------------------------------------------------------------


def read_page(folder: Path) -> Page:
    """Build the page of a measured study from its folder."""
    rows, _ = records.read_rows(folder / "instances.csv", InstanceRow)
    measured, policy = measured_again(folder, {})
    return page(rows, measured, policy)


def blocks(
    rows: Sequence[InstanceRow],
) -> dict[str, dict[str, dict[tuple[int, int], float]]]:
    """Group -> participant -> (launch, round) -> ms of one call of all instances."""
    found: dict[str, dict[str, dict[tuple[int, int], float]]] = defaultdict(
        lambda: defaultdict(dict)
    )
    for row in rows:
        found[row.group][row.participant][row.launch, row.round] = row.ms_per_call
    return found


_REMARK = (
    "NxM is N processes with M cores each, every one bound to its own. 1xM with fewer "
    "cores than there are is how one process scales, the other cores idle. More instances "
    "cost more memory, and each answers more slowly: see `bench load` for latency."
)
_STREAMS_REMARK = (
    f"{THROUGHPUT} is one process in which OpenVINO shares the requests of a call among streams of "
    "its own, as N processes share requests among themselves. A call waits for all of them."
)


def page(rows: Sequence[InstanceRow], measured: Measured, policy: Policy) -> Page:
    """Build the study's page."""
    made: list[_Made] = []
    by_group = blocks(rows)
    shown: set[str] = set()
    measured.groups = by_group
    judge = measured.judge(policy)
    for group, participants in by_group.items():
        for participant in participants:
            if participant in shown or participant.endswith(CONTROL_SUFFIX):
                continue
            shown.add(participant)
            error = measured.failures.get(participant)
            made.append(_row(participant, group, rows, judge, error))
    for participant, error in measured.failures.items():
        if participant not in shown:
            cells = (Cell(text=participant), *[Cell(text=NOTHING)] * 4)
            row = Row(cells=(*cells, status_cell(error)))
            sentence = f"{participant}: {error.reason}."
            made.append(_Made(rate=0.0, is_sound=False, sentence=sentence, row=row))
    best = sorted(made, key=lambda one: (not one.is_sound, -one.rate))
    return Page(
        title="Instances: N workers with M cores each",
        lead=tuple(one.sentence for one in best[:3]) or ("Nothing was measured.",),
        tables=(
            Table(
                name="instances",
                caption="Images per second of all instances together. Above 1 is more than stock "
                "default in one process with all cores, measured in the same rounds.",
                columns=(
                    "Scenario and configuration",
                    "Images per second",
                    "Images per second and core",
                    "Over stock default on all cores",
                    "Verdict",
                    REASON,
                ),
                rows=tuple(one.row for one in best),
                numeric=(1, 2, 3),
            ),
        ),
        remarks=(
            _REMARK,
            *([_STREAMS_REMARK] if any(THROUGHPUT in name for name in shown) else []),
        ),
    )


@dataclass(frozen=True, kw_only=True)
class _Made:
    """What the page says of one participant."""

    rate: float
    is_sound: bool
    """Whether it worked to the end and nothing refutes it; only such figures lead."""
    sentence: str
    row: Row


def _row(
    participant: str,
    group: str,
    rows: Sequence[InstanceRow],
    judge: Judge,
    error: WorkerError | None,
) -> _Made:
    own = next(row for row in rows if row.participant == participant)
    each = level(judge.measurements.groups[group][participant], judge.policy)
    rate = 1000 * own.batch_size / each.estimate if each else 0.0
    compared = judge.compare(participant, own.base, group=group) if own.base else None
    ratio = compared.ratio if compared else None
    beside, why = "", error.reason if error else None
    if compared and ratio:
        beside = f", {with_interval(ratio)} of stock default on all cores ({compared.verdict})"
    if compared and compared.verdict is Verdict.INVALID:
        why = why or compared.reason
    cores = own.instances * own.cores
    return _Made(
        rate=rate,
        is_sound=why is None,
        sentence=f"{participant}: {digits(rate)} images per second{beside}"
        + (f"; {why}." if why else "."),
        row=Row(
            cells=(
                Cell(text=participant, note=f"batch {own.batch_size}"),
                number(digits(rate), rate),
                number(digits(rate / cores), rate / cores),
                *speedup_cells(compared),
                status_cell(error, compared),
            )
        ),
    )
