"""Say which scenario is fastest: for one image, for throughput, for training and for money."""

from __future__ import annotations

import dataclasses
from typing import TYPE_CHECKING

from bench.analysis.prices import images_per_dollar, images_per_hour
from bench.analysis.run_facts import is_stock_default, of_task
from bench.analysis.winners import (
    best_ipex,
    ipex_over_tuned,
    runner_up,
    shown_row,
    why_nothing,
    winner,
)
from bench.plan.scenario import Status, Task, Verdict
from bench.recommend.rules import at_smallest_batch
from bench.report.answers.answer import (
    BASELINES,
    Answer,
    gain_line,
    ipex_bests,
    lower_first,
    trained_name,
    unanswered,
    upper_first,
)
from bench.report.machine import no_price
from bench.text.wording import at_least, digits, listed, milliseconds, spoken, times, with_interval

if TYPE_CHECKING:
    from collections.abc import Iterator

    from bench.analysis.run_facts import Comparison, Facts, Group
    from bench.analysis.winners import Winner
    from bench.store.records import ScenarioRow


def latency(facts: Facts) -> Answer:
    """Name the fastest scenario for one item at a time, or at the smallest batch measured."""
    question = at_smallest_batch(facts)
    groups = of_task(facts.groups, Task.INFERENCE)
    if not groups:
        return unanswered("latency", question, "Inference was not measured in this run.")
    group = groups[0]
    best = winner(facts, group)
    if best is None:
        return _no_winner(facts, "latency", question, group)
    return _winning(facts, "latency", question, best)


def throughput(facts: Facts) -> Answer | None:
    """Name the batch size and scenario with most items a second among the groups' winners.

    None where one batch size was planned: it would be the answer for that once more.
    """
    question = "Throughput"
    groups = of_task(facts.groups, Task.INFERENCE)
    if not groups:
        return unanswered("throughput", question, "Inference was not measured in this run.")
    if len(groups) == 1:
        return None
    measured = [one for one in groups if any(map(facts.is_measured, facts.groups[one]))]
    if len(measured) == 1:
        only = f"Only batch {measured[0].batch_size} was measured, with the answer above."
        return unanswered("throughput", question, only)
    winners = [best for best in _winners(facts) if best.row.images_per_s]
    if not winners:
        return _no_winner(facts, "throughput", question, groups[-1])
    best = max(winners, key=lambda one: shown_row(facts, one).images_per_s or 0.0)
    question = f"{question}: best at batch {best.group.batch_size}"
    answer = _winning(facts, "throughput", question, best)
    defaults = [row for group in groups if (row := facts.default_of(group)) and row.images_per_s]
    if not defaults:
        return answer
    default = max(defaults, key=lambda row: row.images_per_s or 0.0)
    sentence = (
        f"Stock default at its best: {_figure(facts, 'throughput', default)} at batch "
        f"{default.batch_size}."
    )
    details = [*answer.details, sentence]
    level = [f"{one.group.batch_size}" for one in winners if not one.is_shown and one is not best]
    if level:
        details.append(
            f"At batch {listed(level)} nothing was shown to be faster than stock default, whose "
            "rate counts there."
        )
    return dataclasses.replace(answer, details=tuple(details))


def _winners(facts: Facts) -> list[Winner]:
    groups = of_task(facts.groups, Task.INFERENCE)
    return [best for group in groups if (best := winner(facts, group)) is not None]


def _winning(facts: Facts, key: str, question: str, best: Winner) -> Answer:
    sentence, tone = _verdict(facts, best)
    row, default = shown_row(facts, best), facts.default_of(best.group)
    note = ""
    if not best.is_shown:
        note = "stock default"
    elif default is not None and default.median_ms is not None:
        unit = f" {facts.nouns.items}/s"
        note = f"stock default: {_figure(facts, key, default).removesuffix(unit)}"
    return Answer(
        key=key,
        question=question,
        headline=f"{upper_first(sentence)}.",
        tone=tone,
        number=_figure(facts, key, row),
        number_note=note,
        details=tuple(_winning_details(facts, best)),
    )


def _figure(facts: Facts, key: str, row: ScenarioRow) -> str:
    if key == "throughput":
        return f"{digits(row.images_per_s)} {facts.nouns.items}/s"
    return milliseconds(row.median_ms)


