"""Say what the other answers rest on: unchanged decisions, and a run that is quiet enough."""

from __future__ import annotations

import statistics
from collections import defaultdict
from typing import TYPE_CHECKING

from bench.analysis import shares
from bench.analysis.run_facts import is_stock_default
from bench.plan.scenario import CONTROL_SUFFIX, DECIDED, Phase, Task
from bench.report.answers.answer import Answer, Line, unanswered
from bench.text.numbers import spell_seconds
from bench.text.wording import count, percent, span, times, tiny, with_interval

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping, Sequence

    from bench.analysis.comparison import Comparison
    from bench.analysis.run_facts import Facts, Group
    from bench.store.records import ParityRow

_MIN_PAGES, _MIN_PAGES_RATIO = 1000, 1.1
"""Smaller differences in pages faulted in (4 MB a call) change no time that a run can resolve."""


def decisions(facts: Facts) -> Answer:
    """Say whether outputs and decisions agree with stock default's."""
    nouns = facts.nouns
    question = "Same outputs?" if not facts.decides else f"Same {nouns.decision}s?"
    rows = [
        row
        for row in facts.run.parity
        if (scenario := facts.scenarios.get(row.scenario)) and not is_stock_default(scenario)
    ]
    if not rows:
        missing = "No outputs were compared, so nothing can be said."
        return unanswered("decisions", question, missing)
    inference = [row for row in rows if facts.scenarios[row.scenario].task == Task.INFERENCE]
    wrong = [row for row in rows if not row.within_tolerance]
    changed = [row for row in inference if row.decisions_changed and row not in wrong]
    allowed = "outputs differ by {}, {} is allowed"
    said = [(r, allowed.format(tiny(r.max_abs_error), tiny(r.tolerance))) for r in wrong[:3]]
    for row in changed[:3]:
        count_of = count(row.decisions_changed or 0, nouns.decision)
        said.append((row, f"{count_of} of {row.images} changed"))
    headline, tone = _decision_headline(facts, inference, len(changed), len(wrong))
    number = "same" if tone == "good" else f"{len(changed)} differ" if changed else ""
    details = [*_largest_errors(facts)]
    if tone == "good":
        details.append(_still_possible(facts, inference))
    return Answer(
        key="decisions",
        question=question,
        headline=headline,
        tone=tone,
        number=f"{len(wrong)} wrong" if wrong else number,
        lines=tuple(Line(label=row.scenario, text=text) for row, text in said),
        details=tuple(details),
    )


def _decision_headline(
    facts: Facts, compared: Sequence[ParityRow], changed: int, wrong: int
) -> tuple[str, str]:
    if wrong:
        start = f"{count(wrong, 'scenario')} gave wrong outputs and got no verdict"
        rest = "every other one agrees with stock default"
        if changed and facts.decides:
            rest = f"{changed} of the others decided differently on some {facts.nouns.item}"
        return f"{start}; {rest}.", "bad"
    agree = "All outputs agree with stock default's"
    form = facts.metadata.data.form
    if form is not None and not form.has_values:
        return f"{agree}, which says little: they hold no number other than zero.", "plain"
    nouns = facts.nouns
    if not facts.decides:
        missing = "What is decided from them is not known here: --decide MODULE:FUNCTION tells."
        return f"{agree}, as numbers. {missing}", "plain"
    if facts.is_untrained and not changed:
        weights = "its weights are random" if facts.is_own_model else "the model is untrained"
        return f"{agree}; {weights}, so its {nouns.decision}s mean nothing.", "plain"
    if changed:
        checked = count(len(compared), "scenario")
        return f"{changed} of {checked} decided differently on some {nouns.item}.", "bad"
    if not compared:
        return "Only training was compared, and its losses agree.", "plain"
    which = f"all {len(compared):,} scenarios" if len(compared) > 1 else "the one scenario"
    images = span([row.images for row in compared], nouns.item)
    return f"Yes, in {which} that ran, on {images}.", "good"


def _still_possible(facts: Facts, compared: Sequence[ParityRow]) -> str:
    """Bound the share of changed decisions that no change leaves possible (exact binomial)."""
    nouns, fewest = facts.nouns, max(1, min(row.images for row in compared))
    more = " The profile full compares as many images as one minute allows."
    more = "" if facts.is_own_model else more
    return (
        f"No change in {count(fewest, nouns.item)}, the fewest of any scenario, still allows "
        f"{percent(shares.at_most(0, fewest), 2)} of all {nouns.decision}s to change "
        f"(95 % confidence).{more}"
    )


def _largest_errors(facts: Facts) -> Iterator[str]:
    for dtype in ("fp32", "bf16", "int8"):
        errors = [
            (row.max_abs_error, row.images)
            for name, row in facts.parity.items()
            if row.max_abs_error is not None
            and row.within_tolerance
            and (scenario := facts.scenarios.get(name)) is not None
            and (scenario.dtype, scenario.task) == (dtype, Task.INFERENCE)
        ]
        if errors:
            error, images = max(errors)
            on = f"on {count(images, facts.nouns.item)}"
            yield f"Largest difference of an output in {dtype}: {tiny(error)}, {on}."


def controls_of(facts: Facts) -> dict[Group, Comparison]:
    """Return each group's control, two identical workers compared, where it has one."""
    return {
        group: control for group in facts.groups if (control := facts.control_of(group)) is not None
    }


def failed_share(controls: Mapping[Group, Comparison]) -> str:
    """Say how many controls are invalid: `1 of 2 comparison groups`; empty where none is."""
    failed = sum(not control.is_valid for control in controls.values())
    return f"{failed} of {count(len(controls), 'comparison group')}" if failed else ""


