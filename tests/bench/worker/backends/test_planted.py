"""The planted slowdown: as much extra work as the scenario names, and the model's result."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from bench.plan.scenario import Mode, Scenario, Task
from bench.worker import backends

if TYPE_CHECKING:
    from collections.abc import Callable

pytestmark = pytest.mark.torch


def scenario(*options: str, task: Task = Task.INFERENCE) -> Scenario:
    """A planted scenario."""
    return Scenario(
        task=task, backend="planted", mode=Mode.EAGER, batch_size=1, options=tuple(options)
    )


@pytest.mark.parametrize("share", [0.03, 0.10, 0.5])
def test_so_many_units_are_run_as_take_the_share(share: float) -> None:
    """On a scripted clock: a call of 20 ms, a unit of 10 us, and 50 us that any extra costs."""
    from bench.worker.backends import planted

    spent = [0.0]

    def call() -> None:
        spent[0] += 0.020

    def burn(units: int) -> None:
        spent[0] += 50e-6 + 10e-6 * units

    def seconds(run: Callable[[], object]) -> float:
        before = spent[0]
        run()
        return spent[0] - before

    units = planted.calibrated(share, call=call, burn=burn, seconds=seconds)
    assert 50e-6 + 10e-6 * units == pytest.approx(share * 0.020, rel=0.1)


def test_the_model_is_the_same_and_the_extra_is_run_with_every_call(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """Outputs are compared with stock's; only the time differs."""
    import torch

    from bench.worker.backends import planted

    model = torch.nn.Sequential(torch.nn.Conv2d(3, 4, 3), torch.nn.ReLU()).eval()
    images = torch.rand(1, 3, 32, 32)
    prepared = planted.prepare(model, scenario("slow=2"), images)
    burnt: list[int] = []
    assert isinstance(prepared.model, planted.Slowed)
    assert prepared.model.units > 0
    monkeypatch.setattr(prepared.model, "burn", burnt.append)
    with torch.inference_mode():
        assert torch.equal(prepared(images), model(images))
    assert burnt == [prepared.model.units]


@pytest.mark.parametrize("times", ["3", "alone"])
def test_one_layer_is_slow(times: str) -> None:
    """It is computed three times, or on one thread, and the result is the model's."""
    import torch

    from bench.worker.backends import planted

    ran: list[int] = []

    class Layer(torch.nn.Conv2d):
        def forward(self, values: torch.Tensor) -> torch.Tensor:
            ran.append(torch.get_num_threads())
            return super().forward(values)

    model = torch.nn.Sequential(torch.nn.Sequential(Layer(3, 4, 3), torch.nn.ReLU())).eval()
    images = torch.rand(1, 3, 8, 8)
    before = torch.get_num_threads()
    torch.set_num_threads(2)
    try:
        with torch.inference_mode():
            expected = model(images)
            ran.clear()
            slow = planted.prepare(model, scenario(f"slow_layer=0.0:{times}"), images)
            assert torch.equal(slow(images), expected)
            assert torch.get_num_threads() == 2
    finally:
        torch.set_num_threads(before)
    assert ran == ([2, 2, 2] if times == "3" else [1])


@pytest.mark.parametrize(
    "wrong",
    [
        scenario(),
        scenario("slow=0.1", task=Task.TRAINING),
        scenario("slow=0.1", "slow_layer=0:2"),
    ],
)
def test_what_it_cannot_slow_is_refused(wrong: Scenario) -> None:
    """No share would be no slowdown under that name."""
    import torch

    model = torch.nn.Conv2d(3, 4, 3)
    with pytest.raises(NotImplementedError, match="slow=SHARE"):
        backends.get("planted").prepare(model, wrong, torch.rand(1, 3, 8, 8))
