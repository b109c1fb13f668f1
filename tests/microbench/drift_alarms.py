"""How soon a changed lamp raises the drift alarm of `pillqc inspect`, and how often none did.

    PYTHONPATH=. .venv/bin/python tests/microbench/drift_alarms.py

Rendered pills: 1,504 make the reference as a training does, 1,504 others are inspected.
"""

from __future__ import annotations

import sys
import tempfile
from pathlib import Path

import click
import numpy as np
from PIL import Image

sys.path.insert(0, str(Path(__file__).parents[2]))

from pillqc.data.folders import read_samples
from pillqc.inspection.drift import Alarm, DriftCheck, Reference, drift_reference
from pillqc.inspection.novelty import image_statistics
from pillqc.rendering.dataset import RenderPlan, render_dataset

BEFORE = 200
"""Pills under the known lamp before it changes."""
AFTER = 100
LINES = 50
"""Simulated lines for each lamp."""
LONG = 200_000
"""Pills without a change."""


def statistics(root: Path, gain: float = 1.0) -> list[tuple[str, dict[str, float]]]:
    """Return each picture's defect and statistics, with its levels multiplied by `gain`."""
    found = []
    for sample in read_samples(root):
        with Image.open(sample.path) as image:
            levels = np.asarray(image.convert("RGB"), np.float32) * gain
        shown = Image.fromarray(levels.clip(0, 255).round().astype(np.uint8))
        found.append((sample.defect, image_statistics(shown)))
    return found


def alarms(reference: Reference | None, pictures: list[dict[str, float]]) -> list[Alarm]:
    """Return the alarms of one line."""
    check = DriftCheck(reference)
    for one in pictures:
        check.add(one)
    return check.alarms


@click.command()
def main() -> None:
    """Print the table of docs/measured/drift.md."""
    rng = np.random.default_rng(1)
    with tempfile.TemporaryDirectory() as folder:
        roots = [Path(folder) / name for name in ("known", "others")]
        for number, root in enumerate(roots):
            plan = RenderPlan(seed=101 * (number + 1), train_good=0, test_good=1000, per_defect=72)
            render_dataset(root, plan)
        known, others = (statistics(root) for root in roots)
        lamps = {gain: statistics(roots[1], gain) for gain in (0.9, 0.95, 1.05, 1.1)}
    reference = drift_reference([one for _, one in known], [name != "good" for name, _ in known])
    good = [one for name, one in others if name == "good"]
    every = [one for _, one in others]
    for name, pool in (("good pills", good), ("good and bad mixed", every)):
        line = [pool[at] for at in rng.integers(0, len(pool), LONG)]
        click.echo(f"{name}: {len(alarms(reference, line))} alarms in {LONG:,} pills")
    for gain, pictures in lamps.items():
        changed = [one for name, one in pictures if name == "good"]
        noticed = []
        for _ in range(LINES):
            line = [good[at] for at in rng.integers(0, len(good), BEFORE)]
            line += [changed[at] for at in rng.integers(0, len(changed), AFTER)]
            found = alarms(reference, line)
            noticed.append(found[0].picture - BEFORE if found else AFTER + 1)
        click.echo(f"lamp x {gain}: noticed after {min(noticed)} to {max(noticed)} pills")
    for name in sorted({name for name, _ in others}):
        line = [one for kind, one in others if kind == name][:72]
        click.echo(f"72 pills in a row, {name}: {len(alarms(reference, line))} alarms")


if __name__ == "__main__":
    main()
