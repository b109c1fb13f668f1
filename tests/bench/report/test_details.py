"""The page's entry of one scenario."""

from __future__ import annotations

import dataclasses
from typing import TYPE_CHECKING, Any

import pytest

from bench.analysis.run_facts import Facts
from bench.report.details import all_details
from tests.bench.made_up_runs import DEFAULT_1, IPEX_1, THREE

if TYPE_CHECKING:
    from tests.bench.made_up_runs import MakeRun

CONVOLUTIONS = "mkldnn::_convolution_pointwise=13"
LINEAR = "zentorch::zentorch_linear_unary=1"


@pytest.mark.parametrize(
    ("graph", "said"),
    [
        (f"{CONVOLUTIONS}, {LINEAR}", "1 zentorch_linear_unary; no convolution"),
        (f"zentorch::zentorch_convolution=13, {LINEAR}", "convolutions too"),
        (CONVOLUTIONS, "none; no convolution"),
    ],
)
def test_what_zentorch_replaced_is_said(make_run: MakeRun, graph: str, said: str) -> None:
    """Beside the whole graph, in which the rest is PyTorch's."""
    run = make_run()
    row = next(row for row in run.scenarios if row.mode == "compile")
    row = dataclasses.replace(row, scenario="inference/zentorch/x", backend="zentorch", graph=graph)
    facts = Facts(dataclasses.replace(run, scenarios=(*run.scenarios, row)))
    entry = next(one for one in all_details(facts) if one.id == row.scenario)
    pairs = dict(entry.facts)
    assert pairs["Graph"] == graph
    assert pairs["Operators that zentorch replaced"].endswith(said)
    others = [dict(one.facts) for one in all_details(facts) if one.id != row.scenario]
    assert not any("Operators that zentorch replaced" in one for one in others)


def test_kernels_that_are_not_known_are_not_said_to_be_none(make_run: MakeRun) -> None:
    """kernels.csv may be missing, or a scenario's log not yet read when the run was killed."""
    run = make_run(only=THREE)
    ran_none = tuple(row for row in run.kernels if row.scenario == DEFAULT_1)
    early = tuple(dataclasses.replace(row, checked=False) for row in run.scenarios)
    changes: list[dict[str, Any]] = [
        {"kernels": ran_none},
        {"kernels": ()},
        {"kernels": ran_none, "scenarios": early},
    ]
    said = [
        dict(next(one for one in all_details(Facts(changed)) if one.id == IPEX_1).facts)["Kernels"]
        for changed in (dataclasses.replace(run, **change) for change in changes)
    ]
    assert ["logged none" in one for one in said] == [True, False, False]
