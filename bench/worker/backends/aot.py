"""Stock PyTorch compiled ahead of time: `torch.export`, then an AOTInductor package.

The package is a file with the compiled code and its weights, frozen (folded and packed), for fixed
shapes; what calls the kernels is C++. It is built once and loaded by every process, so building and
loading are timed apart. PyTorch documents `aoti_compile_and_package` and `aoti_load_package` by
these names, up to 2.14; no public module has them.

bf16 and fp16 are as in the other modes, with autocast inside the exported model: an export does not
see the context around it.

The file is made for this worker alone, in a folder and with a mode that nobody else can read, and
is removed once it is loaded: the loaded library stays mapped. So is what PyTorch unpacks from it
into a folder of /tmp, which it would remove itself only from a process that ends in good order.
"""

from __future__ import annotations

import re
import shutil
import tempfile
import time
from pathlib import Path
from typing import TYPE_CHECKING, Any

import torch
import torch._inductor as inductor

from bench.worker.backends import Package, Prepared, autocast

if TYPE_CHECKING:
    from collections.abc import Callable

    from bench.worker.workload.inputs import Inputs

_UNPACKED = re.compile(r"/tmp/(?:aotinductor_)?\w{6}(?=/\S*aotinductor/)")  # noqa: S108 - PyTorch's
"""The folder that PyTorch unpacks a package to, in the path of its library: 2.8 and 2.14 differ."""


def prepare(model: torch.nn.Module, example: Inputs, dtype: torch.dtype | None) -> Prepared:
    """Export, build the package, load it, and remove the file; `dtype` is that of autocast.

    Raises:
        NotImplementedError: the model cannot be exported as one graph; says why.
    """
    started = time.perf_counter()
    with tempfile.TemporaryDirectory() as folder:
        file = Path(folder) / "model.pt2"
        file.touch(mode=0o600)
        with torch.no_grad():
            inductor.aoti_compile_and_package(
                _exported(model if dtype is None else _Autocast(model, dtype), example),
                package_path=str(file),
                inductor_configs={"freezing": True, "compile_threads": 1},
            )
        built = time.perf_counter()
        loaded = inductor.aoti_load_package(str(file))
        package = Package(
            build_s=built - started,
            size_bytes=file.stat().st_size,
            load_ms=(time.perf_counter() - built) * 1000,
        )
    for unpacked in unpacked_folders():
        shutil.rmtree(unpacked, ignore_errors=True)
    return Prepared(
        model=_Loaded(loaded),
        package=package,
        evidence=lambda: {"packages": len(unpacked_folders())},
    )


def _exported(model: torch.nn.Module, example: Inputs) -> torch.export.ExportedProgram:
    try:
        return torch.export.export(model, (example,))
    except Exception as error:
        raise NotImplementedError(f"torch.export cannot take this model: {error}") from error


def unpacked_folders(maps: Path = Path("/proc/self/maps")) -> set[str]:
    """Return the folder of each package whose library this process has mapped."""
    return set(_UNPACKED.findall(maps.read_text()))


class _Autocast(torch.nn.Module):
    """A model under autocast."""

    def __init__(self, inner: torch.nn.Module, dtype: torch.dtype) -> None:
        super().__init__()
        self.inner = inner
        self.dtype = dtype

    def forward(self, images: Inputs) -> Any:  # noqa: ANN401 - whatever the model returns
        """Call the model."""
        with autocast(self.dtype):
            return self.inner(images)


class _Loaded(torch.nn.Module):
    """A loaded package as a PyTorch module."""

    def __init__(self, run: Callable[[Inputs], Any]) -> None:
        super().__init__()
        self._run = run

    def forward(self, images: Inputs) -> Any:  # noqa: ANN401 - whatever the model returns
        """Run the compiled code."""
        return self._run(images)
