"""Make the page of `bench accuracy`: when each scenario reached the target."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING

import numpy as np

from bench.plan.scenario import Status
from bench.plan.thresholds import STUDIES
from bench.report.table import Cell, Row, Table, number
from bench.store import records
from bench.studies.accuracy import AccuracyRow, less_fp32, over_default, reached
from bench.studies.measured import measured_again
from bench.studies.page import REASON, Page, status_cell
from bench.studies.scenarios import STOCK_DEFAULT
from bench.text.wording import NOTHING, bounds, count, percent, seconds, times

if TYPE_CHECKING:
    from collections.abc import Sequence
    from pathlib import Path

    from bench.errors import WorkerError
    from bench.plan.thresholds import Policy
    from bench.studies.accuracy import Difference, Reached


def read_page(folder: Path) -> Page:
    """Build the page of a measured study from its folder."""
    rows, _ = records.read_rows(folder / "accuracy.csv", AccuracyRow)
    measured, policy = measured_again(folder, {})
    environment = records.read_environment(folder)
    images = environment.get("evaluated") or STUDIES.accuracy_evaluated
    made = page(
        rows,
        float(environment["target"]),
        measured.failures,
        policy,
        images,
        environment.get("max_steps"),
    )
    size = environment.get("image_size")
    said = (f"Images were trained and evaluated on at {size} pixels a side.",) if size else ()
    return replace(made, remarks=(*made.remarks, *said))


_REMARK = (
    "The shallow blocks come from the model file and are frozen; the deep block and the head "
    "start from the seed's random weights. Above 1 is sooner than stock default. Intervals "
    "are over seeds; one seed has none, and a difference may be the seed's own. The time of steps "
    "includes the first, in which a compiled scenario compiles; evaluations run uncompiled."
)


_DIFFERENCE_REMARK = (
    "Differences of accuracy are paired by seed, at the last step that both evaluated, on the same "
    "{} images: one image is {:.1f} points. Intervals are over seeds, at least one image to either "
    "side, and do not cover the choice of the images."
)


def page(
    rows: Sequence[AccuracyRow],
    target: float,
    failures: dict[str, WorkerError],
    policy: Policy,
    images: int = STUDIES.accuracy_evaluated,
    max_steps: int | None = None,
) -> Page:
    """Build the study's page; accuracy was taken on so many images.

    A seed counts once its training ended, at the target or after `max_steps`.
    """
    found = reached(rows, target)
    lower = {name: less_fp32(rows, name, images, policy) for name in found if name not in failures}
    differences = {name: one for name, one in lower.items() if one}
    ended = _ended(found, rows, failures, max_steps)
    made = [
        _row(participant, ended, rows, failures, policy) for participant in {**found, **failures}
    ]
    return Page(
        title=f"Time to an accuracy of {percent(target)}",
        lead=(
            *(sentence for sentence, _ in made),
            *(_difference_sentence(*pair) for pair in differences.items()),
        )
        or ("Nothing was measured.",),
        tables=(
            Table(
                name="accuracy",
                caption=f"From the same start to an accuracy of {percent(target)} on test images.",
                columns=(
                    "Scenario",
                    "Seeds that reached it",
                    "Steps, median",
                    "Time of steps, median",
                    "Of which the first step",
                    "Over stock default",
                    "Best accuracy",
                    REASON,
                ),
                rows=tuple(row for _, row in made),
                numeric=(1, 2, 3, 4, 5, 6),
            ),
            *([_difference_table(differences)] if differences else []),
        ),
        remarks=(
            _REMARK,
            *([_DIFFERENCE_REMARK.format(images, 100 / images)] if differences else []),
        ),
    )


def _ended(
    found: dict[str, dict[int, Reached]],
    rows: Sequence[AccuracyRow],
    failures: dict[str, WorkerError],
    max_steps: int | None,
) -> dict[str, dict[int, Reached]]:
    """Return of every participant the seeds whose training ended, and nothing of a refuted one.

    Without `max_steps` the longest training stands for it.
    """
    steps: dict[tuple[str, int], int] = {}
    for row in rows:
        key = row.participant, row.seed
        steps[key] = max(row.step, steps.get(key, 0))
    last = max(steps.values(), default=0) if max_steps is None else max_steps
    return {
        participant: {
            seed: one
            for seed, one in by_seed.items()
            if one.steps is not None or steps[participant, seed] >= last
        }
        for participant, by_seed in found.items()
        if not _is_refuted(failures.get(participant))
    }


def _is_refuted(error: WorkerError | None) -> bool:
    """Return whether its label is untrue: nothing that it trained counts."""
    return error is not None and error.status is Status.UNSUPPORTED


def _row(
    participant: str,
    ended: dict[str, dict[int, Reached]],
    rows: Sequence[AccuracyRow],
    failures: dict[str, WorkerError],
    policy: Policy,
) -> tuple[str, Row]:
    own = ended.get(participant, {})
    error = failures.get(participant)
    kept = [] if _is_refuted(error) else [row for row in rows if row.participant == participant]
    steps = [one.steps for one in own.values() if one.steps is not None]
    took = [one.seconds for one in own.values() if one.seconds is not None]
    firsts = {row.seed: row.first_step_s for row in kept}
    first = [one for one in firsts.values() if one is not None]
    no_ratio = participant == STOCK_DEFAULT or error is not None
    ratio = None if no_ratio else over_default(ended, participant, policy)
    best = max((row.accuracy for row in kept), default=None)
    interval = bounds(ratio.low, ratio.high) if ratio and ratio.rounds > 1 else ""
    said = f"reached from {len(steps)} of {len(own)} seeds" if own else "no seed ended"
    if took:
        said += f", {seconds(float(np.median(took)))} of steps"
    if ratio:
        said += f", {times(ratio.estimate)} {interval}".rstrip() + " over stock default"
    if error and participant in ended:
        said += f"; {error.reason}"
    elif error:
        is_trained = any(row.participant == participant for row in rows)
        said = f"{'invalid' if is_trained else 'not measured'}: {error.reason}"
    cells = (
        Cell(text=participant),
        number(f"{len(steps)} of {len(own)}" if own else NOTHING, len(steps)),
        number(f"{np.median(steps):g}" if steps else NOTHING, None),
        number(seconds(float(np.median(took))) if took else NOTHING, None),
        number(seconds(float(np.median(first))) if first else NOTHING, None),
        number(times(ratio.estimate if ratio else None), None, interval),
        number(percent(best), best),
        status_cell(error),
    )
    return f"{participant}: {said}.", Row(cells=cells)


# ---- accuracy in lower precision -----------------------------------------------------------------


def _difference_sentence(participant: str, found: Difference) -> str:
    return (
        f"{participant}: accuracy {_points(found.mean)} {_interval(found)}".rstrip()
        + f" points against {found.minus} after the same steps, over {count(found.seeds, 'seed')}."
    )


def _difference_table(differences: dict[str, Difference]) -> Table:
    return Table(
        name="lower_precision",
        caption="Accuracy in lower precision minus accuracy in fp32, in percentage points.",
        columns=("Scenario", "Minus", "Seeds", "Difference"),
        rows=tuple(
            Row(
                cells=(
                    Cell(text=participant),
                    Cell(text=found.minus),
                    number(f"{found.seeds}", found.seeds),
                    number(_points(found.mean), found.mean, _interval(found)),
                )
            )
            for participant, found in differences.items()
        ),
        numeric=(2, 3),
    )


def _points(share: float) -> str:
    return f"{100 * share:+.1f}"


def _interval(found: Difference) -> str:
    """Return the interval in percentage points; empty for one seed, which has none."""
    if found.seeds < 2:
        return ""
    return f"[{_points(found.low)}, {_points(found.high)}]"
