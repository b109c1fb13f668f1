"""The first screen: rules that turn a run's numbers into sentences. Pure; every rule has a test.

Each rule reads `Facts` and gives one `Answer`. A rule never says more than the verdicts allow:
where no difference was shown, that is the answer; where nothing valid was measured, it says what
is missing and what would help.
"""

from __future__ import annotations

import dataclasses
from dataclasses import dataclass
from typing import TYPE_CHECKING

from bench.report import wording
from bench.report.facts import Comparison, Facts, Group, is_stock_default, of_task
from bench.report.winners import Winner, best_ipex, bf16_pairs, why_nothing, winner
from bench.report.wording import count, digits, listed, spoken, times, with_interval
from bench.scenarios import Status, Task, Verdict

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from bench.records import ParityRow, ScenarioRow


@dataclass(frozen=True, kw_only=True)
class Line:
    """One line under an answer: a sentence, or comparisons under the answer's columns."""

    label: str
    text: str = ""
    cells: tuple[Comparison | None, ...] = ()


@dataclass(frozen=True, kw_only=True)
class Answer:
    """One question of the first screen."""

    key: str
    question: str
    headline: str
    tone: str
    """`good`, `bad`, `level` (no difference shown), `unknown` (nothing valid) or `plain`."""
    number: str = ""
    """The figure that stands large beside the headline."""
    number_note: str = ""
    columns: tuple[str, ...] = ()
    """Heads of the lines' comparisons."""
    lines: tuple[Line, ...] = ()
    details: tuple[str, ...] = ()


def answers(facts: Facts) -> list[Answer]:
    """Everything the first screen says, in order."""
    return [
        latency(facts),
        throughput(facts),
        ipex_gain(facts),
        training(facts),
        bf16(facts),
        decisions(facts),
        noise(facts),
    ]


_THIN = "Too few rounds for a verdict."
"""Not the same as "no difference could be shown"."""

# ---- who is fastest --------------------------------------------------------------------------


def latency(facts: Facts) -> Answer:
    """Fastest for one image at a time (the smallest batch that was measured)."""
    question = "One image at a time"
    groups = of_task(facts.groups, Task.INFERENCE)
    if not groups:
        return _unmeasured("latency", question, "Inference was not measured in this run.")
    group = groups[0]
    if group.batch_size != 1:
        question = f"Smallest batch measured ({group.batch_size})"
    best = winner(facts, group)
    if best is None:
        return _no_winner(facts, "latency", question, group)
    return _winning(facts, "latency", question, best, wording.milliseconds(best.row.median_ms))


def throughput(facts: Facts) -> Answer:
    """The batch size and scenario with most images a second among the groups' winners."""
    question = "Throughput"
    groups = of_task(facts.groups, Task.INFERENCE)
    if not groups:
        return _unmeasured("throughput", question, "Inference was not measured in this run.")
    winners = [best for group in groups if (best := winner(facts, group)) is not None]
    winners = [best for best in winners if best.row.images_per_s]
    if not winners:
        return _no_winner(facts, "throughput", question, groups[-1])
    best = max(winners, key=lambda item: item.row.images_per_s or 0.0)
    number = f"{digits(best.row.images_per_s)} images/s"
    answer = _winning(facts, "throughput", question, best, number)
    return dataclasses.replace(
        answer,
        question=f"Throughput: best at batch {best.group.batch_size}",
        details=(*answer.details, *_default_throughput(facts, groups)),
    )


def _default_throughput(facts: Facts, groups: Sequence[Group]) -> Iterator[str]:
    rows = [row for group in groups if (row := facts.default_of(group)) and row.images_per_s]
    if rows:
        best = max(rows, key=lambda row: row.images_per_s or 0.0)
        yield (
            f"Stock default at its best: {digits(best.images_per_s)} images/s at batch "
            f"{best.batch_size}."
        )


def _winning(facts: Facts, key: str, question: str, best: Winner, number: str) -> Answer:
    default = facts.default_of(best.group)
    headline, tone = _winning_headline(facts, best)
    note = _default_note(default, key)
    if best.comparison is None or best.comparison.verdict != Verdict.FASTER:
        number, note = _default_number(default, key, number), "stock default"
    return Answer(
        key=key,
        question=question,
        headline=headline,
        tone=tone,
        number=number,
        number_note=note,
        details=tuple(_winning_details(best)),
    )


