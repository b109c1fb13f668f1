"""A run that was cut goes on: what its files say becomes what its runner knows. Pure.

Nothing that was measured is measured again, and nothing old is paired with anything new: ratios are
formed within a round, and the launches that follow have numbers of their own. Only on the same
machine, code and policy, or the figures of one folder would be those of two.
"""

from __future__ import annotations

from dataclasses import asdict, dataclass
from datetime import datetime
from typing import TYPE_CHECKING, Any

from bench.engine import environments
from bench.errors import BenchError
from bench.plan.scenario import Status
from bench.run.outcomes import Outcome
from bench.worker.conditions import DIFFERS

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping

    from bench.engine.environments import Environment
    from bench.plan.scenario import Scenario
    from bench.plan.thresholds import Policy
    from bench.store.records import IterationRow, NoiseRow, ParityRow, Run, ScenarioRow
    from bench.worker.protocol import KernelsReply, PrepareReply


@dataclass(frozen=True, kw_only=True)
class Earlier:
    """What a run had measured before it was cut."""

    iterations: tuple[IterationRow, ...]
    noise: tuple[NoiseRow, ...]
    outcomes: Mapping[str, Outcome]
    launches: int
    """How many were begun: the number of the next."""


def check_unfinished(environment: Mapping[str, Any], name: str) -> None:
    """Refuse a run that has nothing to go on with.

    Raises:
        BenchError: it is complete, or has not begun.
    """
    if environment.get("complete"):
        raise BenchError(f"{name} is complete: `bench run` measures anew")
    if not environment.get("matrix") or not environment.get("request"):
        raise BenchError(f"{name} was cut before it measured anything: start it anew")


def check_same(
    environment: Mapping[str, Any],
    name: str,
    *,
    fingerprint: str,
    commit: str | None,
    policy: Policy,
) -> None:
    """Refuse a run that something else here would go on with.

    Raises:
        BenchError: it was measured on another machine, or with other code or another policy.
    """
    if environment["machine"].get("fingerprint") != fingerprint:
        raise BenchError(f"{name} was measured on another machine: it can only go on there")
    if environment.get("commit") != commit:
        raise BenchError(
            f"{name} was measured with commit {str(environment.get('commit'))[:12]}, this is "
            f"{str(commit)[:12]}: check that one out, or measure anew"
        )
    if environment.get("policy") != _as_read(asdict(policy)):
        raise BenchError(f"{name} was measured with another policy: measure anew")


def check_environments(
    before: Mapping[str, Mapping[str, Any]], name: str, now: Mapping[str, Environment]
) -> None:
    """Refuse to go on where another environment's packages have changed since.

    Raises:
        BenchError: names the environment and what changed in it.
    """
    for environment, found in now.items():
        changed = environments.difference(before.get(environment, {}), found)
        if changed:
            raise BenchError(
                f"{name} was measured with other packages in environment {environment} "
                f"({changed}): install those again, or measure anew"
            )


def _as_read(value: Any) -> Any:  # noqa: ANN401 - JSON is made of anything
    """A value as it comes back from JSON."""
    if isinstance(value, dict):
        return {str(key): _as_read(part) for key, part in value.items()}
    return [_as_read(part) for part in value] if isinstance(value, (list, tuple)) else value


def seconds_used(environment: Mapping[str, Any], last_written: datetime) -> float:
    """How long the run had measured when its last row was written."""
    started = datetime.fromisoformat(environment["started_utc"])
    return max(0.0, (last_written - started).total_seconds())


def restore(run: Run, scenarios: Iterable[Scenario]) -> Earlier:
    """What the files of a cut run say of each scenario."""
    rows = {row.scenario: row for row in run.scenarios}
    parity = {row.scenario: row for row in run.parity}
    workers = run.environment.get("workers") or {}
    return Earlier(
        iterations=run.iterations,
        noise=run.noise,
        outcomes={
            scenario.id: _outcome(scenario, rows.get(scenario.id), parity.get(scenario.id), workers)
            for scenario in scenarios
        },
        launches=max((row.launch for row in run.iterations), default=-1) + 1,
    )


def _outcome(
    scenario: Scenario,
    row: ScenarioRow | None,
    parity: ParityRow | None,
    workers: Mapping[str, Mapping[str, Any]],
) -> Outcome:
    """What is known of the scenario; nothing where its checks had not been finished."""
    never_ran = row is None or (row.rounds == 0 and row.status == Status.UNAVAILABLE)
    if row is None or never_ran or row.checked is False:
        return Outcome(scenario=scenario)
    conditions = dict(workers.get(scenario.id, {}))
    differs = list(conditions.pop(DIFFERS, ()))
    flop = row.gflop_per_s * row.median_ms * 1e6 if row.gflop_per_s and row.median_ms else None
    prepared: PrepareReply = {
        "prepare_s": row.prepare_s,
        "native_dtype": row.native_dtype,
        "layers_replaced": row.layers_replaced,
        "flop_per_call": flop,
    }
    evidence: KernelsReply = {
        "isa": row.isa,
        "fused_ops": row.fused_ops,
        "layers_replaced": row.layers_replaced,
        "reorders": row.reorders,
        "graph": {"reorder_share": row.reorder_share, "said": row.graph},
    }
    return Outcome(
        scenario=scenario,
        status=Status(row.status),
        reason=row.reason,
        import_s=row.import_s,
        threads=row.threads,
        prepared=prepared,
        memory={"peak_rss_mb": row.peak_rss_mb, "rss_mb": row.steady_rss_mb},
        evidence=evidence,
        parity=parity,
        conditions=conditions,
        differs=differs,
        closed=True,
        **_energy(row),
    )


def _energy(row: ScenarioRow) -> dict[str, Any]:
    """The energy so far and its images; nothing where the run did not keep how many they were.

    A mean without its number of images cannot be carried on: it would count as one image's.
    """
    if row.joules_per_image is None or not row.joules_images:
        return {}
    return {
        "joules": row.joules_per_image * row.joules_images,
        "joules_images": row.joules_images,
    }
