"""The `pillqc` command, as tests call it."""

from __future__ import annotations

from click.testing import CliRunner, Result

from pillqc.commands.main import main


def run(*arguments: object) -> Result:
    """Run the command with these words in this process."""
    return CliRunner().invoke(main, [str(argument) for argument in arguments])
