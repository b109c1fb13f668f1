"""A model of the user's own in place of the pill inspector: `bench run --model MODULE:FACTORY`.

    work = OwnModel(factory="torchvision.models:resnet18", shape=(3, 224, 224), seed=0)
    work.model(scenario).model(work.batch(8).images)

The factory is called with the user's settings, if any, and returns an `nn.Module`; what that takes
is said by a shape or a function (`bench.worker.workload.inputs`), and it gives tensors in any
nesting. What it decides is unknown here, so outputs are compared as numbers, and training, whose
loss is unknown too, is left out. Everything seeded is seeded before the user's code runs, so that
all workers get the same. Lives inside a worker.
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
from bench.worker.workload.inputs import Takes, arranged, tensors_of
from bench.worker.workload.own_module import at_rest, refuse_unlike, refuse_unsteady, switches_kept

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence
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
    "; workers are kept off the network, where every launch would load again: name weights that "
    "lie here already"
)


class OwnModel(Workload):
    """The user's model and inputs, as a workload.

    Raises (from the constructor):
        BenchError: the path leads nowhere, the user's code fails, or what it gives is no module,
            no batch, or has outputs that cannot be compared.
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
        self._give = None if inputs is None else _found("--inputs", inputs)
        self._is_plain = arranged(self._given(1))[1].is_plain
        self._is_flat = self._looks_flat()

    def facts(self) -> dict[str, Any]:
        """What stands for the data: random numbers, or what the user's function gave."""
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
        """A new one for every scenario; its outputs as one tensor or one tuple of tensors."""
        made = self._taking(self._made(), scenario.batch_size)
        return given_model(made if self._is_flat else Flat(made), self._factory)

    def batch(self, size: int) -> Batch:
        """So many inputs; labels and weights are empty, as nothing is trained."""
        nothing = torch.empty(0)
        return Batch(images=self._batch(size), labels=nothing, class_weights=nothing)

    def flop(self, model: torch.nn.Module, images: Inputs, *, training: bool) -> int | None:
        """As far as it can be counted, by a real call of a copy.

        On tensors without storage, as the inspector's are counted, a model would keep such tensors
        in whatever it caches (anchors, position codes, masks), and fail at its next call.
        """
        if training:
            return None
        try:
            with FlopCounterMode(display=False) as counter, torch.no_grad():
                copy.deepcopy(model)(images)
            return int(counter.get_total_flops()) or None
        except Exception:  # noqa: BLE001 - the user's code may do anything; the figure is optional
            return None

    def _made(self) -> torch.nn.Module:
        _seed_all(self._seed)
        made = _called("--model", self._factory, self._make, **self._settings)
        if not isinstance(made, torch.nn.Module):
            raise BenchError(
                f"--model {self._factory} gave {_kind(made)} and no torch.nn.Module: name a "
                "function or class that returns one"
            )
        refuse_unlike(made, self._factory)
        return at_rest(made)

    def _taking(self, made: torch.nn.Module, size: int) -> torch.nn.Module:
        """The module as one that takes one argument, called as for a batch of that size."""
        return made if self._is_plain else Takes(made, arranged(self._given(size))[1])

    def _given(self, size: int) -> object:
        _seed_all(self._seed)
        if self._give is None:
            return torch.randn(size, *self._shape)
        return _called("--inputs", str(self._inputs), self._give, size)

    def _batch(self, size: int) -> Inputs:
        """So many inputs.

        Raises:
            BenchError: there is no tensor among them, or none is a batch of that size.
        """
        tensors, call = arranged(self._given(size))
        if not tensors:
            raise BenchError(
                f"--inputs {self._inputs} gave no tensor: it is called with a batch size and "
                "returns a tensor, a tuple (passed by place), a dict (by keyword), or both: "
                "((tokens,), {'mask': mask})"
            )
        if not (call.holds(size) or any(one.dim() and len(one) == size for one in tensors)):
            shapes = ", ".join(str(tuple(one.shape)) for one in tensors)
            raise BenchError(
                f"--inputs {self._inputs} was asked for a batch of {size} and gave the shape "
                f"{shapes}: the first dimension is the batch"
            )
        return tensors[0] if self._is_plain else tensors

    def _looks_flat(self) -> bool:
        """Whether the outputs are a tensor or a tuple of tensors as they are.

        Raises:
            BenchError: the model does not take the inputs, or gives something else than tensors.
        """
        images, made = self._batch(1), self._taking(self._made(), 1)
        shapes = ", ".join(str(tuple(one.shape)) for one in tensors_of(images))
        path = f"{self._factory} with inputs {shapes}"
        results: list[object] = []

        def tensors(images: Inputs) -> tuple[torch.Tensor, ...]:
            results.append(_called("--model", path, made, images))
            return flatten(results[-1], self._factory)

        with torch.inference_mode():
            refuse_unsteady(tensors, images, self._factory)
        result = results[0]
        if isinstance(result, torch.Tensor):
            return True
        return type(result) is tuple and all(isinstance(part, torch.Tensor) for part in result)


