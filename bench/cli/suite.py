"""`bench suite`: measure many models."""

from __future__ import annotations

import sys
from typing import TYPE_CHECKING, Any

import click

from bench.cli import options
from bench.errors import BenchError
from bench.text.wording import listed
from pillqc import terminal

if TYPE_CHECKING:
    from pathlib import Path


@click.command()
@click.option("--only", "names", multiple=True, metavar="NAME", help="Only these models.")
@click.option(
    "--models", "file", type=options.FILE, help="A JSON file of your own models, which are added."
)
@click.option("--list", "list_", is_flag=True, help="List the models, and stop.")
@click.option("--budget", "budget_s", type=options.POSITIVE, default=100.0, help="Seconds a model.")
@options.seed
@options.threads
@click.option("--resume", type=options.FOLDER, metavar="SUITE", help="Go on with that suite.")
@click.option(
    "--again", type=options.FOLDER, metavar="SUITE", help="Only make that suite's page again."
)
@options.results
@options.reports
def suite(
    names: tuple[str, ...],
    file: Path | None,
    list_: bool,
    resume: Path | None,
    again: Path | None,
    results: Path,
    reports: Path,
    **effort: Any,  # noqa: ANN401 - the other options, which `measure.new` declares
) -> None:
    """Measure many models: does the answer of one fit the others?

    \b
    Examples:
      bench suite                        24 of torchvision's architectures, about an hour
      bench suite --only resnet18 --only vit_b_16 --only vgg16
      bench suite --models mine.json     yours beside them (docs/suite.md)
      bench suite --resume results/suite/20261128T170000Z
    """
    from bench.cli.studies import write_page
    from bench.plan.arguments import check_writable
    from bench.store import records
    from bench.suite import measure, models, page, result

    extra = models.read_models(file) if file else ()
    if list_:
        for model in models.chosen(names, extra):
            click.echo(f"{model.name:40} {model.kind}")
        return
    check_writable(reports, "--reports")
    is_interrupted = False
    if again or resume:
        options.refuse_idle("--again" if again else "--resume", "--reports")
    if again:
        chosen, _ = measure.read(again)
    elif resume:
        chosen = measure.resumed(resume)
    else:
        chosen = measure.new(results, models.chosen(names, extra), **effort)
    if not again:
        try:
            measure.measure(chosen, lambda text: terminal.say(f"suite    {text}"))
        except KeyboardInterrupt:
            is_interrupted = True
            terminal.say(f"bench: interrupted; go on with --resume {chosen.folder}")
    kept, failures = measure.read(chosen.folder)
    found = result.rows(kept, failures)
    records.replace_rows(kept.folder / "suite.csv", found, result.SuiteRow)
    write_page("suite", kept.folder, page.page(found), reports)
    if is_interrupted:
        sys.exit(options.INTERRUPTED)
    if failures and not again:
        raise BenchError(f"{listed([*failures], 3)} could not be measured: the page has why")
