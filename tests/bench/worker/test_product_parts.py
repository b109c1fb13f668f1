"""Parts of the product that the gate times, in a real session on small images."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import pytest

from bench.errors import WorkerError
from bench.plan.scenario import (
    BOXES,
    FROZEN,
    INSPECTION,
    PARTS,
    PREPARATION,
    PREPROCESSING,
    Layout,
    Mode,
    Phase,
    Scenario,
    Status,
    Task,
)
from bench.worker.backends import stock
from bench.worker.session import Session
from bench.worker.workload import Workload, boxes
from pillqc.rendering.dataset import RenderPlan, render_dataset

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

pytestmark = pytest.mark.torch
SIDE = 32


@pytest.fixture
def work(tmp_path: Path) -> Workload:
    """The real workload on small random images."""
    plan = RenderPlan(size=SIDE, train_good=1, test_good=3, per_defect=1)
    root = render_dataset(tmp_path / "pills", plan, jobs=1).root
    return Workload(root, seed=0, weights="random", image_size=SIDE)


@pytest.fixture
def session(work: Workload) -> Iterator[Session]:
    """A session of the stock backend, whose model's memory goes with the test."""
    session = Session("stock", stock, work)
    yield session
    session.release()


def scenario(part: str, **more: Any) -> Scenario:
    """The stock default with that part."""
    values = {"task": Task.INFERENCE, "backend": "stock", "mode": Mode.EAGER, "batch_size": 2}
    return Scenario(**{**values, "options": (part,), **more})


@pytest.mark.parametrize("part", PARTS)
def test_a_part_is_timed_call_by_call(session: Session, part: str) -> None:
    """And the worker says which part it is, so that an older one is not taken for it."""
    assert session.prepare(scenario(part))["part"] == part
    reply = session.call(3, Phase.TIMED)
    assert len(reply["wall_ns"]) == 3
    assert reply["invalid"] is None


def test_a_part_has_no_outputs_to_compare(session: Session, tmp_path: Path) -> None:
    """Asking for them is refused, not answered with the model's."""
    session.prepare(scenario(BOXES))
    with pytest.raises(WorkerError, match="no outputs"):
        session.outputs(tmp_path / "outputs.npz")


def test_preprocessing_reads_files(session: Session, monkeypatch: pytest.MonkeyPatch) -> None:
    """Every call decodes and resizes the whole batch."""
    seen: list[int] = []
    load = Workload.load

    def noted(self: Workload, samples: Any) -> Any:
        seen.append(len(samples))
        return load(self, samples)

    monkeypatch.setattr(Workload, "load", noted)
    session.prepare(scenario(PREPROCESSING, batch_size=4))
    seen.clear()
    session.call(2, Phase.TIMED)
    assert seen == [4, 4]


def test_maps_have_boxes_and_do_not_depend_on_the_model(work: Workload) -> None:
    """Some in every map; a seed gives the same ones."""
    maps = work.heat_maps(3)
    assert (maps.min(), maps.max()) == (0.0, 1.0)
    assert all(found for found in boxes(maps))
    assert (maps == work.heat_maps(3)).all()


def test_an_inspection_looks_at_a_good_and_a_bad_pill(work: Workload) -> None:
    """Two images are one of each."""
    assert [sample.bad for sample in work.first(2)] == [False, True]


def test_a_pill_without_a_decision_is_no_fast_inspection(session: Session, work: Workload) -> None:
    """A file that cannot be read any more costs nothing and says nothing."""
    session.prepare(scenario(INSPECTION))
    work.first(2)[1].path.write_bytes(b"no image")
    with pytest.raises(WorkerError, match="has no decision") as caught:
        session.call(1, Phase.TIMED)
    assert caught.value.status is Status.WRONG_OUTPUT


@pytest.mark.parametrize(
    "more",
    [
        {"layout": Layout.CHANNELS_LAST, "mode": Mode.TORCHSCRIPT, "fusion": False},
        {"task": Task.TRAINING, "options": (FROZEN, PREPARATION)},
    ],
    ids=["torchscript", "training"],
)
def test_preparation_gets_a_fresh_model_each_time(
    session: Session, monkeypatch: pytest.MonkeyPatch, more: dict[str, Any]
) -> None:
    """With its own optimizer where it trains; building it is not in the time."""
    given: list[tuple[Any, Any]] = []
    prepare = stock.prepare

    def noted(model: Any, what: Any, example: Any, optimizer: Any = None) -> Any:
        given.append((model, optimizer))
        return prepare(model, what, example, optimizer)

    monkeypatch.setattr(stock, "prepare", noted)
    session.prepare(scenario(PREPARATION, **more))
    assert session.call(2, Phase.TIMED)["invalid"] is None
    assert len({id(model) for model, _ in given}) == 3
    assert all((optimizer is None) == ("task" not in more) for _, optimizer in given)
