"""Group all commands under `bench`, and handle their errors and signals.

Exit codes: 0 success, 1 a failure that one line explains, 2 wrong usage, 130 interrupted.
`bench gate` adds 10 (confirmed regression) and 11 (no verdict).
"""

from __future__ import annotations

import signal
from typing import TYPE_CHECKING, Any

import click

from bench.cli import studies
from bench.cli.export import export
from bench.cli.gate import gate
from bench.cli.machine import machine
from bench.cli.options import INTERRUPTED
from bench.cli.recommend import recommend
from bench.cli.report import report
from bench.cli.run import run
from bench.cli.scenarios import scenarios
from bench.cli.selfcheck import selfcheck
from bench.cli.suite import suite
from bench.cli.tutorial import tutorial
from bench.errors import BenchError
from pillqc import terminal
from pillqc.shadowing import hidden_package

if TYPE_CHECKING:
    from types import FrameType
    from typing import NoReturn


class _Group(click.Group):
    """Commands whose failures are one line, unless `--debug` asks for the traceback."""

    def invoke(self, ctx: click.Context) -> Any:  # noqa: ANN401 - click's own signature
        try:
            return super().invoke(ctx)
        except BenchError as error:
            if ctx.params.get("debug"):
                raise
            terminal.say(f"bench: {error}")
            ctx.exit(error.exit_code)
        except KeyboardInterrupt:
            terminal.say("bench: interrupted")
            ctx.exit(INTERRUPTED)
        except OSError as error:
            if ctx.params.get("debug") or isinstance(error, BrokenPipeError):  # click handles it
                raise
            place = f" ({error.filename})" if error.filename else ""
            terminal.say(f"bench: {error.strerror or error}{place}")
            ctx.exit(1)


@click.group(
    cls=_Group, context_settings={"help_option_names": ["-h", "--help"], "show_default": True}
)
@click.option("--debug", is_flag=True, help="Show the traceback of a failure.")
@click.version_option(package_name="pillqc-bench")
def cli(debug: bool) -> None:  # noqa: ARG001 - the group reads it
    """Which way of running this model on this CPU is fastest, and how sure are we?

    \b
    Examples:
      bench run                          measure the standard matrix, write CSVs and the report
      bench run --profile smoke          a few minutes, one scenario of each kind
      bench run --only '*/ipex/*b1'      only some scenarios (their baseline is added)
      bench report                       make the newest run's report again
      bench recommend                    which way to use on this machine, and the code for it
      bench gate                         did it become slower? an exit code for CI
      bench machine                      what this machine is and can do
      bench scenarios                    what would be measured, and what is left out and why
      bench selfcheck --quick            can this machine's figures be believed?
      bench tutorial                     the tutorial's statements, measured here
    """
    if hidden := hidden_package():
        raise BenchError(hidden)


for command in (
    run,
    report,
    gate,
    machine,
    scenarios,
    export,
    recommend,
    selfcheck,
    suite,
    tutorial,
    studies.operators,
    studies.stages,
    studies.instances,
    studies.load,
    studies.accuracy,
):
    cli.add_command(command)


def stop_like_ctrl_c() -> None:
    """Let SIGTERM and SIGHUP end a command as Ctrl-C does: whole rows, and no worker left behind.

    A signal that the caller has this process ignore, as `nohup` does, stays ignored. A terminal
    closes once, and the shell and the kernel may both tell of it: the second SIGHUP, which would
    interrupt the writing of what was measured, is ignored.
    """

    def interrupt(number: int, _frame: FrameType | None) -> NoReturn:
        if number == signal.SIGHUP:
            signal.signal(number, signal.SIG_IGN)
        raise KeyboardInterrupt

    for number in (signal.SIGTERM, signal.SIGHUP):
        if signal.getsignal(number) is not signal.SIG_IGN:
            signal.signal(number, interrupt)


def main() -> None:
    """Run the `bench` command."""
    stop_like_ctrl_c()
    cli.main(prog_name="bench")
