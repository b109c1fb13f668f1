"""Write how the offered code names, lays out, traces and passes a model's inputs. Pure.

The inspector takes one tensor, `images`. A user's model takes `inputs`, or `args` and `kwargs` as
the user's function returns them; its worker described their form (`bench.store.metadata.Form`).
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Iterator

    from bench.store.metadata import Form
    from bench.store.records import ScenarioRow

_FORMATS = {4: "torch.channels_last", 5: "torch.channels_last_3d"}

_LAID_OUT = """\
formats = {4: torch.channels_last, 5: torch.channels_last_3d}
def laid_out(tensor):
    return tensor.contiguous(memory_format=formats.get(tensor.dim(), torch.contiguous_format))"""

_WEIGHTS = """\
for weight in model.parameters():
    weight.data = laid_out(weight.data)"""

_LOW_WEIGHTS = """\
for layer in model.modules():
    if isinstance(layer, (torch.nn.Conv2d, torch.nn.Linear)):
        layer.to(DTYPE)"""

_LOW_WEIGHTS_OF_ANY = """\
kinds = (torch.nn.Conv1d, torch.nn.Conv2d, torch.nn.Conv3d, torch.nn.Linear)
others = [layer for layer in model.modules() if type(layer) not in kinds]
kept = {id(weight) for other in others for weight in other.parameters(recurse=False)}
for layer in model.modules():
    if type(layer) in kinds and kept.isdisjoint(map(id, layer.parameters())):
        layer.to(DTYPE)"""

_NO_FAST_PATH = "torch.backends.mha.set_fastpath_enabled(False)  # it fails on converted weights"

_OF_TENSORS = """\
def tensors_of(nested):
    if isinstance(nested, torch.Tensor):
        return (nested,)
    if hasattr(nested, "__dataclass_fields__"):
        nested = [getattr(nested, name) for name in nested.__dataclass_fields__]
    elif hasattr(nested, "values"):
        nested = [*nested.values()]
    if not isinstance(nested, (list, tuple)):
        return ()
    return tuple(tensor for part in nested for tensor in tensors_of(part))

class OfTensors(torch.nn.Module):  # tracing takes and returns nothing but tensors
    def __init__(self, model, arguments):
        super().__init__()
        self.model = model
        self.values, self.form = tree_flatten(arguments)

    def forward(self, *tensors):
        rest = iter(tensors)
        filled = [next(rest) if isinstance(v, torch.Tensor) else v for v in self.values]
        args, kwargs = tree_unflatten(filled, self.form)
        outputs = self.model(*args, **kwargs)
        return RETURNED

