"""`bench machine`: describe this machine."""

from __future__ import annotations

import json

import click

from bench.cli import options


@click.command()
@options.as_json
def machine(as_json: bool) -> None:
    """Show what this machine is and can do, and what is installed.

    \b
    Examples:
      bench machine
      bench machine --json | python -m json.tool
    """
    from bench import machine as this_machine
    from bench.store import run_folder

    description = this_machine.describe()
    code = run_folder.commit()
    if as_json:
        facts = {"commit": code.revision, "dirty": code.dirty, "commit_unknown": code.unknown}
        click.echo(json.dumps({**facts, "machine": description}, indent=2))
        return
    changes = ", with changes" if code.dirty else ""
    click.echo(this_machine.render(description))
    click.echo(f"Commit          {code.revision or f'not known: {code.unknown}'}{changes}")
