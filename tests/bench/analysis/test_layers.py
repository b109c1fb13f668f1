"""A difference is divided into parts that add up to it, and its cause is named."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
import pytest

from bench.analysis import layers
from bench.analysis.layers import LAYER, OUTSIDE, REORDERS, REST, Explanation, explain
from bench.analysis.run_facts import Facts
from bench.plan.thresholds import LogPolicy
from bench.store import rows
from bench.store.records import KernelRow, LoggedCallRow, Run, ScenarioRow
from bench.worker import kernels
from tests.bench.made_up_layers import GFLOP, NAMES, RATE, convolution, logged, numbered, reorder

if TYPE_CHECKING:
    from collections.abc import Sequence

SAMPLES = Path(__file__).parents[1] / "worker" / "samples"
A, B = "inference/stock/eager/fp32/contiguous/b1", "inference/ipex/eager/fp32/channels_last/b1"
POLICY = LogPolicy()
VGG = [convolution(place) for place in range(13)]
FORWARD_MS = 1000 * sum(GFLOP) / RATE


def row(scenario: str, median_ms: float, **more: object) -> ScenarioRow:
    """A measured scenario."""
    task, backend, *_ = scenario.split("/")
    fields = {"task": task, "backend": backend, "mode": "eager", "dtype": "fp32", "batch_size": 1}
    fields |= {"layout": "channels_last", "environment": "", "status": "ok", "rounds": 5}
    fields |= {"launches": 1, "median_ms": median_ms, "scenario": scenario, "run_id": "run"}
    return rows.blank(ScenarioRow, **{**fields, **more})


def facts_of(*sides: tuple[ScenarioRow, Sequence[KernelRow], Sequence[LoggedCallRow]]) -> Facts:
    """The facts of a run with these scenarios, their kernels and logged calls."""
    run = Run(
        folder=Path("run"),
        environment={"run_id": "run"},
        scenarios=tuple(side[0] for side in sides),
        kernels=tuple(kernel for side in sides for kernel in side[1]),
        logged_calls=tuple(call for side in sides for call in side[2]),
    )
    return Facts(run)


def explained(
    first: Sequence[KernelRow],
    second: Sequence[KernelRow],
    *,
    outside_ms: tuple[float, float] = (5.0, 5.0),
    spread: float = 0.0,
    seed: int = 0,
    process: tuple[float, float] = (0.0, 0.0),
) -> Explanation:
    """Explain two scenarios with these kernels; their timed medians are of other processes."""
    rng = np.random.default_rng(seed)
    sides = []
    for name, kernels_, outside, level in zip(
        (A, B), (first, second), outside_ms, process, strict=True
    ):
        mine = numbered(kernels_, name)
        calls = logged(mine, rng, outside_ms=outside, process=level, spread=spread)
        median = sum(kernel.ms for kernel in mine) + outside
        sides.append((row(name, median), mine, calls))
    facts = facts_of(*sides)
    assert layers.why_not(facts, A, B) is None
    return explain(layers.log_of(facts, A), layers.log_of(facts, B), POLICY)


def slowed(place: int, factor: float) -> list[KernelRow]:
    """VGG-16 with one layer that takes longer."""
    return [replace(one, ms=one.ms * (factor if n == place else 1)) for n, one in enumerate(VGG)]


def named(found: Explanation, name: str) -> layers.Part:
    """The part of that name."""
    (part,) = [part for part in found.parts if part.name == name]
    return part


def test_a_layer_slowed_on_purpose_is_named_in_twenty_of_twenty() -> None:
    """Another layer each time, by 30 %; kernels vary by 2 %, processes by half a percent."""
    rng = np.random.default_rng(11)
    causes = []
    tries = [(number, int(rng.integers(1, 10))) for number in range(20)]
    for number, place in tries:
        levels = (float(rng.normal(0, 0.005)), float(rng.normal(0, 0.005)))
        found = explained(slowed(place, 1.3), VGG, spread=0.02, seed=number, process=levels)
        causes.append(found.ordered()[0].name)
    assert causes == [NAMES[place] for _, place in tries]


def test_identical_scenarios_have_no_part_that_stands_out() -> None:
    """Without a slowed layer no part differs by a twentieth of what the slowed one did."""
    found = explained(VGG, VGG, spread=0.02)
    assert max(abs(part.saved_ms) for part in found.of_kind(LAYER)) < 0.05 * 18.5


def test_parts_add_up_to_both_medians_and_to_the_difference() -> None:
    """Whatever the logged calls say: what is left over is a part too."""
    first = [*VGG, reorder(), reorder()]
    found = explained(first, slowed(4, 0.5), outside_ms=(9.0, 4.0), spread=0.03)
    for side, log in (("first", found.first), ("second", found.second)):
        costs = [getattr(part, side) for part in found.parts]
        assert sum(cost.ms for cost in costs if cost) == pytest.approx(log.timed_ms)
    assert sum(part.saved_ms for part in found.parts) == pytest.approx(found.saved_ms)
    assert sum(map(found.share, found.parts)) == pytest.approx(1)


def test_what_was_planted_comes_back() -> None:
    """Reorders, a layer and the time outside, each with its own time; the log's cost apart."""
    found = explained([*VGG, reorder(), reorder()], slowed(4, 0.5), outside_ms=(9.0, 4.0))
    assert named(found, "reorders").saved_ms == pytest.approx(0.6)
    assert named(found, "conv3_1").saved_ms == pytest.approx(0.5 * VGG[4].ms)
    assert named(found, "outside oneDNN").first is not None
    assert named(found, "outside oneDNN").saved_ms == pytest.approx(5.0, abs=1e-3)
    assert found.first.log_cost_ms == pytest.approx(0.2, abs=1e-3)
    (rest,) = found.of_kind(REST)
    assert rest.first is not None
    assert rest.first.ms == pytest.approx(-0.2, abs=1e-3)  # the log's cost, which no median has
    assert [part.name for part in found.causes] == ["outside oneDNN", "conv3_1"]


