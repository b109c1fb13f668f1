"""Find and call functions of the user's, and say their errors in one sentence.

make = UsersFunction("--model", "shop/model.py:load")
make(size="large")           # BenchError: "--model shop/model.py:load failed at model.py:7: ..."
"""

from __future__ import annotations

import ast
import importlib.util
import random
import re
import sys
import sysconfig
import traceback
from collections.abc import Iterable
from itertools import islice
from pathlib import Path
from typing import TYPE_CHECKING, cast

import numpy as np
import torch

from bench.errors import BenchError
from bench.worker.workload.inputs import arranged
from bench.worker.workload.own_module import settings_kept

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence
    from types import ModuleType

_LONGEST_REASON = 160
_NO_LABEL = (list, tuple, dict, set, type(None))
_CALL = re.compile(r"((?:[A-Za-z_][\w.]*|.+\.py):[A-Za-z_][\w.]*)\((.*)\)", re.DOTALL)
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
_NO_GRADIENTS = (
    "; inference is timed in torch.inference_mode(), in which a model cannot take gradients"
)
_GRADIENT_ERRORS = re.compile("does not require grad|nference tensor")


class UsersFunction:
    """A function or class of the user's, and the option that names it.

    Raises (from the constructor):
        BenchError: there is no such module or name, or it cannot be called.
    """

    def __init__(self, option: str, path: str) -> None:
        self.option = option
        self.path = path
        self.function = _found(option, path)

    def __str__(self) -> str:
        return f"{self.option} {self.path}"

    def __call__(self, *given: object, **settings: object) -> object:
        """Call it.

        Raises:
            BenchError: it raised; the sentence says what and where.
        """
        return called(self.option, self.path, self.function, *given, **settings)


def optional(option: str, path: str | None) -> UsersFunction | None:
    """Return the user's function; None where the option was not given."""
    return None if path is None else UsersFunction(option, path)


def called(
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
            f"{_hint(error)}"
        ) from error
    finally:
        sys.argv = arguments


def kind_of(value: object) -> str:
    """Return the value's type with its article: `an int`."""
    name = type(value).__name__
    return f"{'an' if name[0].lower() in 'aeiou' else 'a'} {name}"


def seed_all(seed: int) -> None:
    """Seed the generators that the user's code may use."""
    torch.manual_seed(seed)
    random.seed(seed)
    np.random.seed(seed)  # noqa: NPY002 - the user's code may use the old generator


def _found(option: str, path: str) -> Callable[..., object]:
    """Import `package.module:name`."""
    module_name, _, name = path.rpartition(":")
    module = called(option, path, _imported, module_name)
    found = module
    for part in name.split("."):
        found = getattr(found, part, None)
    if found is None:
        raise BenchError(f"{option} {path}: module {module_name} has no {name}")
    if not callable(found):
        raise BenchError(f"{option} {path} is {kind_of(found)}, which cannot be called")
    return cast("Callable[..., object]", found)


def _imported(name: str) -> ModuleType:
    """Import a module by its name, or from a Python file, once."""
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
    known = sys.modules.get(f"users_{file.stem}")
    if known is not None and known.__file__ == str(file):
        return known  # several options name functions of one file
    spec = importlib.util.spec_from_file_location(f"users_{file.stem}", file)
    if spec is None or spec.loader is None:
        raise ImportError(f"{file} is no Python file")
    module = importlib.util.module_from_spec(spec)
    sys.modules[spec.name] = module  # dataclasses and pickle look it up
    try:
        spec.loader.exec_module(module)
    except BaseException:
        del sys.modules[spec.name]
        raise
    return module


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


def _hint(error: BaseException) -> str:
    """Return what a user would not guess about an error, or nothing."""
    if _wants_network(error):
        return _OFFLINE
    no_gradient = isinstance(error, RuntimeError) and torch.is_inference_mode_enabled()
    return _NO_GRADIENTS if no_gradient and _GRADIENT_ERRORS.search(str(error)) else ""


def _wants_network(error: BaseException | None) -> bool:
    """Return whether the error, or one that it came from, is a failed network access."""
    while error is not None:
        names = {kind.__name__ for kind in type(error).__mro__}
        if names & _OF_NETWORKS:
            return True
        error = error.__cause__ or error.__context__
    return False


