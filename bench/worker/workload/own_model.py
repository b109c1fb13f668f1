"""A user's model in place of the pill inspector: `bench run --model MODULE:FACTORY`.

    work = OwnModel(factory="torchvision.models:resnet18", shape=(3, 224, 224), seed=0)
    work.model(scenario).model(work.batch(8).images)

The factory is called with the user's settings and returns an `nn.Module`. A shape or a function
gives its inputs (`bench.worker.workload.inputs`); its outputs are tensors in any nesting. They are
compared as numbers, because their meaning is unknown, and training is left out, because the loss is
unknown. Random generators are seeded before the user's code runs, so all workers get the same.
"""

from __future__ import annotations

import copy
import hashlib
import importlib.util
import random
import sys
import sysconfig
import traceback
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any, cast

import numpy as np
import torch
from torch.utils.flop_counter import FlopCounterMode

from bench.errors import BenchError
from bench.worker.workload import Batch, Workload, given_model
from bench.worker.workload.inputs import AdaptedModel, arranged, tensors_of
from bench.worker.workload.own_module import (
    in_eval_mode,
    refuse_changing_outputs,
    refuse_converted,
    settings_kept,
)

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Sequence
    from types import ModuleType

    from bench.plan.scenario import Scenario
    from bench.worker.workload import Loaded
    from bench.worker.workload.inputs import Inputs

_LONGEST_REASON = 160
_HERE = Path(__file__).resolve().parents[2]
_STANDARD = Path(sysconfig.get_paths()["stdlib"]).resolve()
_OF_NETWORKS = {
    "URLError",
    "ConnectionError",
    "gaierror",
    "OfflineModeIsEnabled",
    "LocalEntryNotFoundError",
}
"""Errors of the standard library, requests and huggingface_hub, by name."""
_OFFLINE = (
    "; workers have no network access, because every launch would download again: give a path to "
    "weights on this machine"
)


