"""`bench tutorial`: go through the tutorial and measure what it states."""

from __future__ import annotations

import sys
from typing import TYPE_CHECKING

import click

from bench.cli import options
from bench.errors import BenchError
from bench.text.wording import listed
from bench.tutorial.parts import BY_KEY
from pillqc import terminal

if TYPE_CHECKING:
    from pathlib import Path


@click.command()
@click.option(
    "--part", "only", multiple=True, type=click.Choice(list(BY_KEY)), help="Only this part."
)
@options.data
@options.good
@options.seed
@click.option("--resume", type=options.FOLDER, metavar="FOLDER", help="Go on with that tutorial.")
@click.option(
    "--again",
    type=options.FOLDER,
    metavar="FOLDER",
    help="Only make its page again from its files.",
)
@options.results
@options.reports
def tutorial(  # more than 8 parameters: click passes one for each option
    only: tuple[str, ...],
    data: Path,
    good: str | None,
    seed: int,
    resume: Path | None,
    again: Path | None,
    results: Path,
    reports: Path,
) -> None:
    """Go through the tutorial and measure what it states.

    About 12 minutes on two cores, one page. A part that fails keeps its place and its reason. A
    tutorial that was interrupted goes on with --resume.

    \b
    Examples:
      bench tutorial
      bench tutorial --data data/mvtec_pill       real pills
      bench tutorial --part model --part layers   only these
      bench tutorial --resume results/tutorial/20261128T200000Z
    """
    from bench.plan.arguments import check_writable
    from bench.store import durable, records
    from bench.tutorial import measure, page

    check_writable(reports, "--reports")
    is_interrupted = False
    if again or resume:
        options.refuse_idle(*(("--again",) if again else ("--resume", "--part")), "--reports")
    if again:
        chosen = measure.read(again)
    elif resume:
        chosen = measure.resumed(resume)
    else:
        chosen = measure.new(results, reports, data, good, seed)
    if not again:
        try:
            measure.measure(chosen, lambda text: terminal.say(f"tutorial {text}"), only=only)
        except KeyboardInterrupt:
            is_interrupted = True
            terminal.say(f"bench: interrupted; go on with --resume {chosen.place.folder}")
    environment = records.read_environment(chosen.place.folder)
    path = chosen.place.reports.with_suffix(".html")
    if "--reports" in options.given(click.get_current_context()):
        path = reports / "tutorial" / path.name
    content = page.render(chosen, environment, path)
    durable.replace(path, content.encode(), make_folder=True)
    click.echo(f"results  {chosen.place.folder}\nreport   {path}\n\n{page.text(chosen)}")
    if is_interrupted:
        sys.exit(options.INTERRUPTED)
    failed = [
        key
        for key, one in chosen.outcomes.items()
        if one.status == measure.FAILED and (not only or key in only)
    ]
    if failed and not again:
        raise BenchError(f"failed: {listed(failed)}; the page has why, --resume tries again")