def test_the_rate_is_that_of_the_layers_arithmetic() -> None:
    """And its share of the peak of the dtype that ran."""
    found = explained(VGG, VGG)
    cost = named(found, "conv1_2").first
    assert cost is not None
    assert cost.gflop_per_s == pytest.approx(RATE, rel=1e-5)
    assert cost.share_of_peak({"fp32": 400.0, "bf16": 800.0}) == pytest.approx(0.5, rel=1e-5)
    assert cost.share_of_peak({"bf16": 800.0}) is None
    assert cost.flop_per_byte == pytest.approx(GFLOP[1] * 1e9 / 4 / (2 * 64 * 224**2 + 64 * 64 * 9))


def test_layers_of_the_same_shape_are_joined_in_their_order() -> None:
    """conv4_2 and conv4_3 do the same arithmetic; the second is slow."""
    found = explained(slowed(9, 2.0), VGG)
    assert [part.name for part in found.of_kind(LAYER)] == list(NAMES)
    assert found.ordered()[0].name == "conv4_3"


def test_a_layer_that_runs_more_often_on_one_side_is_one_part() -> None:
    """They cannot be told apart, so their times are added."""
    twice = [*VGG[:6], VGG[5], *VGG[6:]]
    found = explained(twice, VGG)
    part = named(found, "conv3_2 to conv3_3")
    assert part.first is not None
    assert part.second is not None
    assert (len(part.first.kernels), len(part.second.kernels)) == (3, 2)
    assert found.ordered()[0] is part


