"""The code that the page offers runs, and computes what the plain model computes."""

from __future__ import annotations

import importlib.util
import subprocess
import sys
from collections.abc import Callable

import pytest

from bench.records import Run, ScenarioRow
from bench.report import recipes
from bench.report.facts import Facts

MakeRun = Callable[..., Run]

_PROGRAM = """
import copy, torch
torch.manual_seed(0)
plain = torch.nn.Sequential(
    torch.nn.Conv2d(3, 8, 3), torch.nn.ReLU(), torch.nn.Flatten(), torch.nn.Linear(8 * 36, 2)
).eval()
images = torch.randn(2, 3, 8, 8)
with torch.no_grad():
    expected = plain(images)
for code, tolerance in {cases!r}:
    names = {{"model": copy.deepcopy(plain), "images": images.clone()}}
    exec(code, names)
    error = (names["outputs"].float() - expected).abs().max().item()
    assert error <= tolerance, (error, code)
"""


def inference_rows(run: Run, backend: str) -> list[ScenarioRow]:
    """Every way of that backend at batch 1."""
    return [
        row
        for row in run.scenarios
        if (row.task, row.batch_size, row.backend) == ("inference", 1, backend)
    ]


def _run(rows: list[ScenarioRow]) -> None:
    cases = []
    for row in rows:
        code = recipes.recipe(row)
        assert code is not None, row.scenario
        cases.append((code, 0.05 if row.dtype == "bf16" else 1e-4))
    subprocess.run(
        [sys.executable, "-W", "ignore", "-c", _PROGRAM.format(cases=cases)],
        check=True,
        capture_output=True,
        text=True,
        timeout=240,
    )


@pytest.mark.torch
def test_stock_recipes_run_and_agree(make_run: MakeRun) -> None:
    """Each stock way but compilation, which needs a compiler and a minute."""
    _run([row for row in inference_rows(make_run(), "stock") if row.mode != "compile"])


@pytest.mark.torch
@pytest.mark.slow
def test_compiled_stock_recipe_runs_and_agrees(make_run: MakeRun) -> None:
    """Inductor, with freezing and without."""
    rows = inference_rows(make_run(profile="full", rounds=2, launches=1), "stock")
    _run([row for row in rows if row.mode == "compile"])


@pytest.mark.torch
@pytest.mark.ipex
@pytest.mark.skipif(
    importlib.util.find_spec("intel_extension_for_pytorch") is None, reason="IPEX is not installed"
)
def test_ipex_recipes_run_and_agree(make_run: MakeRun) -> None:
    """Each IPEX way but compilation."""
    _run([row for row in inference_rows(make_run(), "ipex") if row.mode != "compile"])


def test_every_measured_way_of_inference_has_code_that_parses(make_run: MakeRun) -> None:
    """No winner is without its recipe."""
    for backend in ("stock", "ipex"):
        for row in inference_rows(make_run(profile="full", rounds=2, launches=1), backend):
            code = recipes.recipe(row)
            assert code is not None
            compile(code, row.scenario, "exec")
            assert ("ipex" in code) == (backend == "ipex")


def test_training_and_unknown_backends_have_none(make_run: MakeRun) -> None:
    """The page offers nothing that it does not know."""
    for row in make_run().scenarios:
        if row.task == "training" or row.backend == "placebo":
            assert recipes.recipe(row) is None


def test_page_offers_the_winner_and_a_way_without_ipex(make_run: MakeRun) -> None:
    """Whoever must leave IPEX finds the best stock code beside it."""
    titles = [one.title for one in recipes.recipes(Facts(make_run()))]
    assert titles[0].startswith("Fastest at batch 1: IPEX")
    assert any(title.startswith("Fastest without IPEX") for title in titles)


def test_noisy_run_offers_no_code(make_run: MakeRun) -> None:
    """Without a winner there is nothing to recommend."""
    assert recipes.recipes(Facts(make_run(noisy=True))) == []
