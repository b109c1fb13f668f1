from __future__ import annotations

import math
import weakref
from contextlib import nullcontext
from typing import TYPE_CHECKING, Any

import numpy as np
import pytest
import torch

from bench.errors import WorkerError
from bench.plan.scenario import FROZEN, Layout, Mode, Phase, Scenario, Status, Task
from bench.worker import graphs, outputs
from bench.worker.backends import Package, Prepared, stock
from bench.worker.prepared_scenario import TRAINING_STEPS_COMPARED
from bench.worker.session import Session, finite, shapes
from bench.worker.workload import Workload

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

pytestmark = [pytest.mark.torch, pytest.mark.usefixtures("one_thread")]

SIDE = 32


class Scripted(torch.nn.Module):
    """Returns the given outputs call by call, and the last one from then on."""

    def __init__(self, *outputs: Any) -> None:
        super().__init__()
        self.outputs = list(outputs)
        self.seen: list[torch.Tensor] = []

    def forward(self, images: torch.Tensor) -> Any:
        self.seen.append(images)
        return self.outputs.pop(0) if len(self.outputs) > 1 else self.outputs[0]


class ScriptedBackend:
    """Prepares one given model for every scenario."""

    IMPORTS: tuple[str, ...] = ()

    def __init__(self, model: torch.nn.Module) -> None:
        self.model = model

    def load(self) -> None:
        """Nothing to import."""

    def prepare(self, *_: Any) -> Prepared:
        """Whatever the scenario, the given model."""
        return Prepared(model=self.model)

    def verbose(self) -> nullcontext[None]:
        """No log."""
        return nullcontext()


class PackagingBackend(ScriptedBackend):
    """Builds something large before it returns its model, as a compiler does."""

    def prepare(self, *_: Any) -> Prepared:
        """A package, built and loaded."""
        np.ones(200 * 2**20, np.uint8)
        package = Package(build_s=12.5, size_bytes=61_000_000, load_ms=310.0)
        return Prepared(model=self.model, package=package, evidence=lambda: {"packages": 1})


def test_building_a_package_is_told_apart_and_left_out_of_the_peak(work: Workload) -> None:
    """A process that loads it did not build it."""
    peaks = {}
    for kind in (ScriptedBackend, PackagingBackend):
        session = Session("stock", kind(Scripted(torch.zeros(2))), work)
        reply = session.prepare(scenario(mode=Mode.AOT))
        session.call(1, Phase.FIRST_CALL)
        peaks[kind] = session.memory()["peak_rss_mb"] or 0.0
    assert (reply["build_s"], reply["package_bytes"], reply["load_ms"]) == (12.5, 61_000_000, 310.0)
    assert session.kernels()["graph"] == {"packages": 1}
    assert peaks[PackagingBackend] < peaks[ScriptedBackend] + 100


def scenario(**more: Any) -> Scenario:
    """Stock default at batch size 2 by default."""
    values = {"task": Task.INFERENCE, "backend": "stock", "mode": Mode.EAGER, "batch_size": 2}
    return Scenario(**{**values, **more})


@pytest.fixture
def work(small_pills: Path) -> Workload:
    """The real workload on small random images."""
    return Workload(small_pills, seed=0, weights="random", image_size=SIDE)


@pytest.fixture
def real(work: Workload) -> Session:
    """A session of the stock backend."""
    return Session("stock", stock, work)


@pytest.fixture
def scripted(work: Workload) -> Callable[..., tuple[Session, Scripted]]:
    """A prepared session whose model returns what is given."""

    def build(*outputs: Any) -> tuple[Session, Scripted]:
        model = Scripted(*outputs)
        session = Session("stock", ScriptedBackend(model), work)
        session.prepare(scenario())
        return session, model

    return build


def test_calls_for_outputs_settle_torchscript(real: Session, tmp_path: Path) -> None:
    """It optimises at its second call, which may be one of those; it does not compile later."""
    real.prepare(scenario(mode=Mode.TORCHSCRIPT, fusion=False, layout=Layout.CHANNELS_LAST))
    real.call(1, Phase.FIRST_CALL)
    real.outputs(tmp_path / "outputs.npz")
    assert real.call(1, Phase.TIMED)["invalid"] is None


def test_nothing_can_be_called_before_prepare(work: Workload) -> None:
    """A mistake of the parent is answered, not crashed on."""
    with pytest.raises(WorkerError, match="nothing is prepared"):
        Session("stock", stock, work).call(1, Phase.TIMED)


def test_a_worker_serves_its_own_backend_only(real: Session) -> None:
    """An ipex scenario in a process without IPEX would be stock under another name."""
    with pytest.raises(WorkerError, match="runs stock, not ipex"):
        real.prepare(scenario(backend="ipex"))


