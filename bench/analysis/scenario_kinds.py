"""Tell kinds of rows of scenarios.csv apart: is it a baseline, is it varied? Pure."""

from __future__ import annotations

from typing import TYPE_CHECKING

from bench.plan import variables
from bench.plan.scenario import (
    DEFAULT_ENVIRONMENT,
    MEASURED,
    TRAINING_OPTIONS,
    Dtype,
    Layout,
    Mode,
    only_shows,
)
from bench.text.wording import option_tags

if TYPE_CHECKING:
    from collections.abc import Mapping

    from bench.store.records import ScenarioRow


def is_stock_default(row: ScenarioRow) -> bool:
    """Return whether the row is PyTorch's default: stock, eager, fp32, contiguous, not varied."""
    choice = (row.backend, row.mode, row.dtype, row.layout, row.environment)
    default = ("stock", Mode.EAGER, Dtype.FP32, Layout.CONTIGUOUS, DEFAULT_ENVIRONMENT)
    return choice == default and all(tag in TRAINING_OPTIONS for tag in option_tags(row))


def is_stock_channels_last(row: ScenarioRow) -> bool:
    """Return whether the row is stock eager in fp32 and channels_last, not varied."""
    choice = (row.backend, row.mode, row.dtype, row.layout, row.environment)
    channels_last = ("stock", Mode.EAGER, Dtype.FP32, Layout.CHANNELS_LAST, DEFAULT_ENVIRONMENT)
    return choice == channels_last and not varied(row)


def varied(row: ScenarioRow) -> Mapping[str, str]:
    """Return the values of the scenario's variables, by name."""
    return variables.of_tags(option_tags(row))


def way(row: ScenarioRow) -> tuple[object, ...]:
    """Return what identifies the scenario apart from its variables."""
    plain = variables.without(option_tags(row))
    kind = (row.task, row.backend, row.mode, row.fusion, row.dtype, row.layout)
    return (*kind, row.batch_size, plain, row.environment)


def is_a_choice(row: ScenarioRow) -> bool:
    """Return whether the scenario may be chosen for its speed."""
    return not only_shows(row.backend, row.dtype, option_tags(row))


def may_be_tuned(row: ScenarioRow, dtype: str) -> bool:
    """Return whether the row may be the stock tuned of that dtype.

    Only in the default environment: a baseline must not depend on which other environments a run
    has. A row that did not settle in its warm-up counts: without it stock PyTorch would seem slower
    than it is, and all that is compared with it faster.
    """
    kind = (row.backend, row.environment, row.dtype)
    ran = row.status in MEASURED
    return ran and kind == ("stock", DEFAULT_ENVIRONMENT, dtype) and not varied(row)
