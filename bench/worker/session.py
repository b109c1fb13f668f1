"""Serve a worker's session: prepare one scenario at a time, call it and examine it."""

from __future__ import annotations

import gc
import time
from dataclasses import asdict
from typing import TYPE_CHECKING, Any

import torch

from bench.errors import WorkerError
from bench.plan.scenario import Dtype, Layout, Phase, Scenario, Status, Task, part_of
from bench.worker import (
    calibration,
    conditions,
    graphs,
    kernels,
    outputs,
    product_parts,
    vector_check,
    workload,
)
from bench.worker.backends import quantize
from bench.worker.idle_heap import IdleHeap
from bench.worker.logged_calls import log_call
from bench.worker.peak_memory import HighWater, release_freed_memory
from bench.worker.prepared_scenario import ActiveScenario
from bench.worker.timing import timed
from bench.worker.workload.inputs import in_layout

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    from bench.worker import protocol
    from bench.worker.backends import Backend, Package, Prepared
    from bench.worker.workload import Workload
    from bench.worker.workload.inputs import Inputs
    from pillqc.data.images import Sample


class Session:
    """The operations of the protocol, as methods that return a reply's fields.

    `heap` is the process's heap, released while the worker waits. `training_samples` are the images
    that a training study takes its batches from, in order.
    """

    def __init__(self, name: str, backend: Backend, work: Workload | None) -> None:
        self._name = name
        self._backend = backend
        self._work = work
        self._memory = HighWater()
        self.heap = IdleHeap()
        self._threads = torch.get_num_threads()
        self._active: ActiveScenario | None = None
        self.training_samples: list[Sample] = []

    @property
    def active(self) -> ActiveScenario:
        """The prepared scenario.

        Raises:
            WorkerError: there is none.
        """
        if self._active is None:
            raise WorkerError(Status.CRASHED, "nothing is prepared: send `prepare` first")
        return self._active

    @property
    def work(self) -> Workload:
        """The model and the images of this worker.

        Raises:
            WorkerError: this worker times operators and has none.
        """
        if self._work is None:
            raise WorkerError(Status.UNSUPPORTED, "a worker of operators has no model or images")
        return self._work

    def prepare(
        self, scenario: Scenario, *, before: Callable[[torch.nn.Module], None] | None = None
    ) -> protocol.PrepareReply:
        """Build the scenario's model and let the backend set it up.

        `before` may change the model before the backend gets it. `prepare_s` times the backend
        alone, because building the model and reading images is the same for all. `compile` compiles
        at its first call, not here; the peak of memory leaves out building an `aot` package.
        """
        self.release()
        if scenario.backend != self._name:
            raise WorkerError(
                Status.CRASHED, f"this worker runs {self._name}, not {scenario.backend}"
            )
        self._memory.start()
        loaded = self.work.model(scenario)
        if before is not None:
            before(loaded.model)
        batch = self.work.batch(scenario.batch_size).in_layout(scenario.layout)
        training = scenario.task is Task.TRAINING
        with self._memory.left_out():
            flop = self.work.flop(loaded.model, batch.images, training=training)
        parameters = sum(parameter.numel() for parameter in loaded.model.parameters())
        vector_check.spare(scenario)
        set_up = self._set_up(loaded.model, scenario, batch.images)
        started = time.perf_counter()
        prepared = set_up()
        prepare_s = time.perf_counter() - started
        self._active = ActiveScenario(
            scenario=scenario,
            prepared=prepared,
            batch=batch,
            threshold=loaded.threshold,
            trained=loaded.trained,
            step=self.work.step,
            part=product_parts.part(scenario, work=self.work, backend=self._backend, loaded=loaded),
        )
        facts: protocol.ModelFacts = {
            "name": loaded.name,
            "trained": loaded.trained,
            "threshold": loaded.threshold,
        }
        del loaded, set_up  # a package holds the weights itself
        gc.collect()
        if prepared.package is not None:  # whoever loads a package did not build it
            release_freed_memory()
            self._memory.start()
        self.heap.settle()
        gc.freeze()
        return {
            "prepare_s": prepare_s,
            "layers_replaced": prepared.layers_replaced,
            "parameters": parameters,
            "flop_per_call": flop,
            "native_dtype": calibration.is_native(scenario.dtype),
            "part": part_of(scenario),
            **_of_package(prepared.package),
            "model": facts,
        }

    def _set_up(
        self, model: torch.nn.Module, scenario: Scenario, example: Inputs
    ) -> Callable[[], Prepared]:
        """Return the backend's own work as a function to time; its images are read before."""
        if scenario.dtype is Dtype.INT8:
            images = [
                in_layout(batch, scenario.layout)
                for batch in self.work.calibration(scenario.batch_size)
            ]
            return lambda: quantize(self._backend, model, scenario, example, images)
        optimizer = workload.optimizer_for(model, scenario)
        return lambda: self._backend.prepare(model, scenario, example, optimizer)

    def rehearse(self, training_batch: int | None) -> dict[str, Any]:
        """Call the user's functions, so that an error ends a run before it begins."""
        self.work.rehearse(training_batch)
        return {}

    def call(self, n: int, phase: Phase) -> protocol.CallReply:
        """Time `n` calls, then check that their times may count."""
        active = self.active
        with active.context():
            block = timed(active.call, n, before=active.part.before if active.part else None)
        self._check(active, block.result)
        if phase is Phase.FIRST_CALL:
            vector_check.note(active.scenario)
        return {
            "wall_ns": block.wall_ns,
            "cpu_ns": block.cpu_ns,
            "page_faults": [*block.page_faults],
            "involuntary_switches": block.involuntary_switches,
            "invalid": self._why_invalid(active, phase),
        }

    def outputs(
        self, path: Path, *, within_s: float | None = None, most_images: int | None = None
    ) -> protocol.OutputsReply:
        """Write the arrays that the parity check compares to `path`.

        All images are run, or as many as take `within_s`, and `most_images` at most. The calls are
        timed, because the parent counts them as warm-up.
        """
        active = self.active
        if active.part is not None:
            raise WorkerError(Status.UNSUPPORTED, "a part of the product has no outputs to compare")
        with self._memory.left_out():
            arrays, calls = outputs.compared(active, self.work, within_s, most_images)
            outputs.save(path, arrays)
        active.graph = active.graph_now()  # TorchScript may have optimised in these calls
        size = active.scenario.batch_size
        return {
            "images": len(arrays.get("paths", ())) or int(arrays.get("images", size)),
            "trained": active.trained,
            "wall_ns": [wall_ns for block in calls for wall_ns in block.wall_ns],
            "cpu_ns": [cpu_ns for block in calls for cpu_ns in block.cpu_ns],
        }

    def pictures(self, folder: Path) -> dict[str, Any]:
        """Write the report's pictures of the data and of the model's decisions; time nothing."""
        folder.mkdir(exist_ok=True)
        return self.work.pictures(folder)

    def layers(self) -> dict[str, Any]:
        """List the prepared model's layers; layers of a backend's own show by their kind."""
        return {"layers": workload.layers(self.active.prepared.model)}

    def kernels(self) -> protocol.KernelsReply:
        """Log a call with oneDNN's verbose mode and compare what it executed with the label."""
        active = self.active
        with self._memory.left_out(), active.context():
            while active.calls < outputs.SETTLING_CALLS:
                active.call()
            ran, logged = log_call(active.call, self._backend.verbose)
        backends_own = active.prepared.evidence
        evidence = kernels.Evidence(
            kernels=ran,
            layers_replaced=active.prepared.layers_replaced,
            graph=graphs.evidence(active.scenario.mode) if backends_own is None else backends_own(),
            layouts=self._work.layouts if self._work is not None else frozenset(Layout),
        )
        active.graph = active.graph_now()
        return {**kernels.reply(active.scenario, evidence), "calls": [asdict(logged)]}

    def memory(self) -> protocol.MemoryReply:
        """Return the peak since `prepare`, probes and checks left out, and the present size."""
        resident_mb = self._memory.resident_mb()
        return {"peak_rss_mb": max(self._memory.peak_mb(), resident_mb), "rss_mb": resident_mb}

    def conditions(self) -> dict[str, Any]:
        """Read this process's conditions again: compiling and optimising load libraries."""
        with self._memory.left_out():
            return {"conditions": conditions.read()}

    def probe(self) -> protocol.ProbeReply:
        """Time fixed work, which distinguishes a slow machine from a slow scenario."""
        with self._memory.left_out(), self.heap.put_aside():
            return calibration.probe()

    def peak(self, dtypes: list[str]) -> protocol.PeakReply:
        """Measure the most that this process can get out of the machine."""
        with self._memory.left_out(), self.heap.put_aside():
            return calibration.peak([Dtype(name) for name in dtypes])

    def release(self) -> dict[str, Any]:
        """Drop the prepared scenario, its memory and compiled code; undo what backends switch."""
        self._active = None
        torch.backends.mha.set_fastpath_enabled(True)
        graphs.forget()
        gc.unfreeze()
        release_freed_memory()
        return {}

    def _check(self, active: ActiveScenario, result: object) -> None:
        found = shapes(result)
        if active.shapes is None:
            active.shapes = found
        if found != active.shapes:
            raise WorkerError(
                Status.WRONG_OUTPUT, f"the output's shape changed from {active.shapes} to {found}"
            )
        may_be_infinite = self._work is not None and not self._work.decides
        if not finite(result, infinite=may_be_infinite):
            what = "NaN" if may_be_infinite else "NaN or infinity"
            raise WorkerError(Status.WRONG_OUTPUT, f"the output holds {what}")

    def _why_invalid(self, active: ActiveScenario, phase: Phase) -> str | None:
        """Return why the calls just made do not count, or None."""
        before, active.graph = active.graph, active.graph_now()
        if torch.get_num_threads() != self._threads:
            return (
                f"the thread count changed from {self._threads} to {torch.get_num_threads()} "
                "after the model was set up"
            )
        if phase is Phase.TIMED and before != active.graph:
            return "the model was compiled again while it was timed"
        return None


def _of_package(package: Package | None) -> protocol.PrepareReply:
    if package is None:
        return {}
    return {
        "build_s": package.build_s,
        "package_bytes": package.size_bytes,
        "load_ms": package.load_ms,
    }


def shapes(result: object) -> object:
    """Return the shapes of a result, nested as it is."""
    if isinstance(result, torch.Tensor):
        return list(result.shape)
    if isinstance(result, (tuple, list)):
        return [shapes(part) for part in result]
    return type(result).__name__


def finite(result: object, *, infinite: bool = False) -> bool:
    """Return whether a result holds no NaN and, unless `infinite` allows it, no infinity.

    A user's model may give infinities, as masks do.
    """
    if isinstance(result, torch.Tensor):
        sound = ~torch.isnan(result) if infinite else torch.isfinite(result)
        return bool(sound.all())
    if isinstance(result, (tuple, list)):
        return all(finite(part, infinite=infinite) for part in result)
    return True
