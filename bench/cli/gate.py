"""`bench gate`: choose the comparison, and write its report."""

from __future__ import annotations

import os
import shlex
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from bench.cli import options
from bench.errors import BenchError, UsageError
from bench.text.wording import count
from pillqc import terminal

if TYPE_CHECKING:
    from bench.gate.result import GateReport

_QUESTIONS = ("--against", "--baseline", "--policy", "--write-policy")
_MEASURING = ["--data", "--good", "--weights", "--seed", "--threads", "--base-python", "--output"]
"""Options that mean something only where the gate measures."""


@click.command()
@click.option("--against", metavar="REV", help="Measure this tree against that commit.")
@click.option(
    "--baseline", type=options.FOLDER, metavar="RUN", help="A stored run to compare with."
)
@click.option("--candidate", type=options.FOLDER, metavar="RUN", help="The stored run to judge.")
@click.option(
    "--policy", "floors", type=options.FILE, metavar="FILE", help="Compare a run with these floors."
)
@click.option(
    "--write-policy", type=options.FILE, metavar="FILE", help="Write floors from accepted runs."
)
@options.only
@click.option("--list", "list_", is_flag=True, help="List what can be compared, and stop.")
@click.option("--markdown", type=options.FILE, metavar="FILE", help="Write a job summary.")
@click.option("--junit", type=options.FILE, metavar="FILE", help="Write JUnit XML.")
@click.option("--json", "json_", type=options.FILE, metavar="FILE", help="Write one JSON object.")
@options.results
@options.data
@options.good
@options.weights
@options.seed
@options.threads
@click.option("--base-python", type=options.FILE, help="Interpreter that runs the other commit.")
@click.option(
    "--output",
    type=options.FOLDER,
    default=Path("reports/gate"),
    help="Where the raw rows of a measurement go.",
)
@click.argument("runs", nargs=-1, type=options.FOLDER, metavar="[RUN]...")
@click.pass_context
def gate(  # click passes each option as a parameter
    context: click.Context,
    /,
    runs: tuple[Path, ...],
    against: str | None,
    baseline: Path | None,
    candidate: Path | None,
    floors: Path | None,
    write_policy: Path | None,
    only: tuple[str, ...],
    list_: bool,
    markdown: Path | None,
    junit: Path | None,
    json_: Path | None,
    results: Path,
    **measuring: Any,  # noqa: ANN401 - the other options, which `AgainstRequest` declares
) -> None:
    """Say whether it became slower than a commit, a run or floors.

    Without an option: this working tree against the commit where it left the main branch.
    Exit codes: 0 pass, 10 regression, 11 no verdict possible, 1 the gate failed, 2 wrong usage.

    \b
    Examples:
      bench gate                                              this tree against the main branch
      bench gate --against HEAD~1 --only 'inference/*/b1'     against the commit before
      bench gate --baseline results/A --candidate results/B   two stored runs of one machine
      bench gate --write-policy floors.json results/A         floors from an accepted run
      bench gate --policy floors.json                         the newest run against them
    """
    from bench.gate import against as measured
    from bench.gate import outputs, policy, stored_runs, stored_speedups
    from bench.gate.result import GateReport, NoVerdictError

    _check(options.given(context), runs)
    if list_:
        _list()
        return
    if write_policy is not None:
        written = policy.write(write_policy, [stored_speedups.read(run) for run in runs])
        kept = count(sum(len(machine.floors) for machine in written.machines), "floor")
        of = count(len(written.machines), "machine")
        click.echo(f"policy   {write_policy}  ({kept}, {of})")
        return
    try:
        if floors is not None:
            run = runs[0] if runs else options.newest_run(results)
            report = policy.check(policy.read(floors), stored_speedups.read(run))
        elif baseline is not None and candidate is not None:
            report = stored_runs.compare(
                stored_speedups.read(baseline), stored_speedups.read(candidate), only=only
            )
        else:
            report = measured.compare(
                measured.AgainstRequest(
                    revision=against, repository=Path.cwd(), only=only, **measuring
                )
            )
    except NoVerdictError as error:
        report = GateReport(
            title="Gate",
            compared="Nothing was compared.",
            repeat=shlex.join(["bench", *sys.argv[1:]]),
            problem=str(error),
        )
    terminal.write(sys.stdout, f"{outputs.terminal(report)}\n")
    _write(report, markdown, junit, json_)
    sys.exit(report.exit_code)


def _list() -> None:
    from bench.gate.scenarios import GATED, known

    for name in known():
        click.echo(f"{'*' if name in GATED else ' '} {name}")
    click.echo("* compared unless --only says otherwise")


def _check(given: list[str], runs: tuple[Path, ...]) -> None:
    """Refuse options that do not go together.

    Raises:
        UsageError: two questions at once, half of one, or an option that would do nothing.
    """
    questions = [name for name in _QUESTIONS if name in given]
    if len(questions) > 1:
        raise UsageError(f"{' and '.join(questions)} are different questions: choose one")
    if ("--baseline" in given) != ("--candidate" in given):
        raise UsageError("--baseline and --candidate belong together: give both")
    question = questions[0] if questions else "--against"
    if "--list" in given and (others := [name for name in given if name != "--list"]):
        raise UsageError(f"{' and '.join(others)} would do nothing with --list")
    if question in ("--against", "--baseline") and runs:
        raise UsageError(f"a run's folder ({runs[0]}) needs --policy or --write-policy before it")
    if question == "--policy" and len(runs) > 1:
        raise UsageError("--policy judges one run: give one folder")
    if question == "--write-policy" and not runs:
        raise UsageError("--write-policy needs the accepted runs: name their folders")
    idle = [] if question == "--against" else [*_MEASURING]
    idle += ["--only"] if question in ("--policy", "--write-policy") else []
    idle += ["--markdown", "--junit", "--json"] if question == "--write-policy" else []
    if names := [name for name in idle if name in given]:
        raise UsageError(f"{' and '.join(names)} would do nothing with {question}")


def _write(
    report: GateReport, markdown: Path | None, junit: Path | None, json_: Path | None
) -> None:
    """Write the chosen files, and what GitHub Actions reads.

    A file that cannot be written is a warning: the verdict took minutes, and its exit code stays.
    """
    from bench.gate import outputs
    from bench.store import durable

    chosen = (
        (markdown, outputs.markdown(report)),
        (junit, outputs.junit(report)),
        (json_, outputs.as_json(report)),
    )
    for path, text in chosen:
        if path is not None:
            try:
                durable.replace(path, text.encode(), make_folder=True)
            except (BenchError, OSError) as error:
                _warn(path, error)
    if summary := os.environ.get("GITHUB_STEP_SUMMARY"):
        try:
            with Path(summary).open("ab") as file:
                file.write(outputs.markdown(report).encode())
        except OSError as error:
            _warn(Path(summary), error)
    if os.environ.get("GITHUB_ACTIONS") == "true":
        terminal.write(sys.stdout, outputs.github(report))


def _warn(path: Path, error: BenchError | OSError) -> None:
    reason = f"{path}: {error.strerror or error}" if isinstance(error, OSError) else str(error)
    terminal.say(f"bench: warning: {reason}. The verdict is not affected")
