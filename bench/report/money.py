"""What images cost here, in a sentence. Pure."""

from __future__ import annotations

from typing import TYPE_CHECKING

from bench.analysis.facts import of_task
from bench.analysis.prices import images_per_dollar, images_per_hour
from bench.analysis.winners import winner
from bench.plan.scenario import Task
from bench.text.wording import digits, spoken

if TYPE_CHECKING:
    from bench.analysis.facts import Facts


def sentence(facts: Facts) -> str:
    """Images an hour and for a dollar of the scenario with most images a second."""
    winners = [winner(facts, group) for group in of_task(facts.groups, Task.INFERENCE)]
    rows = [best.row for best in winners if best is not None and best.row.images_per_s]
    if not rows:
        return "No valid throughput was measured, so nothing can be said of cost."
    best = max(rows, key=lambda row: row.images_per_s or 0.0)
    start = (
        f"The most images a second come from {spoken(best)} at batch {best.batch_size}: "
        f"{digits(images_per_hour(best.images_per_s))} images an hour from one worker"
    )
    dollar = images_per_dollar(best.images_per_s, facts.price)
    if facts.price is None or dollar is None:
        name = facts.metadata.machine.instance_type or "this machine"
        return f"{start}. No price is known for {name}, so there is none per dollar."
    return f"{start}, {digits(dollar)} for a dollar at {facts.price.words}."