def _verdict(facts: Facts, best: Winner) -> tuple[str, str]:
    """Return what the group's winner shows, a clause without its full stop, and the tone."""
    if best.group in facts.thin_groups:
        return "too few rounds for a verdict", "unknown"
    but = _but_int8(facts, best.group)
    if best.comparison is None:
        return f"no measured scenario{but} is faster than stock default", "level"
    if not best.is_shown:
        return f"no scenario{but} was shown to be faster than stock default", "level"
    verb = "is fastest" if best.is_alone else "leads"
    gain = with_interval(best.comparison)
    return f"{spoken(best.row)} {verb}: {gain} over stock default", "good"


def _but_int8(facts: Facts, group: Group) -> str:
    """Return ` but int8` where that was shown to be faster: another model, it never wins."""
    found = (facts.against_default(r.scenario) for r in facts.groups[group] if r.dtype == "int8")
    return " but int8" if any(one and one.verdict == Verdict.FASTER for one in found) else ""


def _winning_details(facts: Facts, best: Winner) -> Iterator[str]:
    if best.row.status == Status.NO_STEADY_STATE:
        yield "Its warm-up reached no steady state: expect more spread than the interval shows."
    if best.comparison is not None and not best.is_shown:
        yield f"The largest estimate: {spoken(best.row)}, {with_interval(best.comparison)}."
        if best.comparison.reason:
            yield f"Why no verdict: {best.comparison.reason.rstrip('.')}."
        return
    if best.level:
        names = [f"{spoken(row)} ({with_interval(found)})" for row, found in best.level]
        yield f"Not shown to be slower: {listed(names, 2)}."
    else:
        yield from _beaten(facts, best)
    if best.unjudged:
        rest = listed([spoken(row) for row, _ in best.unjudged], 2)
        yield f"Not compared with it: {rest}. Why the first: {best.unjudged[0][1].rstrip('.')}."
    least = at_least(best.comparison) if best.comparison is not None else ""
    if least.startswith("by"):
        yield f"It is faster than stock default {least}."
    elif least:
        yield f"It is {least} as fast as stock default."


def _beaten(facts: Facts, best: Winner) -> Iterator[str]:
    """Say that nothing else keeps up with the best, and how far behind the second is."""
    second = runner_up(facts, best)
    if best.is_alone:
        sentence = "All other scenarios measured with it were shown to be slower"
    elif second:
        sentence = "All others that could be compared with it were shown to be slower"
    else:
        return
    if second:
        name, gain = spoken(second[0]), with_interval(second[1])
        sentence += f"; over the runner-up, {name}, it is {gain}"
    yield f"{sentence}."


def _no_winner(facts: Facts, key: str, question: str, group: Group) -> Answer:
    headline = f"No valid answer for {lower_first(group.label)}."
    return unanswered(key, question, headline, why_nothing(facts, group))


def training(facts: Facts) -> Answer:
    """Name the fastest training step of each training group, and what IPEX gains in it."""
    question = "Training, one step"
    groups = of_task(facts.groups, Task.TRAINING)
    if not groups:
        missing = "Training was not measured in this run."
        if facts.is_own_model and not facts.metadata.request.own.train_step:
            missing = "Not measured: --train-step MODULE:FUNCTION gives the loss."
        return unanswered("training", question, missing)
    bests = {group: winner(facts, group) for group in groups}
    sentences, tones = zip(*(_step(facts, *item) for item in bests.items()), strict=True)
    gains = [best.comparison for best in bests.values() if best and best.is_shown]
    all_good = set(tones) == {"good"}
    why = (why_nothing(facts, group) for group, best in bests.items() if best is None)
    lines = tuple(gain_line(facts, group, row) for group, row in ipex_bests(facts, groups))
    return Answer(
        key="training",
        question=f"{question}, batch {groups[0].batch_size}",
        headline=sentences[0],
        tone=tones[0] if len(set(tones)) == 1 else "plain",
        number=times(gains[0].estimate) if all_good and gains[0] else "",
        number_note="over stock default" if all_good else "",
        columns=tuple(f"IPEX {name}" for name in BASELINES) if lines else (),
        lines=lines,
        details=(*sentences[1:], *list(why)[:1]),
    )


def _step(facts: Facts, group: Group, best: Winner | None) -> tuple[str, str]:
    """Return what one training group shows, a sentence, and its tone."""
    start = f"With {lower_first(trained_name(group))}"
    if best is None:
        return f"{start}, there is no valid answer.", "unknown"
    sentence, tone = _verdict(facts, best)
    if best.level and tone == "good":
        level = listed([spoken(row) for row, _ in best.level], 2)
        sentence += f"; not shown to be slower: {level}"
    return f"{start}, {sentence}.", tone


