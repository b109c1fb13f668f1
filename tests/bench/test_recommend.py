"""What is recommended: valid, fitting, shown to be faster; and the file that pillqc reads."""

from __future__ import annotations

import dataclasses
import importlib.util
import json
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest
from click.testing import CliRunner

from bench.cli import cli
from bench.recommend import handover
from bench.recommend.rules import Wish, recommend
from bench.report.facts import Facts

if TYPE_CHECKING:
    from bench.records import Run

_SPEC = importlib.util.spec_from_file_location(
    "made_up_runs", Path(__file__).parent / "report" / "conftest.py"
)
assert _SPEC is not None
assert _SPEC.loader is not None
made_up = importlib.util.module_from_spec(_SPEC)
sys.modules["made_up_runs"] = made_up
_SPEC.loader.exec_module(made_up)

STOCK_1 = "inference/stock/eager/fp32/contiguous/b1"
BEST_1 = "inference/ipex/torchscript+fusion/fp32/channels_last/b1"


def run(**plan: Any) -> Run:
    """A run that was never measured."""
    return made_up.build_run(made_up.Plan(trained=True, **plan))  # type: ignore[no-any-return] # loaded by path


def chosen(run: Run, **wish: Any) -> str | None:
    """The recommended scenario's id."""
    row = recommend(Facts(run), Wish(**wish)).row
    return row.scenario if row else None


def without(run: Run, **changes: Any) -> Run:
    """The run with every row of its fastest scenario changed."""
    rows = tuple(
        dataclasses.replace(row, **changes) if row.scenario == BEST_1 else row
        for row in run.scenarios
    )
    return dataclasses.replace(run, scenarios=rows)


def test_without_a_wish_the_fastest_for_one_image_wins() -> None:
    """With its code and what is level with it."""
    found = recommend(Facts(run()), Wish())
    assert found.row is not None
    assert found.row.scenario == BEST_1
    assert "ipex.optimize" in (found.code or "")
    assert any(other.backend == "stock" for other in found.alternatives)
    assert found.alternatives[0].backend == "stock"


def test_memory_excludes_what_needs_more() -> None:
    """The next that fits, here without IPEX."""
    made = run()
    needs = {row.scenario: row.peak_rss_mb for row in made.scenarios}
    found = chosen(made, memory_mb=900)
    assert found is not None
    assert "/stock/" in found
    assert (needs[found] or 0) <= 900 < (needs[BEST_1] or 0)


def test_p99_limit_is_held_against_the_slowest_call_where_there_are_few() -> None:
    """And the recommendation says so."""
    made = run()
    slowest = max(
        call.wall_ns
        for call in made.iterations
        if call.scenario == BEST_1 and call.round is not None
    )
    assert chosen(made, latency_p99_ms=slowest / 1e6 + 0.01) is not None
    found = recommend(Facts(made), Wish(latency_p99_ms=slowest / 1e6 + 0.01))
    assert found.row is not None
    assert any("slowest call" in warning for warning in found.warnings)
    assert chosen(made, latency_p99_ms=1.0) is None
    assert chosen(without(made, p99_ms=200.0), latency_p99_ms=150.0) != BEST_1


def test_throughput_takes_the_best_batch_size() -> None:
    """Images a second decide across batch sizes."""
    made = run()
    found = chosen(made, throughput=True)
    speeds = {row.scenario: row.images_per_s or 0 for row in made.scenarios}
    assert found is not None
    assert speeds[found] >= speeds[BEST_1]


def test_changed_decisions_exclude_only_when_asked() -> None:
    """A user may accept them."""
    made = run(decisions_changed=((BEST_1, 2),))
    assert chosen(made) == BEST_1
    assert chosen(made, no_decision_changes=True) != BEST_1


def test_larger_estimate_that_was_not_shown_is_no_reason_to_leave_stock_default() -> None:
    """Nothing was shown to be faster: keep what you have."""
    made = run()
    speedups = tuple(
        dataclasses.replace(row, verdict="inconclusive")
        if row.baseline_kind == "stock_default"
        else row
        for row in made.speedups
    )
    found = recommend(Facts(dataclasses.replace(made, speedups=speedups)), Wish())
    assert found.row is not None
    assert found.row.scenario == STOCK_1
    assert "nothing that fits was shown to be faster" in found.reasons[0]


def test_noisy_and_empty_runs_recommend_nothing_and_say_why() -> None:
    """A failed control makes every number of its group worthless."""
    found = recommend(Facts(run(noisy=True)), Wish())
    assert found.row is None
    assert any("control" in reason.lower() for reason in found.reasons)
    empty = made_up.Run(folder=Path("x"), environment={})
    assert recommend(Facts(empty), Wish()).reasons == ("The run measured no inference.",)


def test_command_prints_code_and_writes_what_pillqc_reads(tmp_path: Path) -> None:
    """The file goes from here to there whole."""
    made = run()
    folder = made_up.save_run(made, tmp_path / "run")
    path = tmp_path / "sub" / "way.json"
    done = CliRunner().invoke(cli, ["recommend", str(folder), "--write", str(path)])
    assert done.exit_code == 0, done.output
    assert "outputs = model(images)" in done.output
    held = json.loads(path.read_text())
    assert (held["backend"], held["mode"], held["fusion"]) == ("ipex", "torchscript", True)
    assert held["versions"] == {"torch": "2.8.0", "intel-extension-for-pytorch": "2.8.0"}


def test_command_without_a_fitting_scenario_fails_in_one_line(tmp_path: Path) -> None:
    """Exit code 1, and nothing is written."""
    folder = made_up.save_run(run(), tmp_path / "run")
    path = tmp_path / "way.json"
    arguments = ["recommend", str(folder), "--latency-p99", "1", "--write", str(path)]
    done = CliRunner().invoke(cli, arguments)
    assert done.exit_code == 1
    assert "no scenario of this run fits" in done.output
    assert not path.exists()


def test_json_is_one_object(tmp_path: Path) -> None:
    """For scripts."""
    folder = made_up.save_run(run(), tmp_path / "run")
    done = CliRunner().invoke(cli, ["recommend", str(folder), "--json", "--no-decision-changes"])
    held = json.loads(done.output)
    assert held["scenario"] == BEST_1
    assert held["settings"]["dtype"] == "fp32"


@pytest.mark.torch
def test_both_sides_name_the_same_format_and_place(monkeypatch: pytest.MonkeyPatch) -> None:
    """Neither imports the other, so what they agree on stands twice."""
    from pillqc import acceleration

    monkeypatch.delenv(acceleration.VARIABLE, raising=False)
    assert acceleration.FORMAT == handover.FORMAT
    assert acceleration.default_path() == handover.default_path()
    monkeypatch.setenv(acceleration.VARIABLE, "/somewhere/else.json")
    assert acceleration.default_path() == handover.default_path() == Path("/somewhere/else.json")
