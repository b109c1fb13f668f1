"""`bench stages`: time images from disk to decisions, and bound what any backend can gain.

Reading, decoding, resizing, copying the map and finding boxes are the same code for every backend.
Only the model call differs, so its share of stock default's time bounds the gain (Amdahl's law).
"""

from __future__ import annotations

import statistics
from collections import defaultdict
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

from bench.analysis.judge import level
from bench.plan.thresholds import STUDIES
from bench.report.table import Cell, Row, Table, number
from bench.store import records
from bench.studies.evidence import EvidenceChecks
from bench.studies.measured import measured_again
from bench.studies.page import CONTROL_REMARK, REASON, Page, speedup_cells, status_cell
from bench.studies.scenarios import STOCK_DEFAULT, Runnable, group
from bench.studies.study_folder import workplace
from bench.text.wording import NOTHING, milliseconds, with_interval

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence
    from pathlib import Path

    from bench.analysis.comparison import Comparison, Ratio
    from bench.engine.execution import Execution
    from bench.engine.participants import Group
    from bench.plan.thresholds import Policy
    from bench.studies.measured import Measured
    from bench.studies.study_folder import StudyRequest

GROUP = "stages/b1"
STAGES = ("read", "decode", "resize", "model", "map", "boxes")
MODEL = "model"


@dataclass(frozen=True, kw_only=True)
class StageRow:
    """One image through one backend, from disk to its decision."""

    run_id: str
    participant: str
    launch: int
    round: int
    position: int
    image: str
    decision: str
    read_ns: int
    decode_ns: int
    resize_ns: int
    model_ns: int
    map_ns: int
    boxes_ns: int

    @property
    def total_ns(self) -> int:
        """From opening the file to the last box."""
        return sum(self.stage_ns(stage) for stage in STAGES)

    def stage_ns(self, stage: str) -> int:
        """Return the time of one stage."""
        return int(getattr(self, f"{stage}_ns"))


def group_of(request: StudyRequest) -> Group:
    """Return the group of the chosen scenarios.

    Raises:
        UsageError: a pattern selects nothing that this study can run.
    """
    return group(GROUP, Runnable(study="stages").chosen(request))


def turn_of(
    run_id: str, images: int, record: Callable[[StageRow], None]
) -> Callable[[Execution, int, int], float]:
    """Return a turn of `images` images; its time is the median image's, from disk to decision."""

    def turn(execution: Execution, round_number: int, position: int) -> float:
        reply = execution.worker.ask(
            "stages", execution.policy.call_timeout_s, first=round_number * images, n=images
        )
        rows = [
            StageRow(
                run_id=run_id,
                participant=execution.name,
                launch=execution.launch,
                round=round_number,
                position=position,
                image=found["image"],
                decision=found["decision"],
                **{f"{stage}_ns": found[stage] for stage in STAGES},
            )
            for found in reply["images"]
        ]
        for row in rows:
            record(row)
        return statistics.median(row.total_ns for row in rows) / 1e6

    return turn


def measure(request: StudyRequest) -> Path:
    """Measure, and return the study's folder.

    Raises:
        UsageError: a pattern selects nothing that this study can run.
        BenchError: it cannot be measured.
    """
    chosen = group_of(request)
    with workplace("stages", request, StageRow) as place:
        turn = turn_of(
            place.run_id, STUDIES.stage_images[request.profile.name], place.writer.append
        )
        study = place.study([chosen], turn)
        study.checks = EvidenceChecks(measured=study.measured)
        with place.finished(study.measured):
            study.measure()
        return place.folder


# ---- what it means -------------------------------------------------------------------------------


def read_page(folder: Path) -> Page:
    """Build the page of a measured study from its folder."""
    rows, _ = records.read_rows(folder / "stages.csv", StageRow)
    measured, policy = measured_again(folder, {GROUP: blocks(rows, total)})
    return page(rows, measured, policy)


def total(row: StageRow) -> float:
    """Return an image's time from disk to decision, in ms."""
    return row.total_ns / 1e6


def model_share(row: StageRow) -> float:
    """Return the model call's share of an image's time."""
    return row.model_ns / row.total_ns


def blocks(
    rows: Sequence[StageRow], value: Callable[[StageRow], float]
) -> dict[str, dict[tuple[int, int], float]]:
    """Return participant -> (launch, round) -> the median image's value."""
    found: dict[str, dict[tuple[int, int], list[float]]] = defaultdict(lambda: defaultdict(list))
    for row in rows:
        found[row.participant][row.launch, row.round].append(value(row))
    return {
        participant: {key: statistics.median(values) for key, values in turns.items()}
        for participant, turns in found.items()
    }


@dataclass(frozen=True, kw_only=True)
class Bound:
    """The most that any backend can gain: the speedup if the model took no time (Amdahl)."""

    share: Ratio
    """The model's share of stock default's time."""

    @property
    def estimate(self) -> float:
        """The bound."""
        return 1 / (1 - self.share.estimate)

    @property
    def low(self) -> float:
        """Its lower end."""
        return 1 / (1 - self.share.low)

    @property
    def high(self) -> float:
        """Its upper end."""
        return 1 / (1 - self.share.high) if self.share.high < 1 else float("inf")


