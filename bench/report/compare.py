"""Make the page of several runs: what each machine gains by itself, its throughput and cost.

A speedup is always a ratio within one run. Times, throughput and cost of different runs are set
side by side without a ratio and without an interval: they were never paired.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from bench.analysis.prices import images_per_dollar, images_per_hour
from bench.analysis.run_facts import comparison_of, is_stock_default, of_task
from bench.analysis.winners import best_ipex, shown_row, winner
from bench.plan.scenario import BaselineKind, Task
from bench.report import answers, banners, figures, machine, method
from bench.report.figures import Bar
from bench.report.layout import lay_out
from bench.report.table import Cell, Row, Table, number, quantity, ratio_cell, tags
from bench.text import wording
from bench.text.wording import NOTHING, digits, milliseconds

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Sequence

    from bench.analysis.run_facts import Facts
    from bench.report.answers import Answer
    from bench.report.banners import Banner
    from bench.report.drawing import Drawing
    from bench.store.records import ScenarioRow

_FASTEST = "Fastest"
_QUESTIONS = ("latency", "throughput", "ipex", "supported", "decisions", "noise")
"""Keys of the answers on a run's card."""
_SHARED: tuple[tuple[str, Callable[[Facts], str]], ...] = (
    ("commit", lambda facts: facts.metadata.commit),
    ("profile", lambda facts: facts.metadata.profile),
    ("model", method.model_name),
    ("weights", lambda facts: facts.metadata.model.weights),
    ("images", lambda facts: facts.metadata.data.sha256),
)
"""What should be the same in runs that are compared."""


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
    """Build the page."""
    names = run_names(runs)
    return lay_out(
        "compare.html",
        {
            "title": f"{len(runs)} runs side by side",
            "lead": lead(names, runs),
            "cards": [_card(name, facts) for name, facts in zip(names, runs, strict=True)],
            "differences": differences(names, runs),
            "speedups": [
                _speedups(names, runs, kind)
                for kind in (BaselineKind.STOCK_DEFAULT, BaselineKind.STOCK_TUNED)
            ],
            "throughput": throughput(names, runs),
            "bars": _bars(names, runs),
            "repeat": "\n\n".join(method.repeat(facts) for facts in runs),
        },
    )


def lead(names: Sequence[str], runs: Sequence[Facts]) -> str:
    """Return which run has most items a second and most for a dollar, without a ratio."""
    items = _items(runs)
    fastest = [one for one in _ways(names, runs) if one[2] == _FASTEST]
    if not fastest:
        return "No run has a valid throughput, so machines cannot be compared."
    name, _, _, row = max(fastest, key=lambda one: one[3].images_per_s or 0.0)
    found = (
        f"Most {items} a second: {name}, {digits(row.images_per_s)} with {wording.spoken(row)} at "
        f"batch {row.batch_size}."
    )
    if any(facts.price is None for _, facts, *_ in fastest):
        return f"{found} Not all prices are known, so cost is not compared."
    dollar, name = max(
        (images_per_dollar(row.images_per_s, facts.price) or 0.0, name)
        for name, facts, _, row in fastest
    )
    return f"{found} Most for a dollar: {name}, {digits(dollar)} {items}."


def _items(runs: Sequence[Facts]) -> str:
    """Return what calls take: images, unless a run is of a user's own model."""
    return next((one.nouns.items for one in runs if one.is_own_model), "images")


def run_names(runs: Sequence[Facts]) -> list[str]:
    """Return a distinct name for each run: its machine, with PyTorch's version or a number."""
    machines = [facts.priced_as or facts.run_id for facts in runs]
    named = list(zip(machines, runs, strict=True))
    with_torch = [f"{name}, torch {_torch(facts)}" for name, facts in named]
    for candidates in (machines, with_torch):
        if len(set(candidates)) == len(runs):
            return candidates
    return [f"{n}. {name} ({facts.run_id})" for n, (name, facts) in enumerate(named, start=1)]


def _torch(facts: Facts) -> str:
    return facts.metadata.machine.packages.get("torch") or "unknown"


def _card(name: str, facts: Facts) -> Card:
    by_key = {answer.key: answer for answer in answers.answers(facts)}
    ipex = facts.metadata.machine.packages.get("intel-extension-for-pytorch")
    price = facts.price
    return Card(
        name=name,
        run_id=facts.run_id,
        machine=machine.in_one_line(facts),
        lead=answers.lead(facts),
        answers=tuple(by_key[key] for key in _QUESTIONS if key in by_key),
        banners=tuple(one for one in banners.banners(facts) if one.level != "note"),
        facts=(
            ("bf16", answers.bf16_ability(facts)),
            ("Price", price.words if price else machine.no_price(facts)),
            ("Packages", f"torch {_torch(facts)}, {f'IPEX {ipex}' if ipex else 'no IPEX'}"),
        ),
    )


def differences(names: Sequence[str], runs: Sequence[Facts]) -> list[str]:
    """Return a sentence for each thing that should be the same in all runs and is not."""
    found = []
    for what, read in _SHARED:
        values = [read(facts) or "unknown" for facts in runs]
        if (different := len(set(values))) > 1:
            cut = [value[:16] for value in values]
            shown = cut if len(set(cut)) == different else values
            each = [f"{name}: {value}" for name, value in zip(names, shown, strict=True)]
            found.append(f"Not the same {what}, so compare with care: {'; '.join(each)}.")
    if any(facts.policy != runs[0].policy for facts in runs):
        found.append("Not the same thresholds, so compare verdicts with care.")
    return found