def noise(facts: Facts) -> Answer:
    """Say whether identical workers differ more than the model expects, and how noisy it was."""
    key, question = "noise", "Can it be believed?"
    controls = controls_of(facts)
    details = (*_decided(facts), *_disturbed(facts), *_single_processes(facts))
    if not controls:
        headline = "No control was measured, so the model is unchecked."
        return unanswered(key, question, headline, *details)
    failed = failed_share(controls)
    if failed:
        group, shown = next(item for item in controls.items() if not item[1].is_valid)
        reason = shown.reason
        if reason is None or facts.analysis.judge.failed_check(group.noise_name):
            reason = f"identical workers came out as {with_interval(shown)}"
        headline = f"NOT in {failed}: {reason.rstrip('.')}."
    else:
        shown = min(controls.values(), key=_p_value)
        headline = (
            f"Two identical workers came out as {with_interval(shown)} at worst: "
            f"{_expected(shown, len(controls))}."
        )
    pages = (sentence for group in controls if (sentence := _unequal_pages(facts, group)))
    lines = tuple(Line(label=group.label, cells=(one,)) for group, one in controls.items())
    return Answer(
        key=key,
        question=question,
        headline=headline,
        tone="bad" if failed else "plain",
        number=times(shown.estimate),
        number_note="two identical workers",
        columns=("control",) if failed else (),
        lines=lines if failed else (),
        details=(*details, *_spreads(facts), *list(pages)[:1]),
    )


def _p_value(control: Comparison) -> float:
    found = control.ratio.p_value if control.ratio else None
    return 1.0 if found is None else found


def _expected(worst: Comparison, groups: int) -> str:
    """Check the model: if it is right, the p-values of identical workers are uniform."""
    smallest = 1 - (1 - _p_value(worst)) ** groups
    if smallest >= 0.05:
        return f"the model expects that (p = {smallest:.2g})"
    return f"more than the model expects (p = {smallest:.2g}), so read with care"


def _decided(facts: Facts) -> Iterator[str]:
    """Say how many headlines were decided, and when, if the run recorded it."""
    claims = facts.run.claims
    if not claims:
        return
    decided = sum(row.verdict in DECIDED for row in claims)
    at = sorted(row.decided_s for row in claims if row.decided_s is not None)
    when = f", the first after {spell_seconds(at[0])} of measuring" if at else ""
    if len(at) > 1:
        when += f", the last after {spell_seconds(at[-1])}"
    yield f"{decided} of {count(len(claims), 'headline')} decided{when}."


def _disturbed(facts: Facts) -> Iterator[str]:
    """Say how many calls and blocks were disturbed, varied scenarios included."""
    measured = facts.analysis.judge.measurements
    worst = max(measured.disturbed_shares.values(), default=0.0)
    blocks = sum(map(len, (facts.whole or facts).blocks.values()))
    lost = sum(map(len, measured.lost.values()))
    if worst:
        yield (
            f"Other work disturbed up to {percent(worst, 2)} of a scenario's calls, which do not "
            f"count; of {lost:,} of {count(blocks, 'block')} nothing is left."
        )
    elif blocks:
        yield f"No other work disturbed any of {count(blocks, 'block')}."


def _single_processes(facts: Facts) -> Iterator[str]:
    """Count the comparisons with only one process of a scenario."""
    rows = [row for row in facts.speedup_rows if row.speedup is not None]
    single = sum(bool(row.borrowed) for row in rows)
    if single:
        start = f"{single} of {count(len(rows), 'comparison')} had one process of a scenario"
        source = "the spread between processes is taken from other scenarios"
        yield f"{start}." if facts.assumes_processes else f"{start}: {source}."


def _spreads(facts: Facts) -> Iterator[str]:
    """Say by how much processes of one scenario differ."""
    fitted = facts.analysis.judge.fitted.spreads.values()
    spreads = [one.between_processes for one in fitted]
    if not spreads:
        return
    most = percent(max(spreads), 2)
    if facts.assumes_processes:
        yield f"No scenario had a second process: they are assumed to differ by {most}."
    else:
        least = percent(min(spreads), 2)
        yield f"Processes of one scenario differ by {least} to {most} (standard deviation)."


def _unequal_pages(facts: Facts, group: Group) -> str:
    """Name the launch in which identical workers differ most in the pages that they fault in."""
    default = facts.default_of(group)
    if default is None:
        return ""
    own = _pages(facts, default.scenario)
    control = _pages(facts, f"{default.scenario}{CONTROL_SUFFIX}")
    pairs = [sorted((own[launch], control[launch])) for launch in own.keys() & control.keys()]
    few, many = max(pairs, key=lambda pair: pair[1] - pair[0], default=(0.0, 0.0))
    if many - few < _MIN_PAGES or many < _MIN_PAGES_RATIO * few:
        return ""
    return (
        f"In {group.label}, one of two identical processes faulted in {many:,.0f} pages a call and "
        f"the other {few:,.0f}: this depends on heap layout (docs/variables.md)."
    )


def _pages(facts: Facts, worker: str) -> dict[int, float]:
    """Return the median of the pages that a timed call faulted in, by launch."""
    found: dict[int, list[int]] = defaultdict(list)
    for row in facts.calls.get(worker, ()):
        if row.phase == Phase.TIMED and row.page_faults is not None:
            found[row.launch].append(row.page_faults)
    return {launch: statistics.median(pages) for launch, pages in found.items()}