class OwnModel(Workload):
    """The user's model and inputs, as a workload.

    Raises (from the constructor):
        BenchError: the path names nothing, the user's code fails, or its results are no module, no
            batch, or outputs that cannot be compared.
    """

    decides = False

    def __init__(
        self,
        *,
        factory: str,
        inputs: str | None = None,
        shape: Sequence[int] | None = None,
        settings: Mapping[str, object] | None = None,
        seed: int,
    ) -> None:
        self._factory = factory
        self._settings = dict(settings or {})
        self._inputs = inputs
        self._shape = tuple(shape or ())
        self._seed = seed
        self._make = _found("--model", factory)
        self._flop: dict[tuple[torch.Size, ...], int | None] = {}
        self._give = None if inputs is None else _found("--inputs", inputs)
        self._is_plain = arranged(self._given(1))[1].is_plain
        self._is_flat = self._looks_flat()

    def facts(self) -> dict[str, Any]:
        """Return what takes the place of the data: random numbers, or the user's inputs."""
        seen = hashlib.sha256()
        for tensor in tensors_of(self.batch(1).images):
            seen.update(tensor.contiguous().flatten().view(torch.uint8).numpy().tobytes())
        return {
            "source": "random" if self._give is None else "given",
            "root": self._inputs or "x".join(map(str, self._shape)),
            "images": 1,
            "sha256": seen.hexdigest(),
        }

    def model(self, scenario: Scenario) -> Loaded:
        """Return a new model for the scenario; its outputs are one tensor or a tuple of tensors."""
        made = self._taking(self._made(), scenario.batch_size)
        return given_model(made if self._is_flat else Flat(made), self._factory)

    def batch(self, size: int) -> Batch:
        """Return `size` inputs; labels and weights are empty because nothing is trained."""
        nothing = torch.empty(0)
        return Batch(images=self._inputs_for(size), labels=nothing, class_weights=nothing)

    def flop(self, model: torch.nn.Module, images: Inputs, *, training: bool) -> int | None:
        """Count operations by a real call of a copy, once for each shape of the inputs.

        None for training, or if the model cannot be called or reports none. The copy shares the
        parameters. Tensors without storage, as the inspector is counted with, would stay in the
        caches of a user's model (anchors, position codes, masks) and make its next call fail.
        """
        if training:
            return None
        shapes = tuple(tensor.shape for tensor in tensors_of(images))
        if shapes not in self._flop:
            self._flop[shapes] = _counted(model, images)
        return self._flop[shapes]

    def _made(self) -> torch.nn.Module:
        _seed_all(self._seed)
        made = _called("--model", self._factory, self._make, **self._settings)
        if not isinstance(made, torch.nn.Module):
            raise BenchError(
                f"--model {self._factory} returned {_kind(made)}, not a torch.nn.Module: name a "
                "function or class that returns one"
            )
        refuse_converted(made, self._factory)
        return in_eval_mode(made)

    def _taking(self, made: torch.nn.Module, size: int) -> torch.nn.Module:
        """Return the module as one of a single argument, for batches of that size."""
        return made if self._is_plain else AdaptedModel(made, arranged(self._given(size))[1])

    def _given(self, size: int) -> object:
        _seed_all(self._seed)
        if self._give is None:
            return torch.randn(size, *self._shape)
        return _called("--inputs", str(self._inputs), self._give, size)

    def _inputs_for(self, size: int) -> Inputs:
        """Return inputs for a batch of that size.

        Raises:
            BenchError: they hold no tensor, or no batch of that size.
        """
        tensors, call = arranged(self._given(size))
        if not tensors:
            raise BenchError(
                f"--inputs {self._inputs} returned no tensor: it is called with a batch size and "
                "returns a tensor, a tuple (passed by position), a dict (by keyword), or both: "
                "((tokens,), {'mask': mask})"
            )
        if not (call.holds(size) or any(one.dim() and len(one) == size for one in tensors)):
            shapes = ", ".join(str(tuple(one.shape)) for one in tensors)
            raise BenchError(
                f"--inputs {self._inputs} was called for a batch of {size} and returned the shape "
                f"{shapes}: the first dimension is the batch"
            )
        return tensors[0] if self._is_plain else tensors

    def _looks_flat(self) -> bool:
        """Return whether the outputs are a tensor or a tuple of tensors, with no nesting.

        Raises:
            BenchError: the model does not take the inputs, or returns other things than tensors.
        """
        images, made = self._inputs_for(1), self._taking(self._made(), 1)
        shapes = ", ".join(str(tuple(one.shape)) for one in tensors_of(images))
        path = f"{self._factory} with inputs {shapes}"
        results: list[object] = []

        def tensors(images: Inputs) -> tuple[torch.Tensor, ...]:
            results.append(_called("--model", path, made, images))
            return flatten(results[-1], self._factory)

        with torch.inference_mode():
            refuse_changing_outputs(tensors, images, self._factory)
        result = results[0]
        if isinstance(result, torch.Tensor):
            return True
        return type(result) is tuple and all(isinstance(part, torch.Tensor) for part in result)


class Flat(torch.nn.Module):
    """A model whose nested outputs come as one tuple of tensors, to be traced and compiled."""

    def __init__(self, inner: torch.nn.Module) -> None:
        super().__init__()
        self.inner = inner

    def forward(self, images: Inputs) -> tuple[torch.Tensor, ...]:
        """Return the output tensors in order."""
        return flatten(self.inner(images), "the model")


def flatten(result: object, name: str) -> tuple[torch.Tensor, ...]:
    """Return every tensor of a result in order; None, an absent output, is skipped.

    Raises:
        BenchError: there is no tensor, or something else than tensors and their containers.
    """
    found = tuple(_tensors(result, name))
    if not found:
        raise _no_outputs(result, name)
    return found


def _tensors(result: object, name: str) -> Iterator[torch.Tensor]:
    if isinstance(result, torch.Tensor):
        yield result
    elif result is not None:
        for part in _parts(result, name):
            yield from _tensors(part, name)


def _parts(result: object, name: str) -> Sequence[object]:
    if isinstance(result, Mapping):
        return tuple(result.values())
    if isinstance(result, (tuple, list)):
        return result
    if hasattr(result, "__dataclass_fields__"):
        return [getattr(result, field) for field in result.__dataclass_fields__]
    raise _no_outputs(result, name)


