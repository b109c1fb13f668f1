"""`bench operators --replaced`: the table of what IPEX registers over PyTorch's kernels."""

from __future__ import annotations

import pytest

from bench.machine import frameworks
from tests.bench.command import bench
from tests.hardware import needs_ipex


@pytest.mark.torch
@pytest.mark.ipex
@needs_ipex
def test_what_ipex_replaces_is_read_from_the_dispatcher() -> None:
    """NMS on the CPU; ROIAlign for autograd and autocast, and not the plain CPU kernel."""
    done = bench("operators", "--replaced")
    assert done.exit_code == 0, done.output
    lines = [line.strip("| ").split(" | ") for line in done.output.splitlines() if "::" in line]
    table = {cells[0]: cells[1:] for cells in lines if len(cells) == 4}
    assert "CPU" in table["`torchvision::nms`"][0].split(", ")
    changed = {key for keys in table["`torchvision::roi_align`"][:2] for key in keys.split(", ")}
    assert {"AutocastCPU", "AutogradCPU"} <= changed
    assert "CPU" not in changed
    assert "`aten::conv2d`" not in table


def test_the_table_tells_replaced_kernels_from_added_ones(monkeypatch: pytest.MonkeyPatch) -> None:
    """With the file of IPEX that registered them."""
    change = {
        "replaced": ["CPU"],
        "added": ["AutocastCPU"],
        "where": ["/build/ipex/csrc/cpu/aten/Cat.cpp:12", "/build/ipex/csrc/cpu/aten/Cat.cpp:90"],
    }
    only_added = {"replaced": [], "added": ["AutogradCPU"], "where": ["odd"]}
    found = {
        "torch": "2.8",
        "torchvision": "0.23",
        "ipex": "2.8",
        "operators": {"aten::cat": change, "torchvision::roi_align": only_added},
        "added": {"torch_ipex": 3, "aten": 1},
    }
    answer = frameworks.Answer(result=found, reason="", output="")
    monkeypatch.setattr(frameworks, "ask", lambda *_: answer)
    lines = bench("operators", "--replaced").output.splitlines()
    assert "replaces kernels of 1 operator of" in lines[0]
    assert "further dispatch key of 1 others" in lines[0]
    assert "| `aten::cat` | CPU | AutocastCPU | `csrc/cpu/aten/Cat.cpp` |" in lines
    assert "| `torchvision::roi_align` | \N{EN DASH} | AutogradCPU | odd |" in lines


def test_without_ipex_the_reason_is_said(monkeypatch: pytest.MonkeyPatch) -> None:
    """In one line."""
    answer = frameworks.Answer(result=None, reason="No module named 'x'", output="")
    monkeypatch.setattr(frameworks, "ask", lambda *_: answer)
    done = bench("operators", "--replaced")
    assert done.exit_code == 1
    assert "cannot be listed: No module named 'x'" in done.output
