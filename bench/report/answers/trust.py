"""What the other answers rest on: that decisions stay the same, and how noisy the run was."""

from __future__ import annotations

import statistics
from collections import defaultdict
from typing import TYPE_CHECKING

from bench.analysis import shares
from bench.analysis.facts import is_stock_default
from bench.plan.scenario import CONTROL_SUFFIX, DECIDED, Phase, Task
from bench.report.answers.answer import Answer, Line, unmeasured
from bench.text import wording
from bench.text.numbers import spell_seconds
from bench.text.wording import count, with_interval

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from bench.analysis.comparison import Comparison
    from bench.analysis.facts import Facts, Group
    from bench.store.records import ParityRow

_UNLIKE_PAGES, _UNLIKE_SHARE = 1000, 1.1
"""Fewer than these 4 MB a call, or a smaller part, make no difference that a run could show."""


def decisions(facts: Facts) -> Answer:
    """Whether outputs and decisions stay what stock default gives."""
    question = "Same decisions?"
    rows = [row for row in facts.run.parity if _is_compared(facts, row)]
    inference = [row for row in rows if facts.scenarios[row.scenario].task == Task.INFERENCE]
    wrong = [row for row in rows if not row.within_tolerance]
    changed = [row for row in inference if row.decisions_changed]
    if not rows:
        return unmeasured(
            "decisions", question, "No outputs were compared, so nothing can be said."
        )
    lines = [
        Line(
            label=row.scenario,
            text=f"outputs differ by {wording.tiny(row.max_abs_error)}, "
            f"{wording.tiny(row.tolerance)} is allowed",
        )
        for row in wrong[:3]
    ]
    lines += [_changed_line(facts, row.scenario) for row in changed[:3] if row not in wrong]
    headline, tone = _decision_headline(facts, inference, len(changed), len(wrong))
    number = "same" if tone == "good" else f"{len(changed)} differ" if changed else ""
    details = [*_error_sentences(facts)]
    if tone == "good":
        details.append(_what_so_few_show(inference))
    return Answer(
        key="decisions",
        question=question,
        headline=headline,
        tone=tone,
        number=f"{len(wrong)} wrong" if wrong else number,
        lines=tuple(lines),
        details=tuple(details),
    )


def _is_compared(facts: Facts, row: ParityRow) -> bool:
    """Whether the row is about a scenario of the run other than the reference itself."""
    scenario = facts.scenarios.get(row.scenario)
    return scenario is not None and not is_stock_default(scenario)


def _changed_line(facts: Facts, scenario: str) -> Line:
    row = facts.parity[scenario]
    return Line(
        label=scenario,
        text=f"{count(row.decisions_changed or 0, 'decision')} of {row.images} changed",
    )


def _decision_headline(
    facts: Facts, compared: Sequence[ParityRow], changed: int, wrong: int
) -> tuple[str, str]:
    checked = len(compared)
    if wrong:
        start = f"{count(wrong, 'scenario')} gave wrong outputs and got no verdict"
        return f"{start}; the others agree with stock default.", "bad"
    if facts.metadata.request.own.model:
        sentence = (
            "Outputs agree with stock default's everywhere, as numbers: what this model decides is "
            "not known here."
        )
        return sentence, "plain"
    if facts.is_untrained and not changed:
        return (
            (
                "Outputs agree with stock default's everywhere; decisions mean nothing, as the "
                "model is untrained."
            ),
            "plain",
        )
    if changed:
        return (
            f"{changed} of {count(checked, 'scenario')} decide differently on some image.",
            "bad",
        )
    if not compared:
        return "Only training was compared, and its losses agree.", "plain"
    images = wording.span([row.images for row in compared], "image")
    if checked == 1:
        return f"Yes: the one scenario that ran decides alike on {images}.", "good"
    return f"Yes: all {checked:,} scenarios that ran decide alike on {images}.", "good"


def _what_so_few_show(compared: Sequence[ParityRow]) -> str:
    """What no change in so few images leaves possible: the exact one-sided binomial bound."""
    fewest = max(1, min(row.images for row in compared))
    at_most = shares.at_most(0, fewest)
    return (
        f"No change in {count(fewest, 'image')}, the fewest of any scenario, still leaves room for "
        f"{wording.percent(at_most)} of all decisions (95 % confidence). The profile full compares "
        "as many as a minute allows."
    )


def _error_sentences(facts: Facts) -> Iterator[str]:
    images = max((row.images for row in facts.run.parity), default=0)
    for dtype in ("fp32", "bf16", "int8"):
        errors = [
            row.max_abs_error
            for name, row in facts.parity.items()
            if row.max_abs_error is not None
            and row.within_tolerance
            and name in facts.scenarios
            and facts.scenarios[name].dtype == dtype
            and facts.scenarios[name].task == Task.INFERENCE
        ]
        if errors:
            yield (
                f"Largest difference of an output in {dtype}: {wording.tiny(max(errors))}, "
                f"on {count(images, 'image')}."
            )


