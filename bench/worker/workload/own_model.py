"""Load a user's model in place of the pill inspector: `bench run --model MODULE:FACTORY`.

    work = OwnModel(factory="torchvision.models:resnet18", shape=(3, 224, 224), seed=0)
    work.model(scenario).model(work.batch(8).images)

The factory is called with the user's settings and returns an `nn.Module`. A shape or a function
gives its inputs (`bench.worker.workload.inputs`); its outputs are tensors in any nesting, which are
compared as numbers. Of the user's further functions `decide` gives a label for each item,
`calibration` the batches that int8 is calibrated on, and `train_step` the loss. Random generators
are seeded before the user's code runs, so all workers get the same.
"""

from __future__ import annotations

import hashlib
import inspect
from itertools import count
from typing import TYPE_CHECKING, Any, cast

import torch
from torch.nn.parameter import is_lazy

from bench.errors import BenchError, WorkerError
from bench.plan.scenario import Layout, Status, Task, stock_default
from bench.worker.backends import Prepared, autocast
from bench.worker.workload import Batch, Workload, given_model, optimizer_for
from bench.worker.workload.inputs import (
    AdaptedModel,
    Place,
    arranged,
    is_batch,
    mapped,
    same_values,
    tensors_of,
)
from bench.worker.workload.own_factory import ModuleFactory
from bench.worker.workload.own_module import (
    compiling_refused,
    counted_flop,
    refuse_changing_outputs,
    values_of,
)
from bench.worker.workload.own_outputs import (
    Flat,
    container_of,
    flatten,
    full_precision,
    is_dense,
    refuse_incomparable,
)
from bench.worker.workload.users_code import (
    batches_like,
    called,
    kind_of,
    labels_of,
    loss_of,
    optional,
    seed_all,
)

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping, Sequence

    from bench.plan.scenario import Scenario
    from bench.worker.workload import Loaded
    from bench.worker.workload.inputs import Call, Inputs

