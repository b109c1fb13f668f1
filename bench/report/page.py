"""Lays a run out as one self-contained HTML page. Everything from a file is escaped."""

from __future__ import annotations

import base64
import hashlib
from importlib import resources
from typing import Any

import jinja2
from markupsafe import Markup

from bench.report import (
    answers,
    banners,
    charts,
    details,
    environments,
    machine,
    recipes,
    tables,
    varied,
    wording,
)
from bench.report.facts import Facts, of_task
from bench.report.published import PUBLISHED
from bench.report.tables import Cell, Row, Table
from bench.report.winners import bf16_pairs, fusion_pairs
from bench.scenarios import Task

_CONTENTS = (
    ("use", "Use it"),
    ("speedups", "Speedups"),
    ("leaving", "Leaving IPEX"),
    ("batch", "Over batch size"),
    ("fusion", "Fusion"),
    ("dtype", "bf16"),
    ("training", "Training"),
    ("variables", "Allocator, threads"),
    ("cost", "First call and memory"),
    ("parity", "Decisions"),
    ("missing", "What could not run"),
    ("noise", "Noise"),
    ("scenarios", "Every scenario"),
    ("machine", "Machine"),
    ("history", "Published figures"),
    ("method", "Method"),
)


def render(facts: Facts, *, whole: Facts | None = None) -> str:
    """The page; `whole` are the facts with varied scenarios, which `facts` leave out."""
    environment = jinja2.Environment(
        loader=jinja2.PackageLoader("bench", "report"),
        autoescape=True,
        undefined=jinja2.StrictUndefined,
        trim_blocks=True,
    )
    return environment.get_template("page.html").render(_context(facts, whole or facts)) + "\n"


def _context(facts: Facts, whole: Facts) -> dict[str, Any]:
    script, style = _asset("page.js"), _asset("page.css")
    settings, differing = machine.shared_settings(facts)
    return {
        "policy": _content_policy(script),
        "script": script,
        "style": style,
        "title": f"{facts.run_id or 'A run'}: which way of running the model is fastest?",
        "run_id": facts.run_id,
        "machine_line": machine.in_one_line(facts),
        "lead": answers.lead(facts),
        "banners": banners.banners(facts),
        "answers": answers.answers(facts),
        "confidence": wording.percent(facts.policy.verdict.confidence),
        "contents": _contents(facts),
        "environments": environments.versions(facts),
        "charts": _charts(facts),
        "tables": {**_tables(facts), "variables": varied.table(whole)},
        "details": details.all_details(facts),
        "bf16_sentence": answers.bf16_ability(facts),
        "machine": machine.described(facts),
        "machine_notes": machine.notes(facts),
        "settings": settings,
        "differing": differing,
        "method": machine.method(facts),
        "recipes": recipes.recipes(facts),
        "repeat": machine.repeat(facts),
        "provenance": machine.provenance(facts),
        "glyphs": wording.GLYPHS,
        "times": wording.times,
        "bounds": wording.bounds,
        "verdict_words": wording.verdict_words,
    }


def _contents(facts: Facts) -> list[tuple[str, str]]:
    """The sections; leaving IPEX is one where another environment was measured."""
    absent = set() if environments.others(facts) else {"leaving"}
    return [item for item in _CONTENTS if item[0] not in absent]


def _asset(name: str) -> Markup:
    """One of our own files, which the page holds as it is."""
    text = resources.files("bench.report").joinpath(name).read_text(encoding="utf-8")
    return Markup(text)  # noqa: S704 -- our own file, shipped with the package


def _content_policy(script: str) -> str:
    """Nothing may be loaded, and only our own script may run, whatever a file smuggles in."""
    digest = base64.b64encode(hashlib.sha256(script.encode()).digest()).decode()
    return (
        "default-src 'none'; img-src data:; style-src 'unsafe-inline'; "
        f"script-src 'sha256-{digest}'; base-uri 'none'; form-action 'none'"
    )


def _charts(facts: Facts) -> dict[str, Any]:
    groups = list(facts.groups)
    forests = {
        group: drawing
        for number, group in enumerate(groups)
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
    return {
        "speedups": tables.speedups(facts, anchors),
        "leaving": environments.table(facts, anchors),
        "timings": tables.timings(facts, anchors),
        "costs": tables.costs(facts, anchors),
        "parity": tables.parity(facts, anchors),
        "failures": tables.failures(facts, anchors),
        "exclusions": tables.exclusions(facts),
        "noise": tables.noise(facts),
        "published": _published(),
        "fusion": tables.pairs_table(
            facts,
            "fusion",
            "Fusion on over fusion off.",
            ("Median, on", "Median, off"),
            fusion_pairs(facts),
            anchors,
        ),
        "dtype": tables.pairs_table(
            facts,
            "dtype",
            "bf16 over fp32.",
            ("Median, bf16", "Median, fp32"),
            bf16_pairs(facts),
            anchors,
        ),
    }


def _published() -> Table:
    return Table(
        name="published",
        caption="Published by others, not measured here.",
        columns=("What", "Speedup", "Machine", "Versions", "Remark"),
        rows=tuple(
            Row(
                cells=(
                    Cell(text=item.what),
                    Cell(text=item.speedup),
                    Cell(text=item.machine),
                    Cell(text=item.versions),
                    Cell(text=item.remark),
                )
            )
            for item in PUBLISHED
        ),
    )
