"""Say what IPEX gains over both baselines, and what its import alone changes."""

from __future__ import annotations

from typing import TYPE_CHECKING, NamedTuple

from bench.analysis.run_facts import is_stock_default, of_task
from bench.analysis.winners import ipex_over_tuned, tuned_is_eager_only, why_nothing
from bench.plan.scenario import MEASURED, Status, Task, Verdict
from bench.report.answers.answer import (
    BASELINES,
    TOO_FEW_ROUNDS,
    VERDICT_WORDS,
    Answer,
    gain_line,
    ipex_bests,
    lower_first,
    trained_name,
    unanswered,
)
from bench.run.outcomes import had_no_turn
from bench.text.wording import listed, percent, spoken, status_words, times, with_interval

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from bench.analysis.run_facts import Comparison, Facts, Group
    from bench.store.records import ScenarioRow

_KEY, _QUESTION = "ipex", "What IPEX gains"
_MOST_LOSING = 2
"""How many slow IPEX scenarios the headline names; the table has all."""


class _Pick(NamedTuple):
    """The best IPEX scenario of a group in one dtype, and what it gains over stock tuned."""

    group: Group
    row: ScenarioRow
    over_tuned: Comparison | None


def ipex_gain(facts: Facts) -> Answer:
    """Compare the best IPEX scenario of each batch size with stock default and stock tuned."""
    groups = of_task(facts.groups, Task.INFERENCE)
    picks = _picks(facts, groups)
    if not picks:
        return _no_ipex(facts, groups)
    fp32 = [pick for pick in picks if pick.row.dtype == "fp32"]
    bf16 = _bf16_sentence(facts, [pick for pick in picks if pick.row.dtype == "bf16"])
    training = _training_sentence(facts)
    where = (" at inference" if training else "") + (" in fp32" if bf16 else "")
    headline, tone = _headline(facts, fp32, where=where)
    losing = _losing_sentence(facts, groups)
    if losing:
        tone = {"good": "level", "level": "bad"}.get(tone, tone)
    number, note = _number(facts, fp32)
    return Answer(
        key=_KEY,
        question=_QUESTION,
        headline=" ".join(
            part for part in (headline, bf16, _eager_only(facts, picks), training, losing) if part
        ),
        tone=tone,
        number=number,
        number_note=note,
        columns=BASELINES,
        lines=tuple(gain_line(facts, pick.group, pick.row) for pick in picks),
        lines_are_shown=True,
        details=(
            *_why_open(fp32),
            *_which_is_tuned(facts, picks),
            *_import_alone(facts, groups),
        ),
    )


def _picks(facts: Facts, groups: Sequence[Group]) -> list[_Pick]:
    """Return the best of IPEX in each group and data type, and what it gains over stock tuned."""
    return [
        _Pick(group, row, ipex_over_tuned(facts, row)) for group, row in ipex_bests(facts, groups)
    ]


def _training_sentence(facts: Facts) -> str:
    """Say where IPEX's training steps differ from tuned stock's; empty where nowhere."""
    shown = [
        f"{VERDICT_WORDS[found.verdict]} with {lower_first(trained_name(group))} in {row.dtype}, "
        f"{with_interval(found)}"
        for group, row, found in _picks(facts, of_task(facts.groups, Task.TRAINING))
        if found is not None and found.found and not facts.is_thin(found)
    ]
    return f"In a training step it is {'; '.join(shown)}." if shown else ""


def _eager_only(facts: Facts, picks: Sequence[_Pick]) -> str:
    """Say in which dtypes stock tuned is an eager one because no other gave times."""
    eager_only: dict[str, list[bool]] = {}
    for pick in picks:
        if pick.over_tuned is not None:
            eager_only.setdefault(pick.row.dtype, []).append(tuned_is_eager_only(facts, pick.row))
    dtypes = [dtype for dtype, found in eager_only.items() if all(found)]
    return f"Of stock, eager mode alone gave times in {listed(dtypes)}." if dtypes else ""


def _why_open(picks: Sequence[_Pick]) -> Iterator[str]:
    """Say what would decide the smallest batch whose comparison is open."""
    for group, _, found in picks:
        if found is not None and found.verdict == Verdict.INCONCLUSIVE and found.reason:
            yield f"Why open at batch {group.batch_size}: {found.reason.rstrip('.')}."
            return


def _which_is_tuned(facts: Facts, picks: Sequence[_Pick]) -> Iterator[str]:
    """Name the stock scenario that is stock tuned, with its batch sizes where there are several."""
    sizes: dict[str, list[str]] = {}
    for group, _, found in picks:
        tuned = facts.scenarios.get(found.baseline) if found else None
        if tuned is not None:
            name = "stock default itself" if is_stock_default(tuned) else spoken(tuned)
            sizes.setdefault(name, []).append(str(group.batch_size))
    if len(sizes) == 1:
        yield f"Stock tuned is {next(iter(sizes))}."
    elif sizes:
        parts = [f"{name} at batch {listed(at)}" for name, at in sizes.items()]
        yield f"Stock tuned is {'; '.join(parts)}."


