"""Index a run for its readers: pages, exports, recommendations. Pure, from a `records.Run`.

Everything tolerates absence: a run that was killed, a missing file, metadata of another version.
What is missing reads as None or as empty and never raises.
"""

from __future__ import annotations

from collections import defaultdict
from dataclasses import dataclass, replace
from functools import cached_property
from typing import TYPE_CHECKING, TypeVar

from bench.analysis import recovered_rows
from bench.analysis.claims import Claims
from bench.analysis.comparison import Comparison
from bench.analysis.comparison_groups import Group, group_of, of_task
from bench.analysis.measurements import block_medians
from bench.analysis.prices import NO_PRICES, Price, Prices
from bench.analysis.scenario_kinds import is_stock_default
from bench.analysis.speedups import RunAnalysis, comparison_of
from bench.machine import worker_settings
from bench.plan.scenario import (
    CONTROL_SUFFIX,
    DEFAULT_ENVIRONMENT,
    MEASURED,
    BaselineKind,
    Layout,
    Phase,
    Verdict,
)
from bench.plan.support import Severity, concerns, gravest
from bench.text.wording import OF_INSPECTOR, OF_OWN_MODEL, Nouns

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping

    from bench.plan.support import Concern
    from bench.plan.thresholds import Policy
    from bench.store.metadata import RunMetadata
    from bench.store.records import (
        IterationRow,
        KernelRow,
        LoggedCallRow,
        NoiseRow,
        ParityRow,
        Run,
        ScenarioRow,
        SpeedupRow,
    )

    _Row = TypeVar("_Row", KernelRow, LoggedCallRow, IterationRow)

__all__ = [
    "Comparison",
    "Facts",
    "Group",
    "comparison_of",
    "group_of",
    "is_stock_default",
    "of_task",
]


def _without_layout(row: ScenarioRow) -> ScenarioRow:
    return replace(row, layout="") if row.layout == Layout.CHANNELS_LAST else row


