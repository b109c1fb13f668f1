"""Logs of oneDNN as real workers wrote them, and what they prove of a scenario."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from bench.plan.scenario import Mode, Scenario, Task
from bench.worker.kernels import Evidence, parse

ASKED = " attr-fpmath:bf16"
SAMPLES = Path(__file__).with_name("samples")
CONVOLUTION = (
    "onednn_verbose,v1,primitive,exec,cpu,convolution,{implementation},forward_training,"
    "src:{src}:a:blocked:{layout}::f0 wei:{src}:a:blocked:Acdb64a::f0 bia:f32:a:blocked:a::f0 "
    "dst:{src}:a:blocked:acdb::f0,attr-scratchpad:user{post},alg:convolution_direct,"
    "mb2_ic64oc64_ih64oh64kh3sh1dh0ph1_iw64ow64kw3sw1dw0pw1,2.5"
)
MATMUL = (
    "onednn_verbose,v1,primitive,exec,cpu,inner_product,brgemm:avx512_core_bf16,forward_inference,"
    "src:bf16:a:blocked:ab::f0 wei:bf16:a:blocked:AB16b64a2b::f0 dst:bf16:a:blocked:ab::f0,{post},,"
    "mb32ic64oc128,0.02"
)


def sample(name: str) -> str:
    """Text that a real worker logged."""
    return (SAMPLES / name).read_text()


def line(
    *,
    implementation: str = "brg_conv_fwd:avx512_core",
    src: str = "f32",
    layout: str = "acdb",
    post: str = "",
) -> str:
    """A convolution's line."""
    return CONVOLUTION.format(implementation=implementation, src=src, layout=layout, post=post)


def evidence(text: str, **more: Any) -> Evidence:
    """What a log proves."""
    return Evidence(kernels=parse(text), **more)


def scenario(backend: str = "stock", mode: Mode = Mode.EAGER, **more: Any) -> Scenario:
    """A scenario in fp32, contiguous, inference by default."""
    values: dict[str, Any] = {"task": Task.INFERENCE, "batch_size": 2, **more}
    return Scenario(backend=backend, mode=mode, **values)


FUSED_LINE = line(post=" attr-post-ops:eltwise_relu")
FUSION_ON = scenario(mode=Mode.TORCHSCRIPT, fusion=True)
