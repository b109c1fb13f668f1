"""Show parts 1 to 3: predictions, training and operators, stock PyTorch against IPEX.

What is missing or damaged makes a statement that cannot be seen, never an error.
"""

from __future__ import annotations

from collections import defaultdict
from contextlib import suppress
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from bench.analysis.claims import BF16, IPEX
from bench.analysis.run_facts import Facts, of_task
from bench.analysis.scenario_kinds import is_a_choice
from bench.analysis.winners import bf16_pairs
from bench.errors import RecordError
from bench.plan.operators import LINEAR_RELU
from bench.plan.scenario import AUTO_KERNELS, CONTROL_SUFFIX, MEASURED, Dtype, Task, Verdict
from bench.plan.thresholds import DEFAULT, STUDIES
from bench.report.method import PUBLISHED, published
from bench.store import records
from bench.studies import accuracy, accuracy_page, operators, operators_page
from bench.studies.operators import NOTHING_FUSED
from bench.text.wording import bounds, count, spoken, times
from bench.tutorial.finding import (
    DOES_NOT,
    HOLDS,
    UNSEEN,
    Finding,
    Found,
    Text,
    faster,
    text_of,
    unseen,
)

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence
    from pathlib import Path

    from bench.analysis.comparison import Comparison
    from bench.analysis.run_facts import Group
    from bench.report.table import Table
    from bench.studies.accuracy import AccuracyRow
    from bench.studies.operators import OperatorRow
    from bench.tutorial.parts import Place

KEEPS_ACCURACY = 2.5
"""Images: a loss of so many of those on which accuracy is taken counts as none."""
_DIFFERENT = (Verdict.FASTER, Verdict.SLOWER)
_EMULATED = "bf16 is emulated on this CPU"
_MKL = (
    f"IPEX's linear layers are MKL's by default, which fuses nothing; {AUTO_KERNELS} makes them "
    "oneDNN's"
)
TRAINED = "training/ipex/eager/{}/channels_last/b8/frozen"
"""The participant that trains with IPEX in a dtype."""


# ---- predictions ---------------------------------------------------------------------------------


def predictions(place: Place) -> Found:
    """Return what the run says about prediction times."""
    facts, group = run_of(place)
    if facts is None or group is None:
        return Found(findings=(unseen("IPEX predicts faster than stock PyTorch"),))
    best = _best_of_ipex(facts, group)
    row = facts.scenarios.get(best.scenario) if best else None
    first = PUBLISHED[0]
    over_default = faster(
        "IPEX predicts faster than stock PyTorch as it is",
        best,
        otherwise="IPEX was not measured",
        by=f" with {spoken(row)} at batch {row.batch_size}" if row else "",
        published=f"{first.speedup} ({first.what}; {first.versions}, {first.machine})",
    )
    over_tuned = (
        faster(
            f"IPEX is faster than stock PyTorch that is set up well, in {dtype} (not compared in "
            "the tutorial)",
            facts.claims.answer(IPEX, group.noise_name, dtype),
            otherwise=f"{_EMULATED}: nobody would choose it"
            if dtype is Dtype.BF16 and facts.native_bf16 is False
            else f"one of the two was not measured in {dtype}",
        )
        for dtype in (Dtype.FP32, Dtype.BF16)
    )
    return Found(
        findings=(over_default, *over_tuned),
        remarks=("Published figures are history: other versions, another machine.",),
        tables=(published(),),
        pages=_pages(place, "speed"),
    )


def run_of(place: Place) -> tuple[Facts | None, Group | None]:
    """Return the run of part 1 and its group of batch 1; None without a readable one."""
    found = sorted(path.parent for path in place.of("speed").glob("*/environment.json"))
    try:
        facts = Facts(records.read_run(found[-1])) if found else None
    except RecordError:
        return None, None
    groups = of_task(facts.groups, Task.INFERENCE) if facts else []
    return facts, groups[0] if groups else None


def _bf16_over_fp32(facts: Facts, group: Group) -> tuple[Comparison | None, str]:
    """Return the best in bf16 over the best in fp32; else the best way in bf16 over itself in fp32.

    No claim is made of bf16 where it is emulated. The text is the way's name, where it is one way.
    """
    if (claim := facts.claims.answer(BF16, group.noise_name)) is not None:
        return claim, ""
    pairs = [
        (found, spoken(row))
        for row, twin in bf16_pairs(facts)
        if row in facts.groups[group]
        and (found := facts.compare(row.scenario, twin.scenario)) is not None
        and found.is_valid
    ]
    return max(pairs, key=lambda pair: pair[0].estimate, default=(None, ""))