def _speedups(names: Sequence[str], runs: Sequence[Facts], kind: BaselineKind) -> Table:
    """Return each machine's own speedups: a column a run, divided by that run's baseline."""
    rows: dict[str, ScenarioRow] = {}
    for facts in runs:
        for row in facts.scenarios.values():
            if facts.speedup(row.scenario, kind) is not None:
                rows.setdefault(row.scenario, row)
    baseline = "stock default" if kind == BaselineKind.STOCK_DEFAULT else "stock tuned"
    return Table(
        name=f"speedups{kind}",
        caption=f"Over {baseline} of the same run: a machine is only ever divided by itself.",
        columns=("Scenario", *names),
        rows=tuple(_speedup_row(runs, row, kind) for row in rows.values()),
        numeric=tuple(range(1, len(names) + 1)),
        can_filter=True,
        empty=f"No run has a speedup over {baseline}.",
    )


def _speedup_row(runs: Sequence[Facts], row: ScenarioRow, kind: BaselineKind) -> Row:
    def cell(facts: Facts) -> Cell:
        found = facts.speedup(row.scenario, kind)
        if found is None:
            mine = facts.scenarios.get(row.scenario)
            why = "not in this run" if mine is None else wording.status_words(mine.status)
            return number(NOTHING, None, why)
        shown = ratio_cell(comparison_of(found))
        return number(shown.text, found.speedup, f"{shown.note} {found.verdict}".strip())

    first = Cell(
        text=wording.way_name(row),
        sort=row.scenario,
        note=wording.detail_name(row),
        mark=next(facts.mark(row) for facts in runs if row.scenario in facts.scenarios),
    )
    return Row(cells=(first, *(cell(facts) for facts in runs)), **tags(row))


def throughput(names: Sequence[str], runs: Sequence[Facts]) -> Table:
    """Return items a second of each machine in the ways that matter, and their cost."""
    items = _items(runs).capitalize()
    rows = [
        Row(
            cells=(
                Cell(text=name, sort=name, note=f"batch {row.batch_size}"),
                Cell(text=label, sort=label, note=wording.spoken(row)),
                quantity(row.median_ms, milliseconds),
                quantity(row.images_per_s),
                quantity(images_per_hour(row.images_per_s)),
                quantity(facts.price.usd_per_hour if facts.price else None),
                quantity(images_per_dollar(row.images_per_s, facts.price)),
                quantity(row.joules_per_image),
            ),
            **tags(row),
        )
        for name, facts, label, row in _ways(names, runs)
    ]
    return Table(
        name="throughput",
        caption="Times of different runs, side by side: they were never paired, so there is no "
        "interval and no ratio. One worker a machine, as it was measured.",
        columns=("Machine", "Way", "Median call", f"{items}/s", f"{items}/hour", "USD an hour",
                 f"{items} per dollar", f"Joules an {items[:-1].lower()}"),
        rows=tuple(rows),
        numeric=(2, 3, 4, 5, 6, 7),
        can_filter=True,
        empty="No run has a valid throughput.",
    )  # fmt: skip


def _ways(
    names: Sequence[str], runs: Sequence[Facts]
) -> Iterator[tuple[str, Facts, str, ScenarioRow]]:
    """Yield run, facts, label and row of the ways that matter, each at its best batch size."""
    for name, facts in zip(names, runs, strict=True):
        groups = of_task(facts.groups, Task.INFERENCE)
        measured = [
            row for group in groups for row in facts.groups[group] if facts.is_measured(row)
        ]
        tuned = {
            row.baseline
            for row in facts.speedup_rows
            if row.baseline_kind == BaselineKind.STOCK_TUNED
        }
        winners = [
            shown_row(facts, found)
            for group in groups
            if (found := winner(facts, group)) is not None
        ]
        picks = {
            "Stock default": [row for row in measured if is_stock_default(row)],
            "Stock tuned, fp32": [
                row for row in measured if row.scenario in tuned and row.dtype == "fp32"
            ],
            "IPEX, fp32": [row for group in groups if (row := best_ipex(facts, group))],
            _FASTEST: winners,
        }
        for label, rows in picks.items():
            timed = [row for row in rows if row.images_per_s]
            if timed:
                yield name, facts, label, max(timed, key=lambda row: row.images_per_s or 0.0)


def _bars(names: Sequence[str], runs: Sequence[Facts]) -> Drawing | None:
    items = _items(runs)
    values = [
        Bar(
            label=f"{label} · {name}",
            kind=row.backend,
            value=row.images_per_s or 0.0,
            text=f"{digits(row.images_per_s)} {items}/s",
        )
        for name, _, label, row in _ways(names, runs)
    ]
    if not values:
        return None
    return figures.bars(
        "machines",
        values,
        title=f"{items.capitalize()} a second of each machine",
        caption=f"{items.capitalize()} a second, each way at its best batch size. Different runs: "
        "no interval.",
        log=False,
    )
