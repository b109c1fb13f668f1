"""Run the model with stock PyTorch, with IPEX, or as measured fastest on this machine.

    way, note = choose("auto")
    fast = accelerate(loaded, way)     # a LoadedModel that computes the same in another way

`auto` reads a JSON file that `bench recommend --write` writes (docs/recommend.md lists its keys).
The file applies to the CPU and the package versions that it names; on others stock PyTorch is used,
and the note says why.
"""

from __future__ import annotations

import copy
import dataclasses
import json
import os
import re
from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass
from importlib import metadata
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final, cast

import torch

from pillqc.errors import PillqcError
from pillqc.model import runtimes
from pillqc.model.ahead_of_time import built_ahead
from pillqc.model.optimizing import load_ipex

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

    from torch import Tensor, nn

    from pillqc.model.network import CustomVGG, LoadedModel

    _Call = Callable[[Tensor], tuple[Tensor, Tensor]]

FORMAT: Final = "pillqc-acceleration/1"
VARIABLE: Final = "PILLQC_ACCELERATION"
_CHOICES: Final = {
    "backend": ("stock", "ipex", "openvino", "onnxruntime", "zentorch"),
    "mode": ("eager", "torchscript", "compile", "aot"),
    "fusion": (None, False, True),
    "dtype": ("fp32", "bf16"),
    "layout": ("contiguous", "channels_last"),
    "freezing": (True, False),
}


@dataclass(frozen=True, kw_only=True)
class Way:
    """One way of running the model, in the benchmark's terms."""

    backend: str = "stock"
    mode: str = "eager"
    fusion: bool | None = None
    dtype: str = "fp32"
    layout: str = "contiguous"
    freezing: bool = True
    """Whether compilation treats the weights as constants."""


STOCK: Final = Way()
IPEX: Final = Way(backend="ipex", layout="channels_last")
"""The first example of IPEX's documentation: `ipex.optimize`, eager."""


def choose(backend: str, path: Path | None = None) -> tuple[Way, str]:
    """Return the way for `stock`, `ipex` or `auto`, and for `auto` a sentence about it.

    Raises:
        PillqcError: the file that `auto` reads is damaged.
    """
    if backend != "auto":
        return {"stock": STOCK, "ipex": IPEX}[backend], ""
    path = path or default_path()
    try:
        found = _read(path)
    except FileNotFoundError:
        return STOCK, f"{path} does not exist: `bench recommend --write` makes it; using stock"
    mismatch = _mismatch(found)
    if mismatch:
        return STOCK, f"{path} is about {mismatch}; using stock"
    way = Way(**{key: found[key] for key in _CHOICES})
    return way, f"{found.get('scenario')}, measured in {found.get('run_id')}"


def default_path() -> Path:
    """Return the path of the file: from a variable, else in the user's settings."""
    if os.environ.get(VARIABLE):
        return Path(os.environ[VARIABLE])
    settings = os.environ.get("XDG_CONFIG_HOME") or Path.home() / ".config"
    return Path(settings) / "pillqc" / "acceleration.json"


def _read(path: Path) -> Mapping[str, Any]:
    try:
        found = json.loads(path.read_text(encoding="utf-8"))
    except FileNotFoundError:
        raise
    except (OSError, ValueError) as error:
        raise PillqcError(f"{path}: cannot be read ({error}); write it again") from error
    if not isinstance(found, dict) or found.get("format") != FORMAT:
        raise PillqcError(f"{path}: is not of the format {FORMAT}; write it again")
    found.setdefault("freezing", True)
    for key, allowed in _CHOICES.items():
        if found.get(key, "") not in allowed:
            raise PillqcError(f"{path}: {key} is {found.get(key)!r}; write it again")
    return found


def _mismatch(found: Mapping[str, Any]) -> str:
    """Describe the first difference between the measured machine and this one, if any."""
    this_cpu = cpu_model()
    if this_cpu is not None and found.get("cpu_model") != this_cpu:
        return f"another CPU ({found.get('cpu_model')})"
    for name, version in dict(found.get("versions") or {}).items():
        installed = _version(str(name))
        if installed != _without_build(str(version)):
            return f"{name} {version}, and {installed or 'none'} is installed"
    return ""


def cpu_model(cpuinfo: Path = Path("/proc/cpuinfo")) -> str | None:
    """Return the kernel's name of this CPU, if it has one."""
    try:
        found = re.search(r"^model name\s*:\s*(.+?)\s*$", cpuinfo.read_text(), re.MULTILINE)
    except OSError:
        return None
    return found[1] if found else None


def _version(name: str) -> str | None:
    try:
        return _without_build(metadata.version(name))
    except metadata.PackageNotFoundError:
        return None


