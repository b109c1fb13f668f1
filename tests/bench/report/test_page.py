"""The page as markup: whole, self-contained, escaped, and true to the rows it was made from."""

from __future__ import annotations

import dataclasses
import html
import itertools
import re
from html.parser import HTMLParser
from pathlib import Path
from typing import Any

import pytest

from bench.machine.worker_settings import kept_heap
from bench.plan.scenario import Status
from bench.report import build
from bench.store.records import Run
from bench.text.wording import bounds, times
from tests.bench.made_up_runs import DEFAULT_1, HOSTILE, THREE, MakeRun

SMALL = (
    *THREE,
    "training/stock/eager/fp32/contiguous/b2/frozen",
    "training/ipex/eager/fp32/channels_last/b2/frozen",
)
EMPTY = Run(folder=Path("results/empty"), environment={})


class Outline(HTMLParser):
    """Collects what the tests look at."""

    def __init__(self, page: str) -> None:
        super().__init__()
        self.tags: list[str] = []
        self.attributes: list[tuple[str, str]] = []
        self.feed(page)

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.append(tag)
        self.attributes += [(name, value or "") for name, value in attrs]

    def values(self, *names: str) -> list[str]:
        return [value for name, value in self.attributes if name in names]


def between(page: str, start: str, end: str) -> str:
    """The part of the page from one marker to the next."""
    return page[page.index(start) : page.index(end, page.index(start))]


@pytest.fixture(scope="module")
def page(make_run: MakeRun) -> str:
    """A good standard run's page."""
    return build(make_run())


@pytest.fixture(scope="module")
def outline(page: str) -> Outline:
    """That page, parsed."""
    return Outline(page)


@pytest.fixture(scope="module")
def small(make_run: MakeRun) -> Run:
    """A run of a few scenarios."""
    return make_run(profile="smoke", rounds=3, only=SMALL)


@pytest.fixture(scope="module")
def failed(make_run: MakeRun, mishaps: Any) -> Run:
    """A run with a scenario of each unhappy status."""
    return make_run(faults=mishaps)


@pytest.fixture(scope="module")
def failed_page(failed: Run) -> str:
    """Its page, unescaped."""
    return html.unescape(build(failed))


def test_same_run_gives_same_page(make_run: MakeRun, page: str) -> None:
    """Nothing of the page depends on when or where it is made."""
    assert build(make_run()) == page


def test_page_loads_nothing_and_runs_only_its_own_script(page: str, outline: Outline) -> None:
    """No element refers to anything outside, and the policy forbids injected markup to."""
    assert not {"link", "iframe", "img", "object", "base"} & set(outline.tags)
    references = outline.values("href", "src")
    assert references
    assert all(value.startswith("#") for value in references)
    assert "@import" not in page
    assert not re.search(r"url\((?!#)", page)
    policy = next(value for value in outline.values("content") if "default-src" in value)
    assert policy.startswith("default-src 'none'")
    assert "script-src 'sha256-" in policy
    assert "script-src 'unsafe-inline'" not in policy


def test_ids_are_unique_and_every_reference_has_its_target(outline: Outline) -> None:
    """Links, labels and patterns of many drawings in one document do not collide."""
    ids = outline.values("id")
    assert len(ids) == len(set(ids))
    targets = [value[1:] for value in outline.values("href")]
    for value in outline.values("aria-labelledby", "aria-describedby"):
        targets += value.split()
    for _, value in outline.attributes:
        targets += re.findall(r"url\(#([^)]+)\)", value)
    assert set(targets) <= set(ids)


def test_outline_has_no_holes_and_every_drawing_has_words(page: str, outline: Outline) -> None:
    """For a screen reader."""
    headings = [int(tag[1]) for tag in outline.tags if re.fullmatch(r"h[1-6]", tag)]
    assert headings[0] == 1
    assert headings.count(1) == 1
    assert all(after - before <= 1 for before, after in itertools.pairwise(headings))
    words = r"<title[^>]*>[^<]+</title><desc[^>]*>[^<]+</desc>"
    drawings = re.findall(rf"<svg[^>]*>(?:{words})?", page)
    assert drawings
    assert all('role="img"' in drawing and "<desc" in drawing for drawing in drawings)


def test_every_speedup_of_the_file_is_on_the_page(make_run: MakeRun, page: str) -> None:
    """Both baselines, every scenario: estimate and interval as speedups.csv has them."""
    text = re.sub(r"\s+", " ", re.sub(r"<[^>]+>", " ", page))
    for row in make_run().speedups:
        assert row.speedup is not None
        shown = f"{times(row.speedup)} {bounds(row.speedup_low, row.speedup_high)}"
        assert shown in text, row.scenario


def test_published_figures_and_own_use_are_on_the_page(page: str) -> None:
    """History is marked as not measured; the parent's CPU use and all processes' memory are."""
    shown = html.unescape(page)
    assert "2.22" in shown
    assert "not measured here" in shown
    assert re.search(r"Harness's own CPU use</dt>\s*<dd>0\.4", shown)
    assert re.search(r"all processes together, at most</dt>\s*<dd>11\.2 GiB", shown)


def test_failed_scenarios_keep_their_place_and_reason(failed: Run, failed_page: str) -> None:
    """A comparison fails for the scenario's own reason, which its row does not repeat."""
    for row in failed.scenarios:
        assert row.scenario in failed_page
        assert row.reason is None or row.reason in failed_page
    table = between(failed_page, 'id="table-speedups"', '<section id="batch"')
    assert table.count("the worker needed more than 14 GiB") == 1


