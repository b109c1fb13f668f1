"""Make part 8's table: speed of a way of running the model, and the smallest defect it finds."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from bench.plan.scenario import Task, stock_default
from bench.report.table import Cell, Row, Table, number
from bench.text.wording import NOTHING, digits, percent, times
from bench.tutorial.finding import object_of

if TYPE_CHECKING:
    from collections.abc import Sequence

    from bench.analysis.run_facts import Facts
    from bench.tutorial.parts import Place


def table(place: Place, facts: Facts | None, outputs: Sequence[str]) -> Table | None:
    """Return the table from what `pillqc evaluate --sizes --json` wrote; None without any.

    Args:
        place: where the tutorial lies.
        facts: part 1's run, which has the speeds; None without one.
        outputs: names of the files in the part's folder, one for each way.
    """
    reports = [object_of(place.of("predictions") / name) for name in outputs]
    reports = [one for one in reports if isinstance(one.get("defects"), dict)]
    if not reports:
        return None
    names = list(reports[0]["defects"])
    return Table(
        name="sizes",
        caption="Speed against the smallest defect that is found in nine of ten pills: its size in "
        "% of the image's side, and the bound that holds with 95 % confidence. Shipped model, "
        "rendered pills.",
        columns=("Way", "Speed, batch 1", *names, "Good pills rejected"),
        rows=tuple(_row(one, names, facts) for one in reports),
        numeric=tuple(range(1, len(names) + 3)),
    )


def _row(report: dict[str, Any], names: Sequence[str], facts: Facts | None) -> Row:
    backend, dtype = str(report.get("backend")), str(report.get("dtype"))
    speed = _speed(facts, backend, dtype)
    rejected = report.get("false_rejects") or {}
    return Row(
        cells=(
            Cell(text=f"{backend} eager in {dtype}"),
            number(times(speed), speed, "over stock default" if speed else ""),
            *(_size(report["defects"].get(name)) for name in names),
            number(percent(rejected.get("share")), rejected.get("share")),
        )
    )


def _size(found: dict[str, Any] | None) -> Cell:
    curve = (found or {}).get("curve") or {}
    size, bound = curve.get("a90"), curve.get("a90_95")
    if size is None:
        return number(NOTHING, None, "not shown")
    return number(
        f"{digits(size, 2)} %", size, f"at most {digits(bound, 2)} %" if bound else "no bound"
    )


def _speed(facts: Facts | None, backend: str, dtype: str) -> float | None:
    """Return the speedup of the eager scenario that inspects as the report did."""
    if facts is None:
        return None
    default = stock_default(Task.INFERENCE, 1).id
    if (backend, dtype) == ("stock", "fp32"):
        return 1.0 if default in facts.scenarios else None
    found = facts.against_default(f"inference/{backend}/eager/{dtype}/channels_last/b1")
    return found.estimate if found and found.is_valid else None
