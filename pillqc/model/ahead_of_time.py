"""Compile a model into an AOTInductor package and load it.

run = built_ahead(model, images, nullcontext())     # takes as long as compiling
probabilities, maps = run(images)                   # of that shape and layout
"""

from __future__ import annotations

import tempfile
from pathlib import Path
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor, nn

if TYPE_CHECKING:
    from collections.abc import Callable
    from contextlib import AbstractContextManager


class _Inside(nn.Module):
    """A model that is called within a context, since an export does not see one around it."""

    def __init__(self, model: nn.Module, context: AbstractContextManager[object]) -> None:
        super().__init__()
        self.model = model
        self.context = context

    def forward(self, images: Tensor) -> Any:  # noqa: ANN401 - whatever the model returns
        with self.context:
            return self.model(images)


def built_ahead(
    model: nn.Module, images: Tensor, context: AbstractContextManager[object]
) -> Callable[[Tensor], Any]:
    """Return the compiled model for images (N, 3, H, W) of that shape, called within a context.

    The package is a file that only this process can read, and is removed once it is loaded.
    """
    import torch._inductor as inductor  # takes seconds

    with tempfile.TemporaryDirectory() as folder, torch.no_grad():
        file = Path(folder) / "model.pt2"
        file.touch(mode=0o600)
        inductor.aoti_compile_and_package(
            torch.export.export(_Inside(model, context), (images,)),
            package_path=str(file),
            inductor_configs={"freezing": True},
        )
        loaded: Callable[[Tensor], Any] = inductor.aoti_load_package(str(file))
    return loaded
