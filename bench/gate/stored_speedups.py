"""Read a stored run: its machine, its model, and the speedups that a verdict can rest on.

run = read(Path("results/A"))
run.machine, run.model
run.usable(run.rows["inference/ipex/eager/fp32/channels_last/b1", "stock_default"])
"""

from __future__ import annotations

from dataclasses import asdict, dataclass
from functools import cached_property
from typing import TYPE_CHECKING

from bench.analysis import verdicts
from bench.analysis.comparison import Ratio
from bench.analysis.run_facts import Facts
from bench.errors import RecordError
from bench.gate.result import NoVerdictError
from bench.plan.scenario import MEASURED, BaselineKind, Verdict
from bench.store.records import read_run
from bench.text.wording import count

if TYPE_CHECKING:
    from pathlib import Path

    from bench.store.records import Run, SpeedupRow

_NEEDED = ("speedups.csv", "scenarios.csv")


def spell_threads(number: int | None) -> str:
    """Return `4 threads`, also where a run does not say how many."""
    return count(number, "thread") if number else "an unknown number of threads"


def read(folder: Path) -> StoredRun:
    """Read a run whose summaries are whole.

    Raises:
        RecordError: the folder is not a run, or a file that the verdict needs is damaged.
    """
    record = read_run(folder)
    for warning in record.warnings:
        if any(name in warning for name in _NEEDED):
            raise RecordError(f"{folder} cannot be judged: {warning}; measure it again")
    return StoredRun(record=record)


@dataclass(frozen=True, kw_only=True)
class StoredRun:
    """A run's files, and what the gate asks of them."""

    record: Run

    @property
    def name(self) -> str:
        """The run's id."""
        return self._facts.run_id

    @property
    def machine(self) -> tuple[str, str]:
        """The fingerprint and the name of the machine that the run was measured on.

        Raises:
            NoVerdictError: the run does not say.
        """
        found = self.record.metadata.machine
        if not found.fingerprint:
            raise NoVerdictError(
                f"{self.record.folder} does not say on which machine it was measured"
            )
        return found.fingerprint, found.name or "?"

    @property
    def model(self) -> str:
        """The inspector's weights that were measured, or the user's own model with its settings."""
        own = self.record.metadata.request.own
        settings = {**asdict(own), "model": "", "settings": " ".join(own.settings)}
        names = dict.fromkeys((own.model, self.record.metadata.model.name))
        given = (f"{name} {value}" for name, value in settings.items() if value)
        return ", ".join([*filter(None, names), *given]) or "one without a name"

    @property
    def is_of_inspector(self) -> bool:
        """Whether the inspector was measured, and not a model of the user's own."""
        return not self._facts.is_own_model

    @cached_property
    def rows(self) -> dict[tuple[str, str], SpeedupRow]:
        """The run's speedups by scenario and kind of baseline.

        Raises:
            RecordError: a scenario has two.
        """
        found: dict[tuple[str, str], SpeedupRow] = {}
        for row in self.record.speedups:
            key = (row.scenario, str(row.baseline_kind))
            if key in found:
                raise RecordError(
                    f"{self.record.folder}/speedups.csv has {row.scenario} twice: measure again"
                )
            found[key] = row
        return found

    @cached_property
    def over_stock_default(self) -> dict[str, SpeedupRow]:
        """The speedups over stock default, by scenario; as `rows`, it raises RecordError."""
        kind = str(BaselineKind.STOCK_DEFAULT)
        return {scenario: row for (scenario, of), row in self.rows.items() if of == kind}

    @cached_property
    def measured(self) -> frozenset[str]:
        """The scenarios that have times."""
        return frozenset(row.scenario for row in self.record.scenarios if row.status in MEASURED)

    def threads(self, scenario: str) -> int | None:
        """Return how many threads computed a scenario; None where the run does not say."""
        row = self._facts.scenarios.get(scenario)
        return row.threads if row else None

    def usable(self, row: SpeedupRow) -> Ratio | str:
        """Return the row's speedup, or why no verdict can rest on it."""
        if row.verdict == Verdict.INVALID:
            return row.reason or "its verdict is invalid"
        if row.speedup is None or row.speedup_low is None or row.speedup_high is None:
            return row.reason or "it has no speedup"
        found = Ratio(
            estimate=row.speedup,
            low=row.speedup_low,
            high=row.speedup_high,
            launches=row.launches,
            rounds=row.rounds,
        )
        if not found.is_sound:
            return row.reason or "its interval has no finite ends: more rounds are needed"
        return self._objection(row, found) or found

    def _objection(self, row: SpeedupRow, found: Ratio) -> str | None:
        """Return why the row may not be judged, however narrow its interval; or None."""
        if self.record.iterations:
            return self._facts.analysis.judge.objection(row.scenario, row.baseline)
        return self._objection_of_summaries(row, found)

    def _objection_of_summaries(self, row: SpeedupRow, found: Ratio) -> str | None:
        """Return the same of a run whose calls are gone, as far as its summaries tell."""
        rule = self._facts.policy.verdict
        scenarios = map(self._facts.scenarios.get, (row.scenario, row.baseline))
        if any(one is not None and one.checked is False for one in scenarios):
            return "the run ended before everything was checked: measure again"
        if few := verdicts.too_few_rounds(found, rule):
            return few
        open_ = verdicts.by_interval(found, rule) is Verdict.INCONCLUSIVE
        if row.verdict == Verdict.INCONCLUSIVE and not open_:
            return row.reason or "the run gave it no verdict"
        return None

    @cached_property
    def _facts(self) -> Facts:
        return Facts(self.record)
