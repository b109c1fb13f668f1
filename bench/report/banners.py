"""What a reader must know before believing anything below it. Pure; every rule has a test."""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass
from typing import TYPE_CHECKING, Final

from bench.plan.matrix import INFERENCE_BATCHES
from bench.plan.scenario import MEASURED, Status
from bench.store.events import EventKind, from_environment
from bench.text.wording import count

if TYPE_CHECKING:
    from collections.abc import Iterator

    from bench.analysis.facts import Facts
    from bench.store.events import Event


_BUDGET: Final = (EventKind.BUDGET_EXCEEDED, EventKind.HEADLINES_OPEN)


@dataclass(frozen=True, kw_only=True)
class Banner:
    """Something a reader must know before believing anything below it."""

    level: str
    """`stop` (do not decide from this), `warn` (know this first) or `note`."""
    title: str
    text: str


def banners(facts: Facts) -> list[Banner]:
    """The loud ones, worst first."""
    found = [
        *_incomplete(facts),
        *_invalid(facts),
        *_thin(facts),
        *_unmeasured(facts),
        *_untrained(facts),
        *_emulated(facts),
        *_restricted(facts),
        *_synthetic(facts),
        *_smaller_batches(facts),
        *_archived(facts),
        *_damaged(facts),
    ]
    order = ("stop", "warn", "note")
    return sorted(found, key=lambda banner: order.index(banner.level))


def _incomplete(facts: Facts) -> Iterator[Banner]:
    if not facts.scenarios:
        yield Banner(
            level="stop",
            title="Nothing was measured",
            text="The run's files hold no scenario. What is known of the machine is below.",
        )
    complete = facts.environment.flag("complete")
    events = from_environment(facts.run.environment)
    of_budget = [event.sentence for event in events if event.kind in _BUDGET]
    others = _sentences([event for event in events if event.kind not in _BUDGET])
    if facts.never_measured and facts.scenarios:
        total = len(facts.never_measured) + len(facts.scenarios)
        others.append(f"{len(facts.never_measured)} of {total} scenarios have no row.")
    if complete is not True:
        interrupted = any(event.kind is EventKind.INTERRUPTED for event in events)
        early = "It ended early: it shows what was measured until then."
        text = " ".join([*([] if interrupted else [early]), *of_budget, *others])
        yield Banner(level="stop", title="The run is incomplete", text=text)
        return
    if of_budget:
        yield Banner(level="warn", title="The budget cut something", text=" ".join(of_budget))
    if others:
        yield Banner(level="note", title="Noted while measuring", text=" ".join(others))


def _restricted(facts: Facts) -> Iterator[Banner]:
    """Where a CPU quota, or cores of unequal speed, change what the figures mean."""
    limit = facts.environment.get("machine", "cgroup_cpu_limit")
    seen = facts.environment.items("machine", "affinity")
    noise = [row for group in facts.groups for row in facts.noise_of(group)]
    most = facts.policy.noise.max_throttled
    stopped = sum((row.throttled or 0.0) > most for row in noise)
    if stopped:
        yield Banner(
            level="warn",
            title="A CPU quota stopped the workers",
            text=f"In {stopped} of {count(len(noise), 'round')} our own control group's quota "
            "stopped threads, which lengthens times and is no neighbour's doing: raise the quota "
            "or measure fewer threads with --threads.",
        )
    if isinstance(limit, (int, float)) and limit < len(seen):
        yield Banner(
            level="warn" if limit < 1 else "note",
            title=f"A CPU quota of {limit:g}",
            text=f"A control group allows {limit:g} CPUs' worth of time of the {len(seen)} that "
            "can be seen. The figures are those of a machine of that size"
            + (", whose one thread is stopped part of the time." if limit < 1 else "."),
        )
    if slow := facts.environment.items("machine", "slow_cpus"):
        yield Banner(
            level="note",
            title="Fast cores only",
            text=f"The cores are of unequal speed; {count(len(slow), 'slow CPU')} had no work.",
        )


def _sentences(events: list[Event]) -> list[str]:
    """Return a sentence an event, but one for all blocks that did not count for the same reason."""
    blocks = [event for event in events if event.kind is EventKind.BLOCK_NOT_COUNTED]
    reasons = Counter(event.reason for event in blocks)
    return [event.sentence for event in events if event not in blocks] + [
        f"{count(n, 'block')} did not count: {reason}." for reason, n in reasons.items()
    ]


def _smaller_batches(facts: Facts) -> Iterator[Banner]:
    """What the profile wanted and the machine could not do, in time or in memory."""
    for left_out in facts.environment.items("matrix", "excluded"):
        if isinstance(left_out, dict) and str(left_out.get("what")).startswith(INFERENCE_BATCHES):
            what = str(left_out["what"]).capitalize()
            text = f"{what}: {left_out.get('reason', '')}."
            yield Banner(level="note", title="Larger batches are left out", text=text)


