"""Choose the scenarios that a study compares: stock default, and those that patterns select.

`--only` selects among all scenarios of the matrix that the study can run; without it, patterns of
this module do: stock default against the best of stock and IPEX.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from bench.engine.participants import Group, Participant, control_of
from bench.errors import UsageError
from bench.plan.matrix import matching, matrix, select
from bench.plan.profiles import PROFILES
from bench.plan.scenario import FULL, Scenario, Task
from bench.text.wording import count

if TYPE_CHECKING:
    from bench.studies.study_folder import StudyRequest

STOCK_DEFAULT = "stock-default"
"""The name of stock default among a study's participants, in the files of every version. The others
are named by their ids."""
_WHOLE = PROFILES["full"]
"""The profile with every mode, dtype and option: `--profile` says how much a study measures, and
not which scenarios there are."""
_USUAL = {
    Task.INFERENCE: (
        "inference/stock/torchscript+fusion/fp32/*",
        "inference/ipex/torchscript+fusion/fp32/*",
    ),
    Task.TRAINING: ("training/ipex/eager/*",),
}
"""Selected without `--only`."""
_USUAL_OF_LARGER = {
    Task.INFERENCE: (
        "inference/stock/eager/fp32/channels_last/*",
        "inference/ipex/eager/fp32/*",
    ),
    Task.TRAINING: ("training/*/eager/*",),
}
"""Selected too in profiles that measure the whole matrix: what lies between the others."""


@dataclass(frozen=True, kw_only=True)
class Runnable:
    """The scenarios that a study can run."""

    study: str
    task: Task = Task.INFERENCE
    batch_size: int = 1

    def refusal(self, scenario: Scenario) -> str | None:
        """Return why the study cannot run a scenario, or None."""
        if scenario.task is not self.task:
            return f"it measures {self.task} and not {scenario.task}"
        if scenario.batch_size != self.batch_size:
            return f"its calls have {count(self.batch_size, 'image')}"
        if FULL in scenario.options:
            return (
                "it trains the deep block and the head; training every layer is another training, "
                "with another baseline"
            )
        return None

    def chosen(self, request: StudyRequest) -> dict[str, Scenario]:
        """Return the study's scenarios by the participant's name, stock default first.

        Raises:
            UsageError: a pattern matches nothing, or only what the study cannot run, or the
                patterns leave nothing of a further backend.
        """
        sizes = tuple(dict.fromkeys((*_WHOLE.batch_sizes, self.batch_size)))
        every = matrix(_WHOLE, sizes, backends=request.backends)
        runnable = tuple(one for one in every if self.refusal(one) is None)
        patterns = request.only or self._usual(request)
        for pattern in patterns:
            others = matching(every, pattern)
            if others and not matching(runnable, pattern):
                raise UsageError(
                    f"bench {self.study} cannot run {others[0].id}: {self.refusal(others[0])}"
                )
        found = select(runnable, patterns)
        for backend in request.backends:
            if all(one.backend != backend for one in found):
                raise UsageError(
                    f"--backend {backend}: --only leaves none of its scenarios; "
                    f"add --only '*/{backend}/*'"
                )
        return {STOCK_DEFAULT if one.is_stock_default else one.id: one for one in found}

    def _usual(self, request: StudyRequest) -> tuple[str, ...]:
        """Return the patterns that stand for `--only`; further backends take part in fp32."""
        larger = _USUAL_OF_LARGER[self.task] if request.profile.whole_matrix else ()
        further = (f"{self.task}/{backend}/*/fp32/*" for backend in request.backends)
        return (*_USUAL[self.task], *larger, *further)


def group(name: str, chosen: dict[str, Scenario]) -> Group:
    """Return a group of stock default, its control, and the others, each in its own process."""
    default, *others = participants_of(chosen)
    return Group(name=name, participants=(default, control_of(default), *others))


def participants_of(chosen: dict[str, Scenario]) -> list[Participant]:
    """Return a participant for each scenario, with stock default as base."""
    return [
        Participant(
            name=name,
            scenario=scenario,
            worker=name,
            base="" if name == STOCK_DEFAULT else STOCK_DEFAULT,
        )
        for name, scenario in chosen.items()
    ]