def _winning_headline(facts: Facts, best: Winner) -> tuple[str, str]:
    if best.group in facts.thin_groups:
        return _THIN, "unknown"
    if best.comparison is None:
        return "Stock default: nothing that was measured is faster.", "level"
    if best.comparison.verdict != Verdict.FASTER:
        return "Nothing was shown to be faster than stock default.", "level"
    gain = f"{with_interval(best.comparison)} over stock default"
    if best.level:
        return f"{_capitalised(spoken(best.row))} leads: {gain}.", "good"
    return f"{_capitalised(spoken(best.row))} is fastest: {gain}.", "good"


def _winning_details(best: Winner) -> Iterator[str]:
    if best.row.status == Status.NO_STEADY_STATE:
        yield "Its warm-up never settled, so expect more spread than the interval says."
    if best.comparison is not None and best.comparison.verdict != Verdict.FASTER:
        yield f"Nearest: {spoken(best.row)}, {with_interval(best.comparison)}."
        if best.comparison.reason:
            yield f"Why no verdict: {best.comparison.reason.rstrip('.')}."
        return
    if not best.level:
        yield "Everything else measured beside it was shown to be slower."
        return
    names = [f"{spoken(row)} ({with_interval(comparison)})" for row, comparison in best.level]
    yield f"Not shown to be slower than it: {listed(names, 3)}."


def _default_number(default: ScenarioRow | None, key: str, otherwise: str) -> str:
    if default is None or default.median_ms is None:
        return otherwise
    if key == "throughput":
        return f"{digits(default.images_per_s)} images/s"
    return wording.milliseconds(default.median_ms)


def _default_note(default: ScenarioRow | None, key: str) -> str:
    if default is None or default.median_ms is None:
        return ""
    if key == "throughput" and default.images_per_s:
        return f"stock default at this batch: {digits(default.images_per_s)} images/s"
    return f"stock default: {wording.milliseconds(default.median_ms)}"


def _no_winner(facts: Facts, key: str, question: str, group: Group) -> Answer:
    return Answer(
        key=key,
        question=question,
        headline=f"No valid answer for {_small(group.label)}.",
        tone="unknown",
        details=(why_nothing(facts, group),),
    )


# ---- what IPEX gains -------------------------------------------------------------------------


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
    headline, tone = _gain_headline(facts, [pick for pick in picks if pick[1].dtype == "fp32"])
    return Answer(
        key="ipex",
        question=question,
        headline=headline,
        tone=tone,
        columns=_BASELINES,
        lines=tuple(_gain_line(facts, group, row) for group, row in picks),
        details=(*_tuned_sentence(facts, picks), *_placebo_sentence(facts, groups)),
    )


_BASELINES = ("over stock default", "over stock tuned")


def _gain_line(facts: Facts, group: Group, best: ScenarioRow) -> Line:
    label = f"Batch {group.batch_size}" if group.task == Task.INFERENCE else _trained(group)
    if best.dtype != "fp32":
        label += f", {best.dtype}"
    both = (facts.against_default(best.scenario), facts.against_tuned(best.scenario))
    return Line(label=label, cells=both)


def _tuned_sentence(facts: Facts, picks: Sequence[tuple[Group, ScenarioRow]]) -> Iterator[str]:
    """Which stock scenario is the tuned one."""
    where: dict[str, list[str]] = {}
    for group, row in picks:
        comparison = facts.against_tuned(row.scenario)
        tuned = facts.scenarios.get(comparison.baseline) if comparison else None
        if tuned is not None:
            name = "stock default itself" if is_stock_default(tuned) else spoken(tuned)
            where.setdefault(name, []).append(str(group.batch_size))
    if len(where) == 1:
        yield f"Stock tuned is {next(iter(where))}."
    elif where:
        parts = [f"{name} at batch {listed(sizes)}" for name, sizes in where.items()]
        yield f"Stock tuned is {'; '.join(parts)}."


