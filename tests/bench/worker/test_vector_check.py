from __future__ import annotations

import sys
from dataclasses import replace
from functools import cache
from types import SimpleNamespace
from typing import TYPE_CHECKING

import pytest
import torch._inductor.config as inductor

from bench.plan.scenario import Dtype, Mode, Task, stock_default
from bench.worker import vector_check

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

pytestmark = pytest.mark.torch

EAGER = stock_default(Task.INFERENCE, 1)
COMPILED = replace(EAGER, mode=Mode.COMPILE)
IN_BF16 = replace(COMPILED, dtype=Dtype.BF16)


@pytest.fixture(autouse=True)
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    """The cache of a run; what a test sets goes with it."""
    monkeypatch.setenv("TORCHINDUCTOR_CACHE_DIR", str(tmp_path))
    with inductor.patch({"cpp.vec_isa_ok": None}):
        yield tmp_path


def checked(monkeypatch: pytest.MonkeyPatch, *, passed: list[str], asked: bool = True) -> None:
    """Let Inductor of this process have found that these of three sets pass, on a CPU with two."""

    @cache
    def valid_vec_isa_list() -> list[str]:
        return passed

    if asked:
        valid_vec_isa_list()
    found = SimpleNamespace(
        valid_vec_isa_list=valid_vec_isa_list,
        supported_vec_isa_list=["avx512 amx_tile", "avx512", "avx2"],
        x86_isa_checker=lambda: ["avx2", "avx512"],
    )
    monkeypatch.setitem(sys.modules, "torch._inductor.cpu_vec_isa", found)


def test_a_later_process_of_a_scenario_is_spared(monkeypatch: pytest.MonkeyPatch) -> None:
    """Inductor checks as it ships until one process of the scenario passed."""
    checked(monkeypatch, passed=["avx512", "avx2"])
    vector_check.spare(COMPILED)
    assert inductor.cpp.vec_isa_ok is None
    vector_check.note(COMPILED)
    vector_check.spare(COMPILED)
    assert inductor.cpp.vec_isa_ok is True


def test_another_scenario_checks_as_its_user_would(monkeypatch: pytest.MonkeyPatch) -> None:
    """Its first call would be shown without what a user waits for."""
    checked(monkeypatch, passed=["avx512", "avx2"])
    vector_check.note(COMPILED)
    vector_check.spare(IN_BF16)
    assert inductor.cpp.vec_isa_ok is None


@pytest.mark.parametrize("passed", [[], ["avx2"]])
def test_what_did_not_pass_is_checked_again(
    passed: list[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    """An old compiler cannot build for all that the CPU has, and must not be made to."""
    checked(monkeypatch, passed=passed)
    vector_check.note(COMPILED)
    vector_check.spare(COMPILED)
    assert inductor.cpp.vec_isa_ok is None


def test_a_process_that_checked_nothing_notes_nothing(
    folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """As one that loads a package, or does not compile at all."""
    checked(monkeypatch, passed=["avx512", "avx2"], asked=False)
    vector_check.note(COMPILED)
    checked(monkeypatch, passed=["avx512", "avx2"])
    vector_check.note(EAGER)
    assert not [*folder.iterdir()]
