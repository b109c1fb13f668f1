"""Slow a layer of the model on purpose, measure it as a run does, and see what is named as cause.

    PYTHONPATH=. .venv/bin/python tests/microbench/slowed_layers.py             # twenty tries
    PYTHONPATH=. .venv/bin/python tests/microbench/slowed_layers.py --tries 5   # five of them

Each try is a small run with real workers: stock default, its control, and stock default with one
layer of VGG-16 that is computed several times, or on one thread. The seed draws a different layer
and way for each try, such that the layer makes a call at least a tenth longer. A try is right where
the page's explanation of the two has that layer first. Tries are kept in --out after each one, so
that the same command goes on after a kill; other work on the machine counts into the figures.
"""

from __future__ import annotations

import json
import random
import tempfile
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Final

import click

from bench.analysis import layers
from bench.analysis.run_facts import Facts
from bench.engine.launcher import Launcher, worker_options
from bench.errors import BenchError
from bench.machine import worker_settings
from bench.plan.profiles import PROFILES
from bench.plan.scenario import SLOWED_LAYER, Scenario, Task, Verdict, stock_default
from bench.plan.thresholds import DEFAULT as POLICY
from bench.report import why
from bench.run.runner import Runner
from bench.store import records, run_folder
from bench.text import wording
from tests.bench.made_up_layers import GFLOP, NAMES

if TYPE_CHECKING:
    from collections.abc import Sequence

    from bench.analysis.comparison import Comparison
    from bench.engine.worker_process import WorkerHandle

PLACES: Final = (0, 2, 5, 7, 10, 12, 14, 17, 19, 21, 24, 26, 28)
"""Of the convolutions of VGG-16 among its features."""
SHARES: Final = tuple(gflop / sum(GFLOP) for gflop in GFLOP)
"""Of a call's arithmetic, for each convolution."""
LEAST: Final = 0.10
"""Of a call: what is planted makes it longer by at least so much."""
ALONE: Final = "alone"
WAYS: Final = ("2", "3", "4", "5", ALONE)
"""How often the layer is computed, or that it is on one thread; two threads are as twice."""
PLAIN: Final = stock_default(Task.INFERENCE, 1)
PROFILE: Final = replace(PROFILES["smoke"], min_rounds=5)
"""More rounds than its three: other work may spoil some of them."""


@dataclass(frozen=True, kw_only=True)
class Try:
    """What was planted, and what the explanation said."""

    seed: int
    threads: int
    number: int
    layer: str
    way: str
    commit: str | None
    difference: str
    """The paired difference, as the page has it."""
    named: str
    """The first part of the explanation."""
    share: float
    """Of the difference, for that part."""
    accounted: tuple[float, float]
    """The share of each side's timed median that the logged calls account for."""
    sentence: str

    @property
    def is_right(self) -> bool:
        """Whether the layer is first, alone or together with others of the same arithmetic."""
        first, _, last = self.named.partition(" to ")
        names = NAMES[NAMES.index(first) : NAMES.index(last or first) + 1] if first in NAMES else ()
        return self.layer in names

    @property
    def is_shown(self) -> bool:
        """Whether a difference was shown; without one the page names no cause."""
        return self.difference.endswith(Verdict.SLOWER)

    @property
    def is_alone(self) -> bool:
        """Whether it is named alone: a layer that ran more often cannot be told from its like."""
        return self.named == self.layer


def planted(seed: int, threads: int = 2) -> list[tuple[str, str]]:
    """Return each layer and way that makes a call longer by the least share, in a drawn order."""
    found = [
        (name, way)
        for name, share in zip(NAMES, SHARES, strict=True)
        for way in WAYS[: None if threads > 1 else -1]
        if share * (1 if way == ALONE else int(way) - 1) >= LEAST
    ]
    random.Random(seed).shuffle(found)
    return found


def measured(slow: Scenario, data: Path, folder: Path, cpus: tuple[int, ...]) -> Facts:
    """Run stock default and the slowed scenario, in one launch; return what the page knows."""
    records.write_environment(folder, {"run_id": folder.name})
    for name in (run_folder.LOGS, run_folder.OUTPUTS):
        (folder / name).mkdir()
    launcher = Launcher(
        folder=folder,
        cpus=cpus,
        options=worker_options(data=data, weights="random", seed=0),
    )

    def launch(key: Scenario, is_control: bool, number: int) -> WorkerHandle:
        return launcher.start(f"{key.backend}-{is_control}-{number}", key)

    Runner(
        run_id=folder.name,
        folder=folder,
        profile=PROFILE,
        scenarios=(PLAIN, slow),
        policy=POLICY,
        budget_s=1.0,  # used up by the first launch, which has its rounds in any case
        launch=launch,
    ).measure()
    return Facts(records.read_run(folder))


