"""A scenario that ran otherwise than its label says has no speedup in a study."""

from __future__ import annotations

from typing import Any

from bench.engine.participants import Group, Participant, control_of
from bench.plan.scenario import Task, stock_default
from bench.plan.thresholds import DEFAULT
from bench.studies.evidence import EvidenceChecks

SCENARIO = stock_default(Task.INFERENCE, 1)
STOCK = Participant(name="stock", scenario=SCENARIO, worker="stock")
FAST = Participant(name="fast", scenario=SCENARIO, worker="fast", base="stock")
GROUP = Group(name="inference/b1", participants=(STOCK, control_of(STOCK), FAST))


def test_a_contradiction_makes_the_comparison_invalid(bench: Any) -> None:
    """With its sentence as the reason; each scenario is asked once, and its control never."""
    untrue = "the label says bf16, but the convolutions ran in f32"
    bench.call_ms = {"stock": 150.0, "fast": 100.0}
    bench.answers = {
        "kernels": lambda participant, _: {
            "contradiction": untrue if participant == "fast" else None
        }
    }
    study = bench.study([GROUP])
    study.checks = EvidenceChecks(measured=study.measured)
    found = study.measure().judge(DEFAULT).compare("fast", "stock", group=GROUP.name)
    assert (found.verdict, found.reason) == ("invalid", untrue)
    assert [bench.asked[name, "kernels"] for name in ("stock", "fast", "stock#control")] == [
        1,
        1,
        0,
    ]
