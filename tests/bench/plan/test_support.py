"""Which ways rest on something archived, deprecated or private, and what is said of them."""

from __future__ import annotations

from dataclasses import dataclass, replace

import pytest

from bench.plan.matrix import FURTHER_BACKENDS, further, matrix
from bench.plan.profiles import PROFILES
from bench.plan.scenario import Dtype, Layout, Mode, Scenario, Task, stock_default
from bench.plan.support import (
    DOCUMENTED,
    MEANINGS,
    RULES,
    Severity,
    concerns,
    gravest,
    is_supported,
)

STOCK = stock_default(Task.INFERENCE, 1)
NHWC = replace(STOCK, layout=Layout.CHANNELS_LAST)
SCRIPT = replace(NHWC, mode=Mode.TORCHSCRIPT, fusion=True)
COMPILED = replace(NHWC, mode=Mode.COMPILE)
INT8 = replace(COMPILED, dtype=Dtype.INT8)
EVERY = (
    *matrix(PROFILES["full"]),
    *(one for name in FURTHER_BACKENDS for one in further(name, 1, ("torch-latest",))),
)


def whats(scenario: Scenario, torch: str | None = None) -> list[str]:
    """What the scenario rests on."""
    return [one.what for one in concerns(scenario, torch)]


def test_eager_and_compiled_stock_pytorch_is_supported() -> None:
    """In inference and training; whatever the version."""
    fused = replace(STOCK, task=Task.TRAINING, options=("full", "fused_adam"))
    for one in (STOCK, NHWC, COMPILED, replace(NHWC, dtype=Dtype.BF16), fused):
        assert is_supported(one), one.id
        assert is_supported(one, "2.14.1"), one.id


@pytest.mark.parametrize(
    ("scenario", "found"),
    [
        (replace(NHWC, backend="ipex"), ["IPEX"]),
        (replace(STOCK, backend="placebo"), ["IPEX"]),
        (SCRIPT, ["TorchScript"]),
        (replace(SCRIPT, dtype=Dtype.BF16), ["TorchScript", "torch._C._jit_set_autocast_mode"]),
        (replace(SCRIPT, backend="ipex"), ["IPEX", "TorchScript"]),
        (INT8, ["torch.ao.quantization"]),
        (replace(STOCK, backend="onnxruntime"), ["torch.onnx.export(dynamo=False)"]),
        (replace(STOCK, backend="openvino"), []),
    ],
    ids=lambda value: getattr(value, "id", ""),
)
def test_each_way_names_what_it_rests_on(scenario: Scenario, found: list[str]) -> None:
    """The gravest first."""
    assert whats(scenario) == found
    assert is_supported(scenario) == (not found)


@dataclass(frozen=True)
class Ahead:
    """A scenario that is compiled ahead of time, in the fields that rules read."""

    backend: str = "stock"
    mode: str = "aot"
    dtype: str = "bf16"


def test_names_that_pytorch_documents_are_supported_and_said() -> None:
    """AOTInductor has no others; that they begin with an underscore is a remark and no mark."""
    (remark,) = concerns(Ahead(), "2.14.1")
    assert is_supported(Ahead(), "2.14.1")
    assert gravest([remark]) is Severity.SUPPORTED
    assert remark.what in DOCUMENTED
    assert "underscore" in remark.sentence
    assert not is_supported(Ahead(backend="ipex"))


def test_a_warning_that_a_version_does_not_give_yet_is_advice_all_the_same() -> None:
    """PyTorch 2.8, which IPEX needs, says nothing of TorchScript; 2.14 warns itself."""
    (old,), (new,), (unknown,) = (concerns(SCRIPT, torch) for torch in ("2.8.0", "2.14.1", None))
    assert {old.severity, new.severity, unknown.severity} == {Severity.DEPRECATED}
    assert old.sentence.startswith(new.sentence)
    assert "2.8.0 does not warn" in old.sentence
    assert unknown == new


@pytest.mark.parametrize(
    ("torch", "is_gone"),
    [("2.8.0", False), ("2.9.1+cpu", False), ("2.10.0", True), ("2.14.1", True), ("new", False)],
)
def test_what_a_newer_pytorch_no_longer_needs_is_no_concern_there(
    torch: str, is_gone: bool
) -> None:
    """The int8 quantizer moved to torchao, which is supported; an unknown version counts as old."""
    assert is_supported(INT8, torch) == is_gone


def test_rules_come_the_gravest_first_and_have_all_that_a_page_says() -> None:
    """A mark shows the first severity; each has a meaning in the legend and a public source."""
    order = [list(Severity).index(rule.concern.severity) for rule in RULES]
    assert order == sorted(order)
    for concern in (rule.concern for rule in RULES):
        assert concern.severity in (*MEANINGS, Severity.SUPPORTED)
        assert concern.source.startswith("https://")
        assert concern.sentence.endswith(".")
    assert gravest(concerns(replace(SCRIPT, backend="ipex"))) is Severity.ARCHIVED
    assert gravest(()) is Severity.SUPPORTED


def test_every_comparison_group_of_the_matrix_has_a_supported_way_beside_stock_default() -> None:
    """Else nothing could be recommended with `--supported`."""
    groups = {one.group for one in EVERY}
    supported = [one for one in EVERY if is_supported(one) and not one.is_stock_default]
    assert {one.group for one in supported} == groups
