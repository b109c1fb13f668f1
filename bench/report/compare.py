"""Several runs in one page: what each machine gains by itself, and what they get through and cost.

A speedup is always a ratio within one run. Between runs only times, throughput and cost are set
side by side, without a ratio and without an interval: they were never paired.
"""

from __future__ import annotations

from dataclasses import dataclass
from operator import attrgetter
from typing import TYPE_CHECKING

from bench.analysis.facts import is_stock_default, of_task
from bench.analysis.prices import images_per_dollar, images_per_hour
from bench.analysis.winners import best_ipex, winner
from bench.plan.scenario import BaselineKind, Task
from bench.report import answers, banners, figures, machine, method
from bench.report.figures import Bar
from bench.report.layout import lay_out
from bench.report.tables import Cell, Row, Table, number, ratio_cell, tags
from bench.text import wording
from bench.text.wording import NOTHING, digits, milliseconds

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from bench.analysis.facts import Facts
    from bench.report.answers import Answer
    from bench.report.banners import Banner
    from bench.report.figures import Drawing
    from bench.store.records import ScenarioRow


@dataclass(frozen=True, kw_only=True)
class Card:
    """One run on the first screen."""

    name: str
    run_id: str
    machine: str
    lead: str
    answers: tuple[Answer, ...]
    banners: tuple[Banner, ...]
    facts: tuple[tuple[str, str], ...]


def render_comparison(runs: Sequence[Facts]) -> str:
    """The page."""
    names = run_names(runs)
    return lay_out(
        "compare.html",
        {
            "title": f"{len(runs)} runs side by side",
            "lead": lead(names, runs),
            "cards": [_card(name, facts) for name, facts in zip(names, runs, strict=True)],
            "differences": differences(names, runs),
            "speedups": [
                speedups(f"speedups{kind}", names, runs, kind)
                for kind in (BaselineKind.STOCK_DEFAULT, BaselineKind.STOCK_TUNED)
            ],
            "throughput": throughput(names, runs),
            "bars": _bars(names, runs),
            "repeat": "\n\n".join(method.repeat(facts) for facts in runs),
        },
    )


def lead(names: Sequence[str], runs: Sequence[Facts]) -> str:
    """Who gets through most, and most for a dollar; never a ratio between machines."""
    fastest = [
        (name, facts, row)
        for name, facts in zip(names, runs, strict=True)
        for label, row in ways(facts)
        if label == _FASTEST
    ]
    if not fastest:
        return "No run holds a valid throughput, so nothing can be said across machines."
    name, _, row = max(fastest, key=lambda item: item[2].images_per_s or 0.0)
    found = (
        f"Most images a second: {name}, {digits(row.images_per_s)} with {wording.spoken(row)} at "
        f"batch {row.batch_size}."
    )
    if any(facts.price is None for _, facts, _ in fastest):
        return f"{found} Prices are not known for all, so cost is not compared."
    paid = [(name, images_per_dollar(row.images_per_s, f.price) or 0.0) for name, f, row in fastest]
    name, dollar = max(paid, key=lambda item: item[1])
    return f"{found} Most for a dollar: {name}, {digits(dollar)} images."


_FASTEST = "Fastest"


def run_names(runs: Sequence[Facts]) -> list[str]:
    """What tells the runs apart: the machine, with the packages or the run where it is the same."""
    machines = [_machine(facts) for facts in runs]
    with_torch = [
        f"{name}, torch {_torch(facts)}" for name, facts in zip(machines, runs, strict=True)
    ]
    for candidates in (machines, with_torch):
        if len(set(candidates)) == len(runs):
            return candidates
    names = [f"{name} ({facts.run_id})" for name, facts in zip(machines, runs, strict=True)]
    return [f"{number}. {name}" for number, name in enumerate(names, start=1)]


def _machine(facts: Facts) -> str:
    machine = facts.metadata.machine
    return machine.instance_type or machine.cpu_model or facts.run_id


def _torch(facts: Facts) -> str:
    return facts.metadata.machine.packages.get("torch") or "unknown"


_ASKED = ("latency", "throughput", "ipex", "decisions", "noise")


def _card(name: str, facts: Facts) -> Card:
    every = {answer.key: answer for answer in answers.answers(facts)}
    price = facts.price
    return Card(
        name=name,
        run_id=facts.run_id,
        machine=machine.in_one_line(facts),
        lead=answers.lead(facts),
        answers=tuple(every[key] for key in _ASKED),
        banners=tuple(one for one in banners.banners(facts) if one.level != "note"),
        facts=(
            ("bf16", answers.bf16_ability(facts)),
            ("Price", price.words if price else "unknown: give yours with --prices FILE"),
            ("Packages", _packages(facts)),
        ),
    )


def _packages(facts: Facts) -> str:
    ipex = facts.metadata.machine.packages.get("intel-extension-for-pytorch")
    return f"torch {_torch(facts)}, " + (f"IPEX {ipex}" if ipex else "no IPEX")


_SAME = (
    ("commit", attrgetter("commit")),
    ("profile", attrgetter("profile")),
    ("model", attrgetter("model.name")),
    ("model's weights", attrgetter("model.weights")),
    ("images", attrgetter("data.sha256")),
    ("policy", attrgetter("policy.verdict.minimal_effect")),
)