@pytest.mark.parametrize(
    ("outputs", "words"),
    [
        ([(torch.ones(2, 2), torch.full((2, 2, 4, 4), float("nan")))], "NaN"),
        ([torch.ones(2, 2), torch.ones(2, 3)], r"changed from \[2, 2\] to \[2, 3\]"),
    ],
)
def test_nan_and_a_changed_shape_are_wrong_output(
    scripted: Callable[..., tuple[Session, Scripted]], outputs: list[Any], words: str
) -> None:
    """A fast model that computes nothing must not win."""
    session, _ = scripted(*outputs)
    for _ in outputs[:-1]:
        session.call(1, Phase.FIRST_CALL)
    with pytest.raises(WorkerError, match=words) as caught:
        session.call(1, Phase.TIMED)
    assert caught.value.status is Status.WRONG_OUTPUT


def test_a_recompilation_invalidates_timed_calls_only(
    scripted: Callable[..., tuple[Session, Scripted]], monkeypatch: pytest.MonkeyPatch
) -> None:
    """Compiling is what the first calls are for."""
    identities = iter([1, 2, 2, 3])
    monkeypatch.setattr(graphs, "identity", lambda _: next(identities))
    session, _ = scripted(torch.ones(2, 2))

    reasons = [
        session.call(1, phase)["invalid"]
        for phase in (Phase.FIRST_CALL, Phase.WARMUP, Phase.TIMED, Phase.TIMED)
    ]
    assert reasons[:3] == [None, None, None]
    assert "compiled again" in str(reasons[3])


def test_a_changed_thread_count_invalidates_the_calls(
    scripted: Callable[..., tuple[Session, Scripted]], monkeypatch: pytest.MonkeyPatch
) -> None:
    """IPEX gives wrong results then, and no two blocks could be compared."""
    session, _ = scripted(torch.ones(2, 2))
    monkeypatch.setattr(torch, "get_num_threads", lambda: 99)
    assert "thread count changed" in str(session.call(1, Phase.TIMED)["invalid"])


def test_every_call_gets_the_same_images_laid_out_before(work: Workload) -> None:
    """Reading and laying out are not part of what is timed."""
    model = Scripted(torch.ones(2, 2))
    session = Session("stock", ScriptedBackend(model), work)
    session.prepare(scenario(layout=Layout.CHANNELS_LAST))
    session.call(3, Phase.TIMED)

    first, *others = model.seen
    assert all(image is first for image in others)
    assert first.is_contiguous(memory_format=torch.channels_last)
    assert torch.equal(first, work.batch(2).tensor)


def test_prepare_reports_what_the_protocol_promises(real: Session) -> None:
    """The parameters of VGG-16's features and a small head; arithmetic counted for the batch."""
    reply = real.prepare(scenario())
    assert reply["parameters"] == 14_715_714
    assert reply["native_dtype"] is True
    assert reply["layers_replaced"] is None
    assert (reply["flop_per_call"] or 0) > 2 * 0.49e9
    assert reply["model"] == {"name": "random", "trained": False, "threshold": 0.5}


def test_outputs_cover_the_parity_set_at_any_batch_size(real: Session, tmp_path: Path) -> None:
    """The last batch is filled up and what was filled in is dropped.

    Every call is timed, those before the final graph among them: they are the participant's
    warm-up.
    """
    arrays = {}
    count = len(real.work.samples)
    for size in (1, 8):
        batches = math.ceil(count / size)
        assert size == 1 or count % size
        real.prepare(scenario(batch_size=size))
        reply = real.outputs(tmp_path / f"{size}.npz")
        assert (reply["images"], reply["trained"]) == (count, False)
        assert len(reply["wall_ns"]) == len(reply["cpu_ns"]) == batches + 1
        with np.load(tmp_path / f"{size}.npz") as file:
            arrays[size] = {name: file[name] for name in file.files}
    assert list(arrays[1]["paths"]) == list(arrays[8]["paths"])
    np.testing.assert_allclose(arrays[1]["probabilities"], arrays[8]["probabilities"], atol=1e-5)
    assert arrays[8]["maps"].shape == (count, 2, SIDE, SIDE)
    assert set(arrays[8]["bad"]) == {True, False}


def test_a_slow_scenario_stops_the_parity_check_early(real: Session, tmp_path: Path) -> None:
    """Whole batches, eight images at least."""
    real.prepare(scenario(batch_size=4))
    assert real.outputs(tmp_path / "o.npz", within_s=0.0)["images"] == 8


def test_no_more_images_than_wanted_are_compared(real: Session, tmp_path: Path) -> None:
    """Whole batches; the number may be below the eight that a slow scenario computes."""
    real.prepare(scenario(batch_size=4))
    assert real.outputs(tmp_path / "o.npz", most_images=10)["images"] == 12
    assert real.outputs(tmp_path / "o.npz", within_s=60.0, most_images=3)["images"] == 4