def lead(facts: Facts) -> str:
    """Summarise the whole answer in one to three sentences."""
    groups = of_task(facts.groups, Task.INFERENCE)
    if not facts.scenarios:
        return "This run holds no measured scenario, so there is no answer yet."
    if not groups:
        return "This run holds no inference scenario; see training below."
    group = groups[0]
    best = winner(facts, group)
    if best is None:
        control = facts.control_of(group)
        if control is not None and not control.is_valid:
            return "No verdict can be given: the control failed, so the results cannot be believed."
        return f"No valid answer for {lower_first(group.label)}. {why_nothing(facts, group)}"
    at = f"at batch {group.batch_size}"
    if group in facts.thin_groups:
        return f"Too little was measured for a verdict {at}."
    if best.comparison is None or not best.is_shown:
        but = _but_int8(facts, group)
        start = f"No scenario{but} was shown to be faster than stock default {at}."
        return f"{start} {_gain_clause(facts, group, 'fp32')}".strip()
    second = runner_up(facts, best)
    is_gain = _is_ipex_over_tuned(facts, best.row, second)
    verb, gain = "is fastest" if best.is_alone else "leads", with_interval(best.comparison)
    parts = (
        f"{upper_first(spoken(best.row))} {verb} {at}: {gain} over stock default.",
        _runner_clause(second, is_tuned=is_gain and best.row.backend == "ipex"),
        "" if is_gain else _gain_clause(facts, group, best.row.dtype),
    )
    return " ".join(part for part in parts if part)


def _is_ipex_over_tuned(
    facts: Facts, best: ScenarioRow, second: tuple[ScenarioRow, Comparison] | None
) -> bool:
    """Return whether the best and the runner-up are the best of IPEX and of stock, in either order.

    Their comparison is then what IPEX gains, which need not be said twice.
    """
    if second is None or (best.backend == "ipex") == (second[0].backend == "ipex"):
        return False
    ipex, stock = (best, second[0]) if best.backend == "ipex" else (second[0], best)
    tuned = ipex_over_tuned(facts, ipex)
    return tuned is not None and tuned.baseline == stock.scenario and stock.dtype == ipex.dtype


def _runner_clause(second: tuple[ScenarioRow, Comparison] | None, *, is_tuned: bool) -> str:
    """Compare the best with the runner-up; empty where that is stock default, named already."""
    if second is None or is_stock_default(second[0]):
        return ""
    row, comparison = second
    name = _tuned_name(row) if is_tuned else spoken(row)
    shown = "" if comparison.found else ": no difference shown"
    return f"Over the runner-up, {name}, it is {with_interval(comparison)}{shown}."


def _gain_clause(facts: Facts, group: Group, dtype: str) -> str:
    """Compare the best of IPEX with stock tuned; empty where that has no valid comparison."""
    best = best_ipex(facts, group, dtype)
    comparison = ipex_over_tuned(facts, best) if best else None
    if best is None or comparison is None or not comparison.is_valid:
        return ""
    if facts.analysis.judge.objection(best.scenario, comparison.baseline):
        return ""  # its interval may say what its noise forbids to say
    gain = with_interval(comparison)
    tuned = _tuned_name(facts.scenarios.get(comparison.baseline))
    return {
        str(Verdict.FASTER): f"The gain of IPEX over {tuned} is {gain}.",
        str(Verdict.SLOWER): f"IPEX is slower than {tuned}: {gain}.",
        str(Verdict.SAME): f"IPEX and {tuned} are equally fast, within the margin: {gain}.",
    }.get(comparison.verdict, f"Between IPEX and {tuned} no difference could be shown: {gain}.")


def _tuned_name(row: ScenarioRow | None) -> str:
    if row is None:
        return "tuned stock PyTorch"
    name = spoken(row).removeprefix("stock PyTorch ").replace(" (", ", ").replace(")", "")
    return f"tuned stock PyTorch ({'stock default itself' if is_stock_default(row) else name})"


def cost(facts: Facts) -> str:
    """Say how many images an hour and a dollar buy with what "Throughput" names."""
    rows = [row for best in _winners(facts) if (row := shown_row(facts, best)).images_per_s]
    if not rows:
        return "No valid throughput was measured, so nothing can be said of cost."
    best = max(rows, key=lambda row: row.images_per_s or 0.0)
    items = facts.nouns.items
    start = (
        f"{upper_first(spoken(best))} at batch {best.batch_size}, the fastest that was shown, "
        f"computes {digits(images_per_hour(best.images_per_s))} {items} an hour in one worker"
    )
    dollar = images_per_dollar(best.images_per_s, facts.price)
    if facts.price is None or dollar is None:
        return f"{start}. {no_price(facts)}"
    return f"{start}, {digits(dollar)} for a dollar at {facts.price.words}."