model = OfTensors(model, (ARGS, KWARGS))
tensors = tensors_of((ARGS, KWARGS))"""


@dataclass(frozen=True, kw_only=True)
class InputsInCode:
    """The inputs of a model in the code; `form` is None for the inspector."""

    form: Form | None = None

    @property
    def names(self) -> tuple[str, ...]:
        """Names of the variables that the reader has."""
        form = self.form
        if form is None:
            return ("images",)
        if form.is_plain:
            return ("inputs",)
        has = {"args": form.positional > 0, "kwargs": bool(form.keywords)}
        return tuple(name for name, wanted in has.items() if wanted)

    @property
    def is_single(self) -> bool:
        """Whether it is one tensor."""
        return self.form is None or self.form.is_plain

    @property
    def call(self) -> str:
        """Return the call of the plain model."""
        return f"model({self._passed(self.names)})"

    @property
    def call_on_batch(self) -> str:
        """Return the call on `batch`, which a user's function returned."""
        if len(self.names) > 1:
            return "model(*batch[0], **batch[1])"
        return f"model({self._passed(('batch',))})"

    def _passed(self, names: tuple[str, ...]) -> str:
        if self.is_single:
            return names[0]
        stars = {"args": "*", "kwargs": "**"}
        return ", ".join(f"{stars[one]}{name}" for one, name in zip(self.names, names, strict=True))

    def layout(self, *names: str) -> Iterator[str]:
        """Yield the lines that bring weights and inputs into channels_last, as far as they can be.

        `names` are the inputs' own unless others are given.
        """
        weights = {4} if self.form is None else {*self.form.weight_dims} & set(_FORMATS)
        inputs = {4} if self.form is None else {*self.form.dims} & set(_FORMATS)
        one_tensor = self.is_single and not names
        needs_function = weights > {4} or weights == {5} or bool(inputs and not one_tensor)
        if needs_function:
            yield _LAID_OUT
        if weights == {4}:
            yield "model = model.to(memory_format=torch.channels_last)"
        elif weights:
            yield _WEIGHTS
        for name in (names or self.names) if inputs else ():
            if one_tensor:
                (dims,) = inputs
                yield f"{name} = {name}.to(memory_format={_FORMATS[dims]})"
            else:
                nested = f"dict({name})" if name == "kwargs" else name
                yield f"{name} = tree_map_only(torch.Tensor, laid_out, {nested})"

    def imports(
        self, *, traced: bool, laid_out: bool, names: tuple[str, ...] = ()
    ) -> Iterator[str]:
        """Yield the imports that the lines of `layout` and `trace` need."""
        wanted = ["tree_flatten", "tree_unflatten"] if traced and self._needs_wrapper else []
        nested = not self.is_single or bool(names)
        if laid_out and nested and self.form and {*self.form.dims} & set(_FORMATS):
            wanted.append("tree_map_only")
        if wanted:
            yield f"from torch.utils._pytree import {', '.join(sorted(wanted))}"

    def fast_path(self, row: ScenarioRow) -> tuple[str, ...]:
        """Return the line that switches off the fast path of PyTorch's attention, if it must be."""
        has_one = self.form is not None and self.form.has_attention
        return (
            (_NO_FAST_PATH,) if has_one and (row.backend == "ipex" or row.dtype != "fp32") else ()
        )

    def low_weights(self, dtype: str) -> str:
        """Return the lines that convert weights to a dtype of 16 bits, by its name in the code."""
        code = _LOW_WEIGHTS if self.form is None else _LOW_WEIGHTS_OF_ANY
        return code.replace("DTYPE", dtype)

    # ---- tracing ---------------------------------------------------------------------------

    @property
    def _needs_wrapper(self) -> bool:
        """Whether tracing cannot take the model as it is."""
        if self.form is None or (self.form.is_plain and self.form.outputs == "tensors"):
            return False
        simple = len(self.names) == 1 and self.form.only_tensors and self.form.outputs == "tensors"
        return not simple

    def wrapper(self) -> Iterator[str]:
        """Yield the lines that make the model one of tensors alone, where tracing needs that."""
        if not self._needs_wrapper or self.form is None:
            return
        args = "args" if "args" in self.names else "()"
        kwargs = "dict(kwargs)" if "kwargs" in self.names else "{}"
        if self.is_single:
            args = "(inputs,)"
        outputs = "outputs" if self.form.outputs == "tensors" else "tensors_of(outputs)"
        yield (
            _OF_TENSORS.replace("RETURNED", outputs).replace("KWARGS", kwargs).replace("ARGS", args)
        )

    @property
    def example(self) -> str:
        """The example for tracing, as arguments of `torch.jit.trace` after the model."""
        if self._needs_wrapper:
            return "tensors"
        return "example_kwarg_inputs=kwargs" if self.names == ("kwargs",) else self.names[0]

    @property
    def example_of_ipex(self) -> str:
        """The example for IPEX's `prepare`, as a keyword argument."""
        if not self._needs_wrapper and self.names == ("kwargs",):
            return "example_kwarg_inputs=kwargs"
        return f"example_inputs={self.example}"

    @property
    def traced_call(self) -> str:
        """The call of the traced model."""
        return "model(*tensors)" if self._needs_wrapper else self.call

    @property
    def traced_call_on_batch(self) -> str:
        """The call of a model that takes tensors, on `batch`."""
        return "model(*tensors_of(batch))" if self._needs_wrapper else self.call_on_batch

    @property
    def exported(self) -> str:
        """The example for `torch.export.export`: a tuple, and keywords after it."""
        if self.is_single:
            return f"({self.names[0]},)"
        return {"args": "args", "kwargs": "(), kwargs"}.get("+".join(self.names), "args, kwargs")