@dataclass(frozen=True)
class Facts:
    """A run, indexed."""

    run: Run
    prices: Prices = NO_PRICES
    whole: Facts | None = None
    """The facts of the whole run, if `run` lacks its varied scenarios: one model judges both."""

    @property
    def metadata(self) -> RunMetadata:
        """What environment.json says."""
        return self.run.metadata

    @property
    def policy(self) -> Policy:
        """The thresholds that the run kept."""
        return self.metadata.policy

    @cached_property
    def scenarios(self) -> dict[str, ScenarioRow]:
        """Rows by scenario id; the last row of an id counts.

        Rows of a run that was killed are updated from its calls, or made from them. Where no tensor
        of the user's model has a layout, none is named.
        """
        rows: Iterable[ScenarioRow] = recovered_rows.scenario_rows(self.run)
        form = self.metadata.data.form
        if form is not None and not form.has_layouts:
            rows = [_without_layout(row) for row in rows]
        return {row.scenario: row for row in rows}

    @property
    def summaries_were_missing(self) -> bool:
        """Whether scenarios.csv has no row, so that the rows were made from calls."""
        return bool(self.scenarios) and not self.run.scenarios

    @cached_property
    def groups(self) -> dict[Group, list[ScenarioRow]]:
        """Rows by comparison group: inference by batch size, then training."""
        groups: dict[Group, list[ScenarioRow]] = defaultdict(list)
        for row in self.scenarios.values():
            groups[group_of(row)].append(row)
        return dict(sorted(groups.items(), key=lambda item: item[0]))

    @cached_property
    def analysis(self) -> RunAnalysis:
        """The run's rows, judged by its own policy."""
        if self.whole is not None:
            return self.whole.analysis
        return RunAnalysis(
            self.run_id,
            list(self.scenarios.values()),
            self.run.iterations,
            self.run.noise,
            self.run.parity,
            self.policy,
            workers=self.metadata.workers,
        )

    @property
    def assumes_processes(self) -> bool:
        """Whether nothing had a second process, so that the variance between them is assumed."""
        spreads = self.analysis.judge.fitted.spreads.values()
        return bool(spreads) and all(one.is_assumed for one in spreads)

    @cached_property
    def claims(self) -> Claims:
        """The run's claims."""
        return Claims(self.analysis)

    @property
    def is_judged_again(self) -> bool:
        """Whether version 0.1 wrote its verdicts, by a rule that no longer exists.

        Every row is then judged again, so that all verdicts follow one rule.
        """
        has_old_rows = bool(self.run.speedups and self.run.iterations)
        return has_old_rows and not self.metadata.has_model_policy

    @cached_property
    def speedup_rows(self) -> tuple[SpeedupRow, ...]:
        """The rows of speedups.csv; made from calls if it is empty or too old."""
        can_judge = bool(self.run.iterations and self.scenarios)
        if not can_judge or (self.run.speedups and not self.is_judged_again):
            return self.run.speedups
        rows = self.analysis.rows()
        return tuple(row for row in rows if row.scenario in self.scenarios)

    @property
    def speedups_were_missing(self) -> bool:
        """Whether speedups.csv has no row, so that the speedups were made from calls."""
        return bool(self.speedup_rows) and not self.run.speedups

    @cached_property
    def _speedups(self) -> dict[tuple[str, str], SpeedupRow]:
        return {(row.scenario, row.baseline_kind): row for row in self.speedup_rows}

    def speedup(self, scenario: str, kind: BaselineKind) -> SpeedupRow | None:
        """Return the row of that scenario and baseline."""
        return self._speedups.get((scenario, str(kind)))

    def against_default(self, scenario: str) -> Comparison | None:
        """Return the scenario compared with stock default."""
        return comparison_of(self.speedup(scenario, BaselineKind.STOCK_DEFAULT))

    def against_tuned(self, scenario: str) -> Comparison | None:
        """Return the scenario compared with stock tuned."""
        return comparison_of(self.speedup(scenario, BaselineKind.STOCK_TUNED))

    def default_of(self, group: Group) -> ScenarioRow | None:
        """Return the group's stock default."""
        return next((row for row in self.groups.get(group, ()) if is_stock_default(row)), None)

    def control_of(self, group: Group) -> Comparison | None:
        """Return the comparison of the group's two identical stock workers."""
        default = self.default_of(group)
        if default is None:
            return None
        return comparison_of(self.speedup(default.scenario, BaselineKind.CONTROL))

    @cached_property
    def parity(self) -> dict[str, ParityRow]:
        """Parity rows by scenario id."""
        return {row.scenario: row for row in self.run.parity}

    @cached_property
    def kernels(self) -> dict[str, list[KernelRow]]:
        """Kernel rows by scenario id, in order of execution."""
        return _by_scenario(sorted(self.run.kernels, key=lambda row: row.position))

    @cached_property
    def logged_calls(self) -> dict[str, list[LoggedCallRow]]:
        """Logged calls by scenario id, in the order of the file."""
        return _by_scenario(self.run.logged_calls)

    @cached_property
    def calls(self) -> dict[str, list[IterationRow]]:
        """Calls by worker (scenario id, or with `#control`), in order."""
        in_order = sorted(self.run.iterations, key=lambda row: (row.launch, row.iteration))
        return _by_scenario(in_order)

    @cached_property
    def blocks(self) -> dict[str, dict[tuple[int, int], float]]:
        """Block medians by worker, then by (launch, round), in ms."""
        return block_medians(self.run.iterations)

    def keeps_heap(self, scenario: str) -> bool:
        """Return whether the scenario's worker kept the memory that it freed."""
        variables = self.metadata.workers.get(scenario, {}).get("env") or {}
        return worker_settings.keeps_heap(variables.get("GLIBC_TUNABLES"))

    def packages(self, environment: str) -> Mapping[str, str]:
        """Return the versions of an environment's packages, by name; empty if not known."""
        if environment == DEFAULT_ENVIRONMENT:
            return self.metadata.machine.packages
        other = self.metadata.environments.get(environment)
        return other.packages if other else {}

    def concerns(self, row: ScenarioRow) -> tuple[Concern, ...]:
        """Return what to know before one builds on the scenario, the gravest first."""
        return concerns(row, self.packages(row.environment).get("torch"))

    def is_supported(self, row: ScenarioRow) -> bool:
        """Return whether nothing that it rests on is archived, deprecated or private."""
        return not self.mark(row)

    def mark(self, row: ScenarioRow) -> str:
        """Return the gravest of that in one word; empty for a supported scenario."""
        worst = gravest(self.concerns(row))
        return "" if worst is Severity.SUPPORTED else worst.value

    def is_thin(self, comparison: Comparison) -> bool:
        """Return whether it has too few rounds for any verdict, which is not "no difference"."""
        few = comparison.rounds < self.policy.verdict.min_rounds
        return few and comparison.verdict == Verdict.INCONCLUSIVE

    @cached_property
    def thin_groups(self) -> list[Group]:
        """Groups in which every comparison with stock default is thin."""
        found = {
            group: [item for row in rows if (item := self.against_default(row.scenario))]
            for group, rows in self.groups.items()
        }
        return [g for g, items in found.items() if items and all(map(self.is_thin, items))]

    def ratios_in_time(self, scenario: str) -> list[tuple[int, int, float]]:
        """Return (launch, round, stock default / scenario) in time order."""
        row = self.scenarios.get(scenario.removesuffix(CONTROL_SUFFIX))
        default = self.default_of(group_of(row)) if row else None
        if default is None:
            return []
        base = self.blocks.get(default.scenario, {})
        mine = self.blocks.get(scenario, {})
        shared = sorted(base.keys() & mine.keys())
        return [(key[0], key[1], base[key] / mine[key]) for key in shared if mine[key] > 0]

    def warmup(self, scenario: str) -> list[float]:
        """Return the times of the first launch's first call and warm-up, in ms."""
        calls = self.calls.get(scenario, [])
        first = min((row.launch for row in calls), default=0)
        return [
            row.wall_ns / 1e6
            for row in calls
            if row.launch == first and row.phase in (Phase.FIRST_CALL, Phase.WARMUP)
        ]

    def noise_of(self, group: Group) -> list[NoiseRow]:
        """Return the group's rounds in time order."""
        rows = [row for row in self.run.noise if row.group == group.noise_name]
        return sorted(rows, key=lambda row: (row.launch, row.round))

    def is_measured(self, row: ScenarioRow) -> bool:
        """Return whether the row has usable times."""
        return row.status in MEASURED and self.outputs_agree(row.scenario) is not False

    def outputs_agree(self, scenario: str) -> bool | None:
        """Return whether its outputs agree with stock default's; None if they were not compared."""
        row = self.parity.get(scenario)
        return None if row is None else row.within_tolerance

    def compare(
        self, scenario: str, baseline: str, *, confidence: float | None = None
    ) -> Comparison | None:
        """Compare any two scenarios of a group; None without a common round or usable times."""
        rows = (self.scenarios.get(scenario), self.scenarios.get(baseline))
        if rows[0] is None or rows[1] is None or group_of(rows[0]) != group_of(rows[1]):
            return None
        if not (self.is_measured(rows[0]) and self.is_measured(rows[1])):
            return None
        return self.analysis.compare(scenario, baseline, confidence=confidence)

    @property
    def run_id(self) -> str:
        """The run's name: from its metadata, else from its folder."""
        return self.metadata.run_id or self.run.folder.name

    @property
    def native_bf16(self) -> bool | None:
        """Whether the CPU computes bf16 itself; None if the run does not say."""
        return self.metadata.machine.native_bf16

    @property
    def price(self) -> Price | None:
        """The price of the machine; None if the table does not have it."""
        return self.prices.of(self.priced_as)

    @property
    def priced_as(self) -> str:
        """What a table of prices calls the machine; empty where nothing names it."""
        return self.metadata.machine.instance_type or self.metadata.machine.cpu_model

    @property
    def is_own_model(self) -> bool:
        """Whether the user's own model was measured, and not the inspector."""
        return bool(self.metadata.request.own.model)

    @property
    def nouns(self) -> Nouns:
        """The words for what its calls take and decide."""
        return OF_OWN_MODEL if self.is_own_model else OF_INSPECTOR

    @property
    def decides(self) -> bool:
        """Whether something is decided of each item: by the inspector, or by `--decide`."""
        return not self.is_own_model or bool(self.metadata.request.own.decide)

    @property
    def is_untrained(self) -> bool:
        """Whether the weights are random, so that the model's decisions mean nothing."""
        trained = self.metadata.model.trained
        return trained is False or any(not row.trained for row in self.run.parity)

    @cached_property
    def never_measured(self) -> list[str]:
        """Ids of the matrix that have no row: the run ended before their turn."""
        planned = self.metadata.matrix.scenarios
        return [name for name in planned if name not in self.scenarios]


def _by_scenario(rows: Iterable[_Row]) -> dict[str, list[_Row]]:
    found: dict[str, list[_Row]] = defaultdict(list)
    for row in rows:
        found[row.scenario].append(row)
    return found
