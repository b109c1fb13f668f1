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


def test_naming_the_backends_needs_no_torch() -> None:
    """The parent asks which there are."""
    code = (
        "import sys, bench.worker.backends as b; b.registered(); sys.exit('torch' in sys.modules)"
    )
    subprocess.run([sys.executable, "-c", code], check=True)


@pytest.mark.torch
@pytest.mark.parametrize("name", backends.registered())
def test_every_backend_offers_the_same_four_names_and_imports_nothing_by_itself(name: str) -> None:
    """Only `load` may import IPEX, and only a worker calls it."""
    code = (
        "import sys\nfrom bench.worker import backends\n"
        f"backend = backends.get({name!r})\n"
        "assert all(hasattr(backend, n) for n in ('IMPORTS', 'load', 'prepare', 'verbose'))\n"
        "sys.exit('intel_extension_for_pytorch' in sys.modules)"
    )
    subprocess.run([sys.executable, "-c", code], check=True)
