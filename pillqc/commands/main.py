"""The command `pillqc`: its group, and how errors become one line."""

from __future__ import annotations

import io
import sys
from typing import Any

import click

from pillqc import __version__
from pillqc.commands import benchmarking, data, exporting, judging, sharding, training
from pillqc.data.read_options import SECONDS, read_options
from pillqc.errors import PillqcError, shown
from pillqc.limits import follow_quota
from pillqc.memory import keep_heap
from pillqc.shadowing import hidden_package

_INTERRUPTED = 130


class _Group(click.Group):
    """Turns our errors into one line and an exit code; `--debug` shows the traceback.

    It keeps its heap, for batch after batch takes the same memory, and has no more threads than a
    CPU quota of its control group carries.
    """

    def invoke(self, ctx: click.Context) -> Any:  # noqa: ANN401 - click's own signature
        keep_heap()
        follow_quota()
        for stream in (sys.stdout, sys.stderr):  # no name may end a command, whatever the locale
            if isinstance(stream, io.TextIOWrapper):
                stream.reconfigure(errors="backslashreplace")
        try:
            with read_options(seconds=ctx.params["file_seconds"], bits=ctx.params["bits"]):
                return super().invoke(ctx)
        except PillqcError as error:
            if ctx.params.get("debug"):
                raise
            click.echo(f"pillqc: {shown(error)}", err=True)
            ctx.exit(error.exit_code)
        except KeyboardInterrupt:
            click.echo("pillqc: interrupted", err=True)
            ctx.exit(_INTERRUPTED)
        except OSError as error:
            if ctx.params.get("debug") or isinstance(error, BrokenPipeError):  # click's to end
                raise
            place = f" ({shown(error.filename)})" if error.filename else ""
            click.echo(f"pillqc: {error.strerror or error}{place}", err=True)
            ctx.exit(1)


@click.group(cls=_Group, context_settings={"help_option_names": ["-h", "--help"]})
@click.option("--debug", is_flag=True, help="Show the traceback of an error.")
@click.option(
    "--bits",
    type=click.IntRange(9, 16),
    help="How many bits the camera fills in files of 16, where they do not say so.",
)
@click.option(
    "--file-seconds",
    type=click.FloatRange(0, min_open=True),
    default=SECONDS,
    show_default=True,
    help="A file that takes longer to decode is given up.",
)
@click.version_option(__version__, prog_name="pillqc")
def main(**_options: object) -> None:
    """Good pill or bad pill, and where is the defect?

    \b
    Examples:
      pillqc render --out data/pills
      pillqc train --data data/pills --out model.safetensors
      pillqc evaluate --data data/pills --model model.safetensors
      pillqc inspect photo.png --model model.safetensors
    """
    if hidden := hidden_package():
        raise PillqcError(hidden)


for _command in (
    data.render_command,
    data.prepare_command,
    data.explore_command,
    data.check_split_command,
    training.train_command,
    training.summary_command,
    judging.evaluate_command,
    judging.inspect_command,
    sharding.merge_command,
    judging.card_command,
    exporting.export_command,
    benchmarking.benchmark_command,
):
    main.add_command(_command)