def setting_of(value: object) -> object:
    """Return the value of a factory's argument: text such as `package:Config(layers=2)` is called.

    Raises:
        BenchError: its arguments are no Python literals, or the call failed.
    """
    match = _CALL.fullmatch(value) if isinstance(value, str) else None
    if match is None:
        return value
    path, given = match.groups()
    try:
        call = cast("ast.Call", ast.parse(f"call({given})", mode="eval").body)
        args = [ast.literal_eval(one) for one in call.args]
        named = {str(one.arg): ast.literal_eval(one.value) for one in call.keywords}
    except (SyntaxError, ValueError) as error:
        raise BenchError(
            f"--factory-arg {value!r}: the arguments in brackets are not Python literals"
        ) from error
    return UsersFunction("--factory-arg", path)(*args, **named)


def labels_of(decide: UsersFunction, outputs: object, size: int) -> list[str]:
    """Call `--decide` and return the label of each item as text.

    Raises:
        BenchError: it returned no list of one label an item.
    """
    found = decide(outputs)
    labels = found.tolist() if hasattr(found, "tolist") else found
    if not isinstance(labels, (list, tuple)):
        raise BenchError(
            f"{decide} returned {kind_of(found)}: it is called with the model's outputs and "
            "returns a list or tensor of one label an item"
        )
    if len(labels) != size:
        raise BenchError(
            f"{decide} returned {len(labels)} labels for a batch of {size}: one an item"
        )
    plain = [one.tolist() if hasattr(one, "tolist") else one for one in labels]
    if no_labels := [one for one in plain if isinstance(one, _NO_LABEL)]:
        raise BenchError(
            f"{decide} returned {kind_of(no_labels[0])} for an item: labels are names, whole "
            "numbers or truth values, one an item; of scores for each class take `argmax(1)`"
        )
    if any(isinstance(one, float) for one in plain):
        raise BenchError(
            f"{decide} returned floating point numbers, which change with every rounding: "
            "labels are names, whole numbers or truth values"
        )
    return [str(one) for one in plain]


def batches_like(
    inputs: Sequence[torch.Tensor], calibration: UsersFunction, size: int, most: int
) -> list[tuple[torch.Tensor, ...]]:
    """Call `--calibration`; return those of its first batches that have the shapes of the inputs.

    Raises:
        BenchError: it returned nothing that has batches, or none of these shapes, or failed while
            they were taken.
    """
    shapes = [tuple(tensor.shape) for tensor in inputs]
    found = [arranged(batch)[0] for batch in _first_batches(calibration, size, most)]
    kept = [one for one in found if [tuple(tensor.shape) for tensor in one] == shapes]
    if not kept:
        first = [tuple(tensor.shape) for tensor in found[0]] if found else "nothing"
        raise BenchError(
            f"{calibration} gave no batch of {size} like the inputs: it is called with a batch "
            f"size and returns an iterable of batches as --inputs returns one, here of the "
            f"shapes {shapes}; it gave {first}"
        )
    return kept


def _first_batches(calibration: UsersFunction, size: int, most: int) -> list[object]:
    batches = calibration(size)
    if not isinstance(batches, Iterable):
        raise BenchError(
            f"{calibration} returned {kind_of(batches)}: it is called with a batch size and "
            "returns an iterable of batches, each as --inputs returns one"
        )
    first = called(calibration.option, calibration.path, lambda: list(islice(batches, most)))
    return cast("list[object]", first)


def loss_of(train_step: UsersFunction, model: torch.nn.Module, batch: object) -> torch.Tensor:
    """Call `--train-step` and return its loss.

    Raises:
        BenchError: it returned none.
    """
    loss = train_step(model, batch)
    if not (isinstance(loss, torch.Tensor) and loss.numel() == 1 and loss.requires_grad):
        raise BenchError(
            f"{train_step} returned {kind_of(loss)} that is no loss: it is called with the "
            "model and a batch, and returns a tensor of one number with a gradient; backward "
            "and the optimiser's step are made here"
        )
    return loss
