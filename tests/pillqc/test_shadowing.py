"""A file that hides a package is named before anything fails because of it."""

from __future__ import annotations

import os
from typing import TYPE_CHECKING

import pytest

from pillqc.shadowing import hidden_package
from tests.fresh_process import python

if TYPE_CHECKING:
    from pathlib import Path


@pytest.mark.parametrize("name", ["numpy.py", "torch/__init__.py"])
@pytest.mark.parametrize("command", ["bench scenarios", "pillqc check-split --data ."])
def test_a_stub_on_pythonpath_is_one_line(tmp_path: Path, name: str, command: str) -> None:
    """Not a traceback of whatever it lacks; the help still shows."""
    stub = tmp_path / name
    stub.parent.mkdir(exist_ok=True)
    stub.write_text("x = 1\n")
    done = python("-m", *command.split(), code=1, env=os.environ | {"PYTHONPATH": str(tmp_path)})
    (line,) = done.stderr.splitlines()
    assert str(stub) in line


def test_installed_packages_hide_nothing(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A folder of `pip install --target`, and a folder of that name with other files."""
    assert hidden_package() is None
    (tmp_path / "numpy").mkdir()
    monkeypatch.syspath_prepend(str(tmp_path))
    assert hidden_package() is None
    (tmp_path / "numpy/__init__.py").write_text("")
    assert str(tmp_path) in (hidden_package() or "")
    (tmp_path / "numpy-2.0.dist-info").mkdir()
    assert hidden_package() is None