_ATTENTION = (torch.nn.MultiheadAttention, torch.nn.TransformerEncoderLayer)
"""Layers of PyTorch's that have a fast path."""
CALIBRATION_ITEMS = 128
"""At most so many items are taken from the user's calibration data: ranges change little with more,
and a data loader may hold a million."""
_MUST_GROW = "a dimension must grow with the batch"


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
        decide: str | None = None,
        calibration: str | None = None,
        train_step: str | None = None,
    ) -> None:
        seed_all(seed)  # a file may make its model when it is imported
        self._factory = ModuleFactory(factory, settings or {})
        self._inputs = optional("--inputs", inputs)
        self._decide = optional("--decide", decide)
        self._calibration = optional("--calibration", calibration)
        self._train_step = optional("--train-step", train_step)
        self._shape = tuple(shape or ())
        self._seed = seed
        self._flop: dict[tuple[torch.Size, ...], int | None] = {}
        self._nestings: dict[int, object] = {}
        """By batch size: the outputs with empty tensors, as `--decide` gets them."""
        self._of_one, call = arranged(self._given(1))
        self._is_plain = call.is_plain
        self._look_at_model()

    def facts(self) -> dict[str, Any]:
        """Return what takes the place of the data: random numbers, or the user's inputs.

        `form` says how the model is called, for the code that the report offers.
        """
        seen = hashlib.sha256()
        for tensor in tensors_of(self.batch(1).images):
            seen.update(tensor.contiguous().flatten().view(torch.uint8).numpy().tobytes())
        return {
            "source": "random" if self._inputs is None else "given",
            "root": self._inputs.path if self._inputs else "x".join(map(str, self._shape)),
            "images": 1,
            "sha256": seen.hexdigest(),
            "form": self._form(),
        }

    def model(self, scenario: Scenario) -> Loaded:
        """Return a new model for the scenario.

        For inference it takes one argument and returns a tensor or a tuple of tensors; for training
        it is the user's own module, which `--train-step` calls.
        """
        made = self._made(self._seed)
        trained = all(
            torch.equal(values, self._values.get(name, values)) for name, values in values_of(made)
        )
        if scenario.task is not Task.TRAINING:
            made = self._taking(made, scenario.batch_size)
            made = made if self._is_flat else Flat(made)
        return given_model(made, self._factory.path, trained=trained)

    def batch(self, size: int) -> Batch:
        """Return `size` inputs; labels and weights are empty, a training step has its own."""
        nothing = torch.empty(0)
        return Batch(
            images=self._inputs_for(size),
            labels=nothing,
            class_weights=nothing,
            given=self._given(size) if self._train_step else None,
        )

    def batches(self, size: int) -> Iterator[Inputs]:
        """Yield the timed inputs, then others of their shapes as long as there are others.

        Random inputs have no end; a function that returns the same each time gives one batch.
        """
        first = self._inputs_for(size)
        yield first
        shapes = [tensor.shape for tensor in tensors_of(first)]
        for number in count(1):
            other = self._inputs_for(size, number)
            others = [tensor.shape for tensor in tensors_of(other)]
            if others != shapes or same_values(first, other):
                return
            yield other

    def flop(self, model: torch.nn.Module, images: Inputs, *, training: bool) -> int | None:
        """Count operations by a real call of a copy, once for each shape of the inputs.

        None for training, or if they cannot be counted. The copy shares the parameters. Tensors
        without storage, as the inspector is counted with, would stay in the caches of a user's
        model (anchors, position codes, masks) and make its next call fail.
        """
        if training:
            return None
        shapes = tuple(tensor.shape for tensor in tensors_of(images))
        if shapes not in self._flop:
            self._flop[shapes] = counted_flop(model, images)
        return self._flop[shapes]

    # ---- what further functions of the user's make possible --------------------------------

    def rehearse(self, training_batch: int | None) -> None:
        """Call each of the user's functions, so that an error ends a run before it begins.

        Training steps are made with batches of `training_batch` items; None: none will be measured.

        Raises:
            BenchError: one fails, or returns what cannot be used.
        """
        self._refuse_one_size()
        if self._decide is not None:
            with torch.inference_mode():
                outputs = self._taking(self._made(self._seed), 1)(self._inputs_for(1))
            labels_of(self._decide, outputs, 1)
        if self._calibration is not None:
            self._calibration_batches(1, most=1)
        if self._train_step is not None and training_batch is not None:
            self._rehearse_steps(self._train_step.path, training_batch)

    def _rehearse_steps(self, path: str, size: int) -> None:
        """Make two steps as they will be measured: the first may spoil what the second needs."""
        scenario, batch = stock_default(Task.TRAINING, size), self.batch(size)
        model = self.model(scenario).model.train()
        try:
            optimizer = called("--train-step", path, optimizer_for, model, scenario)
            prepared = Prepared(model=model, optimizer=cast("torch.optim.Optimizer", optimizer))
            for _ in range(2):
                called("--train-step", path, self.step, prepared, batch)
        except BenchError as error:
            raise BenchError(f"{error} (training is measured with batches of {size})") from error

    def _refuse_one_size(self) -> None:
        """Refuse inputs that are the same for every batch size: rates would be of another one."""
        try:
            tensors, call = arranged(self._given(2))
        except BenchError:
            return  # it gives one item at a time, and says so
        shapes = _shapes(tensors)
        if tensors and not call.holds(2) and shapes == _shapes(self._of_one):
            raise BenchError(f"{self._inputs} gives {shapes} for batches of 1 and 2: {_MUST_GROW}")

    def labels(self, result: object, size: int) -> list[str] | None:
        """Return the label that `--decide` gives each item; None without it.

        `result` is what a prepared model returned for `size` items. It is given to the function in
        the user's own nesting, which tracing and compiling undo, and with bf16 as fp32.
        """
        if self._decide is None:
            return None
        found = result if isinstance(result, (tuple, list)) else (result,)
        tensors = iter([full_precision(tensor) for tensor in found])
        if self._is_flat:
            outputs = mapped(result, lambda _: next(tensors))
        else:
            outputs = mapped(self._nesting(size), lambda _: next(tensors))
        return labels_of(self._decide, outputs, size)

    def calibration(self, size: int) -> Sequence[Inputs]:
        """Return the user's calibration data in batches of `size`, in the form of the inputs.

        Raises:
            WorkerError: there is none.
            BenchError: the function fails, or its batches are not like the inputs.
        """
        return self._calibration_batches(size, most=-(-CALIBRATION_ITEMS // size))

    def step(self, prepared: Prepared, batch: Batch) -> torch.Tensor:
        """Do forward, loss, backward and update; return the loss from before the update.

        The user's function gets containers of its own, which it may change.
        """
        if prepared.optimizer is None or self._train_step is None:
            raise TypeError("a training step needs an optimizer and --train-step")
        prepared.optimizer.zero_grad(set_to_none=True)
        with autocast(prepared.autocast):
            given = mapped(batch.given, lambda tensor: tensor)
            loss = loss_of(self._train_step, prepared.model, given)
        loss.backward()  # type: ignore[no-untyped-call] # PyTorch's
        prepared.optimizer.step()
        return loss.detach()

    def _nesting(self, size: int) -> object:
        if size not in self._nestings:
            with torch.inference_mode():
                outputs = self._taking(self._made(self._seed), size)(self._inputs_for(size))
            self._nestings[size] = mapped(outputs, lambda _: torch.empty(0))
        return self._nestings[size]

    def _calibration_batches(self, size: int, *, most: int) -> list[Inputs]:
        calibration = self._calibration
        if calibration is None:
            raise WorkerError(
                Status.UNSUPPORTED, "int8 is calibrated on data of yours: give --calibration"
            )
        inputs = tensors_of(self._inputs_for(size))
        seed_all(self._seed)
        found = batches_like(inputs, calibration, size, most)
        return [one[0] if self._is_plain else one for one in found]

    # ---- model and inputs ------------------------------------------------------------------

    def _made(self, seed: int) -> torch.nn.Module:
        made = self._factory(seed)
        if any(map(is_lazy, (*made.parameters(), *made.buffers()))):
            self._give_shapes(made, seed)
        return made

    def _give_shapes(self, made: torch.nn.Module, seed: int) -> None:
        """Call a module of lazy layers, whose weights get shapes and values in that call."""
        made, inputs = self._taking(made, 1), self._inputs_for(1)
        seed_all(seed)
        with torch.no_grad():
            called("--model", self._factory.path, made, inputs)

    def _taking(self, made: torch.nn.Module, size: int) -> torch.nn.Module:
        """Return the module as one of a single argument, for batches of that size."""
        return made if self._is_plain else AdaptedModel(made, arranged(self._given(size))[1])

    def _given(self, size: int, number: int = 0) -> object:
        """Return what the user's function gives; another `number` seeds it differently."""
        seed_all(self._seed + number)
        if self._inputs is None:
            return torch.randn(size, *self._shape)
        return self._inputs(size)

    def _inputs_for(self, size: int, number: int = 0) -> Inputs:
        """Return inputs for a batch of that size.

        Raises:
            BenchError: they hold no tensor, one that is no array, or no batch of that size.
        """
        given = self._given(size, number)
        tensors, call = arranged(given)
        if not tensors:
            raise BenchError(
                f"{self._inputs} returned {kind_of(given)} with no tensor: it is called with a "
                "batch size and returns a tensor, a tuple (passed by position), a dict (by "
                "keyword), or both: ((tokens,), {'mask': mask})"
            )
        if not all(map(is_dense, tensors)):
            raise BenchError(
                f"{self._inputs} returned a sparse, nested or quantised tensor, which has no "
                "layout to measure in: return it dense, or let the model keep it as a buffer"
            )
        if not (call.holds(size) or is_batch(tensors, self._of_one, size)):
            shapes, of_one = _shapes(tensors), _shapes(self._of_one)
            given = f"for a batch of {size} the shape {shapes}, and {of_one} for one of 1"
            raise BenchError(f"{self._inputs} gives {given}: {_MUST_GROW}")
        return tensors[0] if self._is_plain else tensors

    def _form(self) -> dict[str, Any]:
        tensors, call = arranged(self._given(1))
        return {
            "is_plain": call.is_plain,
            "positional": len(call.args),
            "keywords": list(call.kwargs),
            "only_tensors": self._only_tensors(call),
            "dims": sorted({tensor.dim() for tensor in tensors}),
            "weight_dims": self._weight_dims,
            "outputs": self._outputs,
            "has_attention": self._has_attention,
            "has_values": self._has_values,
        }

    def _only_tensors(self, call: Call) -> bool:
        by_name = inspect.Parameter.POSITIONAL_OR_KEYWORD
        known = (self._parameters.get(name) for name in call.kwargs)
        given = (*call.args, *call.kwargs.values())
        by_names = all(one is not None and one.kind is by_name for one in known)
        return by_names and all(isinstance(one, Place) for one in given)

    def _look_at_model(self) -> None:
        """Find out what the model returns and which of its weights are random.

        It is made with another seed than the measured one: what differs there is random.

        Raises:
            BenchError: the model does not take the inputs, or returns other things than tensors.
        """
        images, made = self._inputs_for(1), self._made(self._seed + 1)
        self._values = dict(values_of(made))
        self._weight_dims = sorted({weight.dim() for weight in made.parameters()})
        self._parameters = inspect.signature(made.forward).parameters
        kinds = {type(part) for part in made.modules()}
        self._has_attention = any(issubclass(kind, _ATTENTION) for kind in kinds)
        # `contiguous` is what the model makes of it: many permute their tensors themselves
        has_layout = any(issubclass(kind, (torch.nn.Conv2d, torch.nn.Conv3d)) for kind in kinds)
        self.layouts = frozenset({Layout.CHANNELS_LAST} if has_layout else ())
        made = self._taking(made, 1)
        path = f"{self._factory.path} with inputs {_shapes(tensors_of(images))}"
        results: list[object] = []

        def tensors(images: Inputs) -> tuple[torch.Tensor, ...]:
            results.append(called("--model", path, made, images))
            found = flatten(results[-1], self._factory.path)
            refuse_incomparable(found, self._factory.path)
            return found

        with torch.inference_mode():
            with compiling_refused(self._factory.path):
                refuse_changing_outputs(tensors, images, self._factory.path)
            self._has_values = any(one.count_nonzero() for one in flatten(results[0], path))
        result = results[0]
        is_tuple = type(result) is tuple and all(isinstance(p, torch.Tensor) for p in result)
        self._is_flat = is_tuple or isinstance(result, torch.Tensor)
        self._outputs = "tensors" if self._is_flat else container_of(result)


def _shapes(tensors: Sequence[torch.Tensor]) -> str:
    return ", ".join(str(tuple(one.shape)) for one in tensors)