_GAIN_WORDS = {
    str(Verdict.FASTER): "faster",
    str(Verdict.SLOWER): "SLOWER",
    str(Verdict.SAME): "equally fast",
    str(Verdict.INCONCLUSIVE): "not shown to differ",
    str(Verdict.INVALID): "without a valid comparison",
    _THIN: "too few rounds to tell",
}


def _gain_headline(facts: Facts, picks: Sequence[tuple[Group, ScenarioRow]]) -> tuple[str, str]:
    """What the comparisons with stock tuned say together."""
    where: dict[str, list[str]] = {}
    for group, row in picks:
        comparison = facts.against_tuned(row.scenario)
        if comparison is not None:
            verdict = _THIN if facts.is_thin(comparison) else comparison.verdict
            where.setdefault(verdict, []).append(str(group.batch_size))
    if not where:
        return "IPEX was measured, but not against tuned stock PyTorch.", "unknown"
    if where.keys() == {_THIN}:
        return _THIN, "unknown"
    if where.keys() == {Verdict.SAME}:
        margin = max(_margins(facts, picks))
        return (
            f"IPEX and tuned stock PyTorch are equally fast, within {wording.percent(margin)}.",
            "level",
        )
    if not where.keys() - {Verdict.SAME, Verdict.INCONCLUSIVE}:
        return "No difference between IPEX and tuned stock PyTorch could be shown.", "level"
    parts = [f"{_GAIN_WORDS[verdict]} at batch {listed(at)}" for verdict, at in where.items()]
    tone = "bad" if Verdict.SLOWER in where else "level"
    tone = "good" if where.keys() == {Verdict.FASTER} else tone
    tone = "unknown" if where.keys() == {Verdict.INVALID} else tone
    return f"IPEX against tuned stock PyTorch: {'; '.join(parts)}.", tone


def _margins(facts: Facts, picks: Sequence[tuple[Group, ScenarioRow]]) -> list[float]:
    found = (facts.against_tuned(row.scenario) for _, row in picks)
    return [item.margin or 0.0 for item in found if item is not None]


