"""The code that the page offers runs, and computes what the plain model computes."""

from __future__ import annotations

import dataclasses
import html
import json
import re
import shlex
import subprocess
import sys
from collections.abc import Callable
from importlib.util import find_spec
from typing import TYPE_CHECKING

import pytest
from click.testing import CliRunner

from bench.analysis.run_facts import Facts
from bench.cli.main import cli
from bench.machine.placement import kept_heap
from bench.plan.matrix import FURTHER_BACKENDS
from bench.recommend.recipes import recipe
from bench.recommend.rules import Wish, recommend, uses
from bench.report import build, formats
from bench.store.records import Run, ScenarioRow
from tests.hardware import ONEDNN_HAS_BF16, needs_ipex

if TYPE_CHECKING:
    from pathlib import Path

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
    names = {{"model": copy.deepcopy(plain), "images": images.clone(), "calibration": [images]}}
    exec(code, names)
    outputs = names["outputs"]
    outputs = outputs[0] if isinstance(outputs, list) else outputs
    error = (outputs.float() - expected).abs().max().item()
    assert error <= tolerance, (error, code)
"""


_TRAINING_PROGRAM = """
import copy, torch
torch.manual_seed(0)
plain = torch.nn.Sequential(
    torch.nn.Conv2d(3, 8, 3), torch.nn.ReLU(), torch.nn.Conv2d(8, 8, 3), torch.nn.ReLU(),
    torch.nn.Flatten(), torch.nn.Linear(8 * 16, 2)
)
plain[0].requires_grad_(False)
frozen = plain[0].weight.detach().clone()
images, labels = torch.randn(4, 3, 8, 8), torch.tensor([0, 1, 1, 0])
loss_function = torch.nn.CrossEntropyLoss()
model, expected = copy.deepcopy(plain), []
optimizer = torch.optim.Adam([p for p in model.parameters() if p.requires_grad], lr=1e-2)
for _ in range(2):
    optimizer.zero_grad()
    expected.append(loss_function(model(images), labels))
    expected[-1].backward()
    optimizer.step()
assert expected[1] < 0.9 * expected[0]
for code, tolerance in {cases!r}:
    names = {{"model": copy.deepcopy(plain), "images": images.clone(), "labels": labels,
              "loss_function": loss_function}}
    assert "lr=1e-4" in code
    set_up, step = code.replace("lr=1e-4", "lr=1e-2").rsplit("\\n\\n", 1)
    exec(set_up, names)
    for loss in expected:
        exec(step, names)
        assert abs(names["loss"] - loss) <= tolerance * (expected[0] - expected[1]), code
    first = names["model"].state_dict()
    weight = next(value for name, value in first.items() if name.endswith("0.weight"))
    assert torch.equal(weight.float(), frozen.to(weight.dtype).float()), code
"""


_TOLERANCES = {"fp32": 1e-4, "bf16": 0.05, "int8": 0.1}
_STEP_TOLERANCES = {"fp32": 0.01, "bf16": 0.2}
"""Shares of what one step gains; a step that is missing or made twice exceeds them."""


def at_batch_1(run: Run, backend: str) -> list[ScenarioRow]:
    """The backend's inference scenarios at batch 1."""
    kind = ("inference", 1, backend)
    return [row for row in run.scenarios if (row.task, row.batch_size, row.backend) == kind]


def execute(rows: list[ScenarioRow], folder: Path | None = None) -> None:
    """Run the recipes of those scenarios in one process and compare with the plain model."""
    assert rows
    cases: dict[str, list[tuple[str, float]]] = {"inference": [], "training": []}
    for row in rows:
        code = recipe(row)
        assert code is not None, row.scenario
        tolerances = _TOLERANCES if row.task == "inference" else _STEP_TOLERANCES
        cases[row.task].append((code, tolerances[row.dtype]))
    program = _PROGRAM.format(cases=cases["inference"])
    program += _TRAINING_PROGRAM.format(cases=cases["training"])
    done = subprocess.run(
        [sys.executable, "-W", "ignore", "-c", program],
        check=False,
        capture_output=True,
        text=True,
        timeout=240,
        cwd=folder,
    )
    assert done.returncode == 0, done.stderr[-2000:]


