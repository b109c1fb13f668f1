"""Small rendered pills and one thread, for tests of sessions and workloads in this process."""

from __future__ import annotations

import sys
from typing import TYPE_CHECKING

import pytest

from pillqc.rendering.dataset import RenderPlan, render_dataset

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

SIDE = 32


@pytest.fixture
def one_thread() -> Iterator[None]:
    """Compute on one thread: on a busy machine, threads that wait take ten times as long."""
    import torch

    before = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(before)


@pytest.fixture(scope="session")
def small_pills(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """24 good test images and 5 of every defect, 32 pixels a side; tests must not change them."""
    plan = RenderPlan(size=SIDE, train_good=1, test_good=24, per_defect=5)
    return render_dataset(tmp_path_factory.mktemp("small") / "pills", plan, jobs=1).root


@pytest.fixture
def users_code(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """A module of the user's, where `python -m bench` would find it."""
    import torch

    from tests.bench.worker.users_code import CODE

    (tmp_path / "users_code.py").write_text(CODE)
    monkeypatch.syspath_prepend(tmp_path)
    monkeypatch.delitem(sys.modules, "users_code", raising=False)
    monkeypatch.setattr("sys.argv", ["worker", "--backend", "stock"])
    threads = torch.get_num_threads()
    yield
    torch.backends.mkldnn.enabled = True  # type: ignore[assignment] # PyTorch's descriptor
    torch.set_num_threads(threads)
    torch.set_float32_matmul_precision("highest")
    torch.backends.mha.set_fastpath_enabled(True)  # bf16 switches it off
