"""What kind of scenario a row of scenarios.csv describes: group, baseline, variables. Pure."""

from __future__ import annotations

from typing import TYPE_CHECKING

from bench.plan import variables
from bench.plan.scenario import (
    DEFAULT_ENVIRONMENT,
    TRAINING_OPTIONS,
    Dtype,
    Layout,
    Mode,
    Status,
    only_shows,
)

if TYPE_CHECKING:
    from collections.abc import Mapping

    from bench.store.records import ScenarioRow


def tags(row: ScenarioRow) -> list[str]:
    """The scenario's options."""
    return row.options.split("+") if row.options else []


def group_label(row: ScenarioRow) -> str:
    """The comparison group as noise.csv has it: `inference/b8`, `training/b8/frozen`."""
    trained = [tag for tag in tags(row) if tag in TRAINING_OPTIONS]
    return "/".join([row.task, f"b{row.batch_size}", *trained])


def is_stock_default(row: ScenarioRow) -> bool:
    """Whether the row is what a user has before doing anything."""
    choice = (row.backend, row.mode, row.dtype, row.layout, row.environment)
    default = ("stock", Mode.EAGER, Dtype.FP32, Layout.CONTIGUOUS, DEFAULT_ENVIRONMENT)
    return choice == default and all(tag in TRAINING_OPTIONS for tag in tags(row))


def is_stock_channels_last(row: ScenarioRow) -> bool:
    """Whether the row is stock eager in fp32 and channels_last, with nothing varied."""
    choice = (row.backend, row.mode, row.dtype, row.layout, row.environment)
    channels_last = ("stock", Mode.EAGER, Dtype.FP32, Layout.CHANNELS_LAST, DEFAULT_ENVIRONMENT)
    return choice == channels_last and not varied(row)


def varied(row: ScenarioRow) -> Mapping[str, str]:
    """The variables that the scenario runs under, by name."""
    return variables.of_tags(tags(row))


def way(row: ScenarioRow) -> tuple[object, ...]:
    """How the row runs the model, whatever variables surround it."""
    plain = variables.without(tags(row))
    kind = (row.task, row.backend, row.mode, row.fusion, row.dtype, row.layout)
    return (*kind, row.batch_size, plain, row.environment)


def is_a_choice(row: ScenarioRow) -> bool:
    """Whether anybody would choose it for its speed."""
    return not only_shows(row.backend, row.dtype, tags(row))


def may_be_tuned(row: ScenarioRow, dtype: str) -> bool:
    """Whether the row may be called stock tuned of that dtype.

    Of the default environment only: what is measured there and what is measured elsewhere must not
    divide by each other's packages, and a run with another environment must mean by stock tuned
    what a run without means.
    """
    kind = (row.backend, row.environment, row.dtype, row.status)
    return kind == ("stock", DEFAULT_ENVIRONMENT, dtype, Status.OK) and not varied(row)
