from __future__ import annotations

import subprocess
import sys
from typing import TYPE_CHECKING

import pytest

from bench.plan.matrix import FURTHER_BACKENDS
from bench.worker import backends

if TYPE_CHECKING:
    from pathlib import Path


def test_the_backends_are_known_by_name() -> None:
    """The matrix and the command line name them."""
    first = ("stock", "ipex", "placebo", "planted")
    assert backends.registered() == (*first, *FURTHER_BACKENDS)


def test_an_unknown_backend_is_a_key_error() -> None:
    """The worker turns it into its greeting."""
    with pytest.raises(KeyError):
        backends.get("tpu")


@pytest.mark.torch
def test_every_backend_offers_the_same_names_and_imports_ipex_only_when_loaded() -> None:
    """Only a worker calls `load`. Listing the backends, as the parent does, needs no torch."""
    code = (
        "import sys\nfrom bench.worker import backends\n"
        "names = backends.registered()\nassert 'torch' not in sys.modules\n"
        "found = [backends.get(name) for name in names]\n"
        "wanted = ('IMPORTS', 'load', 'prepare', 'verbose')\n"
        "assert all(hasattr(backend, name) for backend in found for name in wanted)\n"
        "sys.exit('intel_extension_for_pytorch' in sys.modules)"
    )
    subprocess.run([sys.executable, "-c", code], check=True)


@pytest.mark.torch
@pytest.mark.parametrize(
    ("text", "words"),
    [
        (
            "raise ModuleNotFoundError('x', name='intel_extension_for_pytorch')",
            "is not installed",
        ),
        ("raise OSError('libfoo.so: cannot open')", "libfoo.so: cannot open"),
    ],
    ids=["not installed", "broken"],
)
def test_ipex_that_cannot_be_imported_says_why(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, text: str, words: str
) -> None:
    """A module of its name stands in for it."""
    (tmp_path / "intel_extension_for_pytorch.py").write_text(text)
    monkeypatch.syspath_prepend(tmp_path)
    monkeypatch.delitem(sys.modules, "intel_extension_for_pytorch", raising=False)
    with pytest.raises(ImportError, match=words):
        backends.get("ipex").load()


@pytest.mark.torch
def test_ipex_beside_a_newer_transformers_says_which_to_install(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """It imports transformers where it finds it, and lacks a name in version 5."""
    package = tmp_path / "intel_extension_for_pytorch"
    (package / "transformers").mkdir(parents=True)
    (package / "__init__.py").write_text("from . import transformers")
    (package / "transformers" / "__init__.py").write_text("MoeModelOutputWithPast")
    monkeypatch.syspath_prepend(tmp_path)
    monkeypatch.delitem(sys.modules, "intel_extension_for_pytorch", raising=False)
    with pytest.raises(ImportError, match=r"MoeModelOutputWithPast.*: install transformers 4"):
        backends.get("ipex").load()