def _invalid(facts: Facts) -> Iterator[Banner]:
    controls = [found for group in facts.groups if (found := facts.control_of(group))]
    failed = [control for control in controls if not control.is_valid]
    if failed:
        yield Banner(
            level="stop",
            title="Not to be believed everywhere",
            text=f"{len(failed)} of {count(len(controls), 'comparison group')} failed: "
            f"{failed[0].reason or 'identical workers differed'}.",
        )
    wrong = [row for row in facts.scenarios.values() if row.status == Status.WRONG_OUTPUT]
    if wrong:
        yield Banner(
            level="warn",
            title="Wrong outputs",
            text=f"{count(len(wrong), 'scenario')} computed something else than stock default and "
            "got no verdict.",
        )


def _thin(facts: Facts) -> Iterator[Banner]:
    if facts.thin_groups:
        needed = facts.policy.verdict.min_rounds
        yield Banner(
            level="stop",
            title="Too little was measured",
            text=f"Fewer than {needed} rounds in {len(facts.thin_groups)} of "
            f"{count(len(facts.groups), 'comparison group')} allow no verdict there: raise the "
            "budget or measure fewer scenarios.",
        )


def _unmeasured(facts: Facts) -> Iterator[Banner]:
    rows = list(facts.scenarios.values())
    failed = [row for row in rows if row.status not in (*MEASURED, Status.WRONG_OUTPUT)]
    if failed:
        yield Banner(
            level="warn",
            title="Not everything could be measured",
            text=f"{len(failed)} of {count(len(rows), 'scenario')} gave no times; reasons under "
            "'What could not run'.",
        )


def _untrained(facts: Facts) -> Iterator[Banner]:
    if facts.is_untrained:
        yield Banner(
            level="warn",
            title="The model is untrained",
            text="Its weights are random: decisions, accuracy and recall mean nothing; the times "
            "are this architecture's all the same.",
        )


def _synthetic(facts: Facts) -> Iterator[Banner]:
    if facts.environment.text("data", "source") == "synthetic":
        yield Banner(
            level="note",
            title="Synthetic pills",
            text="Rendered, not photographed: no claim about real pills.",
        )


def _emulated(facts: Facts) -> Iterator[Banner]:
    rows = [
        row for row in facts.scenarios.values() if row.native_dtype is False and row.dtype == "bf16"
    ]
    if rows or (
        facts.native_bf16 is False and any(r.dtype == "bf16" for r in facts.scenarios.values())
    ):
        yield Banner(
            level="warn",
            title="bf16 is emulated on this CPU",
            text="It has neither AVX512_BF16 nor AMX: bf16 figures show what emulation costs.",
        )
    if any(row.native_dtype is False and row.dtype == "int8" for row in facts.scenarios.values()):
        yield Banner(
            level="warn",
            title="This CPU has no int8 instructions",
            text="It has neither VNNI nor AMX: int8 takes several instructions for what they do in "
            "one, and stock keeps 7 of 8 bits of what flows between layers.",
        )


def _archived(facts: Facts) -> Iterator[Banner]:
    if any(row.backend == "ipex" for row in facts.scenarios.values()):
        yield Banner(
            level="note",
            title="IPEX is archived",
            text="No patches since March 2026; 2.8 is its last release and needs PyTorch 2.8.",
        )


def _damaged(facts: Facts) -> Iterator[Banner]:
    if facts.run.warnings:
        yield Banner(
            level="warn", title="The files are not whole", text=f"{'; '.join(facts.run.warnings)}."
        )
    if facts.is_judged_again:
        was = {(r.scenario, r.baseline_kind): r.verdict for r in facts.run.speedups}
        new = [r for r in facts.speedup_rows if was.get((r.scenario, r.baseline_kind))]
        other = sum(was[r.scenario, r.baseline_kind] != r.verdict for r in new)
        yield Banner(
            level="note",
            title="Judged again",
            text=f"Version 0.1 measured this run and judged it by another rule: {other} of "
            f"{count(len(new), 'verdict')} read otherwise here than in its speedups.csv.",
        )
    if facts.summaries_were_missing:
        yield Banner(
            level="warn",
            title="The run's summaries are missing",
            text="It was killed before it wrote them: times were made from iterations.csv. What "
            "was not checked before the kill has no verdict.",
        )
    elif facts.speedups_were_missing:
        yield Banner(
            level="note",
            title="Speedups were computed for this page",
            text="speedups.csv holds none, so they were made from iterations.csv.",
        )
