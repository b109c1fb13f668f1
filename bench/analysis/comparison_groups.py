"""Sort scenarios into comparison groups. Pure."""

from __future__ import annotations

from typing import TYPE_CHECKING, NamedTuple

from bench.plan.scenario import TRAINING_OPTIONS
from bench.text.wording import option_tags

if TYPE_CHECKING:
    from collections.abc import Iterable

    from bench.store.records import ScenarioRow


class Group(NamedTuple):
    """Scenarios that share rounds and baselines."""

    task: str
    batch_size: int
    trained: str
    """`frozen` or `full` for training, else empty."""

    @property
    def label(self) -> str:
        """`Inference, batch 8`, `Training, batch 8, shallow blocks frozen`."""
        words = {"frozen": ", shallow blocks frozen", "full": ", everything trained"}
        trained = words.get(self.trained, self.trained)
        return f"{self.task.capitalize()}, batch {self.batch_size}{trained}"

    @property
    def noise_name(self) -> str:
        """The group's name in noise.csv: `inference/b8`, `training/b8/frozen`."""
        tail = f"/{self.trained}" if self.trained else ""
        return f"{self.task}/b{self.batch_size}{tail}"


def group_of(row: ScenarioRow) -> Group:
    """Return the comparison group of a scenario."""
    trained = next((tag for tag in option_tags(row) if tag in TRAINING_OPTIONS), "")
    return Group(row.task, row.batch_size, trained)


def group_label(row: ScenarioRow) -> str:
    """Return the name of a scenario's group in noise.csv."""
    return group_of(row).noise_name


def of_task(groups: Iterable[Group], task: str) -> list[Group]:
    """Return the groups of one task."""
    return [group for group in groups if group.task == task]
