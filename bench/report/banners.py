"""Warn at the top of the page of what limits everything below, each by a pure rule."""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass
from typing import TYPE_CHECKING, Final

from bench.plan.matrix import INFERENCE_BATCHES
from bench.plan.scenario import MEASURED, Status
from bench.report.answers.trust import controls_of, failed_share
from bench.store.events import EventKind, from_environment
from bench.text.wording import count

if TYPE_CHECKING:
    from collections.abc import Iterator

    from bench.analysis.run_facts import Facts
    from bench.store.events import Event


_BUDGET: Final = (EventKind.BUDGET_EXCEEDED, EventKind.HEADLINES_OPEN, EventKind.EARLIER_BUDGET)
_LEVELS: Final = ("stop", "warn", "note")


@dataclass(frozen=True, kw_only=True)
class Banner:
    """One warning."""

    level: str
    """`stop` (do not decide from this), `warn` (know this first) or `note`."""
    title: str
    text: str


def banners(facts: Facts) -> list[Banner]:
    """Return every warning that applies, the worst first."""
    rules = (
        _incomplete,
        _invalid,
        _thin,
        _unmeasured,
        _model_and_data,
        _emulated,
        _restricted,
        _smaller_batches,
        _archived,
        _damaged,
        _computed_here,
    )
    found = [
        Banner(level=level, title=title, text=text)
        for rule in rules
        for level, title, text in rule(facts)
    ]
    return sorted(found, key=lambda banner: _LEVELS.index(banner.level))


def _incomplete(facts: Facts) -> Iterator[tuple[str, str, str]]:
    if not facts.scenarios:
        text = "The run's files hold no scenario. What is known of the machine is below."
        yield "stop", "Nothing was measured", text
    events = from_environment(facts.run.environment)
    of_budget = [event.sentence for event in events if event.kind in _BUDGET]
    others = _sentences([event for event in events if event.kind not in _BUDGET])
    if facts.never_measured and facts.scenarios:
        total = len(facts.never_measured) + len(facts.scenarios)
        others.append(f"{len(facts.never_measured)} of {total} scenarios left no row.")
    if facts.metadata.complete is not True:
        interrupted = any(event.kind is EventKind.INTERRUPTED for event in events)
        early = (
            [] if interrupted else ["It ended early: the page shows what was measured until then."]
        )
        yield "stop", "The run is incomplete", " ".join([*early, *of_budget, *others])
        return
    if of_budget:
        yield "warn", "The budget cut something", " ".join(of_budget)
    if others:
        yield "note", "Noted while measuring", " ".join(others)


def _sentences(events: list[Event]) -> list[str]:
    """Return a sentence an event, but one for all blocks that did not count for the same reason."""
    blocks = [event for event in events if event.kind is EventKind.BLOCK_NOT_COUNTED]
    reasons = Counter(event.reason for event in blocks)
    return [event.sentence for event in events if event not in blocks] + [
        f"{count(n, 'block')} did not count: {reason}." for reason, n in reasons.items()
    ]


def _invalid(facts: Facts) -> Iterator[tuple[str, str, str]]:
    controls = controls_of(facts)
    if failed := failed_share(controls):
        first = next(control for control in controls.values() if not control.is_valid)
        reason = (first.reason or "identical workers differed").rstrip(".")
        text = f"In {failed}, so that nothing there can be believed: {reason}."
        yield "stop", "The control failed", text
    wrong = sum(row.status == Status.WRONG_OUTPUT for row in facts.scenarios.values())
    if wrong:
        scenarios = count(wrong, "scenario")
        text = f"{scenarios} computed other outputs than stock default and got no verdict."
        yield "warn", "Wrong outputs", text


def _thin(facts: Facts) -> Iterator[tuple[str, str, str]]:
    if facts.thin_groups:
        text = (
            f"{len(facts.thin_groups)} of {count(len(facts.groups), 'comparison group')} had fewer "
            f"than {facts.policy.verdict.min_rounds} rounds, which allow no verdict: raise the "
            "budget or measure fewer scenarios."
        )
        yield "stop", "Too little was measured", text


def _unmeasured(facts: Facts) -> Iterator[tuple[str, str, str]]:
    rows = facts.scenarios.values()
    failed = [row for row in rows if row.status not in (*MEASURED, Status.WRONG_OUTPUT)]
    if failed:
        refused = sum(row.median_ms is not None for row in failed)
        parts = {"gave no times": len(failed) - refused, "gave times that do not count": refused}
        found = [f"{n} of {count(len(rows), 'scenario')} {what}" for what, n in parts.items() if n]
        text = f"{'; '.join(found)}. 'What could not run' has the reasons."
        yield "warn", "Not everything could be measured", text


