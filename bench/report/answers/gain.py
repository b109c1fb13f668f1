"""What IPEX gains over stock default and over stock tuned, and what its import alone does."""

from __future__ import annotations

from typing import TYPE_CHECKING

from bench.analysis.facts import is_stock_default, of_task
from bench.analysis.winners import best_ipex, ipex_over_tuned, why_nothing
from bench.plan.scenario import Status, Task, Verdict
from bench.report.answers.answer import BASELINES, THIN, Answer, gain_line, unmeasured
from bench.text import wording
from bench.text.wording import listed, spoken, with_interval

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from bench.analysis.facts import Facts, Group
    from bench.store.records import ScenarioRow


def ipex_gain(facts: Facts) -> Answer:
    """The best IPEX scenario of each batch size over stock default and over stock tuned."""
    question = "What IPEX gains"
    groups = of_task(facts.groups, Task.INFERENCE)
    dtypes = ("fp32", "bf16") if facts.native_bf16 else ("fp32",)
    picks = [
        (group, row)
        for dtype in dtypes
        for group in groups
        if (row := best_ipex(facts, group, dtype)) is not None
    ]
    if not picks:
        return _no_ipex(facts, question, groups)
    plain = [pick for pick in picks if pick[1].dtype == "fp32"]
    low = _low_precision_sentence(facts, [pick for pick in picks if pick[1].dtype == "bf16"])
    headline, tone = _gain_headline(facts, plain, where=" in fp32" if low else "")
    headline = f"{headline} {low}".strip()
    losing = _losing_sentence(facts, groups)
    if losing:
        headline = f"{headline} {losing}"
        tone = {"good": "level", "level": "bad"}.get(tone, tone)
    number, note = _gain_number(facts, plain)
    return Answer(
        key="ipex",
        question=question,
        headline=headline,
        tone=tone,
        number=number,
        number_note=note,
        columns=BASELINES,
        lines=tuple(gain_line(facts, group, row) for group, row in picks),
        lines_are_shown=True,
        details=(
            *_open_sentence(facts, plain),
            *_tuned_sentence(facts, picks),
            *_placebo_sentence(facts, groups),
        ),
    )


def _open_sentence(facts: Facts, picks: Sequence[tuple[Group, ScenarioRow]]) -> Iterator[str]:
    """What would decide what is open, of the smallest batch that is."""
    for group, row in picks:
        found = ipex_over_tuned(facts, row)
        if found is not None and found.verdict == Verdict.INCONCLUSIVE and found.reason:
            yield f"Why open at batch {group.batch_size}: {found.reason.rstrip('.')}."
            return


def _tuned_sentence(facts: Facts, picks: Sequence[tuple[Group, ScenarioRow]]) -> Iterator[str]:
    """Which stock scenario is the tuned one."""
    where: dict[str, list[str]] = {}
    for group, row in picks:
        comparison = ipex_over_tuned(facts, row)
        tuned = facts.scenarios.get(comparison.baseline) if comparison else None
        if tuned is not None:
            name = "stock default itself" if is_stock_default(tuned) else spoken(tuned)
            where.setdefault(name, []).append(str(group.batch_size))
    if len(where) == 1:
        yield f"Stock tuned is {next(iter(where))}."
    elif where:
        parts = [f"{name} at batch {listed(sizes)}" for name, sizes in where.items()]
        yield f"Stock tuned is {'; '.join(parts)}."


_MOST_LOSING = 2
"""Ways that a headline has room for; the table has all."""


def _losing_sentence(facts: Facts, groups: Sequence[Group]) -> str:
    """Ways of running IPEX in fp32 that lose against doing nothing, at the smallest batch of them.

    The best way says nothing of the others, and `ipex.optimize` alone is what a reader of its
    documentation starts with.
    """
    for group in groups:
        losing = [
            (row, comparison)
            for row in facts.groups[group]
            if (row.backend, row.dtype) == ("ipex", "fp32")
            and (comparison := facts.against_default(row.scenario)) is not None
            and comparison.verdict == Verdict.SLOWER
        ]
        if losing:
            ways = [f"{spoken(row)}, {with_interval(comparison)}" for row, comparison in losing]
            told = "; ".join(ways[:_MOST_LOSING])
            more = f"; and {len(ways) - _MOST_LOSING} more" if len(ways) > _MOST_LOSING else ""
            return f"SLOWER than stock default at batch {group.batch_size}: {told}{more}."
    return ""


_GAIN_WORDS = {
    str(Verdict.FASTER): "faster",
    str(Verdict.SLOWER): "SLOWER",
    str(Verdict.SAME): "equally fast",
    str(Verdict.INCONCLUSIVE): "not shown to differ",
    str(Verdict.INVALID): "without a valid comparison",
    THIN: "too few rounds to tell",
}


