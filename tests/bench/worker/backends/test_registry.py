from __future__ import annotations

import subprocess
import sys

import pytest

from bench.plan.matrix import FURTHER_BACKENDS
from bench.worker import backends


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
