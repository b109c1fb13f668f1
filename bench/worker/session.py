"""What a worker does with its backend: one scenario at a time is prepared, called and examined.

Everything around a timed call is kept out of it: inputs are laid out before, results are freed and
checked after, the garbage collector rests meanwhile.
"""

from __future__ import annotations

import gc
import math
import resource
import sys
import time
from contextlib import nullcontext
from dataclasses import dataclass, field
from itertools import cycle, islice
from pathlib import Path
from typing import TYPE_CHECKING, Any, overload

import numpy as np
import torch
import torch._dynamo.utils as dynamo

from bench.errors import WorkerError
from bench.plan.scenario import Dtype, Layout, Mode, Phase, Scenario, Status, Task, part_of
from bench.plan.thresholds import LEAST_IMAGES
from bench.worker import conditions, kernels, parts, workload
from bench.worker.backends import quantize
from bench.worker.backends.stock import CHANNELS_LAST
from bench.worker.idle_heap import IdleHeap
from bench.worker.peak_memory import HighWater, give_back
from bench.worker.workload.inputs import tensors_of

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping
    from contextlib import AbstractContextManager

    from numpy.typing import NDArray

    from bench.worker.backends import Backend, Prepared
    from bench.worker.parts import Part
    from bench.worker.workload import Batch, Workload
    from bench.worker.workload.inputs import Inputs
    from pillqc.data.images import Sample

TRAINING_STEPS_COMPARED = 3
"""Losses of so many first steps are compared: as many as the first call and the least warm-up
make, so that comparing costs no step of its own."""
MAP_SIDE = 56
"""Maps are stored at about this many points a side: every fourth of 224, never averaged, so that
a wrong point stays as wrong as it is."""
_GENERATED = "torch._inductor.runtime.compile_tasks."
SETTLING_CALLS = 3
"""TorchScript records types, then optimises: its final graph exists after so many calls."""


@dataclass(frozen=True, kw_only=True)
class Block:
    """Timed calls in order, and the last one's result."""

    wall_ns: list[int]
    cpu_ns: list[int]
    page_faults: list[int]
    """Pages that the kernel had to map in during each call, none of them read from a disk."""
    involuntary_switches: int
    result: Any


@dataclass(kw_only=True)
class _Live:
    """The scenario that is prepared now."""

    scenario: Scenario
    prepared: Prepared
    batch: Batch
    threshold: float
    trained: bool
    part: Part | None = None
    """What a call is, if not the model's call or the optimiser step."""
    calls: int = 0
    graph: object = None
    """What was compiled when last looked: if it changes while timing, the times do not count."""
    shapes: object = None
    losses: list[float] = field(default_factory=list)

    def call(self) -> Any:  # noqa: ANN401 - whatever the model returns
        if self.part is not None:
            return self.part.call()
        if self.scenario.task is Task.TRAINING:
            return workload.step(self.prepared, self.batch)
        return self.prepared(self.batch.images)

    def context(self) -> AbstractContextManager[object]:
        own = self.part is not None or self.scenario.task is Task.TRAINING
        return nullcontext() if own else torch.inference_mode()

    def evidence(self) -> Mapping[str, Any]:
        """What the backend itself, or else the mode, tells of what a call executes."""
        own = self.prepared.evidence
        return graph_evidence(self.scenario.mode) if own is None else own()

    def graph_now(self) -> object:
        """What is compiled now; a part's call may compile as it likes."""
        return None if self.part is not None else _graph_identity(self.scenario.mode)