def test_a_worker_that_dies_while_it_writes_leaves_no_half_of_its_outputs(
    real: Session, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The others of its group would be compared with that, which ended the run."""

    class TooLarge:
        def __array__(self, *_: Any, **__: Any) -> Any:
            raise MemoryError

    real.prepare(scenario())
    path, found = tmp_path / "b2.npz", {"output_0": np.ones(9), "output_1": TooLarge()}
    monkeypatch.setattr(outputs, "compared", lambda *_: (found, []))
    with pytest.raises(MemoryError):
        real.outputs(path)
    assert not path.exists()
    del found["output_1"]
    real.outputs(path)
    with np.load(path) as kept:
        assert kept.files == ["output_0"]
    assert [*tmp_path.iterdir()] == [path]


def test_training_outputs_are_the_first_steps(real: Session, tmp_path: Path) -> None:
    """Timing changes the model, so losses are noted from the very first step on."""
    training = scenario(task=Task.TRAINING, options=(FROZEN,))
    losses = []
    for calls_before in (0, 2, 4):
        real.prepare(training)
        if calls_before:
            real.call(calls_before, Phase.WARMUP)
        real.outputs(tmp_path / "o.npz")
        with np.load(tmp_path / "o.npz") as file:
            losses.append(file["losses"])
    assert len(losses[0]) == TRAINING_STEPS_COMPARED
    np.testing.assert_allclose(losses[0], losses[1], rtol=1e-4)
    np.testing.assert_allclose(losses[0], losses[2], rtol=1e-4)
    assert losses[0][0] != losses[0][-1]


def test_pictures_show_the_data_and_some_decisions(real: Session, tmp_path: Path) -> None:
    """All that are named are there; the report says by them what the model was."""
    made = real.pictures(tmp_path / "pictures")
    kinds = [item["kind"] for item in made["items"]]
    assert kinds == ["gallery", "difference", *["prediction"] * 6]
    written = {path.name for path in (tmp_path / "pictures").iterdir()}
    assert {item["file"] for item in made["items"]} <= written
    assert (made["trained"], made["source"]) == (False, "synthetic")


def test_layers_are_listed_with_their_kinds(real: Session) -> None:
    """13 convolutions and the head among them."""
    real.prepare(scenario())
    kinds = [kind for _, kind in real.layers()["layers"]]
    assert (kinds.count("Conv2d"), kinds.count("Linear")) == (13, 1)


def test_release_lets_go_of_the_model(
    scripted: Callable[..., tuple[Session, Scripted]],
) -> None:
    """A worker serves several batch sizes; two models at once would double its memory."""
    session, model = scripted(torch.ones(2, 2))
    images = weakref.ref(session.active.batch.images)
    model.seen.clear()
    session.release()
    assert images() is None
    with pytest.raises(WorkerError, match="nothing is prepared"):
        session.call(1, Phase.TIMED)


def memory_of(session: Session) -> tuple[float, float]:
    """Return peak and present size in MiB."""
    found = session.memory()
    peak, resident = found["peak_rss_mb"], found["rss_mb"]
    assert peak is not None
    assert resident is not None
    return peak, resident


def test_memory_probe_and_peak_answer_with_what_the_protocol_promises(
    real: Session, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A probe's buffers are no part of the scenario, and left out of its peak.

    A gigabyte of them, so that what libraries and allocator keep (230 MB were seen, in a process in
    which many tests had run) cannot be taken for them.
    """
    monkeypatch.setattr("bench.worker.calibration.PROBE_MIB", 512)
    monkeypatch.setattr("bench.worker.calibration.PEAK_SECONDS", 0.0)
    monkeypatch.setattr("bench.worker.calibration.PEAK_MIB", 1)
    real.prepare(scenario())
    real.call(2, Phase.WARMUP)
    before = memory_of(real)
    probe = real.probe()
    peak = real.peak(["fp32", "bf16"])
    after = memory_of(real)
    assert set(probe) == {"compute_ns", "memory_ns", "gflop_per_s"}
    assert set(peak["gflop_per_s"]) == {"fp32", "bf16"}
    assert peak["memory_gb_per_s"] > 0
    assert before[0] >= before[1] > 0
    assert after[0] == pytest.approx(before[0], abs=400)


def test_preparing_takes_no_memory_for_what_is_thrown_away(real: Session) -> None:
    """Torchvision's VGG-16 comes with a classifier of 553 MB that this model does not have."""
    real.release()
    _, before = memory_of(real)
    real.prepare(scenario())
    assert memory_of(real)[0] < before + 300


def test_shapes_and_finiteness_follow_the_nesting() -> None:
    """A model may return a tensor or a tuple of them."""
    nested = (torch.ones(1, 2), [torch.ones(3)])
    assert shapes(nested) == [[1, 2], [[3]]]
    assert finite(nested)
    masked = (torch.ones(1), [torch.tensor(float("inf"))])
    assert not finite(masked)
    assert finite(masked, infinite=True)
    assert not finite(torch.tensor(float("nan")), infinite=True)
