"""Run the tutorial's parts one after the other; a part that is done is not run again.

results/tutorial/<id>/environment.json     settings, machine, commit, what became of each part
results/tutorial/<id>/<part>/N.out, N.log  what each of the part's commands printed, and other files
"""

from __future__ import annotations

import shlex
import subprocess
import sys
import time
from dataclasses import asdict, dataclass, field, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from bench import machine
from bench.errors import BenchError, UsageError
from bench.plan import arguments
from bench.plan.thresholds import DEFAULT
from bench.run import measure as runs
from bench.store import records, run_folder
from bench.store.run_folder import Commit
from bench.text.numbers import spell_seconds
from bench.text.wording import last_line
from bench.tutorial.parts import BY_KEY, PARTS, Place

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from bench.tutorial.parts import Command, Part

DONE, FAILED = "done", "failed"
_RENDERED = "manifest.csv"
"""The file by which a folder of rendered pills is known."""
_REASON_CHARACTERS = 300
_STOP_S = 20.0
"""Seconds that an interrupted command gets to end its workers."""


@dataclass(frozen=True, kw_only=True)
class Outcome:
    """What became of a part."""

    status: str
    """`done`, or `failed` with the reason."""
    seconds: float
    commands: tuple[str, ...]
    """As they can be typed."""
    reason: str = ""


@dataclass(kw_only=True)
class Tutorial:
    """A tutorial's place, machine and outcomes so far."""

    place: Place
    machine: dict[str, Any]
    code: Commit = field(default_factory=Commit)
    """What every part is measured with."""
    synthetic: bool | None = None
    """Whether the pills were rendered when the tutorial began; earlier versions kept no answer."""
    outcomes: dict[str, Outcome] = field(default_factory=dict)

    def save(self) -> None:
        """Write environment.json."""
        place = self.place
        kept = {
            "run_id": place.folder.name,
            "study": "tutorial",
            "complete": all(part.key in self.outcomes for part in PARTS),
            "notes": [],
            "command": ["bench", "tutorial", *place.pills, "--seed", str(place.seed)],
            **self.code.kept,
            "policy": asdict(DEFAULT),
            "machine": self.machine,
            "data": str(place.data),
            "good": place.good,
            "synthetic": self.synthetic,
            "seed": place.seed,
            "reports": str(place.reports),
            "parts": {key: vars(outcome) for key, outcome in self.outcomes.items()},
        }
        place.folder.mkdir(parents=True, exist_ok=True)
        records.write_environment(place.folder, kept)


def new(results: Path, reports: Path, data: Path, good: str | None, seed: int) -> Tutorial:
    """Return a tutorial in a new folder of `results`/tutorial."""
    name = run_folder.stamp()
    described = machine.describe()
    place = Place(
        folder=results / "tutorial" / name,
        reports=reports / "tutorial" / name,
        data=data,
        good=good,
        has_bf16=bool(described.get("native_bf16")),
        seed=seed,
    )
    synthetic = (data / _RENDERED).is_file()
    return Tutorial(place=place, machine=described, code=run_folder.commit(), synthetic=synthetic)


def read(folder: Path) -> Tutorial:
    """Read a tutorial from its folder.

    Raises:
        RecordError: the folder has no environment.json, or the file is damaged.
        UsageError: it is another study's.
    """
    kept = records.read_environment(folder)
    try:
        place = Place(
            folder=folder,
            reports=Path(kept["reports"]),
            data=Path(kept["data"]),
            good=kept["good"],
            has_bf16=bool(kept["machine"].get("native_bf16")),
            seed=int(kept["seed"]),
        )
        outcomes = {
            key: Outcome(**{**one, "commands": tuple(one["commands"])})
            for key, one in kept["parts"].items()
            if key in BY_KEY
        }
        return Tutorial(
            place=place,
            machine=kept["machine"],
            code=Commit.of(kept),
            synthetic=kept.get("synthetic"),
            outcomes=outcomes,
        )
    except (ValueError, KeyError, TypeError, AttributeError) as error:
        raise UsageError(f"{folder} is not the folder of a tutorial") from error


def resumed(folder: Path) -> Tutorial:
    """Read a tutorial to go on with it here, with the same code.

    Raises:
        RecordError, UsageError: as by `read`.
        BenchError: machine, code, packages or policy differ from those that it began with.
    """
    tutorial = read(folder)
    code = runs.check_began_here(records.read_environment(folder), folder.resolve().name)
    return replace(tutorial, code=code)


def measure(
    tutorial: Tutorial,
    say: Callable[[str], None],
    *,
    only: Sequence[str] = (),
    run: Callable[[Command, Path, Path], str] | None = None,
) -> None:
    """Run every part that is not done; a part that fails keeps its reason and stops nothing.

    `run(command, output, log)` runs a command into two files and returns why it failed, or "".

    Raises:
        BenchError: a part works on pills, and there is no folder of them.
        KeyboardInterrupt: passed on; the same tutorial can be gone on with.
    """
    left = [
        part
        for part in PARTS
        if (not only or part.key in only) and not _is_done(tutorial.outcomes.get(part.key))
    ]
    if any(part.of_pills for part in left):
        arguments.check_pills(tutorial.place.data)
    tutorial.save()
    for number, part in enumerate(left):
        seconds = sum(one.seconds for one in left[number:])
        say(f"{part.key}: {part.title}; about {spell_seconds(seconds)} left")
        tutorial.outcomes[part.key] = _outcome(tutorial, part, run or run_command)
        tutorial.save()


def _is_done(outcome: Outcome | None) -> bool:
    return outcome is not None and outcome.status == DONE


def _outcome(tutorial: Tutorial, part: Part, run: Callable[[Command, Path, Path], str]) -> Outcome:
    started = time.monotonic()
    ran: list[str] = []
    reason = ""
    if part.needs and not _is_done(tutorial.outcomes.get(part.needs)):
        reason = f"it needs the files of the part {part.needs}, which is not done"
    try:
        commands = [] if reason else part.commands(tutorial.place)
    except (BenchError, OSError) as error:
        commands, reason = [], str(error)
    folder = tutorial.place.of(part.key)
    folder.mkdir(parents=True, exist_ok=True)
    for number, command in enumerate(commands, start=1):
        ran.append(shlex.join(command))
        reason = run(command, folder / f"{number}.out", folder / f"{number}.log")
        if reason:
            break
    return Outcome(
        status=FAILED if reason else DONE,
        seconds=time.monotonic() - started,
        commands=tuple(ran),
        reason=reason[:_REASON_CHARACTERS],
    )


def run_command(command: Command, output: Path, log: Path) -> str:
    """Run a command, and return the last line that it printed if it failed; empty if it did not."""
    words = [sys.executable, "-m", *command]
    with output.open("wb") as out, log.open("wb") as errors:
        process = subprocess.Popen(words, stdout=out, stderr=errors, stdin=subprocess.DEVNULL)
        try:
            code = process.wait()
        except BaseException:
            process.terminate()
            try:
                process.wait(_STOP_S)
            except subprocess.TimeoutExpired:
                process.kill()
                process.wait()
            raise
    if code == 0:
        return ""
    last = last_line(log.read_text(encoding="utf-8", errors="replace"), "it printed no reason")
    return f"`{' '.join(command[:2])}` ended with exit code {code}: {last}"