def test_a_backward_pass_names_its_layers_from_the_last() -> None:
    """With frozen blocks it ends at conv5_1, which has no gradient of its input."""
    weights = [replace(VGG[n], kind="backward_weights") for n in (12, 11, 10)]
    data = [replace(VGG[n], kind="backward_data") for n in (12, 11)]
    weights[0] = replace(weights[0], ms=9.0)
    found = explained([*VGG, *weights, *data], [*VGG, *data])
    names = [part.name for part in found.of_kind(LAYER)][13:]
    assert names == [
        *(f"conv5_{n}, gradient of its weights" for n in (3, 2, 1)),
        *(f"conv5_{n}, gradient of its input" for n in (3, 2)),
    ]
    assert found.ordered()[0].name == "conv5_3, gradient of its weights"
    assert found.ordered()[0].second is None


def test_layers_of_another_model_are_named_by_their_shape() -> None:
    """There is no paper to take names from."""
    found = explained([VGG[1], VGG[5], VGG[6]], [VGG[1], VGG[5], VGG[6]])
    assert [part.name for part in found.of_kind(LAYER)] == [
        "convolution 64→64, 3x3, 224x224",
        "convolution 256→256, 3x3, 56x56 (1 of 2)",
        "convolution 256→256, 3x3, 56x56 (2 of 2)",
    ]


@pytest.mark.parametrize(
    "name",
    [
        "stock-eager-fp32-contiguous",
        "stock-torchscript-fusion-fp32",
        "ipex-torchscript-fusion-int8",
    ],
)
def test_real_logs_have_vggs_layers(name: str) -> None:
    """Each library, layout and dtype describes the same problems."""
    ran = kernels.parse((SAMPLES / f"{name}.txt").read_text())
    mine = [KernelRow(run_id="run", scenario=A, **vars(kernel)) for kernel in ran]
    found = explained(mine, mine)
    names = [part.name for part in found.of_kind(LAYER)]
    assert names[:13] == list(NAMES)
    assert len(found.of_kind(REORDERS)) == any(one.primitive == "reorder" for one in ran)


def test_few_parts_are_causes_only_if_they_give_most() -> None:
    """Where every layer is a little slower, no four of them are to blame."""
    found = explained([replace(one, ms=1.2 * one.ms) for one in VGG], VGG)
    assert found.causes == ()
    assert sum(found.share(part) for part in found.of_kind(LAYER)) == pytest.approx(1, abs=0.01)


def at_speed(calls: Sequence[LoggedCallRow], logged: float, beside: float) -> list[LoggedCallRow]:
    """Logged calls that took longer by one factor, and the calls beside them by another."""
    return [
        replace(
            call,
            wall_ms=call.wall_ms * logged,
            unlogged_ms=(call.unlogged_ms or 0) * beside,
            kernels_ms=" ".join(str(float(ms) * logged) for ms in call.kernels_ms.split()),
        )
        for call in calls
    ]


@pytest.mark.parametrize(("factor", "accounted"), [(1.0, True), (0.9, False), (1.1, False)])
def test_logged_calls_of_another_speed_do_not_account_for_the_time(
    factor: float, *, accounted: bool
) -> None:
    """95 % of the timed median on both sides, or the explanation says that it is none."""
    mine = numbered(VGG, A)
    calls = at_speed(logged(mine, np.random.default_rng(0), spread=0.0), factor, 1.0)
    found = layers.log_of(facts_of((row(A, FORWARD_MS + 5), mine, calls)), A)
    again = explain(found, found, POLICY)
    assert again.is_accounted is accounted
    assert again.accounted(again.first) == pytest.approx(1 - abs(factor - 1), abs=0.01)


@pytest.mark.parametrize("speed", [0.8, 1.0, 1.3])
def test_a_slow_moment_of_the_machine_is_no_part_of_a_call(speed: float) -> None:
    """A logged call counts in shares of the calls beside it: they are slow together."""
    mine = numbered(slowed(4, 2.0), A)
    calls = at_speed(logged(mine, np.random.default_rng(0), spread=0.0), speed, speed)
    timed_ms = sum(kernel.ms for kernel in mine) + 5
    found = layers.log_of(facts_of((row(A, timed_ms), mine, calls)), A)
    again = explain(found, found, POLICY)
    assert found.pace == pytest.approx(speed)
    assert found.log_cost_ms == pytest.approx(0.2, abs=1e-3)
    conv3_1 = named(again, "conv3_1").first
    assert conv3_1 is not None
    assert conv3_1.ms == pytest.approx(2 * VGG[4].ms, abs=1e-3)
    assert again.is_accounted