def noise(facts: Facts) -> Answer:
    """How noisy the run was, and whether its model stands: what identical workers came out as."""
    question = "Can it be believed?"
    controls = [
        (group, control)
        for group in facts.groups
        if (control := facts.control_of(group)) is not None
    ]
    told = [*_decided(facts), *_disturbed(facts), *_borrowed(facts)]
    if not controls:
        return Answer(
            key="noise",
            question=question,
            headline="No control was measured, so the model is unchecked.",
            tone="unknown",
            details=tuple(told),
        )
    failed = [(group, control) for group, control in controls if not control.is_valid]
    worst = min((control for _, control in controls), key=_p_value)
    headline = (
        f"Two identical workers came out as {with_interval(worst)} at worst: "
        f"{_expected(worst, len(controls))}."
    )
    tone = "plain"
    if failed:
        headline = (
            f"NOT in {len(failed)} of {count(len(controls), 'comparison group')}: "
            f"{_why_not(facts, *failed[0])}."
        )
        tone = "bad"
    shown = failed[0][1] if failed else worst
    unlike = next((said for group, _ in controls if (said := _unlike_pages(facts, group))), "")
    lines = tuple(Line(label=group.label, cells=(control,)) for group, control in controls)
    return Answer(
        key="noise",
        question=question,
        headline=headline,
        tone=tone,
        number=wording.times(shown.estimate),
        number_note="two identical workers",
        columns=("control",) if failed else (),
        lines=lines if failed else (),
        details=tuple(item for item in (*told, _spreads(facts), unlike) if item),
    )


def _why_not(facts: Facts, group: Group, control: Comparison) -> str:
    """What speaks against a group: its identical workers, or what else made their times useless."""
    if control.reason is None or facts.analysis.judge.failed_check(group.noise_name):
        return f"identical workers came out as {with_interval(control)}"
    return control.reason


def _p_value(control: Comparison) -> float:
    found = control.ratio.p_value if control.ratio else None
    return 1.0 if found is None else found


def _expected(worst: Comparison, groups: int) -> str:
    """The model's check of itself: p-values of identical workers are uniform if it is right."""
    smallest = 1 - (1 - _p_value(worst)) ** groups
    if smallest >= 0.05:
        return f"the model expects that (p = {smallest:.2g})"
    return f"more than the model expects (p = {smallest:.2g}), so read with care"


def _decided(facts: Facts) -> Iterator[str]:
    """How many headlines were decided, and when; of a run that kept it."""
    claims = facts.run.claims
    times = sorted(row.decided_s for row in claims if row.decided_s is not None)
    decided = sum(row.verdict in DECIDED for row in claims)
    if not claims:
        return
    when = ""
    if times:
        when = f", the first after {spell_seconds(times[0])} of measuring"
    if len(times) > 1:
        when += f", the last after {spell_seconds(times[-1])}"
    yield f"{decided} of {count(len(claims), 'headline')} decided{when}."


def _disturbed(facts: Facts) -> Iterator[str]:
    """How many blocks did not count."""
    measured = facts.analysis.judge.measurements  # of the whole run, varied scenarios included
    worst = max(measured.disturbed_shares.values(), default=0.0)
    blocks = (facts.whole or facts).blocks
    every, lost = sum(map(len, blocks.values())), sum(map(len, measured.lost.values()))
    if worst:
        yield (
            f"Other work disturbed up to {wording.percent(worst)} of a scenario's calls, which do "
            f"not count; of {lost:,} of {count(every, 'block')} nothing is left."
        )
    elif every:
        yield f"No other work disturbed any of {count(every, 'block')}."


def _borrowed(facts: Facts) -> Iterator[str]:
    """How many comparisons rest on one process of a side."""
    rows = [row for row in facts.speedup_rows if row.speedup is not None]
    few = sum(bool(row.borrowed) for row in rows)
    if few:
        start = f"{few} of {count(len(rows), 'comparison')} rest on one process"
        taken = "how processes differ is taken from the other scenarios there"
        yield f"{start}." if facts.assumes_processes else f"{start}: {taken}."


def _spreads(facts: Facts) -> str:
    """By how much processes of one scenario were found to differ."""
    spreads = facts.analysis.judge.fitted.spreads.values()
    found = [one.between_processes for one in spreads]
    if not found:
        return ""
    if facts.assumes_processes:
        return (
            "No scenario had a second process: they are assumed to differ by "
            f"{wording.percent(max(found))}."
        )
    return (
        "Processes of one scenario differ by "
        f"{wording.percent(min(found))} to {wording.percent(max(found))} (standard deviation)."
    )


def _unlike_pages(facts: Facts, group: Group) -> str:
    """That identical workers faulted in unlike numbers of pages, of the worst launch."""
    default = facts.default_of(group)
    if default is None:
        return ""
    own = _pages_of(facts, default.scenario)
    other = _pages_of(facts, f"{default.scenario}{CONTROL_SUFFIX}")
    pairs = [(own[launch], other[launch]) for launch in own.keys() & other.keys()]
    ordered = [sorted(pair) for pair in pairs]
    few, many = max(ordered, key=lambda pair: pair[1] - pair[0], default=(0.0, 0.0))
    if many - few < _UNLIKE_PAGES or many < _UNLIKE_SHARE * few:
        return ""
    return (
        f"In {group.label}, one of two identical processes faulted {many:,.0f} pages in a call and "
        f"the other {few:,.0f}: it depends on heap layout (docs/variables.md)."
    )


def _pages_of(facts: Facts, worker: str) -> dict[int, float]:
    """Launch -> median of the pages that a timed call faulted in."""
    found: dict[int, list[int]] = defaultdict(list)
    for row in facts.calls.get(worker, ()):
        if row.phase == Phase.TIMED and row.page_faults is not None:
            found[row.launch].append(row.page_faults)
    return {launch: statistics.median(pages) for launch, pages in found.items()}
