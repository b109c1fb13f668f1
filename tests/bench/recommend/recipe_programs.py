"""Runs the code of recipes and compares what it computes with the plain model."""

from __future__ import annotations

import dataclasses
import sys
from importlib.metadata import version
from typing import TYPE_CHECKING, Any

from bench.plan.matrix import FURTHER_BACKENDS
from bench.plan.support import is_supported
from bench.recommend.recipes import recipe
from tests.fresh_process import python

if TYPE_CHECKING:
    from pathlib import Path

    from bench.store.records import Run, ScenarioRow

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


def further(run: Run, backend: str, dtype: str = "fp32") -> ScenarioRow:
    """A row as that backend's scenario has it."""
    row = next(row for row in at_batch_1(run, "stock") if row.mode == "compile")
    layout = str(FURTHER_BACKENDS[backend].layout)
    return dataclasses.replace(row, backend=backend, dtype=dtype, layout=layout)