def _model_and_data(facts: Facts) -> Iterator[tuple[str, str, str]]:
    if facts.is_own_model and facts.is_untrained:
        text = (
            "Another seed gives other weights, so its outputs mean nothing; the times are those "
            "of this architecture."
        )
        yield "note", "The weights are random", text
    elif facts.is_untrained:
        text = (
            "Its weights are random: decisions, accuracy and recall mean nothing; the times are "
            "still those of this architecture."
        )
        yield "warn", "The model is untrained", text
    if facts.metadata.data.source == "synthetic":
        yield "note", "Synthetic pills", "Rendered, not photographed: no claim about real pills."


def _emulated(facts: Facts) -> Iterator[tuple[str, str, str]]:
    rows = facts.scenarios.values()
    bf16 = [row for row in rows if row.dtype == "bf16"]
    if bf16 and (facts.native_bf16 is False or any(row.native_dtype is False for row in bf16)):
        text = "It has neither AVX512_BF16 nor AMX: bf16 figures show what emulation costs."
        yield "warn", "bf16 is emulated on this CPU", text
    if any(row.native_dtype is False and row.dtype == "int8" for row in rows):
        text = (
            "It has neither VNNI nor AMX: int8 takes several instructions for what they do in one, "
            "and stock PyTorch keeps 7 of 8 bits of the activations."
        )
        yield "warn", "This CPU has no int8 instructions", text


def _restricted(facts: Facts) -> Iterator[tuple[str, str, str]]:
    """Report a CPU quota and unequal cores, which change what the figures mean."""
    noise = [row for group in facts.groups for row in facts.noise_of(group)]
    stopped = sum((row.throttled or 0.0) > facts.policy.noise.max_throttled for row in noise)
    if stopped:
        text = (
            f"In {stopped} of {count(len(noise), 'round')} the quota of this run's own control "
            "group stopped threads, which lengthens times; no other process is the cause. Raise "
            "the quota or measure fewer threads with --threads."
        )
        yield "warn", "A CPU quota stopped the workers", text
    machine = facts.metadata.machine
    limit, visible = machine.cgroup_cpu_limit, len(machine.affinity)
    if limit is not None and limit < visible:
        text = (
            f"A control group allows the time of {limit:g} CPUs, of {visible} visible ones. The "
            "figures are those of a machine of that size"
            + (", whose one thread is stopped part of the time." if limit < 1 else ".")
        )
        yield "warn" if limit < 1 else "note", f"A CPU quota of {limit:g}", text
    if slow := machine.slow_cpus:
        text = f"The cores differ in speed; {count(len(slow), 'slow CPU')} had no work."
        yield "note", "Fast cores only", text


def _smaller_batches(facts: Facts) -> Iterator[tuple[str, str, str]]:
    """Report batch sizes of the profile for which the machine lacks time or memory."""
    for left_out in facts.metadata.matrix.excluded:
        if left_out.what.startswith(INFERENCE_BATCHES):
            text = f"{left_out.what.capitalize()}: {left_out.reason}."
            yield "note", "Larger batches are left out", text


def _archived(facts: Facts) -> Iterator[tuple[str, str, str]]:
    if any(row.backend == "ipex" and row.status in MEASURED for row in facts.scenarios.values()):
        text = "No patches since March 2026; 2.8 is its last release and needs PyTorch 2.8."
        yield "note", "IPEX is archived", text


def _damaged(facts: Facts) -> Iterator[tuple[str, str, str]]:
    if facts.run.warnings:
        yield "warn", "Files are damaged or missing", f"{'; '.join(facts.run.warnings)}."


def _computed_here(facts: Facts) -> Iterator[tuple[str, str, str]]:
    """Report values that the run's files lack or that an older version wrote."""
    if facts.is_judged_again:
        was = {(row.scenario, row.baseline_kind): row.verdict for row in facts.run.speedups}
        both = [
            (old, row.verdict)
            for row in facts.speedup_rows
            if (old := was.get((row.scenario, row.baseline_kind)))
        ]
        text = (
            "Version 0.1 measured this run and judged it by another rule: "
            f"{sum(old != new for old, new in both)} of {count(len(both), 'verdict')} differ from "
            "those in its speedups.csv."
        )
        yield "note", "Judged again", text
    if facts.summaries_were_missing:
        text = (
            "It was killed before it wrote them: times were computed from iterations.csv. What was "
            "not checked before the kill has no verdict."
        )
        yield "warn", "The run's summaries are missing", text
    elif facts.speedups_were_missing:
        text = "speedups.csv holds none, so they were computed from iterations.csv."
        yield "note", "Speedups were computed for this page", text
