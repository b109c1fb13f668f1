"""What can be compared, by its id."""

from __future__ import annotations

import pytest

from bench.gate import scenarios
from bench.gate.result import NoVerdictError
from bench.plan.matrix import matrix
from bench.plan.profiles import PROFILES
from bench.plan.scenario import PARTS, Task, part_of


def test_what_is_gated_by_default_exists() -> None:
    """A profile that loses a scenario must not turn every bare gate into no verdict."""
    assert tuple(scenario.id for scenario in scenarios.gated(())) == scenarios.GATED


def test_every_part_of_the_product_is_gated_by_default() -> None:
    """The model and the step, and all that is neither."""
    assert {part_of(scenario) for scenario in scenarios.gated(())} == {None, *PARTS}


def test_parts_are_in_no_profile() -> None:
    """A run asks which way of running the model is fastest."""
    assert {part_of(s) for profile in PROFILES.values() for s in matrix(profile)} == {None}


def test_a_pattern_of_the_matrix_brings_no_parts_along() -> None:
    """`inference/*/b1` means what it means for `bench run`."""
    chosen = scenarios.gated(("inference/*/b1",))
    assert {part_of(scenario) for scenario in chosen} == {None}
    inference = [s for s in matrix(PROFILES["standard"], (1,)) if s.task is Task.INFERENCE]
    asked = {scenario.id for scenario in inference if scenario.id.endswith("/b1")}
    assert {scenario.id for scenario in chosen} == asked


def test_a_pattern_that_matches_nothing_is_no_verdict() -> None:
    """Also where other patterns match: part of the request was not compared."""
    with pytest.raises(NoVerdictError, match="inference/onnx"):
        scenarios.gated(("inference/*/b1", "inference/onnx/*"))
