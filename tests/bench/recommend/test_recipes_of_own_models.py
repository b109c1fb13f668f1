"""The code offered for a user's model runs for the very inputs, in every mode that was measured."""

from __future__ import annotations

import dataclasses
import sys
from collections.abc import Callable, Mapping, Sequence
from typing import TYPE_CHECKING, Any

import pytest

from bench.recommend.recipes import recipe
from bench.store import typed_json
from bench.store.metadata import Form
from bench.store.records import ScenarioRow
from tests.fresh_process import python
from tests.hardware import ONEDNN_HAS_BF16, needs_ipex, needs_vnni

if TYPE_CHECKING:
    from pathlib import Path

    from tests.bench.made_up_runs import MakeRun

Execute = Callable[[Mapping[str, Sequence[ScenarioRow]]], dict[str, list[str]]]
pytestmark = pytest.mark.torch

CODE = """
import collections, dataclasses, torch

class Tokens(torch.nn.Module):
    def __init__(self):
        super().__init__()
        self.words = torch.nn.Embedding(9, 16)
        self.attention = torch.nn.MultiheadAttention(16, 2, batch_first=True)
        self.head = torch.nn.Linear(16, 4)

    def forward(self, tokens, mask=None):
        found = self.words(tokens) * mask[..., None]
        found = self.attention(found, found, found, need_weights=False)[0]
        return collections.OrderedDict(logits=self.head(found), last=found)

class Named(Tokens):
    def forward(self, tokens, *, mask, scale=1):
        found = super().forward(tokens, mask)
        return Output(scale * found["logits"])

@dataclasses.dataclass
class Output:
    logits: torch.Tensor

@dataclasses.dataclass
class Outside:
    inner: Output
    more: list
    note: str = "of an encoder"

class Inside(Tokens):
    def forward(self, tokens, mask):
        found = super().forward(tokens, mask)
        return Outside(Output(found["logits"]), [found["last"], None])

class Tied(torch.nn.Module):
    def __init__(self):
        super().__init__()
        self.words, self.around = torch.nn.Embedding(9, 16), torch.nn.GRU(16, 16, batch_first=True)
        self.head = torch.nn.Linear(16, 9)
        self.head.weight = self.words.weight

    def forward(self, tokens):
        return self.head(self.around(self.words(tokens))[0])

class Two(torch.nn.Module):
    def __init__(self):
        super().__init__()
        self.images, self.numbers = torch.nn.Conv2d(3, 8, 3), torch.nn.Linear(5, 8)

    def forward(self, images, numbers):
        return self.images(images).relu().mean((2, 3)) + self.numbers(numbers)

class Keywords(Two):
    pass

class Volumes(torch.nn.Module):
    def __init__(self):
        super().__init__()
        self.layer, self.flat = torch.nn.Conv3d(2, 8, 3), torch.nn.Conv2d(8, 8, 3)

    def forward(self, volumes):
        return self.flat(self.layer(volumes).mean(2)).mean((2, 3))

class Listed(Two):
    def forward(self, images, numbers):
        return [super(Listed, self).forward(one[None], numbers[:1]) for one in images]

def of_tokens(size):
    return {"tokens": torch.arange(size * 6).reshape(size, 6) % 9, "mask": torch.ones(size, 6)}

def of_named(size):
    given = of_tokens(size)
    return (given.pop("tokens"),), {**given, "scale": 3}

def of_inside(size):
    return collections.UserDict(of_tokens(size))

def of_tied(size):
    return of_tokens(size)["tokens"]

def of_two(size):
    return torch.randn(size, 3, 8, 8), torch.randn(size, 5)

def of_keywords(size):
    images, numbers = of_two(size)
    return {"numbers": numbers, "images": images}

def of_volumes(size):
    return torch.randn(size, 2, 5, 8, 8)

def of_listed(size):
    images, numbers = of_two(size)
    return list(images), numbers

def train_step(model, batch):
    images, numbers = batch
    return (model(images, numbers) - 1).square().mean()
"""
_PROGRAM = """
import copy, torch, users
from collections.abc import Mapping
def values(found):
    if isinstance(found, torch.Tensor):
        return [found.float()]
    if hasattr(found, "__dataclass_fields__"):
        found = [*vars(found).values()]
    elif hasattr(found, "values"):
        found = [*found.values()]
    parts = found if isinstance(found, (list, tuple)) else ()
    return [one for part in parts for one in values(part)]
for kind, cases in {cases!r}.items():
    torch.manual_seed(0)
    plain = getattr(users, kind)().eval()
    given = getattr(users, "of_" + kind.lower())(2)
    both = isinstance(given, tuple) and isinstance(given[-1], Mapping)
    args, kwargs = given if both else ((), given) if isinstance(given, Mapping) else (given, {{}})
    if isinstance(args, torch.Tensor):
        args = (args,)
    with torch.no_grad():
        expected = values(plain(*args, **kwargs))
    for code, tolerance in cases:
        names = {{"model": copy.deepcopy(plain), "calibration": [given], "args": args,
                  "kwargs": copy.copy(kwargs), "inputs": args[0] if args else None,
                  "batch": given, "train_step": users.train_step}}
        exec(code, names)
        if "loss" in names:
            assert names["loss"].grad_fn is not None, kind
            continue
        outputs = values(names["outputs"])
        assert len(outputs) == len(expected), (kind, code)
        for one, two in zip(outputs, expected):
            error = (one - two).abs().max().item() / two.abs().max().item()
            assert error <= tolerance, (kind, error, code)
"""
_TOLERANCES = {"fp32": 1e-4, "bf16": 0.05, "fp16": 0.02, "int8": 0.2}
KINDS = ("Tokens", "Named", "Inside", "Two", "Keywords", "Volumes", "Listed")