def _low_precision_sentence(facts: Facts, picks: Sequence[tuple[Group, ScenarioRow]]) -> str:
    """Where IPEX in bf16 was shown to differ from tuned stock in bf16; empty where nowhere."""
    found = {
        verdict: at
        for verdict, at in _batches_by_verdict(facts, picks).items()
        if verdict in (Verdict.FASTER, Verdict.SLOWER)
    }
    parts = [f"{_GAIN_WORDS[verdict]} at batch {listed(at)}" for verdict, at in found.items()]
    return f"In bf16 it is {' and '.join(parts)}." if parts else ""


def _batches_by_verdict(
    facts: Facts, picks: Sequence[tuple[Group, ScenarioRow]]
) -> dict[str, list[str]]:
    """What the comparisons with stock tuned say, and at which batch sizes."""
    at: dict[str, list[str]] = {}
    for group, row in picks:
        comparison = ipex_over_tuned(facts, row)
        if comparison is not None:
            verdict = THIN if facts.is_thin(comparison) else comparison.verdict
            at.setdefault(verdict, []).append(str(group.batch_size))
    return at


def _gain_headline(
    facts: Facts, picks: Sequence[tuple[Group, ScenarioRow]], *, where: str
) -> tuple[str, str]:
    """What the comparisons with stock tuned say together; `where` limits what is said of all."""
    found = _batches_by_verdict(facts, picks)
    if not found:
        return f"IPEX was measured, but not against tuned stock PyTorch{where}.", "unknown"
    if found.keys() == {THIN}:
        return THIN, "unknown"
    if found.keys() == {Verdict.SAME}:
        within = wording.percent(facts.policy.verdict.same_within)
        return (
            f"IPEX and tuned stock PyTorch are equally fast{where}, within {within}.",
            "level",
        )
    if not found.keys() - {Verdict.SAME, Verdict.INCONCLUSIVE}:
        return f"No difference between IPEX and tuned stock PyTorch could be shown{where}.", "level"
    parts = [f"{_GAIN_WORDS[verdict]} at batch {listed(at)}" for verdict, at in found.items()]
    tone = "bad" if Verdict.SLOWER in found else "level"
    tone = "good" if found.keys() == {Verdict.FASTER} else tone
    tone = "unknown" if found.keys() == {Verdict.INVALID} else tone
    return f"IPEX against tuned stock PyTorch{where}: {'; '.join(parts)}.", tone


def _gain_number(facts: Facts, picks: Sequence[tuple[Group, ScenarioRow]]) -> tuple[str, str]:
    """IPEX over stock tuned at the smallest batch that tells; words where nothing was shown."""
    for group, row in picks:
        comparison = ipex_over_tuned(facts, row)
        if comparison is None or not comparison.is_valid or facts.is_thin(comparison):
            continue
        words = "equal" if comparison.verdict == Verdict.SAME else "not shown"
        shown = wording.times(comparison.estimate) if comparison.found else words
        return shown, f"over stock tuned, batch {group.batch_size}"
    return "", ""


def _no_ipex(facts: Facts, question: str, groups: Sequence[Group]) -> Answer:
    rows = [row for row in facts.scenarios.values() if row.backend == "ipex"]
    if not rows:
        return unmeasured("ipex", question, "No IPEX scenario was part of this run.")
    failed = [row for row in rows if row.status not in (Status.OK, Status.NO_STEADY_STATE)]
    headline = "IPEX gave no valid result."
    if all(row.status == Status.UNAVAILABLE for row in rows):
        headline = "IPEX could not be measured here."
    if len(failed) < len(rows):  # the others ran: what some could not do is not why
        details = [why_nothing(facts, group) for group in groups[:1]]
    else:
        reasons = dict.fromkeys(row.reason or wording.status_words(row.status) for row in failed)
        details = [f"Reason: {reason.rstrip('.')}." for reason in list(reasons)[:2]]
    return Answer(
        key="ipex",
        question=question,
        headline=headline,
        tone="unknown",
        details=tuple(details),
    )


def _placebo_sentence(facts: Facts, groups: Sequence[Group]) -> Iterator[str]:
    for group in groups:
        for row in facts.groups[group]:
            comparison = facts.against_default(row.scenario)
            if row.backend != "placebo" or comparison is None or not comparison.is_valid:
                continue
            if facts.is_thin(comparison):
                continue
            what = {
                str(Verdict.FASTER): "makes the stock model faster",
                str(Verdict.SLOWER): "makes the stock model slower",
            }.get(comparison.verdict, "changes nothing that could be shown")
            yield (
                f"Merely importing IPEX {what}: {with_interval(comparison)} at batch "
                f"{group.batch_size}."
            )
            return
