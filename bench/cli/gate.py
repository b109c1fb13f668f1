"""`bench gate` on the command line: which question is asked, and where the answer goes."""

from __future__ import annotations

import os
import shlex
import sys
from contextlib import suppress
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from bench.errors import BenchError, UsageError

if TYPE_CHECKING:
    from collections.abc import Callable

    from bench.gate.result import GateReport

_FILE = click.Path(path_type=Path, dir_okay=False)
_FOLDER = click.Path(path_type=Path, file_okay=False)
_QUESTIONS = ("against", "baseline", "policy", "write_policy")
_MEASURING = ("data", "good", "weights", "seed", "threads", "base_python", "output")
"""Options that mean something only where the gate measures."""


@click.command()
@click.option("--against", metavar="REV", help="Measure this tree against that commit.")
@click.option("--baseline", type=_FOLDER, metavar="RUN", help="A stored run to compare with.")
@click.option("--candidate", type=_FOLDER, metavar="RUN", help="The stored run to judge.")
@click.option("--policy", type=_FILE, metavar="FILE", help="Hold a run against these floors.")
@click.option("--write-policy", type=_FILE, metavar="FILE", help="Make floors of accepted runs.")
@click.option("--only", multiple=True, metavar="PATTERN", help="Scenario ids, `*` matches any.")
@click.option("--list", "list_", is_flag=True, help="List what can be compared, and stop.")
@click.option("--markdown", type=_FILE, metavar="FILE", help="Write a job summary.")
@click.option("--junit", type=_FILE, metavar="FILE", help="Write JUnit XML.")
@click.option("--json", "json_", type=_FILE, metavar="FILE", help="Write one JSON object.")
@click.option("--results", type=_FOLDER, default=Path("results"), help="Where run folders are.")
@click.option("--data", type=_FOLDER, default=Path("data/pills"), show_default=True, help="Images.")
@click.option("--good", metavar="NAME", help="Its folder of good pills, where not called good.")
@click.option("--weights", help="A pillqc model file, `imagenet` or `random`.")
@click.option("--seed", default=0, show_default=True, help="Seed of random weights and data order.")
@click.option("--threads", type=int, help="Threads a worker; physical cores by default.")
@click.option("--base-python", type=_FILE, help="Interpreter that runs the other commit.")
@click.option(
    "--output",
    type=_FOLDER,
    default=Path("reports/gate"),
    show_default=True,
    help="Where the raw rows of a measurement go.",
)
@click.argument("runs", nargs=-1, type=_FOLDER, metavar="[RUN]...")
@click.pass_context
def gate(context: click.Context, /, **options: Any) -> None:  # noqa: ANN401 - click's own options
    """Did it become slower? Against another commit, another run, or written floors.

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
    from bench.cli.main import stop_like_ctrl_c

    stop_like_ctrl_c()
    if options["list_"]:
        _list()
        return
    _check(context, options)
    if options["write_policy"] is not None:
        _write(options["write_policy"], options["runs"])
        return
    report = _answer(options)
    _tell(report, options)
    sys.exit(report.exit_code)


def _answer(options: dict[str, Any]) -> GateReport:
    """The answer to the question that was asked, also where there is nothing to compare."""
    from bench.gate.result import GateReport, NoVerdictError

    try:
        if options["policy"] is not None:
            return _against_floors(options)
        if options["baseline"] is not None:
            return _stored(options)
        return _measured(options)
    except NoVerdictError as error:
        return GateReport(
            title="Gate",
            compared="Nothing was compared.",
            repeat=shlex.join(["bench", *sys.argv[1:]]),
            problem=str(error),
        )


def _list() -> None:
    from bench.gate.gated import GATED, known

    for name in known():
        click.echo(f"{'*' if name in GATED else ' '} {name}")
    click.echo("* compared unless --only says otherwise")


def _check(context: click.Context, options: dict[str, Any]) -> None:
    """Refuse what does not go together.

    Raises:
        UsageError: two questions at once, half of one, or an option that would do nothing.
    """
    asked = [name for name in _QUESTIONS if options[name] is not None]
    if len(asked) > 1:
        raise UsageError(f"{_spell(asked)} are different questions: ask one")
    if (options["baseline"] is None) != (options["candidate"] is None):
        raise UsageError("--baseline and --candidate belong together: give both")
    question = asked[0] if asked else "against"
    runs = options["runs"]
    if question in ("against", "baseline") and runs:
        raise UsageError(f"a run's folder ({runs[0]}) needs --policy or --write-policy before it")
    if question == "policy" and len(runs) > 1:
        raise UsageError("--policy judges one run: give one folder")
    if question == "write_policy" and not runs:
        raise UsageError("--write-policy needs the accepted runs: name their folders")
    idle = [] if question == "against" else [*_MEASURING]
    idle += ["only"] if question in ("policy", "write_policy") else []
    given = [name for name in idle if _given(context, name)]
    if given:
        raise UsageError(f"{_spell(given)} would do nothing with {_spell([question])}")


def _given(context: click.Context, name: str) -> bool:
    source = context.get_parameter_source(name)
    return source not in (None, click.core.ParameterSource.DEFAULT)


def _spell(names: list[str]) -> str:
    return " and ".join(f"--{name.replace('_', '-')}" for name in names)


def _measured(options: dict[str, Any]) -> GateReport:
    from bench.gate.against import AgainstRequest, compare

    return compare(
        AgainstRequest(
            revision=options["against"],
            repository=Path.cwd(),
            only=options["only"],
            **{name: options[name] for name in _MEASURING},
        )
    )


def _stored(options: dict[str, Any]) -> GateReport:
    from bench.gate import stored

    baseline, candidate = (stored.read(options[side]) for side in ("baseline", "candidate"))
    return stored.compare(baseline, candidate, only=options["only"])


def _against_floors(options: dict[str, Any]) -> GateReport:
    from bench.gate import policy, stored
    from bench.report.command import newest_run

    floors = policy.read(options["policy"])
    folder = options["runs"][0] if options["runs"] else newest_run(options["results"])
    return policy.check(floors, stored.read(folder))


def _write(path: Path, runs: tuple[Path, ...]) -> None:
    from bench.gate import policy, stored

    written = policy.write(path, [stored.read(run) for run in runs])
    floors = sum(len(machine.floors) for machine in written.machines)
    click.echo(f"policy   {path}  ({floors} floors, {len(written.machines)} machines)")


def _tell(report: GateReport, options: dict[str, Any]) -> None:
    """Print the table and write what was asked for, and what GitHub Actions reads.

    Whatever cannot be written is a warning: the verdict took minutes, and its exit code stands.
    """
    from bench.gate import outputs

    markdown = outputs.markdown(report)
    _print(f"{outputs.terminal(report)}\n")
    for path, text in (
        (options["markdown"], markdown),
        (options["junit"], outputs.junit(report)),
        (options["json_"], outputs.as_json(report)),
    ):
        if path is not None:
            _try_to_write(path, text, _replace)
    summary = os.environ.get("GITHUB_STEP_SUMMARY")
    if summary:
        _try_to_write(Path(summary), markdown, _add)
    if os.environ.get("GITHUB_ACTIONS") == "true":
        _print(outputs.github(report))


def _try_to_write(path: Path, text: str, write: Callable[[Path, bytes], object]) -> None:
    try:
        write(path, text.encode())
    except (BenchError, OSError) as error:
        said = str(error) if isinstance(error, BenchError) else f"{path}: {error.strerror or error}"
        _print(f"bench: warning: {said}. The verdict stands\n", err=True)


def _replace(path: Path, content: bytes) -> None:
    from bench.store import durable

    path.parent.mkdir(parents=True, exist_ok=True)
    durable.replace(path, content)


def _add(path: Path, content: bytes) -> None:
    with path.open("ab") as file:
        file.write(content)


def _print(text: str, *, err: bool = False) -> None:
    """Print, or do without where nobody reads or the disk is full."""
    try:
        try:
            click.echo(text, nl=False, err=err)
        except UnicodeError:
            click.echo(text.encode("ascii", "backslashreplace"), nl=False, err=err)
    except OSError:
        stream = sys.stderr if err else sys.stdout
        with suppress(OSError):  # what is left of it would fail again when the interpreter ends
            os.dup2(os.open(os.devnull, os.O_WRONLY), stream.fileno())
