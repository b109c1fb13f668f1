"""A layer that really runs slower is named: real calls, logged by oneDNN."""

from __future__ import annotations

import statistics
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING

import pytest
import torch

from bench.analysis import layers
from bench.analysis.run_facts import Facts
from bench.plan.scenario import Phase, Task, stock_default
from bench.plan.thresholds import LogPolicy
from bench.store import rows
from bench.store.records import KernelRow, LoggedCallRow, Run, ScenarioRow
from bench.worker.backends import stock
from bench.worker.session import Session
from bench.worker.workload import Workload

if TYPE_CHECKING:
    from collections.abc import Callable

    from bench.worker.protocol import KernelsReply

pytestmark = [pytest.mark.torch, pytest.mark.usefixtures("one_thread")]

SCENARIO = stock_default(Task.INFERENCE, 2)
PLACES = {"conv2_2": 7, "conv3_1": 10, "conv4_1": 17}
"""Layers of VGG-16 and their places among its features."""


class Slowed(torch.nn.Module):
    """A convolution that is computed four times."""

    def __init__(self, inner: torch.nn.Module) -> None:
        super().__init__()
        self.inner = inner

    def forward(self, images: torch.Tensor) -> torch.Tensor:
        """Return the result of the last time."""
        for _ in range(3):
            self.inner(images)
        result: torch.Tensor = self.inner(images)
        return result


def slow_down(place: int) -> Callable[[torch.nn.Module], None]:
    """Slow one layer of the model."""

    def change(model: torch.nn.Module) -> None:
        features = model.get_submodule("features")
        layer = features.get_submodule(str(place))
        features.register_module(str(place), Slowed(layer))

    return change


def log(session: Session, name: str) -> layers.Log:
    """Time some calls without a log and some with it."""
    session.call(2, Phase.FIRST_CALL)
    walls = session.call(3, Phase.TIMED)["wall_ns"]
    reply: KernelsReply = session.kernels(3)
    assert len(reply["calls"]) == 3
    kernels = [KernelRow(run_id="run", scenario=name, **one) for one in reply["kernels"]]
    calls = [
        LoggedCallRow(
            run_id="run",
            scenario=name,
            launch=0,
            call=number,
            **{**call, "kernels_ms": " ".join(map(str, call["kernels_ms"]))},
        )
        for number, call in enumerate(reply["calls"])
    ]
    row = rows.blank(
        ScenarioRow,
        **{c.name: "x" for c in rows.columns(ScenarioRow) if c.kind is str and not c.optional},
        batch_size=2,
        rounds=1,
        launches=1,
        median_ms=statistics.median(walls) / 1e6,
    )
    row = replace(row, scenario=name, status="ok")
    run = Run(
        folder=Path("run"),
        environment={"run_id": "run"},
        scenarios=(row,),
        kernels=tuple(kernels),
        logged_calls=tuple(calls),
    )
    return layers.log_of(Facts(run), name)


def test_a_slowed_layer_is_named(small_pills: Path) -> None:
    """Its time grows fourfold, in oneDNN's own log; each try slows another layer."""
    work = Workload(small_pills, seed=0, weights="random", image_size=64)
    session = Session("stock", stock, work)
    session.prepare(SCENARIO)
    plain = log(session, "plain")
    named = []
    for place in PLACES.values():
        session.prepare(SCENARIO, before=slow_down(place))
        named.append(layers.explain(log(session, "slow"), plain, LogPolicy()).ordered()[0].name)
    assert named == list(PLACES)
