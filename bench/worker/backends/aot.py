"""Compile stock PyTorch ahead of time: `torch.export`, then an AOTInductor package.

Building and loading are timed apart, because a package is built once and loaded by every process.
bf16 and fp16 are as in the other modes, with autocast inside the exported model. The file is made
for this worker alone and leaves nothing behind (`pillqc.model.ahead_of_time`).
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import torch

from bench.worker.backends import Package, Prepared, autocast
from pillqc.model.ahead_of_time import built_ahead, unpacked_folders

if TYPE_CHECKING:
    from collections.abc import Callable

    from bench.worker.workload.inputs import Inputs


def prepare(model: torch.nn.Module, example: Inputs, dtype: torch.dtype | None) -> Prepared:
    """Export, build the package, load it, and remove the file; `dtype` is that of autocast.

    Raises:
        ExportError: the model cannot be exported as one graph.
    """
    built = built_ahead(model, example, autocast(dtype))
    return Prepared(
        model=_Loaded(built.run),
        package=Package(build_s=built.build_s, size_bytes=built.size_bytes, load_ms=built.load_ms),
        evidence=lambda: {"packages": len(unpacked_folders())},
    )


class _Loaded(torch.nn.Module):
    """A loaded package as a PyTorch module."""

    def __init__(self, run: Callable[[Inputs], Any]) -> None:
        super().__init__()
        self._run = run

    def forward(self, images: Inputs) -> Any:  # noqa: ANN401 - whatever the model returns
        """Run the compiled code."""
        return self._run(images)