def _no_ipex(facts: Facts, question: str, groups: Sequence[Group]) -> Answer:
    rows = [row for row in facts.scenarios.values() if row.backend == "ipex"]
    if not rows:
        return _unmeasured("ipex", question, "No IPEX scenario was part of this run.")
    failed = [row for row in rows if row.status not in (Status.OK, Status.NO_STEADY_STATE)]
    reasons = list(dict.fromkeys(row.reason or wording.status_words(row.status) for row in failed))
    headline = "IPEX gave no valid result."
    if all(row.status == Status.UNAVAILABLE for row in rows):
        headline = "IPEX could not be measured here."
    details = [f"Reason: {reason.rstrip('.')}." for reason in reasons[:2]]
    return Answer(
        key="ipex",
        question=question,
        headline=headline,
        tone="unknown",
        details=tuple(details or [why_nothing(facts, group) for group in groups[:1]]),
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


# ---- bf16 ------------------------------------------------------------------------------------


def bf16(facts: Facts) -> Answer:
    """What bf16 does on this CPU, against the same scenario in fp32."""
    question = "What bf16 does here"
    found = [
        comparison
        for row, twin in bf16_pairs(facts)
        if row.task == Task.INFERENCE
        and (comparison := facts.compare(row.scenario, twin.scenario)) is not None
        and comparison.is_valid
    ]
    ability = bf16_ability(facts)
    if not found:
        return Answer(
            key="bf16",
            question=question,
            headline=ability,
            tone="unknown",
            details=("No valid comparison of bf16 with fp32 was measured.",),
        )
    told = [item for item in found if not facts.is_thin(item)]
    if not told:
        return Answer(
            key="bf16", question=question, headline=_THIN, tone="unknown", details=(ability,)
        )
    headline, tone = _bf16_headline(told)
    slowest = min(told, key=lambda item: item.estimate)
    fastest = max(told, key=lambda item: item.estimate)
    spread = f" ({len(told)} pairs: {times(slowest.estimate)} to {times(fastest.estimate)})"
    return Answer(
        key="bf16",
        question=question,
        headline=headline,
        tone=tone,
        number=times(fastest.estimate if fastest.estimate > 1 else slowest.estimate),
        number_note="the speed of fp32" + (spread if len(told) > 1 else ""),
        columns=("over fp32",),
        lines=tuple(dict.fromkeys(_example(facts, item) for item in (fastest, slowest))),
        details=(ability,),
    )


def bf16_ability(facts: Facts) -> str:
    """Whether this CPU computes bf16 itself: a sentence."""
    return {
        True: "This CPU computes bf16 itself.",
        False: "This CPU has no bf16 instructions: bf16 is emulated.",
        None: "The run does not say whether this CPU computes bf16 itself.",
    }[facts.native_bf16]


def _bf16_headline(found: Sequence[Comparison]) -> tuple[str, str]:
    kinds = {item.verdict for item in found}
    if kinds == {Verdict.FASTER}:
        return "bf16 is faster than fp32 in every way it was run.", "good"
    if kinds == {Verdict.SLOWER}:
        return "bf16 is SLOWER than fp32 in every way it was run: do not use it here.", "bad"
    if not kinds & {Verdict.FASTER, Verdict.SLOWER}:
        return "No difference between bf16 and fp32 could be shown.", "level"
    return "bf16 helps in some ways of running the model and not in others.", "level"


def _example(facts: Facts, comparison: Comparison) -> Line:
    row = facts.scenarios[comparison.scenario]
    label = f"{_capitalised(spoken(row))}, batch {row.batch_size}"
    return Line(label=label, cells=(comparison,))


# ---- training, decisions, noise --------------------------------------------------------------


def training(facts: Facts) -> Answer:
    """One answer for all training groups: the fastest step and what IPEX gains."""
    question = "Training, one step"
    groups = of_task(facts.groups, Task.TRAINING)
    if not groups:
        return _unmeasured("training", question, "Training was not measured in this run.")
    lines: list[Line] = []
    sentences: list[str] = []
    tones: set[str] = set()
    for group in groups:
        best = winner(facts, group)
        sentence, tone = _training_sentence(facts, group, best)
        sentences.append(sentence)
        tones.add(tone)
        ipex = best_ipex(facts, group)
        if ipex is not None:
            lines.append(_gain_line(facts, group, ipex))
    return Answer(
        key="training",
        question=f"{question}, batch {groups[0].batch_size}",
        headline=sentences[0],
        tone=tones.pop() if len(tones) == 1 else "plain",
        columns=tuple(f"IPEX {name}" for name in _BASELINES) if lines else (),
        lines=tuple(lines),
        details=(*sentences[1:], *_why_no_training(facts, groups)),
    )


def _why_no_training(facts: Facts, groups: Sequence[Group]) -> list[str]:
    unanswered = [group for group in groups if winner(facts, group) is None]
    return list(dict.fromkeys(why_nothing(facts, group) for group in unanswered))[:1]


def _trained(group: Group) -> str:
    return {"frozen": "Blocks frozen", "full": "Everything trained"}.get(group.trained, group.label)


def _training_sentence(facts: Facts, group: Group, best: Winner | None) -> tuple[str, str]:
    start = _trained(group)
    if best is None:
        return f"{start}: no valid answer.", "unknown"
    if group in facts.thin_groups:
        return f"{start}: too few rounds for a verdict.", "unknown"
    if best.comparison is None:
        return f"{start}: nothing that was measured is faster than stock default.", "level"
    if best.comparison.verdict != Verdict.FASTER:
        return f"{start}: nothing was shown to be faster than stock default.", "level"
    level = ""
    if best.level:
        level = f"; not shown to be slower: {listed([spoken(row) for row, _ in best.level], 2)}"
    return (
        (
            f"{start}: {spoken(best.row)} {'leads' if best.level else 'is fastest'}, "
            f"{with_interval(best.comparison)} over stock default{level}."
        ),
        "good",
    )


def decisions(facts: Facts) -> Answer:
    """Whether outputs and decisions stay what stock default gives."""
    question = "Same decisions?"
    rows = [row for row in facts.run.parity if _is_compared(facts, row)]
    inference = [row for row in rows if facts.scenarios[row.scenario].task == Task.INFERENCE]
    wrong = [row for row in rows if not row.within_tolerance]
    changed = [row for row in inference if row.decisions_changed]
    if not rows:
        return _unmeasured(
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
    headline, tone = _decision_headline(facts, len(inference), len(changed), len(wrong))
    return Answer(
        key="decisions",
        question=question,
        headline=headline,
        tone=tone,
        lines=tuple(lines),
        details=tuple(_error_sentences(facts)),
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


def _decision_headline(facts: Facts, checked: int, changed: int, wrong: int) -> tuple[str, str]:
    if wrong:
        start = f"{count(wrong, 'scenario')} gave wrong outputs and got no verdict"
        return f"{start}; the others agree with stock default.", "bad"
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
    return f"Yes: all {count(checked, 'scenario')} that ran decide alike on every image.", "good"


def _error_sentences(facts: Facts) -> Iterator[str]:
    images = max((row.images for row in facts.run.parity), default=0)
    for dtype in ("fp32", "bf16"):
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
                f"Largest difference of a probability in {dtype}: {wording.tiny(max(errors))}, "
                f"on {count(images, 'image')}."
            )


def noise(facts: Facts) -> Answer:
    """How noisy the run was: what two identical workers came out as."""
    question = "How noisy was it?"
    controls = [
        (group, control)
        for group in facts.groups
        if (control := facts.control_of(group)) is not None
    ]
    rows = facts.run.noise
    noisy = sum(not row.quiet for row in rows)
    quiet = f"{noisy} of {count(len(rows), 'round')} were not quiet." if rows else ""
    if not controls:
        return Answer(
            key="noise",
            question=question,
            headline="No control was measured, so the noise is unknown.",
            tone="unknown",
            details=(quiet,) if quiet else (),
        )
    failed = [control for _, control in controls if not control.is_valid]
    worst = max((control for _, control in controls), key=lambda item: abs(item.estimate - 1))
    margins = [item.margin for _, item in controls if item.margin is not None]
    headline = f"Two identical stock workers came out as {with_interval(worst)} at worst."
    tone = "plain"
    if failed:
        headline = (
            f"TOO NOISY in {len(failed)} of {count(len(controls), 'comparison group')}: identical "
            f"workers came out as {with_interval(failed[0])}."
        )
        tone = "bad"
    lines = tuple(Line(label=group.label, cells=(control,)) for group, control in controls)
    said = ""
    if margins and not failed:
        said = f"A difference within {wording.percent(max(margins))} was never called one."
    return Answer(
        key="noise",
        question=question,
        headline=headline,
        tone=tone,
        columns=("control",) if failed else (),
        lines=lines if failed else (),
        details=tuple(item for item in (said, quiet) if item),
    )


# ---- the lead -------------------------------------------------------------------------------


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
        f"{_capitalised(spoken(best.row))} {verb} at batch {batch}: "
        f"{times(best.comparison.estimate)} the speed of plain stock PyTorch"
    )
    return f"{start}. {_gain_clause(facts, groups[0], best.row.dtype)}".strip()


def _no_lead(facts: Facts, group: Group) -> str:
    control = facts.control_of(group)
    if control is not None and not control.is_valid:
        return "No verdict can be given: the machine was too noisy while this was measured."
    return f"No valid answer for {_small(group.label)}. {why_nothing(facts, group)}"


def _gain_clause(facts: Facts, group: Group, dtype: str) -> str:
    """What of that is IPEX's own merit."""
    best = best_ipex(facts, group, dtype)
    comparison = facts.against_tuned(best.scenario) if best else None
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


def _unmeasured(key: str, question: str, headline: str) -> Answer:
    return Answer(key=key, question=question, headline=headline, tone="unknown")


def _capitalised(text: str) -> str:
    """The text with its first letter large, unless it starts with a name that is not (`bf16`)."""
    return text if text.startswith(("bf16", "fp32")) else text[:1].upper() + text[1:]


def _small(text: str) -> str:
    return text[:1].lower() + text[1:]