class Flat(torch.nn.Module):
    """A model whose outputs, nested in whatever way, come as one tuple of tensors.

    Tracing and compiling take those without exceptions.
    """

    def __init__(self, inner: torch.nn.Module) -> None:
        super().__init__()
        self.inner = inner

    def forward(self, images: Inputs) -> tuple[torch.Tensor, ...]:
        """The tensors in order."""
        return flatten(self.inner(images), "the model")


def flatten(result: object, name: str) -> tuple[torch.Tensor, ...]:
    """Every tensor of a result, in order; of a mapping or a dataclass in its own order.

    What is None in it (an output that was not asked for) is passed over.

    Raises:
        BenchError: something in it is neither, or there is no tensor.
    """
    found = _tensors(result, name)
    if not found:
        raise _no_outputs(result, name)
    return found


def _tensors(result: object, name: str) -> tuple[torch.Tensor, ...]:
    """The same; none is fine. Dynamo follows tuples, and no generators."""
    if result is None:
        return ()
    if isinstance(result, torch.Tensor):
        return (result,)
    if isinstance(result, Mapping):
        parts = tuple(result.values())
    elif isinstance(result, (tuple, list)):
        parts = tuple(result)
    elif hasattr(result, "__dataclass_fields__"):
        parts = tuple([getattr(result, name) for name in result.__dataclass_fields__])
    else:
        raise _no_outputs(result, name)
    found: tuple[torch.Tensor, ...] = ()
    for part in parts:
        found += _tensors(part, name)
    return found


def _no_outputs(result: object, name: str) -> BenchError:
    return BenchError(
        f"--model {name} gives {_kind(result)}: its outputs must be a tensor, or a tuple, list, "
        "dict or dataclass of tensors"
    )


def _found(option: str, path: str) -> Callable[..., object]:
    """What `package.module:name` names.

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
    """The module of that name, or that a Python file is."""
    if not name.endswith(".py"):
        here = str(Path.cwd())
        if here not in sys.path:
            sys.path.insert(1, here)  # after this project, whose names a folder may have too
        return importlib.import_module(name)
    file = Path(name).resolve()
    if not file.is_file():
        raise FileNotFoundError(f"there is no file {file}")
    if str(file.parent) not in sys.path:
        sys.path.append(str(file.parent))  # for what lies beside it
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
    """The user's code, with its exceptions as one sentence that says where.

    Raises:
        BenchError: it raised.
    """
    arguments, sys.argv = sys.argv, sys.argv[:1]  # ours are none of the user's
    try:
        with switches_kept(option, path):
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
    """Where the user's own code was: the last line outside libraries and outside this project."""
    frames = [
        frame
        for frame in traceback.extract_tb(error.__traceback__)
        if "site-packages" not in frame.filename
        and Path(frame.filename).is_file()
        and not {_HERE, _STANDARD} & {*Path(frame.filename).resolve().parents}
    ]
    return f" at {Path(frames[-1].filename).name}:{frames[-1].lineno}" if frames else ""


def _wants_network(error: BaseException | None) -> bool:
    """Whether the user's code, or a library of theirs, looked for another machine."""
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
