"""The code that the page offers runs, and computes what the plain model computes."""

from __future__ import annotations

import ast
import dataclasses
import html
import json
import os
import re
import shlex
import subprocess
import sys
from collections.abc import Callable
from importlib.metadata import version
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import pytest

from bench.analysis.run_facts import Facts
from bench.machine.worker_settings import kept_heap
from bench.plan.matrix import FURTHER_BACKENDS
from bench.plan.support import DOCUMENTED, Severity, concerns, is_supported
from bench.recommend.recipes import recipe
from bench.recommend.rules import Wish, recommend, uses
from bench.report import build, formats
from bench.store.records import Run, ScenarioRow
from bench.worker import kernels
from tests.bench.command import bench
from tests.fresh_process import python
from tests.hardware import ONEDNN_HAS_BF16, needs_ipex

MakeRun = Callable[..., Run]

_PROGRAM = """
import copy, warnings, torch
warnings.simplefilter("ignore")
for category in (DeprecationWarning, PendingDeprecationWarning, FutureWarning):
    warnings.simplefilter({deprecated!r}, category)
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
    if "torch.compile" in code and tolerance < 0.01:
        with torch.no_grad():
            for parameter in names["model"].parameters():
                parameter.zero_()  # frozen weights are constants by now
            is_frozen = torch.equal(names["model"](names["images"]), outputs)
        assert is_frozen == ("TORCHINDUCTOR_FREEZING" in code), code
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


EVERY_WAY: dict[str, Any] = {
    "profile": "full",
    "batch_sizes": (1,),
    "int8": True,
    "rounds": 2,
    "launches": 1,
}
"""A made-up run with every way of running, at one batch size: code does not depend on it."""
_TOLERANCES = {"fp32": 1e-4, "bf16": 0.05, "fp16": 0.01, "int8": 0.1}
_STEP_TOLERANCES = {"fp32": 0.01, "bf16": 0.2}
"""Shares of what one step gains; a step that is missing or made twice exceeds them."""


@dataclasses.dataclass(frozen=True, kw_only=True)
class Interpreter:
    """A Python that has PyTorch."""

    python: str
    torch: str
    """Its version."""
    int8: bool
    """Whether it has a quantizer."""


def at_batch_1(run: Run, backend: str) -> list[ScenarioRow]:
    """The backend's inference scenarios at batch 1."""
    kind = ("inference", 1, backend)
    return [row for row in run.scenarios if (row.task, row.batch_size, row.backend) == kind]


COMPILED = ("compile", "aot")
"""Modes that need a C++ compiler, and a minute."""


def once_each(rows: list[ScenarioRow]) -> list[ScenarioRow]:
    """Return one scenario for each code."""
    return [*{recipe(row): row for row in rows}.values()]


def execute(
    rows: list[ScenarioRow],
    folder: Path | None = None,
    *,
    within: Interpreter | None = None,
    deprecated: str | None = None,
) -> None:
    """Run the recipes of those scenarios and compare with the plain model.

    Those that freeze share a process, for which a variable says so; all others share another.
    `deprecated` is what a warning of deprecation does: `ignore` or `error`; by default it is an
    error in supported code. That runs first, because PyTorch gives some warnings once a process.
    """
    within = within or Interpreter(python=sys.executable, torch=version("torch"), int8=True)
    assert rows
    codes = {row.scenario: recipe(row, torch=within.torch) or "" for row in rows}
    assert all(codes.values()), codes
    for freezes in (True, False):
        program = ""
        for action in ("error", "ignore"):
            chosen = [
                row
                for row in rows
                if ("FREEZING" in codes[row.scenario]) == freezes
                and (deprecated or _action(row, within)) == action
            ]
            if chosen:
                program += _program(chosen, codes, action)
        if program:
            _run(within, program, folder)


def _action(row: ScenarioRow, within: Interpreter) -> str:
    return "error" if is_supported(row, within.torch) else "ignore"


def _program(rows: list[ScenarioRow], codes: dict[str, str], deprecated: str) -> str:
    """Return a program that runs the code of these scenarios, one after the other."""
    cases: dict[str, list[tuple[str, float]]] = {"inference": [], "training": []}
    for row in rows:
        tolerances = _TOLERANCES if row.task == "inference" else _STEP_TOLERANCES
        cases[row.task].append((codes[row.scenario], tolerances[row.dtype]))
    program = _PROGRAM.format(cases=cases["inference"], deprecated=deprecated)
    return program + _TRAINING_PROGRAM.format(cases=cases["training"])


