"""The answer in one breath."""

from __future__ import annotations

from typing import TYPE_CHECKING

from bench.analysis.facts import is_stock_default, of_task
from bench.analysis.winners import best_ipex, ipex_over_tuned, runner_up, why_nothing, winner
from bench.plan.scenario import Task, Verdict
from bench.report.answers.answer import capitalised, small
from bench.text.wording import spoken, with_interval

if TYPE_CHECKING:
    from bench.analysis.facts import Comparison, Facts, Group
    from bench.store.records import ScenarioRow


def lead(facts: Facts) -> str:
    """The answer in one breath."""
    groups = of_task(facts.groups, Task.INFERENCE)
    if not facts.scenarios:
        return "This run holds no measured scenario, so there is no answer yet."
    if not groups:
        return "This run holds no inference scenario; see training below."
    batch = groups[0].batch_size
    best = winner(facts, groups[0])
    if best is None:
        return _no_lead(facts, groups[0])
    if groups[0] in facts.thin_groups:
        return f"Too little was measured for a verdict at batch {batch}."
    if best.comparison is None or best.comparison.verdict != Verdict.FASTER:
        start = f"Nothing was shown to beat plain stock PyTorch at batch {batch}"
        return f"{start}. {_gain_clause(facts, groups[0], 'fp32')}".strip()
    verb = "leads" if best.level else "is fastest"
    start = (
        f"{capitalised(spoken(best.row))} {verb} at batch {batch}: "
        f"{with_interval(best.comparison)} over stock default."
    )
    second = runner_up(facts, best)
    told = _is_ipex_over_tuned(facts, best.row, second)
    runner = _runner_clause(second, is_tuned=told and best.row.backend == "ipex")
    gain = "" if told else _gain_clause(facts, groups[0], best.row.dtype)
    return " ".join(part for part in (start, runner, gain) if part)


def _is_ipex_over_tuned(
    facts: Facts, best: ScenarioRow, second: tuple[ScenarioRow, Comparison] | None
) -> bool:
    """Whether the first two are the best of IPEX and of stock: that need not be said twice."""
    if second is None or (best.backend == "ipex") == (second[0].backend == "ipex"):
        return False
    ours, theirs = (best, second[0]) if best.backend == "ipex" else (second[0], best)
    tuned = ipex_over_tuned(facts, ours)
    return tuned is not None and tuned.baseline == theirs.scenario and theirs.dtype == ours.dtype


def _runner_clause(second: tuple[ScenarioRow, Comparison] | None, *, is_tuned: bool) -> str:
    """How far ahead of the next it is; nothing where that is stock default, named already."""
    if second is None or is_stock_default(second[0]):
        return ""
    row, comparison = second
    name = f"tuned stock PyTorch ({_tuned_name(row)})" if is_tuned else spoken(row)
    shown = "" if comparison.found else ": no difference shown"
    return f"Over the runner-up, {name}, it is {with_interval(comparison)}{shown}."


def _no_lead(facts: Facts, group: Group) -> str:
    control = facts.control_of(group)
    if control is not None and not control.is_valid:
        return "No verdict can be given: what was measured here cannot be believed."
    return f"No valid answer for {small(group.label)}. {why_nothing(facts, group)}"


def _gain_clause(facts: Facts, group: Group, dtype: str) -> str:
    """What of that is IPEX's own merit."""
    best = best_ipex(facts, group, dtype)
    comparison = ipex_over_tuned(facts, best) if best else None
    if comparison is None:
        return ""
    gain = with_interval(comparison)
    tuned = facts.scenarios.get(comparison.baseline)
    opponent = f"tuned stock PyTorch ({_tuned_name(tuned)})" if tuned else "tuned stock PyTorch"
    return {
        str(Verdict.FASTER): f"IPEX's own gain, over {opponent}, is {gain}.",
        str(Verdict.SLOWER): f"IPEX is slower than {opponent}: {gain}.",
        str(Verdict.SAME): f"IPEX and {opponent} are equally fast, within the margin: {gain}.",
        str(Verdict.INVALID): "",
    }.get(
        comparison.verdict,
        f"Between IPEX and {opponent} no difference could be shown: {gain}.",
    )


def _tuned_name(row: ScenarioRow) -> str:
    if is_stock_default(row):
        return "stock default itself"
    return spoken(row).removeprefix("stock PyTorch ").replace(" (", ", ").replace(")", "")