class Session:
    """The operations of the protocol, as methods that return a reply's fields."""

    def __init__(self, name: str, backend: Backend, work: Workload) -> None:
        self._name = name
        self._backend = backend
        self._work = work
        self._memory = HighWater()
        self.heap = IdleHeap()
        """Given back while this worker waits for its turn."""
        self._threads = torch.get_num_threads()
        self._now: _Live | None = None
        self.training_samples: list[Sample] = []
        """What a training study takes its batches from, in order."""

    @property
    def _live(self) -> _Live:
        if self._now is None:
            raise WorkerError(Status.CRASHED, "nothing is prepared: ask `prepare` first")
        return self._now

    @property
    def live(self) -> _Live:
        """The scenario that is prepared now.

        Raises:
            WorkerError: there is none.
        """
        return self._live

    @property
    def work(self) -> Workload:
        """The model and the images of this worker."""
        return self._work

    def prepare(
        self, scenario: Scenario, *, before: Callable[[torch.nn.Module], None] | None = None
    ) -> dict[str, Any]:
        """Build the scenario's model afresh and let the backend set it up.

        `before` may change the model before the backend gets it.
        `prepare_s` is the backend's part alone: building the model and reading images is the same
        for all. Compiling is not in it but in the first call.
        """
        self.release()
        if scenario.backend != self._name:
            raise WorkerError(
                Status.CRASHED, f"this worker runs {self._name}, not {scenario.backend}"
            )
        self._memory.start()
        loaded = self._work.model(scenario)
        if before is not None:
            before(loaded.model)
        batch = laid_out(self._work.batch(scenario.batch_size), scenario.layout)
        training = scenario.task is Task.TRAINING
        with self._memory.left_out():
            flop = self._work.flop(loaded.model, batch.images, training=training)
        parameters = sum(parameter.numel() for parameter in loaded.model.parameters())
        set_up = self._set_up(loaded.model, scenario, batch.images)
        started = time.perf_counter()
        prepared = set_up()
        prepare_s = time.perf_counter() - started
        self._now = _Live(
            scenario=scenario,
            prepared=prepared,
            batch=batch,
            threshold=loaded.threshold,
            trained=loaded.trained,
            part=parts.part(scenario, work=self._work, backend=self._backend, loaded=loaded),
        )
        gc.collect()
        self.heap.settle()
        gc.freeze()
        return {
            "prepare_s": prepare_s,
            "layers_replaced": prepared.layers_replaced,
            "parameters": parameters,
            "flop_per_call": flop,
            "native_dtype": native(scenario.dtype),
            "batch_shape": list(tensors_of(batch.images)[0].shape),
            "part": part_of(scenario),
            "model": {
                "name": loaded.name,
                "trained": loaded.trained,
                "threshold": loaded.threshold,
            },
        }

    def _set_up(
        self, model: torch.nn.Module, scenario: Scenario, example: Inputs
    ) -> Callable[[], Prepared]:
        """The backend's own work, ready to be timed: its images are read before."""
        if scenario.dtype is Dtype.INT8:
            images = [
                in_layout(batch, scenario.layout)
                for batch in self._work.calibration(scenario.batch_size)
            ]
            return lambda: quantize(self._backend, model, scenario, example, images)
        optimizer = workload.optimizer_for(model, scenario)
        return lambda: self._backend.prepare(model, scenario, example, optimizer)

    def call(self, n: int, phase: Phase) -> dict[str, Any]:
        """`n` timed calls, then the checks that their times may count."""
        live = self._live
        with live.context():
            block = timed(lambda: _kept(live), n, before=live.part.before if live.part else None)
        live.calls += n
        self._check(live, block.result)
        return {
            "wall_ns": block.wall_ns,
            "cpu_ns": block.cpu_ns,
            "page_faults": block.page_faults,
            "involuntary_switches": block.involuntary_switches,
            "invalid": self._invalid(live, phase),
        }

    def outputs(self, path: Path, *, within_s: float | None = None) -> dict[str, Any]:
        """Write what the parity check compares (see `bench.analysis.parity`).

        Of all images, or of those that it gets through `within_s`. Its calls are as any other and
        are timed: the parent counts them as warm-up, so that looking at outputs takes no time from
        measuring.
        """
        live = self._live
        if live.part is not None:
            raise WorkerError(Status.UNSUPPORTED, "a part of the product has no outputs to compare")
        calls: list[Block] = []
        with self._memory.left_out():
            if live.scenario.task is Task.TRAINING:
                arrays = self._losses(live)
            elif self._work.decides:
                arrays = self._decisions(live, calls, within_s)
            else:
                arrays = self._numbers(live, calls)
            np.savez(path, **arrays)
        live.graph = live.graph_now()  # TorchScript may have settled in these calls
        images = 0 if "paths" not in arrays else len(arrays["paths"])
        return {
            "images": images or live.scenario.batch_size,
            "trained": live.trained,
            "wall_ns": [wall_ns for block in calls for wall_ns in block.wall_ns],
            "cpu_ns": [cpu_ns for block in calls for cpu_ns in block.cpu_ns],
        }

    def pictures(self, folder: Path) -> dict[str, Any]:
        """Pictures of the data and of what the model says, for the report; nothing is timed."""
        folder.mkdir(exist_ok=True)
        return self._work.pictures(folder)

    def layers(self) -> dict[str, Any]:
        """The layers of the prepared model: those that a backend replaced show by their name."""
        return {"layers": workload.layers(self._live.prepared.model)}

    def kernels(self) -> dict[str, Any]:
        """One untimed call with oneDNN's log on, read and held against the label."""
        live = self._live
        with self._memory.left_out(), live.context():
            while live.calls < SETTLING_CALLS:
                _kept(live)
                live.calls += 1
            log = kernels.capture(lambda: _kept(live), self._backend.verbose())
            live.calls += 1
        evidence = kernels.Evidence(
            kernels=kernels.parse(log),
            layers_replaced=live.prepared.layers_replaced,
            graph=live.evidence(),
        )
        live.graph = live.graph_now()
        return {
            **evidence.reply(),
            "contradiction": kernels.contradiction(live.scenario, evidence),
        }

    def memory(self) -> dict[str, Any]:
        """The kernel's high-water mark since `prepare`, probes and checks left out."""
        return {"peak_rss_mb": self._memory.peak_mb(), "rss_mb": self._memory.resident_mb()}

    def conditions(self) -> dict[str, Any]:
        """What this process runs under, read again: compiling and optimising load libraries."""
        with self._memory.left_out():
            return {"conditions": conditions.read()}

    def probe(self) -> dict[str, Any]:
        """Fixed work, to tell a slow machine from a slow scenario."""
        from bench.worker import calibration

        with self._memory.left_out(), self.heap.put_aside():
            return calibration.probe()

    def peak(self, dtypes: list[str]) -> dict[str, Any]:
        """The most that this process can get out of the machine."""
        from bench.worker import calibration

        with self._memory.left_out(), self.heap.put_aside():
            return calibration.peak([Dtype(name) for name in dtypes])

    def release(self) -> dict[str, Any]:
        """Drop the scenario with all it holds; compiled code is forgotten too."""
        self._now = None
        forget_compiled()
        dynamo.counters.clear()
        gc.unfreeze()
        give_back()
        return {}

    def _check(self, live: _Live, result: object) -> None:
        found = shapes(result)
        if live.shapes is None:
            live.shapes = found
        if found != live.shapes:
            raise WorkerError(
                Status.WRONG_OUTPUT, f"the output's shape changed from {live.shapes} to {found}"
            )
        if not finite(result, infinite=not self._work.decides):
            raise WorkerError(Status.WRONG_OUTPUT, "the output holds NaN or infinity")

    def _invalid(self, live: _Live, phase: Phase) -> str | None:
        """Why the calls just made do not count, if they do not."""
        before, live.graph = live.graph, live.graph_now()
        if torch.get_num_threads() != self._threads:
            return (
                f"the thread count changed from {self._threads} to {torch.get_num_threads()} "
                "after the model was set up"
            )
        if phase is Phase.TIMED and before != live.graph:
            return "the model was compiled anew while it was timed"
        return None

    def _losses(self, live: _Live) -> dict[str, Any]:
        """The first steps this worker made since `prepare`, timed or not; missing ones are made.

        So they start from the untouched model though timing has long changed it, and no second
        model has to be built.
        """
        while len(live.losses) < TRAINING_STEPS_COMPARED:
            _kept(live)
            live.calls += 1
        return {"losses": np.array(live.losses[:TRAINING_STEPS_COMPARED]), "trained": live.trained}

    def _decisions(self, live: _Live, calls: list[Block], within_s: float | None) -> dict[str, Any]:
        """The parity images in batches of the scenario's size, the last one filled up.

        Not before the graph that will be timed exists: what is compared must be what is timed.
        """
        if live.calls < SETTLING_CALLS:
            missing = SETTLING_CALLS - live.calls
            with live.context():
                calls.append(timed(lambda: _kept(live), missing))
            live.calls += missing
        samples = self._work.parity_samples()
        size = live.scenario.batch_size
        stop = time.monotonic() + (math.inf if within_s is None else within_s)
        probabilities, maps, done = [], [], 0
        while done < len(samples) and (done < LEAST_IMAGES or time.monotonic() < stop):
            found = self._one_batch(live, samples[done : done + size], calls)
            probabilities.append(found[0])
            maps.append(found[1])
            done += len(found[0])
        return {
            "probabilities": np.concatenate(probabilities),
            "maps": np.concatenate(maps),
            "bad": np.array([sample.bad for sample in samples[:done]]),
            "paths": np.array([str(sample.path) for sample in samples[:done]]),
            "threshold": live.threshold,
            "trained": live.trained,
        }

    def _numbers(self, live: _Live, calls: list[Block]) -> dict[str, Any]:
        """Every output tensor of the timed batch, as it is: what they mean is not known here."""
        with live.context():
            block = timed(lambda: live.prepared(live.batch.images), 1)
        calls.append(block)
        live.calls += 1
        result = block.result
        tensors = result if isinstance(result, (tuple, list)) else (result,)
        return {
            "trained": live.trained,
            "images": live.scenario.batch_size,
            **{f"output_{n}": as_numbers(tensor) for n, tensor in enumerate(tensors)},
        }

    def _one_batch(self, live: _Live, samples: list[Sample], calls: list[Block]) -> tuple[Any, Any]:
        filled = list(islice(cycle(samples), live.scenario.batch_size))
        images = in_layout(self._work.load(filled), live.scenario.layout)
        with live.context():
            block = timed(lambda: live.prepared(images), 1)
        calls.append(block)
        probabilities, maps = block.result
        live.calls += 1
        stride = max(1, maps.shape[-1] // MAP_SIDE)
        thinned = maps[..., ::stride, ::stride]
        return (
            probabilities.float().numpy()[: len(samples)].copy(),
            thinned.float().numpy()[: len(samples)].copy(),
        )


def forget_compiled() -> None:
    """Drop all compiled code of this process, and the packed weights that it holds.

    Inductor keeps each generated module, constants and all (70 MB of weights here), under a name in
    `sys.modules`. Where nothing was compiled nothing is imported for it.
    """
    torch.compiler.reset()
    if "torch._inductor.codecache" in sys.modules:
        from torch._inductor.codecache import PyCodeCache

        PyCodeCache.cache_clear()
        for name in [name for name in sys.modules if name.startswith(_GENERATED)]:
            del sys.modules[name]


def _kept(live: _Live) -> Any:  # noqa: ANN401 - whatever the model returns
    """One call; a training step's loss is noted, for they are all part of the first few."""
    result = live.call()
    is_step = live.scenario.task is Task.TRAINING and live.part is None
    if is_step and len(live.losses) < TRAINING_STEPS_COMPARED:
        live.losses.append(float(result))
    return result


def timed(call: Callable[[], Any], n: int, before: Callable[[], object] | None = None) -> Block:
    """Call `n` times and time each call on its own, `before` in front of each not.

    A result lives until the next call's clock has stopped, so that freeing it is never timed.
    """
    wall_ns, cpu_ns, faults = [0] * n, [0] * n, [0] * n
    result = None
    used = resource.getrusage(resource.RUSAGE_SELF)
    switches = used.ru_nivcsw
    gc.disable()
    try:
        for index in range(n):
            if before is not None:
                before()
            mapped = resource.getrusage(resource.RUSAGE_SELF).ru_minflt
            cpu_start = time.process_time_ns()
            start = time.perf_counter_ns()
            fresh = call()
            end = time.perf_counter_ns()
            cpu_ns[index] = time.process_time_ns() - cpu_start
            wall_ns[index] = end - start
            used = resource.getrusage(resource.RUSAGE_SELF)
            faults[index] = used.ru_minflt - mapped
            result = fresh
            del fresh
    finally:
        gc.enable()
    return Block(
        wall_ns=wall_ns,
        cpu_ns=cpu_ns,
        page_faults=faults,
        involuntary_switches=used.ru_nivcsw - switches,
        result=result,
    )


@overload
def in_layout(images: torch.Tensor, layout: Layout) -> torch.Tensor: ...
@overload
def in_layout(images: Inputs, layout: Layout) -> Inputs: ...
def in_layout(images: Inputs, layout: Layout) -> Inputs:
    """The images in the memory layout that the scenario names; what are no images, contiguous."""
    if isinstance(images, tuple):
        return tuple(in_layout(one, layout) for one in images)
    known = CHANNELS_LAST if layout is Layout.CHANNELS_LAST else {}
    return images.contiguous(memory_format=known.get(images.dim(), torch.contiguous_format))


def laid_out(batch: Batch, layout: Layout) -> Batch:
    """The batch with its images in that layout."""
    return workload.Batch(
        images=in_layout(batch.images, layout),
        labels=batch.labels,
        class_weights=batch.class_weights,
    )


def native(dtype: Dtype) -> bool:
    """Whether the CPU computes in this dtype itself; else it is emulated.

    Asked of the CPU's own flags: oneDNN's and IPEX's "bf16 supported" mean that they can emulate.
    """
    flags = cpu_flags()
    wanted = {
        Dtype.FP32: None,
        Dtype.BF16: {"avx512_bf16", "amx_bf16", "bf16"},
        Dtype.INT8: {"avx512_vnni", "avx_vnni", "amx_int8", "i8mm"},
    }[dtype]
    return wanted is None or bool(wanted & flags)


def cpu_flags(cpuinfo: Path = Path("/proc/cpuinfo")) -> set[str]:
    """The first CPU's flags; empty where the host does not tell."""
    try:
        text = cpuinfo.read_text()
    except OSError:
        return set()
    for line in text.splitlines():
        name, _, value = line.partition(":")
        if name.strip() in {"flags", "Features"}:
            return set(value.split())
    return set()


def shapes(result: object) -> object:
    """The shapes of a result, nested as it is."""
    if isinstance(result, torch.Tensor):
        return list(result.shape)
    if isinstance(result, (tuple, list)):
        return [shapes(part) for part in result]
    return type(result).__name__


def finite(result: object, *, infinite: bool = False) -> bool:
    """Whether every number of a result is one; whether infinities pass, as a mask has them."""
    if isinstance(result, torch.Tensor):
        sound = ~torch.isnan(result) if infinite else torch.isfinite(result)
        return bool(sound.all())
    if isinstance(result, (tuple, list)):
        return all(finite(part, infinite=infinite) for part in result)
    return True


def as_numbers(tensor: torch.Tensor) -> NDArray[Any]:
    """The tensor as numpy holds it, of the same kind: low precision becomes fp32."""
    half = tensor.dtype in (torch.bfloat16, torch.float16)
    found: NDArray[Any] = (tensor.float() if half else tensor).resolve_conj().numpy().copy()
    return found


def graph_evidence(mode: Mode) -> dict[str, Any]:
    """What the mode itself tells of its work: fused nodes, compiled graphs and their breaks."""
    if mode is Mode.TORCHSCRIPT:
        return {"nodes": kernels.graph_nodes(_script_graph())}
    if mode is Mode.COMPILE:
        return {
            "graphs": dynamo.counters["stats"]["unique_graphs"],
            "breaks": sum(dynamo.counters["graph_break"].values()),
        }
    return {}


def _script_graph() -> str:
    return str(torch.jit.last_executed_optimized_graph())  # type: ignore[attr-defined] # not in __all__


def _graph_identity(mode: Mode) -> object:
    """Something that changes when the model is compiled anew; None in eager mode."""
    if mode is Mode.TORCHSCRIPT:
        return hash(_script_graph())
    if mode is Mode.COMPILE:
        return dynamo.counters["stats"]["unique_graphs"]
    return None
