"""Show parts 4 to 8: the pills, the model, its training, its layers and its predictions."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, Any

from bench.plan.scenario import Dtype
from bench.text.wording import percent
from bench.tutorial import sizes
from bench.tutorial.finding import (
    DOES_NOT,
    HOLDS,
    UNSEEN,
    Finding,
    Found,
    Text,
    object_of,
    objects_of,
    text_of,
    unseen,
)
from bench.tutorial.parts import SIZES
from bench.tutorial.pictures import pictures_in
from bench.tutorial.speed import TRAINED, run_of, sooner, trained

if TYPE_CHECKING:
    from collections.abc import Iterator

    from bench.tutorial.parts import Place

_TRAINED = re.compile(r"([\d,]+) of ([\d,]+) parameters train")
_TRAIN, _PARAMETERS = 7_080_450, 14_715_714
_FROZEN = _PARAMETERS - _TRAIN
_REPLACED = re.compile(r"(\d+) layers are IPEX's")
_MARKED = 8
"""Pictures of inspected pills on the page; the others lie beside them."""
_CAPTIONS = {
    "gallery.png": "A row for each kind of pill, the good ones first.",
    "mean_good.png": "The mean of the good pills.",
    "mean_bad.png": "The mean of the bad pills.",
    "difference.png": "Mean bad minus mean good: red where bad pills are brighter, blue where they "
    "are darker, faint where shuffled labels differ as much.",
}


def pills(place: Place) -> Found:
    """Return galleries, mean images, and where they differ."""
    found = object_of(place.of("pills") / "1.out")
    statement = "The mean images of good and bad pills differ by more than chance"
    finding = unseen(statement)
    if isinstance(share := found.get("share"), int | float):
        finding = Finding(
            statement=statement,
            verdict=HOLDS if share > 0 else DOES_NOT,
            number=str(found.get("sentence", percent(share))),
        )
    figures = place.of("pills") / "figures"
    return Found(findings=(finding,), pictures=pictures_in(figures, _CAPTIONS))


def model(place: Place) -> Found:
    """Return the model's layers, and which part trains."""
    lines = text_of(place.of("model") / "1.out")
    found = _TRAINED.search("\n".join(lines))
    statement = f"Only the last block and the head train: {_TRAIN:,} of {_PARAMETERS:,} parameters"
    finding = unseen(statement)
    if found:
        trained, every = (int(number.replace(",", "")) for number in found.groups())
        more = every - _PARAMETERS  # outputs for defects that a model names beside good and bad
        named = f"; {more:,} of them are outputs that name defects" if more > 0 else ""
        finding = Finding(
            statement=statement,
            verdict=HOLDS if every - trained == _FROZEN and more >= 0 else DOES_NOT,
            number=f"{trained:,} of {every:,}{named}",
        )
    return Found(findings=(finding,), texts=(Text(title="Its layers", lines=lines),))


def training(place: Place) -> Found:
    """Return how the training went, and IPEX's time to the target against stock's."""
    lines = text_of(place.of("training") / "1.out")
    last = next((line for line in lines if line.startswith("trained for ")), "")
    statement = "Training reaches the target accuracy"
    finding = unseen(statement)
    if last:
        verdict = HOLDS if "stopped at target" in last else DOES_NOT
        finding = Finding(statement=statement, verdict=verdict, number=last)
    sooner_in_fp32 = "Training with IPEX in fp32 is sooner at the target"
    in_fp32 = sooner(trained(place), TRAINED.format(Dtype.FP32), sooner_in_fp32)
    return Found(
        findings=(finding, in_fp32),
        remarks=(
            "It starts from the shipped model's blocks 1 to 4, not from ImageNet's weights.",
            "The times to the target are those of part 2.",
        ),
        texts=(Text(title="What it printed", lines=lines),),
    )


def layers(place: Place) -> Found:
    """Return the trained model's layers after ipex.optimize."""
    lines = text_of(place.of("layers") / "1.out")
    found = _REPLACED.search("\n".join(lines))
    statement = "After ipex.optimize the listing has IPEX's layers"
    finding = unseen(statement)
    if found:
        verdict = HOLDS if int(found[1]) else DOES_NOT
        finding = Finding(statement=statement, verdict=verdict, number=f"{found[1]} are IPEX's")
    return Found(findings=(finding,), texts=(Text(title="Before and after", lines=lines),))


def predictions(place: Place) -> Found:
    """Return the decisions about pills that the training did not see, with boxes and maps."""
    folder = place.of("predictions")
    decisions = [one.get("decision") for one in objects_of(folder / "1.out")]
    findings = []
    if decisions:
        bad = decisions.count("bad")
        findings.append(
            Finding(
                statement="Some unseen pills are called bad",
                verdict=HOLDS if bad else DOES_NOT,
                number=f"{bad} of {len(decisions)}",
            )
        )
    findings += _figures(object_of(folder / "2.out"))
    smallest = sizes.table(place, run_of(place)[0], SIZES)
    return Found(
        findings=tuple(findings) or (unseen("The model decides about unseen pills"),),
        tables=(smallest,) if smallest else (),
        pictures=(
            *pictures_in(folder / "marked", {}, most=_MARKED),
            *pictures_in(folder / "figures", {}),
        ),
    )


def _figures(found: dict[str, Any]) -> Iterator[Finding]:
    """Yield what `pillqc evaluate` found; the tutorial gives the training accuracy alone."""
    if isinstance(pointing := found.get("pointing_game"), int | float):
        yield Finding(
            statement="Heat maps show where the defect is",
            verdict=HOLDS if pointing > 0.5 else DOES_NOT,
            number=f"the hottest place is on the defect in {percent(pointing)} of the bad pills",
        )
    yield from _share(
        found.get("recall_bad"), "Bad pills are found more often than not", "escapes", misses=True
    )
    yield from _share(
        found.get("false_rejects"), "Good pills pass more often than not", "false rejects"
    )


def _share(
    found: object, statement: str, errors: str, *, misses: bool = False
) -> Iterator[Finding]:
    """Yield the finding of a share of errors with its exact interval; `misses`: of what is left."""
    if not isinstance(found, dict) or found.get("share") is None:
        return
    count, total = int(found["count"]), int(found["n"])
    low, high = float(found["low"]), float(found["high"])
    if misses:
        count, low, high = total - count, 1 - high, 1 - low
    verdict = DOES_NOT if low > 0.5 else UNSEEN
    yield Finding(
        statement=f"{statement} (not told in the tutorial)",
        verdict=HOLDS if high < 0.5 else verdict,
        number=f"{count} {errors} of {total}, 95 % interval {percent(low)} to {percent(high)}",
    )