def _run(within: Interpreter, program: str, folder: Path | None) -> None:
    python(*("-W", "ignore", "-c", program), executable=within.python, timeout=400, cwd=folder)


@pytest.mark.torch
@pytest.mark.timeout(900)
@pytest.mark.parametrize(
    ("backend", "compiles"),
    [
        ("stock", False),
        pytest.param("stock", True, marks=pytest.mark.slow),
        pytest.param("ipex", False, marks=[pytest.mark.ipex, needs_ipex]),
        pytest.param("ipex", True, marks=[pytest.mark.slow, pytest.mark.ipex, needs_ipex]),
    ],
)
def test_recipes_run_and_agree(
    make_run: MakeRun, tmp_path: Path, backend: str, *, compiles: bool
) -> None:
    """Outputs and the losses of two training steps are the plain model's; frozen weights stay.

    Supported code gives no warning of deprecation, here in PyTorch 2.8 beside IPEX. Compilation
    needs a C++ compiler and a minute, so it is apart. Equal code runs once.
    """
    run = make_run(**EVERY_WAY)
    rows = at_batch_1(run, backend)
    rows += [row for row in run.scenarios if (row.task, row.backend) == ("training", backend)]
    wanted = [
        row
        for row in rows
        if (row.mode in COMPILED) == compiles
        and (backend == "stock" or ONEDNN_HAS_BF16 or row.dtype != "bf16")
    ]
    assert backend == "ipex" or any(is_supported(row, version("torch")) for row in wanted)
    execute(once_each(wanted), tmp_path)


_LOGGED = """
frozen, other = {codes!r}
before, _, after = frozen.partition("import torch")
exec(before)
import ctypes, torch

def log(after):
    torch.manual_seed(0)
    model = torch.nn.Sequential(
        torch.nn.Conv2d(3, 32, 3), torch.nn.ReLU(), torch.nn.Conv2d(32, 64, 3), torch.nn.ReLU()
    )
    names = {{"model": model, "images": torch.randn(2, 3, 16, 16)}}
    exec("import torch" + after, names)
    with torch.no_grad(), torch.backends.mkldnn.verbose(torch.backends.mkldnn.VERBOSE_ON):
        names["model"](names["images"])
    ctypes.CDLL(None).fflush(None)  # oneDNN's lines, before the next one of Python's

log(after)
print({between!r}, flush=True)
torch._inductor.config.freezing = False  # read from the variable when it was imported
log(other.partition("import torch")[2])
"""
_BETWEEN = "---- without freezing"


@pytest.mark.torch
@pytest.mark.slow
def test_code_that_builds_ahead_packs_no_weight_at_a_call(
    make_run: MakeRun, tmp_path: Path
) -> None:
    """Without freezing the code would run, agree and be slower: the log of a call shows it.

    `execute` checks that compiled code freezes.
    """
    run = make_run(**EVERY_WAY)
    row = next(row for row in at_batch_1(run, "stock") if (row.mode, row.dtype) == ("aot", "fp32"))
    code = recipe(row) or ""
    codes = (code, code.replace('"1"', '"0"').replace("True", "False"))
    done = python("-W", "ignore", "-c", _LOGGED.format(codes=codes, between=_BETWEEN), cwd=tmp_path)
    frozen, other = (
        [kernel.primitive for kernel in kernels.parse(log)] for log in done.stdout.split(_BETWEEN)
    )
    assert frozen.count("convolution") == 2
    assert "reorder" not in frozen
    assert "reorder" in other


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
    execute([further(make_run(), backend, dtype)], tmp_path, deprecated="ignore")


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
    run = make_run(**EVERY_WAY)
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
        "Supported ways only",
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
        done = bench(command, folder, *options)
        assert done.exit_code == 0, done.output
        assert (use.found.code or "") in done.output


def test_noisy_run_offers_no_code_and_says_why(make_run: MakeRun) -> None:
    """Without a valid comparison there is nothing to recommend."""
    (only,) = uses(Facts(make_run(noisy=True)))
    assert only.found.code is None
    assert "nothing can be recommended" in only.title
    assert only.found.reasons


# ---- supported ways -----------------------------------------------------------------------------

