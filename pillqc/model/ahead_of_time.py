"""Compile a model ahead of time, with `torch.export` and AOTInductor, and load the package.

    built = built_ahead(model, images, nullcontext())     # takes as long as compiling
    probabilities, maps = built.run(images)               # of that shape and layout

A package is a file with the compiled code and its weights, frozen (folded and packed), for fixed
shapes; what calls the kernels is C++. PyTorch documents `aoti_compile_and_package` and
`aoti_load_package` by these names, up to 2.14; no public module has them.

The file is made for this process alone, in a folder and with a mode that nobody else can read, and
is removed once it is loaded: the loaded library stays mapped. So is what PyTorch unpacks from it
into a folder of /tmp, which it would remove itself only from a process that ends in good order.
"""

from __future__ import annotations

import re
import shutil
import tempfile
import time
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import torch
from torch import nn

from pillqc.errors import ExportError

if TYPE_CHECKING:
    from collections.abc import Callable
    from contextlib import AbstractContextManager

_UNPACKED = re.compile(r"/tmp/(?:aotinductor_)?\w{6}(?=/\S*aotinductor/)")  # noqa: S108 - PyTorch's
"""The folder that PyTorch unpacks a package to, in the path of its library: 2.8 and 2.14 differ."""


@dataclass(frozen=True, kw_only=True)
class BuiltAhead:
    """A model that was compiled ahead of time, as loaded in this process."""

    run: Callable[[Any], Any]
    """Calls it with what the model takes."""
    build_s: float
    """Exporting and building: once, for all processes that would load the file."""
    size_bytes: int
    """Of the file."""
    load_ms: float


def built_ahead(
    model: nn.Module, example: object, context: AbstractContextManager[object]
) -> BuiltAhead:
    """Compile a model for inputs like the example, called within a context, and load it.

    Raises:
        ExportError: `torch.export` cannot take this model.
    """
    import torch._inductor as inductor  # takes seconds

    started = time.perf_counter()
    with tempfile.TemporaryDirectory() as folder:
        file = Path(folder) / "model.pt2"
        file.touch(mode=0o600)
        with torch.no_grad():
            inductor.aoti_compile_and_package(
                exported(_Inside(model, context), example),
                package_path=str(file),
                # a pool of compile processes would outlive the compilation
                inductor_configs={"freezing": True, "compile_threads": 1},
            )
        built = time.perf_counter()
        run: Callable[[Any], Any] = inductor.aoti_load_package(str(file))
        loaded = BuiltAhead(
            run=run,
            build_s=built - started,
            size_bytes=file.stat().st_size,
            load_ms=(time.perf_counter() - built) * 1000,
        )
    for unpacked in unpacked_folders():
        shutil.rmtree(unpacked, ignore_errors=True)
    return loaded


def exported(model: nn.Module, example: object) -> torch.export.ExportedProgram:
    """Export a model for inputs like the example.

    Raises:
        ExportError: `torch.export` cannot take this model.
    """
    try:
        with torch.no_grad():
            return torch.export.export(model, (example,))
    except Exception as error:
        raise ExportError(f"torch.export cannot take this model: {error}") from error


def unpacked_folders(maps: Path = Path("/proc/self/maps")) -> set[str]:
    """Return the folder of each package whose library this process has mapped."""
    return set(_UNPACKED.findall(maps.read_text()))


class _Inside(nn.Module):
    """A model that is called within a context, since an export does not see one around it."""

    def __init__(self, model: nn.Module, context: AbstractContextManager[object]) -> None:
        super().__init__()
        self.model = model
        self.context = context

    def forward(self, example: Any) -> Any:  # noqa: ANN401 - whatever the model takes and returns
        with self.context:
            return self.model(example)
