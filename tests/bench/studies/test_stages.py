"""From disk to decision: stages, Amdahl's bound, decisions."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest

from bench.plan.profiles import PROFILES
from bench.plan.scenario import CONTROL_SUFFIX
from bench.plan.thresholds import DEFAULT
from bench.studies import stages
from bench.studies.measured import Measured
from bench.studies.scenarios import STOCK_DEFAULT
from bench.studies.stages import StageRow
from bench.studies.study_folder import StudyRequest

IPEX_FUSED = "inference/ipex/torchscript+fusion/fp32/channels_last/b1"


def row(participant: str, model_ms: float, *, number: int = 0, rest_ms: float = 25.0) -> StageRow:
    """An image whose model call takes so long, and everything else together `rest_ms`."""
    ns = round(rest_ms * 1e6 / 5)
    return StageRow(
        run_id="run",
        participant=participant,
        launch=number // 5,
        round=number % 5,
        position=0,
        image=f"{number}.png",
        decision="good",
        read_ns=ns,
        decode_ns=ns,
        resize_ns=ns,
        model_ns=round(model_ms * 1e6),
        map_ns=ns,
        boxes_ns=ns,
    )


def test_the_models_share_bounds_what_can_be_gained() -> None:
    """Three quarters of the time in the model: nothing can be more than four times as fast."""
    rows = [row(STOCK_DEFAULT, 75.0, number=number) for number in range(10)]
    bound = stages.bound_of(rows, DEFAULT)
    assert bound is not None
    assert bound.share.estimate == pytest.approx(0.75)
    assert bound.estimate == pytest.approx(4.0)
    assert bound.low == pytest.approx(4.0)


@pytest.mark.parametrize("number", [1, 6])
def test_a_share_of_time_ends_at_all_of_it(number: int) -> None:
    """One block has no interval, and that of a few processes may be wider than a share can be."""
    shares = [150, 151, 150, 670, 672, 671][:number]
    rows = [row(STOCK_DEFAULT, ms, number=n * 5 // 3) for n, ms in enumerate(shares)]
    bound = stages.bound_of(rows, DEFAULT)
    assert bound is not None
    assert bound.share.high == 1.0
    assert bound.high == float("inf")
    assert "100.0 %]" in stages.page(rows, Measured(), DEFAULT).lead[0]


def test_without_stock_default_there_is_no_bound() -> None:
    """And the page says that there is nothing to divide by."""
    assert stages.bound_of([row("ipex-eager", 75.0)], DEFAULT) is None
    page = stages.page([], Measured(), DEFAULT)
    assert "nothing to divide by" in page.lead[0]


def test_changed_decisions_are_counted_by_image() -> None:
    """An image that was seen in two rounds counts once."""
    plain = [row(STOCK_DEFAULT, 75.0, number=number) for number in range(3)]
    plain[1] = replace(plain[1], image=plain[0].image)
    other = [replace(one, participant="ipex-eager", decision="bad") for one in plain[:2]]
    assert stages.changed_decisions(
        [*plain, *other, replace(plain[2], participant="ipex-eager")]
    ) == {"ipex-eager": 1}


def test_the_table_has_the_order_in_which_the_ways_were_opened() -> None:
    """Rows come in the shuffled order of the first round; stock default belongs first."""
    rows = [row("ipex-eager", 50.0), row(STOCK_DEFAULT, 75.0)]
    opened = Measured(workers={STOCK_DEFAULT: {}, "ipex-eager": {}})
    page = stages.page(rows, opened, DEFAULT)
    assert [line.cells[0].text for line in page.tables[0].rows] == [STOCK_DEFAULT, "ipex-eager"]


def test_two_images_of_one_name_are_two_images() -> None:
    """Folders of defects number their images alike; none is held against another's decision."""
    plain = [
        row(STOCK_DEFAULT, 75.0),
        replace(row(STOCK_DEFAULT, 75.0), decision="bad"),
    ]
    same = [replace(one, participant="ipex-eager") for one in plain]
    assert stages.changed_decisions([*plain, *same]) == {}


def test_a_turn_is_rows_and_the_median_images_time(bench: Any) -> None:
    """A round has the same images for all, the next has others; speedups are of the whole."""
    firsts: dict[str, list[int]] = {}

    def answer(participant: str, fields: Any) -> dict[str, Any]:
        firsts.setdefault(participant, []).append(fields["first"])
        model = 50 if participant == IPEX_FUSED else 100
        one = dict.fromkeys(("read", "decode", "resize", "map", "boxes"), 10_000_000)
        image = {**one, "model": model * 1_000_000, "decision": "good", "image": "a.png"}
        bench.clock.spend_ms(50 + model)
        return {"images": [image] * fields["n"]}

    bench.answers = {"stages": answer}
    asked = StudyRequest(profile=PROFILES["smoke"], results=None)  # type: ignore[arg-type] # unused
    rows: list[StageRow] = []
    measured = bench.study(
        [stages.group_of(asked)], stages.turn_of("run", 4, rows.append)
    ).measure()
    assert {tuple(found) for found in firsts.values()} == {tuple(firsts[STOCK_DEFAULT])}
    assert firsts[STOCK_DEFAULT][:3] == [0, 4, 8]
    page = stages.page(rows, measured, DEFAULT)
    assert any(CONTROL_SUFFIX in remark for remark in page.remarks)
    assert "The model takes 66.7 %" in page.lead[0]
    assert "3.00" in page.lead[0]
    assert any(f"{IPEX_FUSED}: 1.50" in sentence for sentence in page.lead)
    assert measured.groups == {stages.GROUP: stages.blocks(rows, stages.total)}
