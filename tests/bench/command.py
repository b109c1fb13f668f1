"""The `bench` command, as tests call it."""

from __future__ import annotations

from click.testing import CliRunner, Result

from bench.cli.main import cli


def bench(*arguments: object) -> Result:
    """Run the command with these words in this process."""
    return CliRunner().invoke(cli, [str(one) for one in arguments], catch_exceptions=False)