def tried(number: int, seed: int, data: Path, cpus: tuple[int, ...]) -> Try:
    """Make one try.

    Raises:
        BenchError: another run is measuring on this machine.
    """
    layer, way = planted(seed, len(cpus))[number]
    place = PLACES[NAMES.index(layer)]
    slow = replace(PLAIN, backend="planted", options=(f"{SLOWED_LAYER}=features.{place}:{way}",))
    with run_folder.only_run_here(), tempfile.TemporaryDirectory(prefix="slowed-") as folder:
        facts = measured(slow, data, Path(folder), cpus)
    reason = layers.why_not(facts, slow.id, PLAIN.id)
    if reason is not None:
        raise click.ClickException(reason)
    found = layers.explain(
        layers.log_of(facts, slow.id), layers.log_of(facts, PLAIN.id), facts.policy.log
    )
    first = found.ordered()[0]
    return Try(
        seed=seed,
        threads=len(cpus),
        number=number,
        layer=layer,
        way=way,
        commit=run_folder.commit().revision,
        difference=difference(facts.compare(slow.id, PLAIN.id)),
        named=first.name,
        share=found.share(first),
        accounted=(found.accounted(found.first) or 0.0, found.accounted(found.second) or 0.0),
        sentence=why.why(facts, (slow.id, PLAIN.id)).sentence,
    )


def difference(comparison: Comparison | None) -> str:
    """Return the speed of the slowed one over the plain one, with its interval and verdict."""
    if comparison is None or comparison.ratio is None:
        return "none"
    return f"{wording.with_interval(comparison)}, {comparison.verdict}"


def table(tries: Sequence[Try]) -> str:
    """Return a Markdown table of the tries, and their sum."""
    lines = [
        "| | planted | slowed over plain | named first | of the difference | accounted for |",
        "|---|---|---|---|---|---|",
    ]
    for one in tries:
        way = "on one thread" if one.way == ALONE else f"{one.way} times"
        accounted = ", ".join(f"{share:.0%}" for share in one.accounted)
        mark = "" if one.is_right else " **(wrong)**"
        lines.append(
            f"| {one.number + 1} | {one.layer}, {way} | {one.difference} | {one.named}{mark} "
            f"| {one.share:.0%} | {accounted} |"
        )
    right, alone = (sum(getattr(one, name) for one in tries) for name in ("is_right", "is_alone"))
    enough = sum(min(one.accounted) >= POLICY.log.accounted_share for one in tries)
    shown = [one for one in tries if one.is_shown]
    named = sum(one.is_right for one in shown)
    found = (
        f"The slowed layer is first in {right} of {len(tries)} tries, in {alone} of them alone. "
        f"A difference was shown, so that the page names a cause, in {len(shown)}: the slowed "
        f"layer in {named} of these. The logged calls account for "
        f"{POLICY.log.accounted_share:.0%} of both sides in {enough}."
    )
    return "\n".join([*lines, "", found])


@click.command(help=__doc__)
@click.option("--tries", type=click.IntRange(1, len(planted(0, 1))), default=20, show_default=True)
@click.option("--seed", default=0, show_default=True, help="Draws what is slowed.")
@click.option("--threads", type=int, help="Threads of every worker; default: as a run has.")
@click.option("--data", type=click.Path(path_type=Path), default=Path("data/pills"))
@click.option("--out", type=click.Path(path_type=Path), default=Path("reports/slowed-layers.json"))
def main(tries: int, seed: int, threads: int | None, data: Path, out: Path) -> None:
    """Make the tries that are missing and print the table."""
    cpus = worker_settings.chosen_cpus(threads)
    kept = [Try(**one) for one in json.loads(out.read_text())] if out.exists() else []
    same = (one for one in kept if (one.seed, one.threads) == (seed, len(cpus)))
    found = {one.number: one for one in same}
    for number in range(tries):
        if number not in found:
            try:
                found[number] = tried(number, seed, data.resolve(), cpus)
            except BenchError as error:
                raise click.ClickException(str(error)) from error
            kept.append(found[number])
            out.parent.mkdir(exist_ok=True)
            out.write_text(json.dumps([asdict(one) for one in kept], indent=1) + "\n")
            click.echo(f"{number + 1} of {tries}: {found[number].sentence}", err=True)
    click.echo(table([found[number] for number in range(tries)]))


if __name__ == "__main__":
    main()