LATEST = "torch-latest"
_ASK = """
import importlib.util, json, sys
from importlib.metadata import version
from importlib.util import find_spec
print(json.dumps({"python": sys.executable, "torch": version("torch"),
                  "int8": importlib.util.find_spec("torchao") is not None}))
"""


@pytest.fixture(scope="module")
def latest() -> Interpreter:
    """The newest PyTorch: PILLQC_LATEST_PYTHON, or what `make bench ENVS=latest` installed."""
    installed = Path(__file__).parents[3] / ".venv-latest/bin/python"
    python = os.environ.get("PILLQC_LATEST_PYTHON", str(installed))
    if not Path(python).exists():
        pytest.skip(f"{python} is not there: `make .venv-latest/.installed` makes it")
    told = subprocess.run([python, "-c", _ASK], check=True, capture_output=True, text=True)
    return Interpreter(**json.loads(told.stdout))


@pytest.mark.torch
@pytest.mark.slow
def test_supported_recipes_run_without_any_warning_in_the_newest_pytorch(
    make_run: MakeRun, tmp_path: Path, latest: Interpreter
) -> None:
    """All of them, int8 too where torchao is installed."""
    run = make_run(**(EVERY_WAY | {"int8": latest.int8, "environments": (LATEST,)}))
    rows = [
        row
        for row in run.scenarios
        if row.environment == LATEST
        and (row.task == "training" or row.batch_size == 1)
        and is_supported(row, latest.torch)
    ]
    assert any(row.dtype == "int8" for row in rows) == latest.int8
    execute(once_each(rows), tmp_path, within=latest)


@pytest.mark.torch
def test_newest_pytorch_warns_of_what_is_marked_as_deprecated(
    make_run: MakeRun, latest: Interpreter
) -> None:
    """Else the rule would be out of date, or the tests above could not fail."""
    run = make_run(**(EVERY_WAY | {"environments": (LATEST,)}))
    script = next(
        row
        for row in run.scenarios
        if (row.environment, row.mode, row.dtype) == (LATEST, "torchscript", "fp32")
    )
    execute([script], within=latest, deprecated="ignore")
    with pytest.raises(AssertionError, match=r"Warning: `torch\.jit\.trace` is deprecated"):
        execute([script], within=latest, deprecated="error")


def private_names(code: str) -> set[str]:
    """The names in a program of which a part begins with an underscore, in full: `torch._C.x`.

    Without those that PyTorch documents, and without Python's own, such as `__init__`.
    """
    names: set[str] = set()
    for node in ast.walk(ast.parse(code)):
        parts: dict[type[ast.AST], Any] = {
            ast.Name: lambda node: [node.id],
            ast.Attribute: lambda node: [ast.unparse(node)],
            ast.alias: lambda node: [node.name],
            ast.ImportFrom: lambda node: [f"{node.module}.{one.name}" for one in node.names],
            ast.keyword: lambda node: [node.arg or ""],
        }
        names |= {*parts.get(type(node), lambda _: ())(node)}
    documented = {*DOCUMENTED, *(name.rpartition(".")[0] for name in DOCUMENTED)}
    return {name for name in names - documented if re.search(r"(^|\.)_(?!_\w+__)", name)}


@pytest.mark.parametrize("torch", ["2.8.0", "2.14.1"])
def test_recipes_name_something_private_only_where_that_is_marked(
    make_run: MakeRun, torch: str
) -> None:
    """IPEX's are archived as a whole, and may."""
    run = make_run(**(EVERY_WAY | {"environments": (LATEST,)}))
    rows = (*run.scenarios, *(further(run, name) for name in FURTHER_BACKENDS))
    marked = 0
    for row in (row for row in rows if row.backend not in ("ipex", "placebo")):
        is_private = any(one.severity is Severity.PRIVATE for one in concerns(row, torch))
        marked += is_private
        code = recipe(row, torch=torch)
        assert code is not None, row.scenario
        assert bool(private_names(code)) == is_private, (row.scenario, private_names(code))
    assert marked
    program = "import a._b as c, d\nfrom _e import f\nfrom k import _l\ng._h(_i=c.__dict__)"
    assert private_names(program) == {"a._b", "_e.f", "k._l", "_l", "g._h", "_i"}
    assert private_names("\n".join(DOCUMENTED)) == set()
    assert private_names("import torch._inductor.config") == {"torch._inductor.config"}