def differences(names: Sequence[str], runs: Sequence[Facts]) -> list[str]:
    """A sentence for each thing that should be the same in runs that are compared."""
    found = []
    for what, read in _SAME:
        values = [str(read(facts.metadata) or "unknown") for facts in runs]
        if len(set(values)) > 1:
            each = "; ".join(
                f"{name}: {value[:16]}" for name, value in zip(names, values, strict=True)
            )
            found.append(f"The {what} differs, so compare with care: {each}.")
    return found


def speedups(name: str, names: Sequence[str], runs: Sequence[Facts], kind: BaselineKind) -> Table:
    """Each machine's own speedups: a column a run, each divided by its own baseline."""
    rows: dict[str, ScenarioRow] = {}
    for facts in runs:
        for row in facts.scenarios.values():
            if facts.speedup(row.scenario, kind) is not None:
                rows.setdefault(row.scenario, row)
    baseline = "stock default" if kind == BaselineKind.STOCK_DEFAULT else "stock tuned"
    return Table(
        name=name,
        caption=f"Over {baseline} of the same run: a machine is only ever divided by itself.",
        columns=("Scenario", *names),
        rows=tuple(_speedup_row(runs, row, kind) for row in rows.values()),
        numeric=tuple(range(1, len(names) + 1)),
        can_filter=True,
        empty=f"No run holds a speedup over {baseline}.",
    )


def _speedup_row(runs: Sequence[Facts], row: ScenarioRow, kind: BaselineKind) -> Row:
    def cell(facts: Facts) -> Cell:
        found = facts.speedup(row.scenario, kind)
        if found is None:
            mine = facts.scenarios.get(row.scenario)
            why = "not in this run" if mine is None else wording.status_words(mine.status)
            return Cell(text=NOTHING, note=why, is_number=True)
        base = ratio_cell(found)
        return number(base.text, _value(base), f"{base.note} {found.verdict}".strip())

    first = Cell(text=wording.way_name(row), sort=row.scenario, note=wording.detail_name(row))
    return Row(cells=(first, *(cell(facts) for facts in runs)), **tags(row))


def _value(cell: Cell) -> float | None:
    """The number that a cell sorts by."""
    return cell.sort if isinstance(cell.sort, float) else None


def throughput(names: Sequence[str], runs: Sequence[Facts]) -> Table:
    """What each machine gets through, in the ways that matter, and what that costs."""
    rows = [
        Row(
            cells=(
                Cell(text=name, sort=name, note=f"batch {row.batch_size}"),
                Cell(text=label, note=wording.spoken(row)),
                number(milliseconds(row.median_ms), row.median_ms),
                number(digits(row.images_per_s), row.images_per_s),
                _figure(images_per_hour(row.images_per_s)),
                _figure(facts.price.usd_per_hour if facts.price else None),
                _figure(images_per_dollar(row.images_per_s, facts.price)),
                _figure(row.joules_per_image),
            ),
            **tags(row),
        )
        for name, facts in zip(names, runs, strict=True)
        for label, row in ways(facts)
    ]
    return Table(
        name="throughput",
        caption="Times of different runs, side by side: they were never paired, so there is no "
        "interval and no ratio. One worker a machine, as it was measured.",
        columns=(
            "Machine",
            "Way",
            "Median call",
            "Images/s",
            "Images/hour",
            "USD an hour",
            "Images per dollar",
            "Joules an image",
        ),
        rows=tuple(rows),
        numeric=(2, 3, 4, 5, 6, 7),
        can_filter=True,
        empty="No run holds a valid throughput.",
    )


def _figure(value: float | None) -> Cell:
    return number(digits(value), value)


def ways(facts: Facts) -> Iterator[tuple[str, ScenarioRow]]:
    """Stock default, the best stock and IPEX in fp32, and the fastest, each at its best batch."""
    groups = of_task(facts.groups, Task.INFERENCE)
    best = [found for group in groups if (found := winner(facts, group)) is not None]
    measured = [
        row
        for group in groups
        for row in facts.groups[group]
        if facts.is_measured(row) and row.images_per_s
    ]
    picks = (
        ("Stock default", [row for row in measured if is_stock_default(row)]),
        ("Stock tuned, fp32", _tuned_rows(facts, measured)),
        ("IPEX, fp32", [row for group in groups if (row := best_ipex(facts, group)) is not None]),
        (_FASTEST, [one.row for one in best if one.row.images_per_s]),
    )
    for label, rows in picks:
        if rows:
            yield label, max(rows, key=lambda row: row.images_per_s or 0.0)


def _tuned_rows(facts: Facts, rows: Sequence[ScenarioRow]) -> list[ScenarioRow]:
    """The stock scenarios that the speedups of this run call stock tuned."""
    tuned = {
        row.baseline for row in facts.speedup_rows if row.baseline_kind == BaselineKind.STOCK_TUNED
    }
    return [row for row in rows if row.scenario in tuned and row.dtype == "fp32"]


def _bars(names: Sequence[str], runs: Sequence[Facts]) -> Drawing | None:
    values = [
        Bar(
            label=f"{name} · {label}",
            kind=row.backend,
            value=row.images_per_s or 0.0,
            text=f"{digits(row.images_per_s)} images/s",
        )
        for name, facts in zip(names, runs, strict=True)
        for label, row in ways(facts)
    ]
    if not values:
        return None
    return figures.bars(
        "machines",
        values,
        title="Images a second of each machine",
        caption="Images a second, each way at its best batch size. Different runs: no interval.",
        log=False,
    )