@pytest.mark.torch
@pytest.mark.parametrize(
    ("backend", "compiles"),
    [
        ("stock", False),
        pytest.param("stock", True, marks=pytest.mark.slow),
        pytest.param("ipex", False, marks=[pytest.mark.ipex, needs_ipex]),
        pytest.param("ipex", True, marks=[pytest.mark.slow, pytest.mark.ipex, needs_ipex]),
    ],
)
def test_recipes_run_and_agree(make_run: MakeRun, backend: str, compiles: bool) -> None:
    """Outputs and the losses of two training steps are the plain model's; frozen weights stay.

    Compilation needs a C++ compiler and a minute, so it is apart.
    """
    run = make_run(profile="full", int8=True, rounds=2, launches=1)
    rows = at_batch_1(run, backend)
    rows += [row for row in run.scenarios if (row.task, row.backend) == ("training", backend)]
    execute(
        [
            row
            for row in rows
            if (row.mode == "compile") == compiles
            and (backend == "stock" or ONEDNN_HAS_BF16 or row.dtype != "bf16")
        ]
    )


@pytest.mark.torch
@pytest.mark.parametrize(
    ("backend", "dtype"),
    [
        ("openvino", "fp32"),
        ("onnxruntime", "fp32"),
        ("onnxruntime", "int8"),
        ("zentorch", "fp32"),
        ("zentorch", "bf16"),
    ],
)
def test_recipes_of_further_backends_run_and_agree(
    make_run: MakeRun, backend: str, dtype: str, tmp_path: Path
) -> None:
    """Where they are installed; the file that ONNX needs is written to the current folder."""
    if find_spec(backend) is None:
        pytest.skip(f"{backend} is not installed")
    execute([further(make_run(), backend, dtype)], tmp_path)


def further(run: Run, backend: str, dtype: str = "fp32") -> ScenarioRow:
    """A row as that backend's scenario has it."""
    row = next(row for row in at_batch_1(run, "stock") if row.mode == "compile")
    layout = str(FURTHER_BACKENDS[backend].layout)
    return dataclasses.replace(row, backend=backend, dtype=dtype, layout=layout)


@pytest.mark.parametrize(("dtype", "precision"), [("fp32", "f32"), ("bf16", "bf16")])
def test_openvinos_code_sets_the_precision(make_run: MakeRun, dtype: str, precision: str) -> None:
    """By the setting's own name, which has the word in it."""
    code = recipe(further(make_run(), "openvino", dtype)) or ""
    assert f'"INFERENCE_PRECISION_HINT": "{precision}",' in code


def test_zentorchs_code_uses_public_names_alone(make_run: MakeRun) -> None:
    """What AMD documents, without a name of PyTorch's that begins with an underscore."""
    code = recipe(further(make_run(), "zentorch", "bf16")) or ""
    assert "TORCHINDUCTOR_FREEZING" in code
    assert "freezing_enabled" not in code, "deprecated since 2.14.0.1"
    assert not re.search(r"\b_\w+|\._", code)


def test_int8_has_seven_bits_where_eight_would_overflow(make_run: MakeRun) -> None:
    """As it was measured: on a CPU without VNNI."""
    row = further(make_run(), "onnxruntime", "int8")
    for native, reduced in ((True, False), (False, True)):
        code = recipe(dataclasses.replace(row, native_dtype=native)) or ""
        assert f"reduce_range={reduced}," in code


def test_every_scenario_but_the_placebo_has_code_that_parses(make_run: MakeRun) -> None:
    """Everything that the matrix measures and a user may choose."""
    run = make_run(profile="full", int8=True, rounds=2, launches=1)
    for row in (*run.scenarios, *(further(run, name) for name in FURTHER_BACKENDS)):
        code = recipe(row)
        assert (code is None) == (row.backend == "placebo"), row.scenario
        if code is not None:
            compile(code, row.scenario, "exec")
            assert ("ipex" in code) == (row.backend == "ipex")


def test_code_says_how_its_process_was_started(make_run: MakeRun) -> None:
    """A process that keeps its heap needs a variable; others need none."""
    run = make_run()
    facts = Facts(run)
    said = recommend(facts, Wish()).code
    assert said is not None
    assert "GLIBC_TUNABLES" not in said
    workers = {name: {"env": kept_heap({})} for name, _ in facts.metadata.workers.items()}
    kept = dataclasses.replace(run, environment={**run.environment, "workers": workers})
    code = recommend(Facts(kept), Wish()).code
    assert code is not None
    assert code.startswith("# measured in a process that was started with\n# GLIBC_TUNABLES=glibc.")
    assert code.endswith(said)


def test_page_offers_what_recommend_says_for_each_wish(make_run: MakeRun) -> None:
    """The page, the terminal, Markdown and JSON give the same answers."""
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
    """The page's commands print the page's code."""
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