def _no_outputs(result: object, name: str) -> BenchError:
    return BenchError(
        f"--model {name} returned {_kind(result)}: its outputs must be a tensor, or a tuple, list, "
        "dict or dataclass of tensors"
    )


def _counted(model: torch.nn.Module, images: Inputs) -> int | None:
    shared = {id(parameter): parameter for parameter in model.parameters()}
    try:
        with FlopCounterMode(display=False) as counter, torch.no_grad():
            copy.deepcopy(model, shared)(images)
        return int(counter.get_total_flops()) or None
    except Exception:  # noqa: BLE001 - the user's code may do anything; the figure is optional
        return None


def _found(option: str, path: str) -> Callable[..., object]:
    """Import `package.module:name`.

    Raises:
        BenchError: there is no such module or name, or it cannot be called.
    """
    module_name, _, name = path.rpartition(":")
    module = _called(option, path, _imported, module_name)
    found = module
    for part in name.split("."):
        found = getattr(found, part, None)
    if found is None:
        raise BenchError(f"{option} {path}: module {module_name} has no {name}")
    if not callable(found):
        raise BenchError(f"{option} {path} is {_kind(found)}, which cannot be called")
    return cast("Callable[..., object]", found)


def _imported(name: str) -> ModuleType:
    """Import a module by its name, or from a Python file."""
    if not name.endswith(".py"):
        here = str(Path.cwd())
        if here not in sys.path:
            sys.path.insert(1, here)  # after this project, whose names a folder may have too
        return importlib.import_module(name)
    file = Path(name).resolve()
    if not file.is_file():
        raise FileNotFoundError(f"there is no file {file}")
    if str(file.parent) not in sys.path:
        sys.path.append(str(file.parent))  # for modules beside it
    spec = importlib.util.spec_from_file_location(f"users_{file.stem}", file)
    if spec is None or spec.loader is None:
        raise ImportError(f"{file} is no Python file")
    module = importlib.util.module_from_spec(spec)
    sys.modules[spec.name] = module  # dataclasses and pickle look it up
    spec.loader.exec_module(module)
    return module


def _called(
    option: str,
    path: str,
    function: Callable[..., object],
    *given: object,
    **settings: object,
) -> object:
    """Call the user's code.

    Raises:
        BenchError: it raised; the sentence says what and where.
    """
    arguments, sys.argv = sys.argv, sys.argv[:1]  # the user's code must not see our options
    try:
        with settings_kept(option, path):
            return function(*given, **settings)
    except BenchError:
        raise
    except (Exception, SystemExit) as error:
        lines = str(error).strip().splitlines() or [""]
        where = _place(error)
        raise BenchError(
            f"{option} {path} failed{where}: {type(error).__name__}: {lines[0][:_LONGEST_REASON]}"
            f"{_OFFLINE if _wants_network(error) else ''}"
        ) from error
    finally:
        sys.argv = arguments


def _place(error: BaseException) -> str:
    """Return the last line of the traceback outside libraries and this project."""
    frames = [
        frame
        for frame in traceback.extract_tb(error.__traceback__)
        if "site-packages" not in frame.filename
        and Path(frame.filename).is_file()
        and not {_HERE, _STANDARD} & {*Path(frame.filename).resolve().parents}
    ]
    return f" at {Path(frames[-1].filename).name}:{frames[-1].lineno}" if frames else ""


def _wants_network(error: BaseException | None) -> bool:
    """Return whether the error, or one that it came from, is a failed network access."""
    while error is not None:
        names = {kind.__name__ for kind in type(error).__mro__}
        if names & _OF_NETWORKS:
            return True
        error = error.__cause__ or error.__context__
    return False


def _kind(value: object) -> str:
    name = type(value).__name__
    return f"{'an' if name[0].lower() in 'aeiou' else 'a'} {name}"


def _seed_all(seed: int) -> None:
    torch.manual_seed(seed)
    random.seed(seed)
    np.random.seed(seed)  # noqa: NPY002 - the user's code may use the old generator
