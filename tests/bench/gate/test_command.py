"""The command refuses what does not go together, and the parent stays free of torch."""

from __future__ import annotations

import subprocess
import sys

import pytest
from click.testing import CliRunner, Result

from bench import cli


def gate(*arguments: str) -> Result:
    """The command as a user types it."""
    return CliRunner().invoke(cli.cli, ["gate", *arguments], catch_exceptions=False)


def test_help_has_examples_and_the_exit_codes() -> None:
    """What CI authors look for first."""
    result = gate("--help")
    assert result.exit_code == 0
    for words in ("\n    bench gate --against", "0 pass, 10 regression, 11 no verdict possible"):
        assert words in result.output


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (("--against", "HEAD", "--policy", "p"), "--against and --policy are different questions"),
        (("--baseline", "a"), "--baseline and --candidate belong together"),
        (("--candidate", "a"), "--baseline and --candidate belong together"),
        (("results/a",), "needs --policy or --write-policy before it"),
        (("--against", "HEAD", "results/a"), "needs --policy or --write-policy before it"),
        (("--policy", "p", "a", "b"), "judges one run"),
        (("--write-policy", "p"), "needs the accepted runs"),
        (("--policy", "p", "--only", "x"), "--only would do nothing with --policy"),
        (("--policy", "p", "--seed", "0", "--data", "."), "--data and --seed would do nothing"),
    ],
)
def test_what_does_not_go_together_is_wrong_usage(arguments: tuple[str, ...], words: str) -> None:
    """Exit code 2 and one line, before anything is read or measured."""
    result = gate(*arguments)
    assert result.exit_code == 2
    assert words in result.stderr
    assert len(result.stderr.strip().splitlines()) == 1


@pytest.mark.parametrize(
    "module", ["bench.gate.against", "bench.gate.command", "bench.gate.policy", "bench.export"]
)
def test_the_gate_never_imports_torch(module: str) -> None:
    """Torch's threads and memory would be in the process that measures."""
    code = (
        f"import sys, {module}\n"
        "sys.exit(bool({'torch', 'pillqc'} & {name.split('.')[0] for name in sys.modules}))"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)
    assert done.returncode == 0, f"{module} imports torch or pillqc\n{done.stderr}"