@pytest.fixture
def form_of(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Callable[[str], Form]:
    """The form of a kind's inputs, as its worker describes it."""
    from bench.worker.workload.own_model import OwnModel

    (tmp_path / "users.py").write_text(CODE)
    monkeypatch.syspath_prepend(tmp_path)
    monkeypatch.delitem(sys.modules, "users", raising=False)

    def find(kind: str) -> Form:
        work = OwnModel(factory=f"users:{kind}", inputs=f"users:of_{kind.lower()}", seed=0)
        return typed_json.convert(Form, work.facts()["form"])

    return find


@pytest.fixture
def execute(form_of: Callable[[str], Form], tmp_path: Path) -> Execute:
    """Run the code of each kind's scenarios and compare it with the plain model; return the code.

    All share one process, because starting it takes longer than most of the code.
    """

    def run(wanted: Mapping[str, Sequence[ScenarioRow]]) -> dict[str, list[str]]:
        cases: dict[str, list[tuple[str, float]]] = {}
        for kind, rows in wanted.items():
            assert rows
            form = form_of(kind)
            found = {row.scenario: recipe(row, form=form) or "" for row in rows}
            assert all(found.values()), found
            cases[kind] = [(found[row.scenario], _TOLERANCES[row.dtype]) for row in rows]
        program = _PROGRAM.format(cases=cases)
        python("-W", "ignore", "-c", program, timeout=400, cwd=tmp_path)
        return {kind: [code for code, _ in own] for kind, own in cases.items()}

    return run


def scenarios(make_run: MakeRun, **wanted: Any) -> list[ScenarioRow]:
    """The scenarios of batch 1 with these values."""
    run = make_run(profile="full", batch_sizes=(1,), int8=True, rounds=2, launches=1)
    return [
        row
        for row in run.scenarios
        if all(getattr(row, name) == value for name, value in wanted.items())
        and (row.dtype != "bf16" or row.backend == "stock" or ONEDNN_HAS_BF16)
        and (row.task == "training" or row.batch_size == 1)
    ]


def test_stock_code_runs_for_the_very_inputs(make_run: MakeRun, execute: Execute) -> None:
    """Eager and traced, by position and by keyword; token ids get no layout."""
    rows = [
        row
        for mode in ("eager", "torchscript")
        for row in scenarios(make_run, task="inference", backend="stock", mode=mode)
    ]
    for kind, codes in execute(dict.fromkeys(KINDS, rows)).items():
        has_layout = kind not in ("Tokens", "Named", "Inside")
        assert any("channels_last" in code for code in codes) == has_layout, kind
        assert all("images" not in code for code in codes), kind
        low = [code for code in codes if "autocast" in code]
        assert low, kind
        assert all(("set_fastpath_enabled" in code) == (not has_layout) for code in low), kind


def test_stock_code_leaves_shared_weights_in_fp32(make_run: MakeRun, execute: Execute) -> None:
    """As the harness does: a traced embedding in bf16 would fail."""
    rows = [
        row
        for mode in ("eager", "torchscript")
        for row in scenarios(make_run, task="inference", backend="stock", mode=mode, dtype="bf16")
    ]
    execute({"Tied": rows})


def test_tracing_takes_tensors_by_their_names(
    make_run: MakeRun, form_of: Callable[[str], Form]
) -> None:
    """Where the model returns tensors, no wrapper stands in the way."""
    (row, *_) = scenarios(make_run, task="inference", backend="stock", mode="torchscript")
    code = recipe(row, form=form_of("Keywords"))
    assert code is not None
    assert "example_kwarg_inputs=kwargs" in code
    assert "OfTensors" not in code


@pytest.mark.slow
@pytest.mark.timeout(600)
def test_compiled_and_int8_code_runs_for_the_very_inputs(
    make_run: MakeRun, execute: Execute
) -> None:
    """Exported with keywords, and compiled."""
    rows = scenarios(make_run, task="inference", backend="stock", mode="compile")
    frozen = [row for row in rows if not row.options]
    execute({"Tokens": frozen, "Two": frozen})


@pytest.mark.ipex
@needs_ipex
@needs_vnni
def test_code_of_ipex_runs_for_the_very_inputs(make_run: MakeRun, execute: Execute) -> None:
    """Optimised, traced, and of one in int8."""
    rows = [
        row
        for mode in ("eager", "torchscript")
        for row in scenarios(make_run, task="inference", backend="ipex", mode=mode)
    ]
    others = [row for row in rows if row.dtype != "int8"]
    execute({"Tokens": others, "Two": rows, "Named": others})


def test_code_of_a_training_step_calls_the_users_loss(make_run: MakeRun, execute: Execute) -> None:
    """On the user's own batch, laid out as it was measured."""
    rows = scenarios(make_run, task="training", backend="stock", mode="eager")
    codes = execute({"Two": rows})["Two"]
    assert all("loss = train_step(model, batch)" in code for code in codes)


def test_backends_of_arrays_have_no_code_for_several_inputs(make_run: MakeRun) -> None:
    """They take one tensor; with one, the code has its name."""
    (row, *_) = scenarios(make_run, task="inference", backend="stock", mode="compile", dtype="fp32")
    row = dataclasses.replace(row, backend="onnxruntime", layout="contiguous")
    assert recipe(row, form=Form(is_plain=False, positional=2)) is None
    assert '"inputs": inputs.numpy()' in (recipe(row, form=Form()) or "")