def test_group_that_was_never_measured_has_no_bar_and_no_drawing(make_run: MakeRun) -> None:
    """A bar of 1.00 for stock tuned where nothing ran would be a figure from nowhere."""
    eight = "inference/stock/eager/fp32/contiguous/b8"
    late = "not measured: the budget was used up before its turn"
    run = make_run(
        only=(DEFAULT_1, "inference/ipex/eager/fp32/channels_last/b1", eight),
        faults=((eight, Status.UNAVAILABLE, late),),
        rounds=4,
    )
    page = build(run)
    bars = between(page, '<section id="speedups">', 'id="table-speedups"')
    assert "batch 1" in bars
    assert "batch 8" not in bars
    assert late in page


def test_every_measured_scenario_has_its_code_and_start_up_cost(make_run: MakeRun) -> None:
    """Its entry holds peak, memory, first call, break-even, and how to run the model so."""
    run = make_run(only=SMALL, rounds=4)
    page = html.unescape(build(run))
    entries = between(page, '<section id="scenarios">', '<section id="machine">')
    found = re.findall(r"<dt>(.*?)</dt>", entries)
    for name in ("Share of the machine's peak", "Peak memory", "First call"):
        assert found.count(name) == len(run.scenarios)
    inference = [row for row in run.scenarios if row.task == "inference"]
    assert entries.count("outputs = model(images)") == len(inference) > 1


def test_page_describes_the_workers_of_the_run(small: Run) -> None:
    """Their heap as they reported it; one that never came up has no settings that differ."""
    workers = small.environment["workers"]

    def page_with(workers: Any) -> str:
        environment = {**small.environment, "workers": workers}
        return build(dataclasses.replace(small, environment=environment))

    shipped = page_with({**workers, "late": {"threads": None, "env": {}}})
    assert "Workers differ" not in shipped
    kept = page_with({name: {"env": kept_heap({})} for name in workers})
    sentences = [re.findall(r"[^.>]*\bheap\b[^.]*", page) for page in (shipped, kept)]
    assert sentences[0] != sentences[1]


def _spoiled(value: Any) -> Any:
    """A value with script in every string, keys included."""
    if isinstance(value, dict):
        spoiled = {key: _spoiled(item) for key, item in value.items()}
        return {HOSTILE + str(key): item for key, item in spoiled.items()} | spoiled
    if isinstance(value, list):
        return [_spoiled(item) for item in value] + [HOSTILE]
    return f"{value}{HOSTILE}" if isinstance(value, str) else value


def test_script_in_any_string_of_a_file_stays_text(make_run: MakeRun) -> None:
    """The page holds exactly one script, ours, and no handler."""
    run = make_run(profile="smoke", rounds=3)

    def spoil(rows: Any, **fields: str) -> Any:
        return tuple(
            dataclasses.replace(row, scenario=row.scenario + HOSTILE, **fields) for row in rows
        )

    names = ("scenario", "backend", "mode", "fusion", "dtype", "layout", "options", "environment",
             "status")  # fmt: skip
    spoiled: Any = dict.fromkeys(names, HOSTILE)
    strange = (dataclasses.replace(run.scenarios[0], **spoiled),)
    speedups = tuple(
        dataclasses.replace(row, baseline=row.baseline + HOSTILE) for row in run.speedups
    )
    hostile = dataclasses.replace(
        run,
        environment=_spoiled(run.environment),
        scenarios=spoil(run.scenarios, reason=HOSTILE, isa=HOSTILE) + strange,
        speedups=spoil(speedups, reason=HOSTILE),
        parity=spoil(run.parity),
        kernels=spoil(run.kernels, implementation=HOSTILE, post_ops=HOSTILE),
        noise=tuple(dataclasses.replace(row, group=row.group + HOSTILE) for row in run.noise),
        iterations=spoil(run.iterations),
        warnings=(HOSTILE,),
    )
    page = build(hostile)
    outline = Outline(page)
    assert outline.tags.count("script") == 1
    assert "img" not in outline.tags
    assert not [name for name, _ in outline.attributes if name.startswith("on")]
    assert "&lt;script&gt;alert(1)" in page


NONSENSE = {
    "machine": {"isa": ["x"], "caches": 3, "usable_physical_cores": "many", "notes": "none"},
    "policy": {"verdict": {"confidence": "high", "unknown": 1}},
    "matrix": [],
    "workers": {"a": 3},
    "peak": None,
    "model": "vgg",
    "notes": 4,
}
"""An environment.json whose values have other types than expected."""


@pytest.mark.parametrize(
    ("field", "value"),
    [
        *((name, ()) for name in ("iterations", "parity", "noise", "kernels", "scenarios")),
        ("environment", {}),
        ("environment", NONSENSE),
    ],
)
def test_missing_and_strange_files_give_a_page(small: Run, field: str, value: Any) -> None:
    """Any file may be lost; the page shows what the others hold."""
    page = build(dataclasses.replace(small, **{field: value}))
    assert "</html>" in page
    assert SMALL[2] in page


def test_page_says_what_is_missing(small: Run, make_run: MakeRun) -> None:
    """Nothing at all, nothing to compare with, or no speedups after a kill."""
    empty = build(EMPTY)
    assert "Nothing was measured" in empty
    assert "How it was measured" in empty
    assert "Only stock default was measured" in build(make_run(only=(DEFAULT_1,)))
    killed = build(dataclasses.replace(small, speedups=()))
    assert "Speedups were computed for this page" in killed
    row = next(row for row in small.speedups if row.baseline_kind == "stock_tuned")
    assert times(row.speedup) in killed
