"""Group all subcommands under `pillqc`, and show their errors as one line."""

from __future__ import annotations

import io
import sys
from typing import Any

import click

from pillqc import __version__
from pillqc.commands import comparison, data, evaluation, inspection, model, training
from pillqc.commands.common import FiniteRange
from pillqc.data.read_options import SECONDS, read_options
from pillqc.errors import PillqcError, shown
from pillqc.limits import follow_quota
from pillqc.memory import keep_heap
from pillqc.shadowing import hidden_package
from pillqc.terminal import say

_INTERRUPTED = 130


class _Group(click.Group):
    """Prepares the process, and turns errors into one line and an exit code.

    The process keeps its heap, because every batch needs the same memory, and starts no more
    threads than the CPU quota of its control group allows.
    """

    def invoke(self, ctx: click.Context) -> Any:  # noqa: ANN401 - click's own signature
        keep_heap()
        follow_quota()
        for stream in (sys.stdout, sys.stderr):  # names that the locale cannot print
            if isinstance(stream, io.TextIOWrapper):
                stream.reconfigure(errors="backslashreplace")
        try:
            with read_options(seconds=ctx.params["file_seconds"], bits=ctx.params["bits"]):
                return super().invoke(ctx)
        except PillqcError as error:
            if ctx.params.get("debug"):
                raise
            say(f"pillqc: {shown(error)}")
            ctx.exit(error.exit_code)
        except KeyboardInterrupt:
            say("pillqc: interrupted")
            ctx.exit(_INTERRUPTED)
        except OSError as error:
            if ctx.params.get("debug") or isinstance(error, BrokenPipeError):  # click ends it
                raise
            place = f" ({shown(error.filename)})" if error.filename else ""
            say(f"pillqc: {error.strerror or error}{place}")
            ctx.exit(1)


@click.group(
    cls=_Group, context_settings={"help_option_names": ["-h", "--help"], "show_default": True}
)
@click.option("--debug", is_flag=True, help="Show the traceback of an error.")
@click.option(
    "--bits",
    type=click.IntRange(9, 16),
    help="Bits that the camera fills in 16-bit files that do not say so.",
)
@click.option(
    "--file-seconds",
    type=FiniteRange(min=0, min_open=True, max=86_400),
    default=SECONDS,
    help="Give up a file that takes longer to decode.",
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
    training.calibrate_command,
    comparison.compare_command,
    model.summary_command,
    evaluation.evaluate_command,
    inspection.inspect_command,
    inspection.merge_command,
    model.card_command,
    model.export_command,
    evaluation.benchmark_command,
):
    main.add_command(_command)