def _losing_sentence(facts: Facts, groups: Sequence[Group]) -> str:
    """Name IPEX scenarios in fp32 that are slower than stock default, at the smallest such batch.

    The best scenario says nothing of the others, and `ipex.optimize` alone is what a reader of the
    IPEX documentation starts with.
    """
    for group in groups:
        losing = [
            f"{spoken(row)}, {with_interval(comparison)}"
            for row in facts.groups[group]
            if (row.backend, row.dtype) == ("ipex", "fp32")
            and (comparison := facts.against_default(row.scenario)) is not None
            and comparison.verdict == Verdict.SLOWER
        ]
        if losing:
            more = len(losing) - _MOST_LOSING
            named = "; ".join([*losing[:_MOST_LOSING], *([f"and {more} more"] if more > 0 else [])])
            return f"SLOWER than stock default at batch {group.batch_size}: {named}."
    return ""


def _batches_by_verdict(facts: Facts, picks: Sequence[_Pick]) -> dict[str, list[str]]:
    """Return the batch sizes of each verdict over stock tuned."""
    sizes: dict[str, list[str]] = {}
    for group, _, found in picks:
        if found is not None:
            verdict = TOO_FEW_ROUNDS if facts.is_thin(found) else found.verdict
            sizes.setdefault(verdict, []).append(str(group.batch_size))
    return sizes


def _words(sizes: dict[str, list[str]]) -> list[str]:
    return [f"{VERDICT_WORDS[verdict]} at batch {listed(at)}" for verdict, at in sizes.items()]


def _bf16_sentence(facts: Facts, picks: Sequence[_Pick]) -> str:
    """Say where IPEX in bf16 differs from tuned stock in bf16; empty where nowhere."""
    sizes = _batches_by_verdict(facts, picks)
    shown = {v: at for v, at in sizes.items() if v in (Verdict.FASTER, Verdict.SLOWER)}
    return f"In bf16 it is {' and '.join(_words(shown))}." if shown else ""


def _headline(facts: Facts, picks: Sequence[_Pick], *, where: str) -> tuple[str, str]:
    """Summarise the comparisons with stock tuned; `where` limits what is said of all of them."""
    sizes = _batches_by_verdict(facts, picks)
    verdicts = sizes.keys()
    if not sizes:
        return f"IPEX was measured, but not against tuned stock PyTorch{where}.", "unknown"
    if verdicts == {TOO_FEW_ROUNDS}:
        return TOO_FEW_ROUNDS, "unknown"
    if verdicts == {Verdict.SAME}:
        within = percent(facts.policy.verdict.same_within)
        return f"IPEX and tuned stock PyTorch are equally fast{where}, within {within}.", "level"
    if verdicts <= {Verdict.SAME, Verdict.INCONCLUSIVE}:
        return f"No difference between IPEX and tuned stock PyTorch could be shown{where}.", "level"
    tone = "bad" if Verdict.SLOWER in verdicts else "level"
    if verdicts == {Verdict.FASTER}:
        tone = "good"
    elif verdicts == {Verdict.INVALID}:
        tone = "unknown"
    return f"IPEX against tuned stock PyTorch{where}: {'; '.join(_words(sizes))}.", tone


def _number(facts: Facts, picks: Sequence[_Pick]) -> tuple[str, str]:
    """Return IPEX over stock tuned at the smallest batch with a valid comparison, and a note."""
    for group, _, found in picks:
        if found is None or not found.is_valid or facts.is_thin(found):
            continue
        words = "equal" if found.verdict == Verdict.SAME else "not shown"
        shown = times(found.estimate) if found.found else words
        return shown, f"over stock tuned, batch {group.batch_size}"
    return "", ""


def _no_ipex(facts: Facts, groups: Sequence[Group]) -> Answer:
    rows = [row for row in facts.scenarios.values() if row.backend == "ipex"]
    if not rows:
        return unanswered(_KEY, _QUESTION, "No IPEX scenario was part of this run.")
    headline = "IPEX gave no valid result."
    if all(had_no_turn(row.reason) for row in rows):
        headline = "IPEX had no turn."
    elif all(row.status == Status.UNAVAILABLE for row in rows):
        headline = "IPEX could not be measured here."
    if any(row.status in MEASURED for row in rows):  # a failed scenario does not explain these
        details = [why_nothing(facts, group) for group in groups[:1]]
    else:
        reasons = dict.fromkeys(row.reason or status_words(row.status) for row in rows)
        details = [f"Reason: {reason.rstrip('.')}." for reason in list(reasons)[:2]]
    return unanswered(_KEY, _QUESTION, headline, *details)


def _import_alone(facts: Facts, groups: Sequence[Group]) -> Iterator[str]:
    """Say what importing IPEX changes, from the first valid placebo comparison."""
    for row in (row for group in groups for row in facts.groups[group]):
        found = facts.against_default(row.scenario)
        if row.backend != "placebo" or found is None or not found.is_valid or facts.is_thin(found):
            continue
        effect = {
            str(Verdict.FASTER): "makes the stock model faster",
            str(Verdict.SLOWER): "makes the stock model slower",
        }.get(found.verdict, "changes nothing that could be shown")
        yield f"Merely importing IPEX {effect}: {with_interval(found)} at batch {row.batch_size}."
        return
