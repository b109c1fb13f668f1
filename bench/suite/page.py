"""Make the suite's page: sentences over models, and a table of all."""

from __future__ import annotations

from typing import TYPE_CHECKING

from bench.report.table import Cell, Row, Table, interval_cell, number
from bench.studies.page import REASON, Page
from bench.suite import result
from bench.suite.models import REFERENCE
from bench.text.wording import NOTHING, bounds, milliseconds, times
from bench.text.wording import count as count_of

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from bench.analysis.comparison import Ratio
    from bench.suite.result import SuiteRow

_REMARK = (
    "Random weights: speed does not depend on their values, and nothing is said about decisions. "
    "Each row is a run of its own, so speedups are paired within it and never across models. The "
    "interval of a mean is over models: it says how much the answer varies from model to model. "
    "A row's interval is at the confidence that its run's headlines share."
)


def page(found: Sequence[SuiteRow]) -> Page:
    """Build the suite's page."""
    small, large = result.smaller(found), result.larger(found)
    lead = [*_sentences("batch 1", small), *_sentences("the larger batch", large)]
    lead += _missing(found)
    return Page(
        title=f"{count_of(len({row.model for row in found}), 'model')}: does one answer fit all?",
        lead=tuple(lead) or ("Nothing was measured.",),
        tables=(_means(small, large), _models(found)),
        remarks=(_REMARK,),
    )


def _missing(found: Sequence[SuiteRow]) -> Iterator[str]:
    """Name the models without figures, and those with figures at one batch size alone."""
    known = {row.model for row in found if row.status == "ok"}
    lacking = dict.fromkeys(row.model for row in found if row.status != "ok")
    for what, names in (
        ("without figures", [name for name in lacking if name not in known]),
        ("with figures at one batch size alone", [name for name in lacking if name in known]),
    ):
        if names:
            yield f"{count_of(len(names), 'model')} {what}: {', '.join(names)}."


def _sentences(where: str, found: Sequence[SuiteRow]) -> list[str]:
    if not found:
        return []
    total = count_of(len({row.model for row in found}), "model")
    sentences = []
    for part, what in result.PARTS.items():
        mean = result.geometric_mean(found, part)
        if mean is not None:
            sentences.append(
                f"At {where}, {what} is {times(mean.estimate)} {_interval(mean)}".rstrip()
                + f" in the geometric mean over {count_of(mean.rounds, 'model')}."
            )
    if not sentences:
        return []
    ways = "; ".join(f"{way} for {number_}" for way, number_ in result.best_ways(found))
    sentences.append(f"Fastest way at {where}, of {total}: {ways}.")
    holds = result.holding(found)
    if holds:
        sentences.append(
            f"The fastest way of {REFERENCE} at {where} is as good as any for {holds['yes']} of "
            f"{count_of(sum(holds.values()), 'other model')}; for {holds['no']} it is shown to be "
            f"slower than another, or gave no valid result; undecided for {holds['open']}."
        )
    return sentences


def _interval(mean: Ratio | None) -> str:
    """Format a mean's interval; one model has none."""
    return bounds(mean.low, mean.high) if mean and mean.rounds > 1 else ""


def _means(small: Sequence[SuiteRow], large: Sequence[SuiteRow]) -> Table:
    made = []
    for part, what in result.PARTS.items():
        cells = [Cell(text=what[0].upper() + what[1:])]
        for found in (small, large):
            mean = result.geometric_mean(found, part)
            estimate, models = (mean.estimate, mean.rounds) if mean else (None, 0)
            cells += [
                number(times(estimate), estimate, _interval(mean)),
                number(str(models), models),
            ]
        made.append(Row(cells=tuple(cells)))
    return Table(
        name="means",
        caption="Geometric means over models, with 95 % intervals over models.",
        columns=("Speedup", "Batch 1", "Models", "Larger batch", "Models, larger batch"),
        rows=tuple(made),
        numeric=(1, 2, 3, 4),
    )


def _models(found: Sequence[SuiteRow]) -> Table:
    return Table(
        name="models",
        caption="Every model. Above 1 is faster.",
        columns=(
            "Model",
            "Batch",
            "Stock default",
            "Best other way",
            "Over stock default",
            "IPEX over stock, fp32",
            "IPEX over stock, bf16",
            "bf16 over fp32",
            f"{REFERENCE}'s way is as good",
            REASON,
        ),
        rows=tuple(_row(row) for row in found),
        numeric=(1, 2, 4, 5, 6, 7),
        can_filter=False,
    )


def _row(row: SuiteRow) -> Row:
    return Row(
        cells=(
            Cell(text=row.model, note=row.kind),
            number(str(row.batch_size or NOTHING), row.batch_size),
            number(milliseconds(row.default_ms), row.default_ms),
            Cell(text=row.best or NOTHING),
            interval_cell(row.best_speedup, row.best_low, row.best_high, row.best_verdict),
            interval_cell(
                row.ipex_fp32, row.ipex_fp32_low, row.ipex_fp32_high, row.ipex_fp32_verdict
            ),
            interval_cell(
                row.ipex_bf16, row.ipex_bf16_low, row.ipex_bf16_high, row.ipex_bf16_verdict
            ),
            interval_cell(row.bf16, row.bf16_low, row.bf16_high, row.bf16_verdict),
            Cell(text=row.reference_holds or NOTHING),
            Cell(text=row.status, note=row.reason or ""),
        )
    )
