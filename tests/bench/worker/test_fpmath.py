"""Reduced arithmetic in processes of its own: it is set for the whole process."""

from __future__ import annotations

import json
import os
import subprocess
import sys

import pytest

from bench.worker.kernels import Kernel, parse
from tests.fresh_process import python
from tests.hardware import FLAGS, needs_ipex

pytestmark = pytest.mark.torch

PROGRAM = """
import json, sys
from bench.worker import fpmath
if {value!r}:
    fpmath.set_variable({value!r})
import torch
if {ipex}:
    import intel_extension_for_pytorch as ipex
from bench.worker import kernels, logged_calls
if {value!r}:
    fpmath.allow({value!r})
model = torch.nn.Sequential(torch.nn.Conv2d(64, 64, 3), torch.nn.ReLU()).eval()
model = model.to(memory_format=torch.channels_last)
images = torch.rand(1, 64, 32, 32).to(memory_format=torch.channels_last)
verbose = torch.backends.mkldnn.verbose(1)
if {ipex}:
    model, verbose = ipex.optimize(model), ipex.verbose(1)
with torch.inference_mode():
    log = logged_calls.capture(lambda: model(images), verbose)
sys.stderr.write(json.dumps({{"allowed": fpmath.allowed(), "log": log}}))
"""


def run(value: str, *, ipex: bool = False, **variables: str) -> tuple[str | None, Kernel]:
    """What a fresh process allows, and the convolution that it logged."""
    done = subprocess.run(
        [sys.executable, "-W", "ignore", "-c", PROGRAM.format(value=value, ipex=ipex)],
        capture_output=True,
        text=True,
        check=True,
        timeout=120,
        env={**os.environ, **variables},
    )
    found = json.loads(done.stderr.splitlines()[-1])
    (convolution,) = [one for one in parse(found["log"]) if one.primitive == "convolution"]
    return found["allowed"], convolution


def test_a_process_multiplies_fp32_in_fp32() -> None:
    """By default nothing is allowed, and no kernel names it."""
    allowed, convolution = run("")
    assert (allowed, convolution.fpmath) == (None, None)
    assert not convolution.is_reduced


@pytest.mark.parametrize("ipex", [False, pytest.param(True, marks=[pytest.mark.ipex, needs_ipex])])
def test_what_is_allowed_reaches_the_kernels(*, ipex: bool) -> None:
    """Of PyTorch's oneDNN and of IPEX's own; only AMX multiplies fp32 data in bf16 by itself."""
    allowed, convolution = run("bf16", ipex=ipex)
    assert (allowed, convolution.fpmath) == ("bf16", "bf16")
    assert convolution.data_type("src") == "f32"
    assert convolution.is_reduced == ("amx_bf16" in FLAGS)


def test_onednns_variable_is_read_back_in_every_pytorch() -> None:
    """A model's own file may set it; oneDNN follows it where PyTorch says nothing."""
    allowed, convolution = run("", ONEDNN_DEFAULT_FPMATH_MODE="BF16")
    assert (allowed, convolution.fpmath) == ("bf16", "bf16")


@pytest.mark.parametrize(
    ("precision", "allowed"),
    [("medium", "bf16, fp32"), ("high", "fp32, tf32"), ("highest", None)],
)
def test_what_matrix_products_alone_may_use_is_read_back(
    precision: str, allowed: str | None
) -> None:
    """PyTorch's oldest setting, which models' own code calls; convolutions keep fp32."""
    code = "from bench.worker import fpmath\nimport torch\n"
    code += f"torch.set_float32_matmul_precision({precision!r})\nprint(fpmath.allowed())"
    assert python("-c", code).stdout.strip() == str(allowed)


@pytest.mark.ipex
@needs_ipex
def test_ipex_has_no_tf32_on_a_cpu() -> None:
    """Its part of the process keeps fp32, and the scenario says so."""
    assert run("tf32", ipex=True)[0] == "fp32, tf32"