def bound_of(rows: Sequence[StageRow], policy: Policy) -> Bound | None:
    """Return Amdahl's bound, or None without stock default's times.

    The interval of a share ends at one, which that of its logarithm may pass.
    """
    shares = blocks(rows, model_share).get(STOCK_DEFAULT)
    share = level(shares, policy) if shares else None
    return Bound(share=replace(share, high=min(share.high, 1.0))) if share else None


def changed_decisions(rows: Sequence[StageRow]) -> dict[str, int]:
    """Count, by participant, the images whose decision differs from stock default's.

    A turn gives every participant the same images in the same order.
    """
    turns: dict[tuple[str, int, int], list[StageRow]] = defaultdict(list)
    for row in rows:
        turns[row.participant, row.launch, row.round].append(row)
    changed: dict[str, set[str]] = defaultdict(set)
    for (participant, launch, round_number), own in turns.items():
        default = turns.get((STOCK_DEFAULT, launch, round_number), ())
        pairs = zip(default, own, strict=False)  # a turn that was cut has fewer
        changed[participant] |= {row.image for base, row in pairs if row.decision != base.decision}
    return {participant: len(images) for participant, images in changed.items() if images}


_REMARK = (
    "One image at a time, files in the page cache. The model call makes the heat map too; "
    "the stage `map` only copies it. Batches and reading ahead, which `pillqc inspect` "
    "does, hide part of reading and decoding behind the model."
)


def page(rows: Sequence[StageRow], measured: Measured, policy: Policy) -> Page:
    """Build the study's page."""
    found = dict.fromkeys([*(row.participant for row in rows), *measured.failures])
    opened = filter(found.__contains__, measured.workers)  # stock default first
    participants = list(dict.fromkeys([*opened, *found]))
    judge = measured.judge(policy)
    compared = {
        participant: judge.compare(participant, STOCK_DEFAULT, group=GROUP)
        for participant in participants
        if participant != STOCK_DEFAULT
    }
    return Page(
        title="From disk to decision: where the time goes, and what a backend can change",
        lead=tuple(_lead(rows, compared, policy)),
        tables=(
            _table(participants, rows, measured, compared, policy),
            _stage_table(participants, rows),
        ),
        remarks=(_REMARK, CONTROL_REMARK),
    )


def _lead(rows: Sequence[StageRow], compared: dict[str, Comparison], policy: Policy) -> list[str]:
    bound = bound_of(rows, policy)
    if bound is None:
        return ["Stock default was not measured, so there is nothing to divide by."]
    share = bound.share
    first = (
        f"The model takes {_share(share.estimate)} [{_share(share.low)}, {_share(share.high)}] "
        "of stock default's time from disk to decision. No backend changes the rest, so none can "
        f"gain more than {with_interval(bound)} from end to end."
    )
    sentences = [first]
    sentences += [
        f"{participant}: {with_interval(one.ratio)} from end to end over stock default, "
        f"{one.verdict}."
        for participant, one in compared.items()
        if one.ratio and not participant.endswith("#control")
    ]
    return sentences


def _share(share: float) -> str:
    """Format a share of time to a tenth of a percent."""
    return f"{100 * share:.1f} %"


def _table(
    participants: Sequence[str],
    rows: Sequence[StageRow],
    measured: Measured,
    compared: dict[str, Comparison],
    policy: Policy,
) -> Table:
    whole = blocks(rows, total)
    changed = changed_decisions(rows)
    made = []
    for participant in participants:
        own = level(whole[participant], policy) if participant in whole else None
        one = compared.get(participant)
        differ = changed.get(participant, 0)
        ms = own.estimate if own else None
        made.append(
            Row(
                cells=(
                    Cell(text=participant),
                    number(milliseconds(ms), ms),
                    *speedup_cells(one),
                    number(str(differ) if own else NOTHING, differ),
                    status_cell(measured.failures.get(participant), one),
                )
            )
        )
    return Table(
        name="end-to-end",
        caption="One image from disk to its decision. Above 1 is faster than stock default.",
        columns=(
            "Scenario",
            "Median image",
            "Over stock default",
            "Verdict",
            "Decisions changed",
            REASON,
        ),
        rows=tuple(made),
        numeric=(1, 2, 4),
    )


def _stage_table(participants: Sequence[str], rows: Sequence[StageRow]) -> Table:
    """Build the table of each stage's median and its share of their sum."""
    made = []
    for participant in participants:
        own = [row for row in rows if row.participant == participant]
        if not own:
            continue
        medians = {
            stage: statistics.median(row.stage_ns(stage) for row in own) / 1e6 for stage in STAGES
        }
        whole = sum(medians.values())
        cells = [
            number(milliseconds(ms), ms, _share(ms / whole) if whole else "")
            for ms in medians.values()
        ]
        made.append(Row(cells=(Cell(text=participant), *cells)))
    return Table(
        name="stages",
        caption="Median of each stage, with its share.",
        columns=("Scenario", *(stage.capitalize() for stage in STAGES)),
        rows=tuple(made),
        numeric=tuple(range(1, len(STAGES) + 1)),
    )
