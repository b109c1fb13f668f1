"""The last check of .ci/run: a whole run and page pass, a hollow page does not."""

from __future__ import annotations

import importlib.util
import re
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from bench.report import build
from tests.bench.report.test_varied import with_variable

if TYPE_CHECKING:
    from types import ModuleType

    from bench.store.records import Run
    from tests.bench.made_up_runs import MakeRun

SCRIPT = Path(__file__).parents[3] / ".ci" / "whole_run.py"


@pytest.fixture(scope="module")
def whole_run() -> ModuleType:
    """The script, which is no part of a package."""
    spec = importlib.util.spec_from_file_location("whole_run", SCRIPT)
    assert spec
    assert spec.loader
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


@pytest.fixture(scope="module")
def run(make_run: MakeRun) -> Run:
    """A good standard run."""
    return make_run()


@pytest.fixture(scope="module")
def page(run: Run) -> str:
    """Its page."""
    return build(run)


def test_a_whole_page_passes(whole_run: ModuleType, run: Run, page: str) -> None:
    """The check asks for nothing that a good page lacks."""
    assert whole_run.page_faults(run, page) == []


def test_a_run_of_one_batch_size_has_no_curve(whole_run: ModuleType, run: Run) -> None:
    """A slow machine's budget may end before the second size: its page says so instead."""
    first = next(row.batch_size for row in run.scenarios if row.task == "inference")
    kept = tuple(r for r in run.scenarios if (r.task, r.batch_size) == ("inference", first))
    single = replace(run, scenarios=kept)
    faults = whole_run.page_faults(single, build(single))
    assert not [fault for fault in faults if "batch" in fault]
    assert any("batch" in fault for fault in whole_run.page_faults(single, build(run)))


def test_an_empty_page_is_hollow(whole_run: ModuleType, run: Run) -> None:
    """The names of its scenarios alone do not make it whole."""
    names = "".join(row.scenario for row in run.scenarios)
    found = whole_run.page_faults(run, f"<html>{names}</html>")
    assert len(found) > len(whole_run.SECTIONS)


@pytest.mark.parametrize(
    ("pattern", "instead", "words"),
    [
        (r"<svg.*?</svg>", "", "no svg"),
        (r'<section id="noise".*?</section>', "", "no table"),
        (r"</body>", "<img src='https://example.org/x.png'></body>", "would fetch"),
        (r"</body>", "<script src=x.js></script></body>", "would fetch"),
        (r"</body>", "<style>a{background:url(http://x)}</style></body>", "would fetch"),
        (r'data-sort="[\d.]+"', 'data-sort="1"', "median"),
    ],
)
def test_what_is_missing_is_named(
    whole_run: ModuleType, run: Run, page: str, pattern: str, instead: str, words: str
) -> None:
    """A plot, a section, a figure, or a request to the network."""
    changed = re.sub(pattern, instead, page, flags=re.DOTALL)
    assert changed != page
    assert any(words in fault for fault in whole_run.page_faults(run, changed))


@pytest.mark.parametrize(("onednn_has_bf16", "faults"), [(False, 0), (True, 1), (None, 1)])
def test_kernels_may_lack_only_where_onednn_has_none(
    whole_run: ModuleType, run: Run, page: str, onednn_has_bf16: bool | None, faults: int
) -> None:
    """Below AVX-512 oneDNN has no bf16, so stock's bf16 leaves no line in its log."""
    lacking = next(r.scenario for r in run.scenarios if (r.backend, r.dtype) == ("stock", "bf16"))
    machine = run.environment["machine"]
    torch = {"version": "2.8.0", "mkldnn_bf16_supported": onednn_has_bf16}
    changed = replace(
        run,
        kernels=tuple(row for row in run.kernels if row.scenario != lacking),
        environment={
            **run.environment,
            "machine": {**machine, "frameworks": {**machine["frameworks"], "torch": torch}},
        },
    )
    found = [fault for fault in whole_run.faults(changed, page) if "kernel evidence" in fault]
    assert len(found) == faults
    if faults == 0:
        assert "oneDNN logged none" in build(changed)
        assert "oneDNN logged none" not in page


def test_a_varied_scenario_is_shown_over_the_unvaried_one(whole_run: ModuleType, run: Run) -> None:
    """Baselines of the others ran under other conditions."""
    changed, name = with_variable(run)
    odd = {"unvaried": 10.123, "stock_default": 10.321}
    changed = replace(
        changed,
        speedups=tuple(
            replace(row, speedup=odd[row.baseline_kind]) if row.scenario == name else row
            for row in changed.speedups
        ),
    )
    page = build(changed)
    assert whole_run.page_faults(changed, page) == []
    hidden = page.replace('data-sort="10.123"', "")
    assert whole_run.page_faults(changed, hidden) == [
        f"the page does not show {name} over unvaried"
    ]
    alone = replace(
        changed, speedups=tuple(row for row in changed.speedups if row.baseline_kind != "unvaried")
    )
    assert f"{name} has no a speedup over unvaried" in whole_run.faults(alone, page)
