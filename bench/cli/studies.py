"""The studies on the command line: `bench operators` and its siblings."""

from __future__ import annotations

import functools
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

if TYPE_CHECKING:
    from collections.abc import Callable

    from bench.studies.page import Page

_FOLDER = click.Path(path_type=Path, file_okay=False)


def common(*, data: bool) -> Callable[[Callable[..., None]], Callable[..., None]]:
    """The options that every study has."""

    def decorate(command: Callable[..., None]) -> Callable[..., None]:
        options = [
            click.option(
                "--profile", default="smoke", show_default=True, help="smoke, standard or full."
            ),
            click.option("--budget", type=float, help="Seconds of measuring."),
            click.option(
                "--threads", type=int, help="Threads a worker; physical cores by default."
            ),
            click.option(
                "--results", type=_FOLDER, default=Path("results"), help="Where folders go."
            ),
            click.option(
                "--reports", type=_FOLDER, default=Path("reports"), help="Where pages go."
            ),
            click.option(
                "--again",
                type=_FOLDER,
                metavar="FOLDER",
                help="Make the page of that study again from its files; measure nothing.",
            ),
        ]
        if data:
            options += [
                click.option(
                    "--data",
                    type=_FOLDER,
                    default=Path("data/pills"),
                    show_default=True,
                    help="Pill images in MVTec AD's layout.",
                ),
                click.option(
                    "--good",
                    metavar="NAME",
                    help="Its folder of good pills, where not called good.",
                ),
                click.option("--weights", help="A pillqc model file, `imagenet` or `random`."),
                click.option("--seed", type=int, default=0, show_default=True),
            ]
        return functools.reduce(lambda made, option: option(made), reversed(options), command)

    return decorate


_backends = click.option(
    "--backend", "backends", multiple=True, help="Also measure openvino or onnxruntime."
)


@click.command()
@common(data=False)
@click.option("--case", "names", multiple=True, help="Only these cases; all by default.")
@click.option("--replaced", is_flag=True, help="List what IPEX replaces; measure nothing.")
def operators(
    names: tuple[str, ...],
    replaced: bool,
    again: Path | None,
    **request: Any,  # noqa: ANN401
) -> None:
    """ROIAlign and NMS: stock torchvision against IPEX, on shapes of Mask R-CNN.

    \b
    Examples:
      bench operators                    a few minutes
      bench operators --profile standard --case nms-1000-no_grad
      bench operators --replaced         every operator that importing IPEX replaces
    """
    from bench.studies import operators as study

    if replaced:
        click.echo(study.replaced_operators())
        return
    measure = functools.partial(study.measure, names)
    _run("operators", measure, study.read_page, again, request)


@click.command()
@common(data=True)
@_backends
def stages(again: Path | None, **request: Any) -> None:  # noqa: ANN401
    """Images from disk to decisions: where the time goes, and what IPEX can touch at all.

    \b
    Examples:
      bench stages                       a few minutes, one image at a time
      bench stages --profile standard --weights model.safetensors
      bench stages --backend openvino --backend onnxruntime
    """
    from bench.studies import stages as study

    _run("stages", study.measure, study.read_page, again, request)


@click.command()
@common(data=True)
@_backends
@click.option("--config", multiple=True, metavar="NxM", help="N workers with M cores; else all.")
@click.option("--batch", type=int, default=1, show_default=True, help="Images a call.")
def instances(
    config: tuple[str, ...],
    batch: int,
    again: Path | None,
    **request: Any,  # noqa: ANN401
) -> None:
    """Throughput of N workers with M cores each, and how one worker scales with cores.

    \b
    Examples:
      bench instances                    every split of the cores of one node
      bench instances --config 1x8 --config 4x2 --profile standard
    """
    from bench.studies import instances as study

    measure = functools.partial(study.measure, config, batch)
    _run("instances", measure, study.read_page, again, request)


@click.command()
@common(data=True)
@_backends
@click.option("--rate", "rates", type=float, multiple=True, help="Images per second; else a grid.")
@click.option("--bound-ms", type=float, help="Latency bound of p99; else five calls of stock.")
def load(
    rates: tuple[float, ...],
    bound_ms: float | None,
    again: Path | None,
    **request: Any,  # noqa: ANN401
) -> None:
    """Latency under a fixed arrival rate, and the highest rate that meets a bound.

    \b
    Examples:
      bench load --bound-ms 300          six minutes on two cores: p99 needs its hundred requests
      bench load --profile standard --rate 4 --rate 6 --rate 8
    """
    from bench.studies import load as study

    measure = functools.partial(study.measure, rates, bound_ms)
    _run("load", measure, study.read_page, again, request)


@click.command()
@common(data=True)
@click.option("--target", type=float, default=0.9, show_default=True, help="Share told right.")
@click.option("--max-steps", type=int, default=120, show_default=True, help="Where to give up.")
def accuracy(
    target: float,
    max_steps: int,
    again: Path | None,
    **request: Any,  # noqa: ANN401
) -> None:
    """Time to accuracy: training from the same start with the same batches, stock and IPEX.

    \b
    Examples:
      bench accuracy                     one seed, to its end: some minutes
      bench accuracy --profile full      five seeds: intervals over them
    """
    from bench.studies import accuracy as study

    measure = functools.partial(study.measure, target, max_steps)
    _run("accuracy", measure, study.read_page, again, request)


def _run(
    name: str,
    measure: Callable[..., Path],
    read_page: Callable[[Path], Page],
    again: Path | None,
    options: dict[str, Any],
) -> None:
    """Measure, or take what was measured, and tell it."""
    from bench.cli.main import stop_like_ctrl_c
    from bench.plan.arguments import check_writable
    from bench.plan.profiles import profile_named
    from bench.studies.workplace import StudyRequest

    reports = options.pop("reports")
    options.update(
        profile=profile_named(options["profile"]),
        budget_s=options.pop("budget"),
    )
    check_writable(reports, "--reports")
    stop_like_ctrl_c()
    folder = again or measure(StudyRequest(**options))
    tell(name, folder, read_page(folder), reports)


def tell(name: str, folder: Path, page: Page, reports: Path) -> None:
    """Write the page and print the same as text."""
    from bench.store import durable, records
    from bench.studies import page as pages

    environment = records.read_environment(folder)
    path = reports / name / f"{folder.resolve().name}.html"
    path.parent.mkdir(parents=True, exist_ok=True)
    durable.replace(path, pages.render(page, folder, environment).encode())
    click.echo(f"results  {folder}")
    click.echo(f"report   {path}")
    click.echo()
    click.echo(pages.text(page, environment))
