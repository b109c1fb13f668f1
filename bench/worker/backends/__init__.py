"""Who runs the model: one small file a backend, turning (model, scenario, example) into a call.

A backend is a module of this package with the four names of `Backend`; one that has int8 has a
fifth, `QUANTIZER`: the module whose `quantize` makes it (see `quantize` here). To add one: write
the file, add its line to `_MODULES`, and test it under tests/bench/worker/backends/. Nothing here
imports torch, so the parent may ask which backends exist.
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
}


@dataclass(frozen=True, kw_only=True)
class Prepared:
    """A model ready to be called.

    Inference: `prepared(images)` is the timed call. Training: the step drives `model`, `optimizer`
    and `autocast` itself.
    """

    model: torch.nn.Module
    optimizer: torch.optim.Optimizer | None = None
    autocast: torch.dtype | None = None
    """The dtype that autocast is to use around a call; None: no autocast around it."""
    layers_replaced: int | None = None
    """How many layers the backend put in place of PyTorch's; None where it does not do that."""
    evidence: Callable[[], Mapping[str, Any]] | None = None
    """What the backend itself tells of what a call executes, as `kernels.Evidence.graph` has it: in
    place of what the mode tells. None where the mode's own evidence is the right one."""
    notes: tuple[str, ...] = ()

    def __call__(self, images: Inputs) -> Any:  # noqa: ANN401 - whatever the model returns
        """One inference call, under autocast if the scenario needs it."""
        if self.autocast is None:
            return self.model(images)
        with autocast(self.autocast):
            return self.model(images)


class Backend(Protocol):
    """What a backend's module offers."""

    IMPORTS: tuple[str, ...]
    """Modules that `load` brings into the process and that a stock worker must not have."""

    def load(self) -> None:
        """Import what it needs; ImportError with a sentence when that cannot be had."""

    def prepare(
        self,
        model: torch.nn.Module,
        scenario: Scenario,
        example: Inputs,
        optimizer: torch.optim.Optimizer | None = None,
    ) -> Prepared:
        """Turn the model into what the scenario names.

        The model is handed over: the caller keeps no other use for it. `example` has the
        scenario's batch size and layout.

        Raises:
            NotImplementedError: the backend has no such way of running it; the text says why.
        """

    def verbose(self) -> AbstractContextManager[object]:
        """While inside, every copy of oneDNN in the process logs what it executes to stdout."""


def quantize(
    backend: Backend,
    model: torch.nn.Module,
    scenario: Scenario,
    example: Inputs,
    calibration: Iterable[torch.Tensor],
) -> Prepared:
    """The model in int8, by the backend's own quantizer, calibrated on those images.

    Raises:
        NotImplementedError: the backend has no int8, or not in this way; the text says why.
    """
    own = getattr(backend, "QUANTIZER", None)
    if own is None:
        raise NotImplementedError("this backend has no int8")
    quantizer = importlib.import_module(own)
    prepared: Prepared = quantizer.quantize(model, scenario, example, calibration)
    return prepared


def registered() -> tuple[str, ...]:
    """The names of all backends."""
    return tuple(_MODULES)


def get(name: str) -> Backend:
    """The backend of that name.

    Raises:
        KeyError: there is none.
    """
    return cast("Backend", importlib.import_module(_MODULES[name]))


def autocast(dtype: torch.dtype | None) -> AbstractContextManager[object]:
    """Autocast on the CPU, without the cache of cast weights.

    The cache is dropped at the end of every context, hence of every call: it could never be hit
    here, and it costs a look-up per layer.
    """
    import torch

    return nullcontext() if dtype is None else torch.autocast("cpu", dtype, cache_enabled=False)
