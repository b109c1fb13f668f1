"""`bench gate` on the command line: which question is asked, and where the answer goes."""

from __future__ import annotations

import os
import sys
from pathlib import Path
from typing import TYPE_CHECKING

import click

from bench.errors import UsageError

if TYPE_CHECKING:
    from bench.gate.result import GateReport

_PATH = click.Path(path_type=Path)


@click.command()
@click.option("--baseline", type=_PATH, metavar="RUN", help="A stored run to compare with.")
@click.option("--candidate", type=_PATH, metavar="RUN", help="The stored run to judge.")
@click.option("--policy", type=_PATH, metavar="FILE", help="Hold a run against these floors.")
@click.option("--write-policy", type=_PATH, metavar="FILE", help="Make floors of accepted runs.")
@click.option("--only", multiple=True, metavar="PATTERN", help="Scenario ids, `*` matches any.")
@click.option("--markdown", type=_PATH, metavar="FILE", help="Write a job summary.")
@click.option("--junit", type=_PATH, metavar="FILE", help="Write JUnit XML.")
@click.option("--json", "json_", type=_PATH, metavar="FILE", help="Write one JSON object.")
@click.option(
    "--results",
    type=click.Path(path_type=Path, file_okay=False),
    default=Path("results"),
    help="Where run folders are.",
)
@click.argument("runs", nargs=-1, type=_PATH)
def gate(
    baseline: Path | None,
    candidate: Path | None,
    policy: Path | None,
    write_policy: Path | None,
    only: tuple[str, ...],
    markdown: Path | None,
    junit: Path | None,
    json_: Path | None,
    results: Path,
    runs: tuple[Path, ...],
) -> None:
    """Did it become slower? Exit code 0 pass, 10 regression, 11 no verdict, 1 failed, 2 usage.

    \b
    Examples:
      bench gate --baseline results/A --candidate results/B   two runs of one machine
      bench gate --write-policy floors.json results/A         floors from an accepted run
      bench gate --policy floors.json                         the newest run against them
    """
    from bench.gate import policy as policies
    from bench.gate import stored

    _one_question(baseline=baseline, candidate=candidate, policy=policy, write=write_policy)
    if write_policy is not None:
        _write(write_policy, runs)
        return
    if policy is not None:
        run = _one_run(runs, results)
        report = policies.check(policies.read(policy), stored.read(run))
    elif baseline is not None and candidate is not None:
        if runs:
            raise UsageError("--baseline and --candidate name the runs: give no others")
        report = stored.compare(stored.read(baseline), stored.read(candidate), only=only)
    else:
        raise UsageError("say what to compare: --baseline and --candidate, or --policy")
    _tell(report, markdown=markdown, junit=junit, json_=json_)
    sys.exit(report.exit_code)


def _one_question(
    *, baseline: Path | None, candidate: Path | None, policy: Path | None, write: Path | None
) -> None:
    if (baseline is None) != (candidate is None):
        raise UsageError("--baseline and --candidate belong together: give both")
    if sum(option is not None for option in (baseline, policy, write)) > 1:
        raise UsageError("--baseline, --policy and --write-policy are different questions: ask one")


def _one_run(runs: tuple[Path, ...], results: Path) -> Path:
    from bench.cli import newest_run

    if len(runs) > 1:
        raise UsageError("--policy judges one run: give one folder")
    return runs[0] if runs else newest_run(results)


def _write(path: Path, runs: tuple[Path, ...]) -> None:
    from bench.gate import policy as policies
    from bench.gate import stored

    if not runs:
        raise UsageError("--write-policy needs the accepted runs: name their folders")
    written = policies.write(path, [stored.read(run) for run in runs])
    floors = sum(len(machine.floors) for machine in written.machines)
    click.echo(f"policy   {path}  ({floors} floors, {len(written.machines)} machines)")


def _tell(
    report: GateReport, *, markdown: Path | None, junit: Path | None, json_: Path | None
) -> None:
    """Print the table and write what was asked for, and what GitHub Actions reads."""
    from bench import durable
    from bench.gate import outputs

    click.echo(outputs.terminal(report))
    for path, text in (
        (markdown, outputs.markdown(report)),
        (junit, outputs.junit(report)),
        (json_, outputs.as_json(report)),
    ):
        if path is not None:
            path.parent.mkdir(parents=True, exist_ok=True)
            durable.replace(path, text.encode())
    summary = os.environ.get("GITHUB_STEP_SUMMARY")
    if summary:
        with Path(summary).open("a", encoding="utf-8") as file:
            file.write(outputs.markdown(report))
    if os.environ.get("GITHUB_ACTIONS") == "true":
        click.echo(outputs.github(report), nl=False)
