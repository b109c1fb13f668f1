"""`bench operators`, `stages`, `instances`, `load` and `accuracy`: measure a study."""

from __future__ import annotations

import functools
import sys
from typing import TYPE_CHECKING, Any

import click

from bench.cli import options
from bench.errors import UsageError

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    from bench.studies.page import Page
    from bench.studies.study_folder import StudyRequest

    _Command = Callable[..., None]

_again = click.option(
    "--again",
    type=options.FOLDER,
    metavar="FOLDER",
    help="Make the page of that study again from its files; measure nothing.",
)


def _all_of(*given: Callable[[_Command], _Command]) -> Callable[[_Command], _Command]:
    return lambda command: functools.reduce(lambda so_far, option: option(so_far), given, command)


_study = _all_of(
    _again,
    options.reports,
    options.results,
    options.threads,
    options.budget("by default a share of the profile's"),
    options.profile("smoke"),
)
_of_pills = _all_of(options.seed, options.weights, options.good, options.data, options.only)


@click.command()
@_study
@click.option(
    "--case", "cases", multiple=True, metavar="PATTERN", help="Names of cases, `*` matches any."
)
@click.option("--replaced", is_flag=True, help="List what IPEX replaces; measure nothing.")
def operators(cases: tuple[str, ...], replaced: bool, **common: Any) -> None:  # noqa: ANN401 - see _run
    """Compare IPEX's operators and fused patterns with stock's.

    \b
    Examples:
      bench operators                    some minutes, all usual cases
      bench operators --case 'conv-relu-*' --case 'linear-relu-*'
      bench operators --profile standard --case nms-1000-no_grad
      bench operators --replaced         every operator that importing IPEX replaces
    """
    from bench.studies import operators as study
    from bench.studies import operators_page, replaced_operators

    if replaced:
        click.echo(replaced_operators.table())
        return
    _run("operators", functools.partial(study.measure, cases), operators_page.read_page, **common)


@click.command()
@_study
@_of_pills
@options.backends
def stages(**common: Any) -> None:  # noqa: ANN401 - see _run
    """Time each stage of an image's way from disk to decision.

    \b
    Examples:
      bench stages                       a few minutes, one image at a time
      bench stages --profile standard --weights model.safetensors
      bench stages --backend openvino --backend onnxruntime
      bench stages --only 'inference/*/bf16/*' --only 'inference/stock/compile/fp32/*'
    """
    from bench.studies import stages as study

    _run("stages", study.measure, study.read_page, **common)


@click.command()
@_study
@_of_pills
@options.backends
@click.option("--config", multiple=True, metavar="NxM", help="N workers with M cores; else all.")
@click.option("--batch", type=click.IntRange(min=1), default=1, help="Images a call.")
def instances(config: tuple[str, ...], batch: int, **common: Any) -> None:  # noqa: ANN401 - see _run
    """Measure the throughput of N workers with M cores each.

    \b
    Examples:
      bench instances                    the cores of one node, split in halves
      bench instances --config 1x8 --config 4x2 --profile standard
      bench instances --batch 8 --only 'inference/stock/compile/*'
    """
    from bench.studies import instances as study

    _run("instances", functools.partial(study.measure, config, batch), study.read_page, **common)


@click.command()
@_study
@_of_pills
@options.backends
@click.option(
    "--rate", "rates", type=options.POSITIVE, multiple=True, help="Images per second; else a grid."
)
@click.option(
    "--bound-ms",
    type=options.POSITIVE,
    help="Bound of the p99 latency; by default the time of five calls of stock.",
)
def load(rates: tuple[float, ...], bound_ms: float | None, **common: Any) -> None:  # noqa: ANN401 - see _run
    """Measure latency at arrival rates, and the highest rate.

    \b
    Examples:
      bench load --bound-ms 300          six minutes on two cores: p99 needs its hundred requests
      bench load --profile standard --rate 4 --rate 6 --rate 8
      bench load --only 'inference/*/int8/*'
    """
    from bench.studies import load as study

    _run("load", functools.partial(study.measure, rates, bound_ms), study.read_page, **common)


@click.command()
@_study
@_of_pills
@click.option("--target", type=float, default=0.9, help="Share of correct decisions.")
@click.option("--max-steps", type=int, default=120, help="Steps at most.")
@click.option(
    "--seeds",
    type=click.IntRange(min=1),
    metavar="N",
    help="Seeds to train from, by default as many as the profile says; cut by --budget alone.",
)
@click.option(
    "--image-size",
    type=click.IntRange(32, 1024),
    metavar="PIXELS",
    help="Pixels a side, by default 224; smaller images allow more seeds in the same time.",
)
def accuracy(target: float, max_steps: int, seeds: int | None, **common: Any) -> None:  # noqa: ANN401 - see _run
    """Measure how long training takes to a target accuracy.

    All scenarios start from the same weights and get the same batches.

    \b
    Examples:
      bench accuracy                     one seed, to its end: some minutes
      bench accuracy --seeds 3           intervals over seeds, and how accurate bf16 is
      bench accuracy --seeds 3 --image-size 112
      bench accuracy --only 'training/*/compile/*'
    """
    from bench.studies import accuracy as study
    from bench.studies import accuracy_page

    measure = functools.partial(study.measure, target, max_steps, seeds)
    _run("accuracy", measure, accuracy_page.read_page, **common)


def _run(
    name: str,
    measure: Callable[[StudyRequest], Path],
    read_page: Callable[[Path], Page],
    *,
    reports: Path,
    again: Path | None,
    profile: str,
    budget: float | None,
    **request: Any,  # noqa: ANN401 - the other options of a study, which `StudyRequest` declares
) -> None:
    """Measure, or read what was measured; write the page and print the same as text."""
    from bench.plan import arguments
    from bench.plan.profiles import PROFILES
    from bench.store import records
    from bench.studies.study_folder import StudyRequest

    arguments.check_writable(reports, "--reports")
    if again is not None:
        options.refuse_idle("--again", "--reports")
        study = records.read_environment(again).get("study")
        if study != name:
            what = f"of bench {study}" if study else "of a run"
            raise UsageError(f"{again} is {what}, not of bench {name}: name one of results/{name}")
    folder = again or measure(StudyRequest(profile=PROFILES[profile], budget_s=budget, **request))
    write_page(name, folder, read_page(folder), reports)
    if again is None and records.read_environment(folder).get("interrupted"):
        sys.exit(options.INTERRUPTED)


def write_page(name: str, folder: Path, page: Page, reports: Path) -> None:
    """Write a study's page and print the same as text."""
    from bench.store import durable, records
    from bench.studies import page as pages

    environment = records.read_environment(folder)
    path = reports / name / f"{folder.resolve().name}.html"
    durable.replace(path, pages.render(page, folder, environment).encode(), make_folder=True)
    click.echo(f"results  {folder}\nreport   {path}\n\n{pages.text(page, environment)}")
