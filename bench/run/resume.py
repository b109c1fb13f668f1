"""Restore a run that was cut from its files, so that it can be resumed. Pure.

Nothing is measured again, and old blocks are never paired with new ones: ratios are formed within a
round, and the new launches have later numbers. A run is only resumed on the same machine, with the
same code, packages and policy, or one folder would hold figures of two.
"""

from __future__ import annotations

from dataclasses import asdict, dataclass, field
from datetime import datetime
from typing import TYPE_CHECKING, Any

from bench.engine import environments
from bench.errors import BenchError
from bench.plan.scenario import Status
from bench.run.outcomes import Outcome
from bench.store.events import EventKind, from_environment
from bench.worker.conditions import DIFFERS

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping

    from bench.engine.environments import Environment
    from bench.plan.scenario import Scenario
    from bench.plan.thresholds import Policy
    from bench.store.records import IterationRow, NoiseRow, ParityRow, Run, ScenarioRow
    from bench.store.run_folder import Commit
    from bench.worker.protocol import KernelsReply, PrepareReply


@dataclass(frozen=True, kw_only=True)
class Earlier:
    """What a run had measured before it was cut."""

    iterations: tuple[IterationRow, ...] = ()
    noise: tuple[NoiseRow, ...] = ()
    outcomes: Mapping[str, Outcome] = field(default_factory=dict)
    """Empty if nothing was cut."""
    launches: int = 0
    """How many were started: the number of the next."""
    used_s: float = 0.0
    """Seconds of the budget that it used."""
    decided_s: Mapping[str, float] = field(default_factory=dict)
    """When each claim was decided, if it came to write that."""


def check_unfinished(environment: Mapping[str, Any], name: str) -> None:
    """Refuse a run that has nothing to resume.

    Raises:
        BenchError: it is complete, or measured nothing.
    """
    if environment.get("complete"):
        raise BenchError(f"{name} is complete: start a new run with `bench run`")
    if not environment.get("matrix") or not environment.get("request"):
        raise BenchError(f"{name} was cut before it measured anything: start a new run")


def check_same(
    environment: Mapping[str, Any],
    name: str,
    *,
    machine: Mapping[str, Any],
    code: Commit,
    policy: Policy,
) -> None:
    """Refuse to resume with another machine, code, policy or other packages.

    `environment` is that of a run, a suite or a tutorial. What files of earlier versions do not
    keep is not compared, but for machine and commit. Of code with changes that no commit has, only
    whether it has any can be compared.

    Raises:
        BenchError: one of them differs; the line says which.
    """
    before = environment["machine"]
    if before.get("fingerprint") != machine["fingerprint"]:
        raise BenchError(f"{name} was measured on another machine: it can be resumed there only")
    if environment.get("commit") != code.revision:
        raise BenchError(
            f"{name} was measured with commit {str(environment.get('commit'))[:12]}, this is "
            f"{str(code.revision)[:12]}: check that one out, or start anew"
        )
    if environment.get("dirty", code.dirty) != code.dirty:
        had, has = ("without", "has") if code.dirty else ("with", "has no")
        raise BenchError(
            f"{name} was measured {had} changes that no commit has, and the code now {has} such "
            "changes: start anew"
        )
    packages = machine["packages"]
    changed = environments.changed_packages(before.get("packages", packages), packages)
    if changed:
        raise BenchError(
            f"{name} was measured with other packages ({changed}): install those again, or start "
            "anew"
        )
    used = _as_read(asdict(policy))
    if environment.get("policy", used) != used:
        raise BenchError(f"{name} was measured with another policy: start anew")


def check_environments(
    before: Mapping[str, Mapping[str, Any]], name: str, now: Mapping[str, Environment]
) -> None:
    """Refuse to resume where the packages of another environment have changed.

    Raises:
        BenchError: names the environment and what changed in it.
    """
    for environment, found in now.items():
        changed = environments.difference(before.get(environment, {}), found)
        if changed:
            raise BenchError(
                f"{name} was measured with other packages in environment {environment} "
                f"({changed}): install those again, or start a new run"
            )


def _as_read(value: Any) -> Any:  # noqa: ANN401 - JSON is made of anything
    """Return a value as JSON gives it back."""
    if isinstance(value, dict):
        return {str(key): _as_read(part) for key, part in value.items()}
    return [_as_read(part) for part in value] if isinstance(value, (list, tuple)) else value


def seconds_used(environment: Mapping[str, Any], last_written: datetime) -> float:
    """Return how long the run had measured when its last row was written, without pauses.

    `used_s` is what it had used when it was last resumed.
    """
    resumed = [event for event in from_environment(environment) if event.kind is EventKind.RESUMED]
    began = str(resumed[-1].reason) if resumed else environment["started_utc"]
    since = (last_written - datetime.fromisoformat(began)).total_seconds()
    return float(environment.get("used_s") or 0.0) + max(0.0, since)


def restore(run: Run, scenarios: Iterable[Scenario]) -> Earlier:
    """Return what the files of a cut run tell of each scenario."""
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
        used_s=float(run.environment.get("used_s") or 0.0),
        decided_s={row.claim: row.decided_s for row in run.claims if row.decided_s is not None},
    )


def _outcome(
    scenario: Scenario,
    row: ScenarioRow | None,
    parity: ParityRow | None,
    workers: Mapping[str, Mapping[str, Any]],
) -> Outcome:
    """Return what is known of the scenario; nothing where its checks were not finished."""
    had_no_round = row is not None and row.rounds == 0 and row.status == Status.UNAVAILABLE
    if row is None or row.checked is False or had_no_round:
        return Outcome(scenario=scenario)
    conditions = dict(workers.get(scenario.id, {}))
    differs = list(conditions.pop(DIFFERS, ()))
    flop = row.gflop_per_s * row.median_ms * 1e6 if row.gflop_per_s and row.median_ms else None
    prepared: PrepareReply = {
        "prepare_s": row.prepare_s,
        "native_dtype": row.native_dtype,
        "build_s": row.build_s,
        "package_bytes": row.package_bytes,
        "load_ms": row.load_ms,
        "layers_replaced": row.layers_replaced,
        "flop_per_call": flop,
    }
    evidence: KernelsReply = {
        "isa": row.isa,
        "fused_ops": row.fused_ops,
        "layers_replaced": row.layers_replaced,
        "reorders": row.reorders,
        "graph": {"reorder_share": row.reorder_share, "cell": row.graph},
    }
    outcome = Outcome(
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
    )
    if row.joules_per_image is not None and row.joules_images:  # a mean alone would be one image's
        outcome.add_energy(row.joules_per_image * row.joules_images, row.joules_images)
    return outcome
