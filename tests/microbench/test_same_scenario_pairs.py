"""Processes of one scenario, compared as two scenarios."""

from __future__ import annotations

import numpy as np

from bench.analysis.measurements import Measurements
from bench.plan.matrix import matrix
from bench.plan.profiles import PROFILES
from bench.plan.scenario import CONTROL_SUFFIX
from tests.bench.imagined_machine import Machine
from tests.microbench.same_scenario_pairs import Pair, pairs_of


def of_a_run(seed: int, process: float) -> list[Pair]:
    """The pairs of an imagined run."""
    scenarios = matrix(PROFILES["standard"], (1,))
    machine = Machine(scenarios=scenarios, ms={}, process=process, block=0.02, seed=seed).play()
    defaults = {one.id for one in scenarios if one.is_stock_default}
    return list(pairs_of(machine.analysis().judge.measurements, defaults))


def test_few_of_an_imagined_run_seem_different() -> None:
    """Where processes differ as the model assumes: one interval in twenty, by construction."""
    pairs = [pair for seed in range(6) for pair in of_a_run(seed, process=0.02)]
    assert len(pairs) > 100
    assert sum(pair.is_significant for pair in pairs) <= 0.1 * len(pairs)
    assert sum(pair.found.found for pair in pairs) <= 0.06 * len(pairs)


def test_a_process_unlike_its_others_is_counted() -> None:
    """Its scenario's other processes do not hide it: each is a participant of its own."""
    rng = np.random.default_rng(1)
    level = {"default": 100.0, "default" + CONTROL_SUFFIX: 100.0, "odd": 50.0, "even": 50.0}
    factor = {("odd", 1): 1.3}
    blocks = {
        name: {
            (launch, number): ms * factor.get((name, launch), 1.0) * rng.normal(1, 0.01)
            for launch in range(3)
            for number in range(4)
        }
        for name, ms in level.items()
    }
    pairs = list(pairs_of(Measurements(groups={"pair": blocks}), {"default"}))
    assert [(pair.scenario, pair.found.found) for pair in pairs] == [
        ("odd", True),
        ("odd", True),
        ("even", False),
        ("even", False),
    ]