def _best_of_ipex(facts: Facts, group: Group) -> Comparison | None:
    default = facts.default_of(group)
    names = [
        row.scenario
        for row in facts.groups[group]
        if row.backend == "ipex" and row.status in MEASURED and is_a_choice(row)
    ]
    return facts.claims.best_over(names, default) if default else None


# ---- training ------------------------------------------------------------------------------------


@dataclass(frozen=True, kw_only=True)
class Trained:
    """The study of part 2: every evaluation, and the target."""

    rows: tuple[AccuracyRow, ...] = ()
    target: float = 1.0
    images: int = STUDIES.accuracy_evaluated
    """On which accuracy was taken."""
    image_size: int | None = None
    """Pixels a side, where they are not the inspector's."""
    failures: Mapping[str, str] = field(default_factory=dict)
    """By participant: why it was not measured."""
    tables: tuple[Table, ...] = ()

    def why_not(self, participant: str) -> str | None:
        """Return why a participant has no figure; None where it was trained."""
        return self.failures.get(participant) or (None if self.rows else "it was not measured")

    @property
    def on(self) -> str:
        """The images, as the end of a number's sentence."""
        return f", on images of {self.image_size} pixels" if self.image_size else ""


def trained(place: Place) -> Trained:
    """Read the study of part 2; empty without a readable one."""
    folder = _study(place, "bf16")
    if folder is None:
        return Trained()
    try:
        rows, _ = records.read_rows(folder / "accuracy.csv", accuracy.AccuracyRow)
        kept = records.read_environment(folder)
        return Trained(
            rows=tuple(rows),
            target=float(kept["target"]),
            images=int(kept.get("evaluated") or STUDIES.accuracy_evaluated),
            image_size=kept.get("image_size"),
            failures={name: str(one["reason"]) for name, one in kept.get("failures", {}).items()},
            tables=accuracy_page.read_page(folder).tables,
        )
    except (RecordError, AttributeError, KeyError, TypeError, ValueError):
        return Trained()


def _study(place: Place, key: str) -> Path | None:
    found = sorted(path.parent for path in place.of(key).glob("*/*/environment.json"))
    return found[-1] if found else None


def bf16(place: Place) -> Found:
    """Return what bf16 is on this machine, and what training in it gains and loses."""
    facts, group = run_of(place)
    native = Finding(
        statement="The CPU computes in bf16 itself",
        verdict=HOLDS if place.has_bf16 else DOES_NOT,
        number="native" if place.has_bf16 else "emulated: it has neither AVX512_BF16 nor AMX",
    )
    compared, way = _bf16_over_fp32(facts, group) if facts and group else (None, "")
    predicting = faster(
        "Predictions in bf16 are faster than in fp32",
        compared,
        otherwise="it was not measured" if place.has_bf16 else _EMULATED,
        by=f" with {way}" if way else "",
    )
    study = trained(place)
    return Found(
        findings=(
            native,
            predicting,
            sooner(
                study,
                TRAINED.format(Dtype.BF16),
                "Training with IPEX in bf16 is sooner at the target",
            ),
            keeps_accuracy(study, TRAINED.format(Dtype.BF16)),
        ),
        tables=study.tables,
        pages=_pages(place, "bf16"),
    )


def keeps_accuracy(study: Trained, participant: str) -> Finding:
    """Return whether the accuracy of a training in bf16 is that of the same in fp32."""
    statement = "Training in bf16 keeps the accuracy of fp32"
    found = accuracy.less_fp32(study.rows, participant, study.images, DEFAULT)
    if why := study.why_not(participant):
        return unseen(statement, why)
    if found is None or found.seeds < 2:
        seeds = count(found.seeds if found else 0, "seed")
        return unseen(statement, f"{seeds} trained in both; an interval needs two")
    margin = KEEPS_ACCURACY / study.images
    verdict = DOES_NOT if found.high < -margin else UNSEEN
    mean, low, high = (100 * one for one in (found.mean, found.low, found.high))
    return Finding(
        statement=statement,
        verdict=HOLDS if found.low >= -margin else verdict,
        number=f"bf16 minus fp32: {mean:+.1f} points [{low:+.1f}, {high:+.1f}] over {found.seeds} "
        f"seeds{study.on}; one image is {100 / study.images:.1f} points",
    )


