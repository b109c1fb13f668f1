"""Small rendered pills that several files' tests share."""

from __future__ import annotations

import shutil
from typing import TYPE_CHECKING

import pytest

from pillqc.rendering.dataset import RenderPlan, render_dataset

if TYPE_CHECKING:
    from pathlib import Path


@pytest.fixture(scope="session")
def rendered(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Render 8 good pills to train, 4 good and 2 of each defect to test; no test changes them."""
    root = tmp_path_factory.mktemp("data") / "pills"
    plan = RenderPlan(size=32, train_good=8, test_good=4, per_defect=2)
    return render_dataset(root, plan, jobs=1).root


@pytest.fixture(scope="session")
def pills_to_train(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Render some pills of every kind, enough for a short training; no test changes them."""
    root = tmp_path_factory.mktemp("data") / "pills"
    plan = RenderPlan(size=32, train_good=9, test_good=3, per_defect=4)
    return render_dataset(root, plan, jobs=1).root


@pytest.fixture
def pills(rendered: Path, tmp_path: Path) -> Path:
    """A copy of those pills that a test may change."""
    return shutil.copytree(rendered, tmp_path / "pills")
