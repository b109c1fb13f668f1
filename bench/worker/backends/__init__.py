"""Turn (model, scenario, example) into a call: one module for each backend.

A backend is a module of this package with the four names of `Backend`. One that has int8 has a
fifth, `QUANTIZER`: the module whose `quantize` makes the int8 model. To add a backend, write the
module, add its line to `_MODULES`, and test it under tests/bench/worker/backends/. Nothing in this
module imports torch, so the parent can list the backends.
"""

from __future__ import annotations

import importlib
from contextlib import nullcontext
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Protocol, cast

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Mapping
    from contextlib import AbstractContextManager

    import torch

    from bench.plan.scenario import Scenario
    from bench.worker.workload.inputs import Inputs

_MODULES = {
    "stock": "bench.worker.backends.stock",
    "ipex": "bench.worker.backends.ipex",
    "placebo": "bench.worker.backends.placebo",
    "planted": "bench.worker.backends.planted",
    "openvino": "bench.worker.backends.openvino",
    "onnxruntime": "bench.worker.backends.onnxruntime",
    "zentorch": "bench.worker.backends.zentorch",
}


@dataclass(frozen=True, kw_only=True)
class Package:
    """The file of a model that was compiled ahead of time: built once, loaded by every process."""

    build_s: float
    size_bytes: int
    load_ms: float


@dataclass(frozen=True, kw_only=True)
class Prepared:
    """A model ready to be called.

    For inference, `prepared(images)` is the timed call. For training, the step uses `model`,
    `optimizer` and `autocast`.
    """

    model: torch.nn.Module
    optimizer: torch.optim.Optimizer | None = None
    autocast: torch.dtype | None = None
    """The dtype of autocast around a call; None: no autocast."""
    layers_replaced: int | None = None
    """Number of layers that the backend replaced; None where it replaces none by design."""
    package: Package | None = None
    """Of a model that was compiled ahead of time."""
    evidence: Callable[[], Mapping[str, Any]] | None = None
    """Returns what the backend says that a call executes, as `kernels.Evidence.graph` has it; None:
    the mode's evidence is used."""

    def __call__(self, images: Inputs) -> Any:  # noqa: ANN401 - whatever the model returns
        """Make one inference call, under autocast if the scenario needs it."""
        if self.autocast is None:
            return self.model(images)
        with autocast(self.autocast):
            return self.model(images)


class Backend(Protocol):
    """The names that a backend's module defines."""

    IMPORTS: tuple[str, ...]
    """Modules that `load` imports and that a stock worker must not."""

    def load(self) -> None:
        """Import what it needs, or raise ImportError with a sentence for people."""

    def prepare(
        self,
        model: torch.nn.Module,
        scenario: Scenario,
        example: Inputs,
        optimizer: torch.optim.Optimizer | None = None,
    ) -> Prepared:
        """Set the model up as the scenario says.

        The caller must not use the model afterwards. `example` has the scenario's batch size and
        layout.

        Raises:
            NotImplementedError: the backend cannot run it this way; the text says why.
        """

    def verbose(self) -> AbstractContextManager[object]:
        """Return a context in which every copy of oneDNN logs what it executes to stdout."""


def quantize(
    backend: Backend,
    model: torch.nn.Module,
    scenario: Scenario,
    example: Inputs,
    calibration: Iterable[Inputs],
) -> Prepared:
    """Quantize the model to int8 by the backend's quantizer, calibrated on these images.

    Raises:
        NotImplementedError: the backend has no int8, or not in this mode; the text says why.
    """
    own = getattr(backend, "QUANTIZER", None)
    if own is None:
        raise NotImplementedError("this backend has no int8")
    quantizer = importlib.import_module(own)
    prepared: Prepared = quantizer.quantize(model, scenario, example, calibration)
    return prepared


def registered() -> tuple[str, ...]:
    """Return the names of all backends."""
    return tuple(_MODULES)


def get(name: str) -> Backend:
    """Import the backend of that name.

    Raises:
        KeyError: there is none.
    """
    return cast("Backend", importlib.import_module(_MODULES[name]))


def autocast(dtype: torch.dtype | None) -> AbstractContextManager[object]:
    """Return CPU autocast without the cache of cast weights, or no context for None.

    PyTorch drops that cache at the end of every context, so of every call: it would never be hit
    and would cost a look-up a layer.
    """
    import torch

    return nullcontext() if dtype is None else torch.autocast("cpu", dtype, cache_enabled=False)