def sooner(study: Trained, participant: str, statement: str) -> Finding:
    """Return whether a way of training reached the target sooner than stock default."""
    found = accuracy.reached(study.rows, study.target)
    ratio = accuracy.over_default(found, participant, DEFAULT)
    if why := study.why_not(participant):
        return unseen(statement, why)
    if ratio is None:
        return unseen(statement, "the two did not reach the target from the same seed")
    number = f"{times(ratio.estimate)} over stock default"
    if ratio.rounds < 2:
        return unseen(statement, f"{number} from one seed{study.on}; an interval needs two")
    verdict = DOES_NOT if ratio.high < 1 else UNSEEN
    return Finding(
        statement=statement,
        verdict=HOLDS if ratio.low > 1 else verdict,
        number=f"{number} {bounds(ratio.low, ratio.high)}, {ratio.rounds} seeds{study.on}",
    )


# ---- operators -----------------------------------------------------------------------------------


def operator_cases(place: Place) -> Found:
    """Return what IPEX gains in single operators, and which it replaces."""
    folder = _study(place, "operators")
    rows: Sequence[OperatorRow] = ()
    if folder is not None:
        with suppress(RecordError):
            rows, _ = records.read_rows(folder / "operators.csv", operators.OperatorRow)
    kinds: dict[tuple[str, str], list[OperatorRow]] = defaultdict(list)
    unlike: dict[tuple[str, str], list[OperatorRow]] = defaultdict(list)
    for row in rows:
        if row.backend.startswith("ipex") and row.fusion != "off":
            kinds[row.operator, row.context].append(row)
        if row.backend.endswith(CONTROL_SUFFIX) and row.verdict in _DIFFERENT:
            unlike[row.operator, row.context].append(row)
    findings = [_operator(*kind, found, unlike[kind]) for kind, found in kinds.items()]
    replaced = text_of(place.of("operators") / "2.out")
    return Found(
        findings=tuple(findings) or (unseen("IPEX's operators are faster than stock PyTorch's"),),
        tables=operators_page.page(rows).tables if rows else (),
        texts=(Text(title="What importing IPEX replaces", lines=replaced),) if replaced else (),
        pages=_pages(place, "operators"),
    )


def _operator(
    operator: str, context: str, rows: Sequence[OperatorRow], unlike: Sequence[OperatorRow]
) -> Finding:
    """Return whether every scenario of an operator with a valid verdict is faster.

    Args:
        operator: its name.
        context: with or without gradients.
        rows: of IPEX.
        unlike: of stock's controls, whose processes differ although they run the same.
    """
    statement = f"{operator} is faster with IPEX ({context})"
    valid = [row for row in rows if row.speedup is not None and row.verdict != Verdict.INVALID]
    missing = "; ".join(dict.fromkeys(_missing(row) for row in rows if row not in valid))
    if not valid:
        return unseen(statement, missing)
    verdicts = [row.verdict for row in valid]
    speedups = sorted(row.speedup or 0.0 for row in valid)
    fused = sorted({row.fused for row in valid if row.fused})
    served = ", ".join(sorted({row.served_by for row in valid if row.served_by}))
    spread = times(speedups[0])
    if len(speedups) > 1:
        spread = f"{spread} to {times(speedups[-1])}"
    won = verdicts.count(Verdict.FASTER)
    is_refuted = any(one in (Verdict.SLOWER, Verdict.SAME) for one in verdicts)
    return Finding(
        statement=statement,
        verdict=HOLDS if won == len(valid) else DOES_NOT if is_refuted else UNSEEN,
        number=f"{spread}; faster in {won} of {count(len(valid), 'scenario')}; "
        + (f"fused: {', '.join(fused)}" if fused else f"served by {served or 'torchvision'}")
        + (f"; not counted: {missing}" if missing else "")
        + "".join(
            f"; two identical processes of stock differ by {times(row.speedup or 0.0)}"
            f" {bounds(row.speedup_low, row.speedup_high)}"
            for row in unlike
        ),
    )


def _missing(row: OperatorRow) -> str:
    """Return why a scenario does not count; that MKL fuses nothing is no defect."""
    if row.operator == LINEAR_RELU and row.reason == NOTHING_FUSED and row.options is None:
        return _MKL
    return row.reason or "it was not measured"


def _pages(place: Place, key: str) -> tuple[Path, ...]:
    found = sorted((place.reports / key).rglob("*.html"))
    return tuple(path for path in found if path.name != "index.html")
