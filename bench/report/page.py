"""Make the page of one run: turn its facts into the values that the template lays out."""

from __future__ import annotations

from typing import TYPE_CHECKING

from bench.analysis.run_facts import Facts, of_task
from bench.analysis.winners import bf16_pairs, fusion_pairs
from bench.plan.scenario import Task
from bench.recommend.inputs_in_code import InputsInCode
from bench.recommend.rules import uses
from bench.report import (
    answers,
    banners,
    charts,
    details,
    machine,
    method,
    pictures,
    tables,
    varied,
    why,
)
from bench.report.answers import environments
from bench.report.layout import lay_out
from bench.report.speedup_table import pairs_table, speedups
from bench.text import wording

if TYPE_CHECKING:
    from bench.report.drawing import Drawing
    from bench.report.table import Table

_CONTENTS = (
    ("use", "Use it"),
    ("speedups", "Speedups"),
    ("why", "Why it is faster"),
    ("leaving", "Leaving IPEX"),
    ("batch", "Over batch size"),
    ("fusion", "Fusion"),
    ("dtype", "bf16"),
    ("training", "Training"),
    ("variables", "Allocator, threads"),
    ("cost", "First call and memory"),
    ("money", "Cost and energy"),
    ("parity", "Decisions"),
    ("missing", "What could not run"),
    ("noise", "Noise"),
    ("pictures", "Pills and layers"),
    ("scenarios", "Every scenario"),
    ("machine", "Machine"),
    ("history", "Published figures"),
    ("method", "Method"),
)


def render(facts: Facts, explain: tuple[str, str] | None = None) -> str:
    """Build the page; `explain` names two scenarios whose difference it explains first."""
    settings, differing = machine.shared_settings(facts)
    hidden = set() if environments.others(facts) else {"leaving"}
    hidden |= {"pictures", "history"} if facts.is_own_model else set()
    compared = f"{facts.nouns.decision.capitalize()}s" if facts.decides else "Outputs"
    model, own = method.model_in_one_line(facts), facts.metadata.request.own
    values = {
        "title": f"{facts.run_id or 'A run'}: which way of running "
        f"{own.model or 'the model'} is fastest?",
        "model_line": model,
        "own": own if own.model else None,
        "names": " and ".join(InputsInCode(form=facts.metadata.data.form).names),
        "compared": f"Outputs and {facts.nouns.decision}s" if facts.decides else "Outputs",
        "run_id": facts.run_id,
        "machine_line": machine.in_one_line(facts),
        "lead": answers.lead(facts),
        "banners": banners.banners(facts),
        "answers": answers.answers(facts),
        "confidence": wording.percent(facts.policy.verdict.confidence),
        "contents": [
            (anchor, compared if anchor == "parity" else name)
            for anchor, name in _CONTENTS
            if anchor not in hidden
        ],
        "whys": why.section(facts, explain),
        "explain_command": f"bench report results/{facts.run_id} --explain SCENARIO SCENARIO",
        "environments": environments.versions(facts),
        "charts": _charts(facts),
        "tables": _tables(facts),
        "details": details.all_details(facts),
        "bf16_sentence": answers.bf16_ability(facts),
        "album": pictures.album(facts),
        "money_sentence": answers.cost(facts),
        "machine": machine.described(facts),
        "machine_notes": facts.metadata.machine.notes,
        "settings": settings,
        "differing": differing,
        "method": method.how_measured(facts),
        "uses": uses(facts),
        "repeat": method.repeat(facts),
        "provenance": method.provenance(facts),
    }
    return lay_out("page.html", values)


def _charts(facts: Facts) -> dict[str, Drawing | list[Drawing] | None]:
    forests = {
        group: drawing
        for number, group in enumerate(facts.groups)
        if (drawing := charts.forest(facts, group, number)) is not None
    }
    return {
        "bars": charts.speedup_bars(facts),
        "forests": [forests[group] for group in of_task(forests, Task.INFERENCE)],
        "training": [forests[group] for group in of_task(forests, Task.TRAINING)],
        "over_batch": charts.over_batch(facts),
        "fusion": charts.pair_chart(
            facts,
            "fusion-pairs",
            fusion_pairs(facts),
            title="Fusion on over fusion off",
            caption="Right of 1: fusion on is faster.",
        ),
        "dtype": charts.pair_chart(
            facts,
            "dtype-pairs",
            bf16_pairs(facts),
            title="bf16 over fp32",
            caption="Right of 1: bf16 is faster.",
        ),
        "start_up": charts.start_up(facts),
        "memory": charts.memory(facts),
    }


def _tables(facts: Facts) -> dict[str, Table]:
    anchors = details.anchors(facts)
    fusion = ("Median, on", "Median, off")
    dtype = ("Median, bf16", "Median, fp32")
    return {
        "speedups": speedups(facts, anchors),
        "leaving": environments.table(facts, anchors),
        "timings": tables.timings(facts, anchors),
        "costs": tables.costs(facts, anchors),
        "money": tables.money(facts, anchors),
        "parity": tables.parity(facts, anchors),
        "failures": tables.failures(facts, anchors),
        "exclusions": tables.exclusions(facts),
        "noise": tables.noise(facts),
        "variables": varied.table(facts.whole or facts),
        "published": method.published(),
        "fusion": pairs_table(
            facts, "fusion", "Fusion on over fusion off.", fusion, fusion_pairs(facts), anchors
        ),
        "dtype": pairs_table(facts, "dtype", "bf16 over fp32.", dtype, bf16_pairs(facts), anchors),
    }
