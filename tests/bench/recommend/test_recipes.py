"""The code that the page offers runs, and computes what the plain model computes."""

from __future__ import annotations

import dataclasses
import html
import importlib.util
import json
import shlex
import subprocess
import sys
from collections.abc import Callable
from typing import TYPE_CHECKING

import pytest
from click.testing import CliRunner

from bench.cli import cli
from bench.recommend.recipes import recipe
from bench.recommend.rules import Wish, recommend
from bench.recommend.uses import uses
from bench.records import Run, ScenarioRow
from bench.report import build, formats
from bench.report.facts import Facts
from bench.scenarios import FURTHER_BACKENDS

if TYPE_CHECKING:
    from pathlib import Path

MakeRun = Callable[..., Run]
needs_ipex = pytest.mark.skipif(
    importlib.util.find_spec("intel_extension_for_pytorch") is None, reason="IPEX is not installed"
)

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
    names = {{"model": copy.deepcopy(plain), "images": images.clone(), "calibration": [images]}}
    exec(code, names)
    outputs = names["outputs"]
    outputs = outputs[0] if isinstance(outputs, list) else outputs
    error = (outputs.float() - expected).abs().max().item()
    assert error <= tolerance, (error, code)
"""


def inference_rows(run: Run, backend: str) -> list[ScenarioRow]:
    """Every way of that backend at batch 1."""
    return [
        row
        for row in run.scenarios
        if (row.task, row.batch_size, row.backend) == ("inference", 1, backend)
    ]


_TOLERANCES = {"fp32": 1e-4, "bf16": 0.05, "int8": 0.1}


def _run(rows: list[ScenarioRow], folder: Path | None = None) -> None:
    assert rows
    cases = []
    for row in rows:
        code = recipe(row)
        assert code is not None, row.scenario
        cases.append((code, _TOLERANCES[row.dtype]))
    done = subprocess.run(
        [sys.executable, "-W", "ignore", "-c", _PROGRAM.format(cases=cases)],
        check=False,
        capture_output=True,
        text=True,
        timeout=240,
        cwd=folder,
    )
    assert done.returncode == 0, done.stderr[-2000:]


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
@needs_ipex
def test_ipex_recipes_run_and_agree(make_run: MakeRun) -> None:
    """Each IPEX way but compilation."""
    _run([row for row in inference_rows(make_run(), "ipex") if row.mode != "compile"])


@pytest.mark.torch
@pytest.mark.slow
def test_stock_int8_recipe_runs_and_agrees(make_run: MakeRun) -> None:
    """Export, observe, convert, compile."""
    rows = inference_rows(make_run(int8=True, rounds=2, launches=1), "stock")
    _run([row for row in rows if row.dtype == "int8"])


@pytest.mark.torch
@pytest.mark.ipex
@needs_ipex
def test_ipex_int8_recipe_runs_and_agrees(make_run: MakeRun) -> None:
    """Prepare, observe, convert, trace."""
    rows = inference_rows(make_run(int8=True, rounds=2, launches=1), "ipex")
    _run([row for row in rows if row.dtype == "int8"])


@pytest.mark.torch
@pytest.mark.parametrize("backend", ["openvino", "onnxruntime"])
def test_recipes_of_further_backends_run_and_agree(
    make_run: MakeRun, backend: str, tmp_path: Path
) -> None:
    """Where they are installed; the file that ONNX needs is written to the current folder."""
    pytest.importorskip(backend)
    _run([further(make_run(), backend)], tmp_path)


def further(run: Run, backend: str) -> ScenarioRow:
    """A row as that backend's scenario has it."""
    row = next(row for row in inference_rows(run, "stock") if row.mode == "compile")
    return dataclasses.replace(row, backend=backend, dtype="fp32", layout="contiguous")


def test_every_measured_way_of_inference_has_code_that_parses(make_run: MakeRun) -> None:
    """No winner is without its recipe."""
    for backend in ("stock", "ipex"):
        for row in inference_rows(make_run(profile="full", rounds=2, launches=1), backend):
            code = recipe(row)
            assert code is not None
            compile(code, row.scenario, "exec")
            assert ("ipex" in code) == (backend == "ipex")


def test_training_and_unknown_backends_have_none(make_run: MakeRun) -> None:
    """The page offers nothing that it does not know."""
    for row in make_run().scenarios:
        if row.task == "training" or row.backend == "placebo":
            assert recipe(row) is None


def test_every_int8_and_further_way_has_code_that_parses(make_run: MakeRun) -> None:
    """Whatever the matrix can measure for inference, the page can tell how to use."""
    run = make_run(int8=True, rounds=2, launches=1)
    rows = [row for row in run.scenarios if row.dtype == "int8"]
    rows += [further(run, name) for name in FURTHER_BACKENDS]
    for row in rows:
        code = recipe(row)
        assert code is not None, row
        compile(code, row.scenario, "exec")


def test_page_offers_what_recommend_says_for_each_wish(make_run: MakeRun) -> None:
    """One rule for the page, the terminal, Markdown and JSON; whoever must leave IPEX is told."""
    facts = Facts(make_run(trained=True, int8=True, rounds=4))
    offered = uses(facts)
    assert [use.wish for use in offered] == [
        "One image at a time",
        "Most images a second",
        "Without IPEX",
        "int8 too",
    ]
    assert offered[0].found == recommend(facts, Wish())
    assert offered[2].found == recommend(facts, Wish(without_ipex=True))
    page = html.unescape(build(facts.run))
    text = formats.markdown(facts)
    for use in offered:
        assert use.found.code
        assert use.found.code in page
        assert use.found.code in text
        assert use.command in page
    held = json.loads(formats.as_json(facts))["uses"]
    assert [one["code"] for one in held] == [use.found.code for use in offered]


def test_commands_beside_the_code_print_that_code(
    make_run: MakeRun, save: Callable[[Run, Path], Path], tmp_path: Path
) -> None:
    """What the page says to type gives what the page says."""
    run = make_run(trained=True, int8=True, rounds=4)
    folder = save(run, tmp_path / "run")
    for use in uses(Facts(run)):
        program, command, _, *options = shlex.split(use.command)
        assert (program, command) == ("bench", "recommend")
        done = CliRunner().invoke(cli, [command, str(folder), *options])
        assert done.exit_code == 0, done.output
        assert (use.found.code or "") in done.output


def test_noisy_run_offers_no_code_and_says_why(make_run: MakeRun) -> None:
    """Without a valid comparison there is nothing to recommend."""
    (only,) = uses(Facts(make_run(noisy=True)))
    assert only.found.code is None
    assert "nothing can be recommended" in only.title
    assert only.found.reasons