def _without_build(version: str) -> str:
    """Remove the build: `2.8.0+cpu` becomes 2.8.0."""
    return version.partition("+")[0]


def accelerate(loaded: LoadedModel, way: Way) -> LoadedModel:
    """Return the model, run that way.

    Raises:
        PillqcError: the backend is not installed or cannot be used on this machine, or the model
            is one of `pillqc compare`.
    """
    if way == STOCK:
        return loaded
    if loaded.card and loaded.card.compares:
        raise PillqcError(
            f"{loaded.name}: a model of `pillqc compare` runs with stock PyTorch only: leave out"
            " --backend"
        )
    if way.backend == "ipex":
        _ipex(way)
    runtimes.check(way.backend)
    return dataclasses.replace(loaded, model=cast("CustomVGG", Accelerated(loaded.model, way)))


class Accelerated:
    """A callable like the model, prepared for the shape of the first batch.

    A smaller batch, such as the last one, is padded: otherwise a traced or compiled model would be
    prepared again for it.
    """

    def __init__(self, model: CustomVGG, way: Way) -> None:
        self._model = model
        self._way = way
        self._size = 0
        self.prepared: _Call | None = None
        """The model as it runs; made anew for a larger batch."""

    def __call__(self, images: Tensor) -> tuple[Tensor, Tensor]:
        """Return probabilities and maps, as the model does in evaluation mode."""
        count = len(images)
        if self.prepared is None or count > self._size:
            self._size = count
            self.prepared = _prepared(self._model, self._way, _laid_out(images, self._way))
        if count < self._size:
            images = torch.cat([images, images[:1].expand(self._size - count, -1, -1, -1)])
        inside = self._way.mode == "aot"  # the package has the casts
        with nullcontext() if inside else _cast(self._way):
            probabilities, maps = self.prepared(_laid_out(images, self._way))
        return probabilities[:count].float(), maps[:count].float()


def _prepared(model: CustomVGG, way: Way, images: Tensor) -> _Call:
    ready: nn.Module = copy.deepcopy(model).eval()
    if way.backend in runtimes.PREPARE:
        return runtimes.PREPARE[way.backend](ready, way.dtype, images)
    if way.layout == "channels_last":
        ready = ready.to(memory_format=torch.channels_last)  # type: ignore[call-overload] # not in its stubs
    if way.backend == "ipex":
        prepack = {"weights_prepack": False} if way.mode == "compile" else {}
        ready = _ipex(way).optimize(ready, dtype=_dtype(way), **prepack)
    elif way.dtype == "bf16":
        for layer in ready.modules():
            if isinstance(layer, (torch.nn.Conv2d, torch.nn.Linear)):
                layer.to(torch.bfloat16)
    if way.mode == "torchscript":
        ready = _scripted(ready, way, images)
    if way.mode == "aot":
        return cast("_Call", built_ahead(ready, images, _cast(way)).run)
    if way.mode == "compile":
        return _compiled(ready, way)
    return cast("_Call", ready)


def _compiled(ready: nn.Module, way: Way) -> _Call:
    if way.backend == "zentorch":
        import zentorch  # noqa: F401 - makes its backend known to torch.compile
    import torch._inductor.config as inductor

    inductor.freezing = way.freezing
    backend = "inductor" if way.backend == "stock" else way.backend
    return cast("_Call", torch.compile(ready, backend=backend, dynamic=False))


def _scripted(ready: nn.Module, way: Way, images: Tensor) -> nn.Module:
    switch = _ipex(way) if way.backend == "ipex" else torch.jit
    switch.enable_onednn_fusion(bool(way.fusion))
    # the trace already includes autocast's casts; PyTorch has no public name for the switch
    torch._C._jit_set_autocast_mode(False)  # type: ignore[attr-defined] # noqa: SLF001
    with torch.no_grad(), _cast(way):
        traced = torch.jit.trace(ready, images, check_trace=False)  # type: ignore[no-untyped-call]
        return cast("nn.Module", torch.jit.freeze(traced.eval()))


def _laid_out(images: Tensor, way: Way) -> Tensor:
    last = way.layout == "channels_last"
    return images.contiguous(memory_format=torch.channels_last) if last else images.contiguous()


def _cast(way: Way) -> AbstractContextManager[object]:
    return torch.autocast("cpu", torch.bfloat16) if way.dtype == "bf16" else nullcontext()


def _dtype(way: Way) -> torch.dtype:
    return torch.bfloat16 if way.dtype == "bf16" else torch.float32


def _ipex(way: Way) -> Any:  # noqa: ANN401 - it ships no types
    return load_ipex(_dtype(way), instead="use --backend stock")