def test_calls_without_others_beside_them_keep_their_times() -> None:
    """As an earlier version logged slow ones."""
    mine = numbered(VGG, A)
    calls = [
        replace(call, unlogged_ms=None) for call in logged(mine, np.random.default_rng(0), calls=2)
    ]
    found = layers.log_of(facts_of((row(A, 2 * FORWARD_MS), mine, calls)), A)
    assert found.walls_ms == tuple(call.wall_ms for call in calls)
    assert (found.pace, found.log_cost_ms) == (None, None)


def test_a_run_with_one_logged_call_is_divided_without_ranges() -> None:
    """An earlier version kept no whole time: what is left of the median is outside oneDNN."""
    mine, others = numbered(VGG, A), numbered(slowed(3, 0.5), B)
    facts = facts_of((row(A, FORWARD_MS + 7), mine, ()), (row(B, FORWARD_MS), others, ()))
    found = explain(layers.log_of(facts, A), layers.log_of(facts, B), POLICY)
    outside = named(found, "outside oneDNN")
    assert outside.first is not None
    assert outside.first.ms == pytest.approx(7)
    assert outside.first.range_ms is None
    assert found.is_accounted is None
    assert found.first.log_cost_ms is None


@pytest.mark.parametrize("cell", ["1 2 3", "x " * 13, "nan " * 13, ""])
def test_a_logged_call_that_does_not_fit_the_kernels_is_left_out(cell: str) -> None:
    """Damaged, or of another sequence."""
    mine = numbered(VGG, A)
    good = logged(mine, np.random.default_rng(0), calls=2)
    facts = facts_of((row(A, FORWARD_MS), mine, [replace(good[0], kernels_ms=cell), good[1]]))
    (wall_ms,) = layers.log_of(facts, A).walls_ms
    assert wall_ms == pytest.approx(good[1].wall_ms / (good[1].unlogged_ms or 0) * FORWARD_MS)


def test_ranges_that_overlap_are_known() -> None:
    """A difference within the spread of the logged calls is not certain."""
    found = explained(slowed(3, 2.0), VGG, spread=0.02)
    assert not named(found, "conv2_2").overlaps
    assert named(found, "conv1_2").overlaps


def test_what_cannot_be_explained_has_a_reason() -> None:
    """No log, no times, or another batch size."""
    other = "inference/openvino/eager/fp32/contiguous/b1"
    eight, failed = B.replace("b1", "b8"), B.replace("eager", "compile")
    mine = numbered(VGG, A)
    facts = facts_of(
        (row(A, 100.0), mine, ()),
        (row(other, 50.0), (), ()),
        (row(eight, 400.0, batch_size=8), numbered(VGG, eight), ()),
        (row(failed, 400.0, status="crashed", reason="killed"), (), ()),
    )
    assert "logged nothing" in str(layers.why_not(facts, A, other))
    assert "different work" in str(layers.why_not(facts, A, eight))
    assert "killed" in str(layers.why_not(facts, failed, A))


def test_time_outside_is_never_below_zero() -> None:
    """Primitives that took longer than the median leave a rest below zero instead."""
    facts = facts_of((row(A, 10.0), numbered(VGG, A), ()), (row(B, 10.0), numbered(VGG, B), ()))
    found = explain(layers.log_of(facts, A), layers.log_of(facts, B), POLICY)
    (outside,), (rest,) = found.of_kind(OUTSIDE), found.of_kind(REST)
    assert outside.first is not None
    assert rest.first is not None
    assert outside.first.ms == 0
    assert rest.first.ms == pytest.approx(10 - FORWARD_MS)
