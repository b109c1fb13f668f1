"""A study's blocks, as the one judge takes them. Pure."""

from __future__ import annotations

from typing import TYPE_CHECKING

from bench.analysis.judge import Judge
from bench.analysis.measurements import Measurements
from bench.worker.conditions import unequal

if TYPE_CHECKING:
    from bench.plan.thresholds import Policy
    from bench.studies.study import Measured


def judge_of(measured: Measured, policy: Policy) -> Judge:
    """The judge of everything that a study measured, all its groups in one model.

    A participant without blocks that failed is unusable, as is one whose worker's conditions
    differed.
    """
    unusable = {
        participant: str(error)
        for participant, error in measured.failures.items()
        if not any(blocks.get(participant) for blocks in measured.groups.values())
    }
    found = Measurements(groups=measured.groups, unusable={**unequal(measured.workers), **unusable})
    return Judge(found, policy)
