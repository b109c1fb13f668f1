"""The code that the page offers runs, and computes what the plain model computes."""

from __future__ import annotations

import dataclasses
import re
from importlib.metadata import version
from importlib.util import find_spec
from typing import TYPE_CHECKING

import pytest

from bench.plan.matrix import FURTHER_BACKENDS
from bench.plan.support import is_supported
from bench.recommend.recipes import recipe
from bench.worker import kernels
from tests.bench.recommend.recipe_programs import EVERY_WAY, at_batch_1, execute, further, once_each
from tests.fresh_process import python
from tests.hardware import ONEDNN_HAS_BF16, needs_ipex

if TYPE_CHECKING:
    from pathlib import Path

    from tests.bench.made_up_runs import MakeRun

COMPILED = ("compile", "aot")
"""Modes that need a C++ compiler, and a minute."""


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
