"""A layer that runs several times is found in real calls, logged by oneDNN.

The log's times decide nothing here: on a busy machine they may say anything. What they lead to is
tested with made-up ones in tests/bench/analysis/test_layers.py.
"""

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


def ran(cost: layers.Cost | None) -> int:
    """How many primitives of a part ran."""
    return len(cost.kernels) if cost else 0


def log(session: Session, name: str) -> layers.Log:
    """Time some calls without a log and some with it."""
    walls = session.call(2, Phase.FIRST_CALL)["wall_ns"]
    replies = [session.kernels() for _ in range(2)]
    kernels = [KernelRow(run_id="run", scenario=name, **one) for one in replies[0]["kernels"]]
    calls = [
        LoggedCallRow(
            run_id="run",
            scenario=name,
            launch=0,
            call=number,
            wall_ms=call["wall_ms"],
            unlogged_ms=walls[-1] / 1e6,
            kernels_ms=" ".join(map(str, call["kernels_ms"])),
        )
        for number, reply in enumerate(replies)
        for call in reply["calls"]
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


def test_a_slowed_layer_is_found_in_real_logs(small_pills: Path) -> None:
    """It alone runs four times; each try slows another layer."""
    work = Workload(small_pills, seed=0, weights="random", image_size=64)
    session = Session("stock", stock, work)
    session.prepare(SCENARIO)
    plain = log(session, "plain")
    found = []
    for place in PLACES.values():
        session.prepare(SCENARIO, before=slow_down(place))
        parts = layers.explain(log(session, "slow"), plain, LogPolicy()).of_kind(layers.LAYER)
        found.append({part.name: ran(part.first) - ran(part.second) for part in parts})
    assert [{name for name, more in one.items() if more} for one in found] == [
        {name} for name in PLACES
    ]
    assert [one[name] for one, name in zip(found, PLACES, strict=True)] == [3, 3, 3]
