"""What is recommended: valid, fitting, shown to be faster; and the file that pillqc reads."""

from __future__ import annotations

import dataclasses
import functools
import json
from pathlib import Path
from typing import Any

import pytest

from bench.analysis.claims import SUPPORTED
from bench.analysis.comparison import Comparison, Ratio
from bench.analysis.run_facts import Facts
from bench.errors import BenchError
from bench.plan.matrix import FURTHER_BACKENDS
from bench.plan.scenario import Verdict
from bench.recommend import handover
from bench.recommend.rules import Wish, recommend, slow_call_ms, uses
from bench.recommend.supported import how_far
from bench.store.records import Run
from bench.text.wording import TIMES
from tests.bench.calls import with_rows
from tests.bench.command import bench
from tests.bench.made_up_runs import BATCH_1, DEFAULT_1, IPEX_1, LAST_1, MakeRun, Save
from tests.known import known

SCRIPT_1 = "inference/stock/torchscript+fusion/fp32/channels_last/b1"
COMPILED_1 = "inference/stock/compile/fp32/channels_last/b1"


@pytest.fixture
def run(make_run: MakeRun) -> MakeRun:
    """Makes a run whose decisions mean something."""
    return functools.partial(make_run, trained=True)


def chosen(run: Run, **wish: Any) -> str | None:
    """The recommended scenario's id."""
    row = recommend(Facts(run), Wish(**wish)).row
    return row.scenario if row else None


def test_without_a_wish_the_fastest_for_one_image_wins(run: MakeRun) -> None:
    """With its code and what is level with it, where noise leaves something level."""
    found = recommend(Facts(run(spread=0.03, launches=2, rounds=6)), Wish())
    assert found.row is not None
    assert found.row.scenario == IPEX_1
    assert "ipex.optimize" in (found.code or "")
    assert any(other.backend == "stock" for other in found.alternatives)
    assert found.alternatives[0].backend == "stock"


def test_memory_excludes_what_needs_more(run: MakeRun) -> None:
    """The next that fits is a stock scenario."""
    made = run()
    needs = {row.scenario: row.peak_rss_mb for row in made.scenarios}
    found = chosen(made, memory_mb=900)
    assert found is not None
    assert "/stock/" in found
    assert (needs[found] or 0) <= 900 < (needs[IPEX_1] or 0)


def test_p99_limit_is_compared_with_the_slowest_call_where_there_are_few(run: MakeRun) -> None:
    """The recommendation says so."""
    made = run()
    slowest = max(
        call.wall_ns
        for call in made.iterations
        if call.scenario == IPEX_1 and call.round is not None
    )
    found = recommend(Facts(made), Wish(latency_p99_ms=slowest / 1e6 + 0.01))
    assert found.row is not None
    assert any("slowest call" in warning for warning in found.warnings)
    assert chosen(made, latency_p99_ms=1.0) is None
    made = with_rows(made, "scenarios", IPEX_1, p99_ms=200.0)
    assert chosen(made, latency_p99_ms=150.0) != IPEX_1


def test_the_nearest_are_named_first_where_nothing_fits(run: MakeRun) -> None:
    """Those that lack least of the wish."""
    made = Facts(run())
    least = min(row.peak_rss_mb or 0 for row in made.groups[BATCH_1])
    first = recommend(made, Wish(memory_mb=1)).reasons[0].split(":")[0]
    assert made.scenarios[first].peak_rss_mb == least
    fastest = recommend(made, Wish()).row
    first = recommend(made, Wish(latency_p99_ms=1)).reasons[0].split(":")[0]
    assert first != DEFAULT_1
    assert (made.scenarios[first].median_ms or 0) < 1.1 * (known(fastest).median_ms or 0)


def test_only_a_batch_of_one_is_one_image_at_a_time(run: MakeRun) -> None:
    """A run of larger batches names the smallest."""
    assert uses(Facts(run()))[0].title.startswith("One image at a time: ")
    larger = uses(Facts(run(batch_sizes=(8,), rounds=4)))[0].title
    assert larger.startswith("Smallest batch measured (8): ")


def test_calls_that_other_work_disturbed_are_no_slowest_call(run: MakeRun) -> None:
    """Disturbed calls do not count anywhere."""
    made = run()
    row = next(row for row in made.scenarios if row.scenario == IPEX_1)
    before, _ = slow_call_ms(Facts(made), row)
    first = next(c for c in made.iterations if c.scenario == IPEX_1 and c.round is not None)
    hit = dataclasses.replace(first, wall_ns=10**10, disturbed=True)
    calls = tuple(hit if call is first else call for call in made.iterations)
    slowest, name = slow_call_ms(Facts(dataclasses.replace(made, iterations=calls)), row)
    assert before is not None
    assert slowest is not None
    assert slowest <= before
    assert "(of 71;" in name


def test_throughput_takes_the_best_batch_size(run: MakeRun) -> None:
    """Images a second decide across batch sizes."""
    made = run()
    found = chosen(made, throughput=True)
    speeds = {row.scenario: row.images_per_s or 0 for row in made.scenarios}
    assert found is not None
    assert speeds[found] >= speeds[IPEX_1]


def test_changed_decisions_and_ipex_are_excluded_on_wish(run: MakeRun) -> None:
    """Without the wish a user may accept them."""
    made = run(decisions_changed=((IPEX_1, 2),))
    assert chosen(made) == IPEX_1
    assert chosen(made, no_decision_changes=True) not in (None, IPEX_1)
    assert "/stock/" in (chosen(made, without_ipex=True) or "")


def test_larger_estimate_that_was_not_shown_is_no_reason_to_leave_stock_default(
    run: MakeRun,
) -> None:
    """Nothing was shown to be faster: keep what you have."""
    found = recommend(Facts(run(spread=0.9)), Wish())
    assert found.row is not None
    assert found.row.scenario == DEFAULT_1
    assert "nothing that fits was shown to be faster" in found.reasons[0]


def test_a_larger_estimate_without_a_verdict_takes_no_place_from_one_that_was_shown(
    run: MakeRun,
) -> None:
    """IPEX was measured once and comes out 5 % faster, the other eight times with 3 %."""
    made = run(only=(DEFAULT_1, LAST_1, IPEX_1), launches=8, process=0.015)
    factors = {IPEX_1: 1.42, LAST_1: 1.305}
    calls = tuple(
        dataclasses.replace(row, wall_ns=round(row.wall_ns * factors.get(row.scenario, 1.0)))
        for row in made.iterations
        if row.scenario != IPEX_1 or row.launch == 0
    )
    facts = Facts(dataclasses.replace(made, iterations=calls, speedups=()))
    alone = {name: known(facts.against_default(name)) for name in (IPEX_1, LAST_1)}
    assert alone[IPEX_1].estimate > alone[LAST_1].estimate
    assert [alone[name].verdict for name in (IPEX_1, LAST_1)] == ["inconclusive", "faster"]
    found = recommend(facts, Wish())
    assert known(found.row).scenario == LAST_1
    assert known(found.comparison).scenario == LAST_1
    assert [row.scenario for row in found.alternatives] == [IPEX_1]


@pytest.mark.parametrize(
    ("plan", "why"),
    [({"noisy": True}, "identical workers"), ({"disturbed": True}, "other work disturbed 22 of")],
)
def test_noisy_and_empty_runs_recommend_nothing_and_say_why(
    run: MakeRun, plan: dict[str, Any], why: str
) -> None:
    """A failed control makes every number of its group worthless; so do too few clean blocks."""
    found = recommend(Facts(run(**plan)), Wish())
    assert found.row is None
    assert any("control" in reason.lower() and why in reason for reason in found.reasons)
    empty = Run(folder=Path("x"), environment={})
    assert recommend(Facts(empty), Wish()).reasons == ("The run measured no inference.",)


def test_command_prints_code_and_writes_what_pillqc_reads(
    run: MakeRun, save: Save, tmp_path: Path
) -> None:
    """The file goes from here to there whole."""
    made = run()
    folder = save(made, tmp_path / "run")
    path = tmp_path / "sub" / "way.json"
    done = bench("recommend", folder, "--write", path)
    assert done.exit_code == 0, done.output
    assert "outputs = model(images)" in done.output
    held = json.loads(path.read_text())
    assert (held["backend"], held["mode"], held["fusion"]) == ("ipex", "torchscript", True)
    assert held["freezing"] is True
    assert held["versions"] == {"torch": "2.8.0", "intel-extension-for-pytorch": "2.8.0"}


def test_command_without_a_fitting_scenario_fails_in_one_line(
    run: MakeRun, save: Save, tmp_path: Path
) -> None:
    """The exit code is 1, and nothing is written."""
    folder, path = save(run(), tmp_path / "run"), tmp_path / "way.json"
    arguments = ["recommend", str(folder), "--latency-p99", "1", "--write", str(path)]
    done = bench(*arguments)
    assert done.exit_code == 1
    assert "no scenario of this run fits" in done.output
    assert not path.exists()


def test_json_is_one_object(run: MakeRun, save: Save, tmp_path: Path) -> None:
    """It holds the scenario and its settings."""
    folder = save(run(), tmp_path / "run")
    done = bench("recommend", folder, "--json", "--no-decision-changes")
    held = json.loads(done.output)
    assert held["scenario"] == IPEX_1
    assert held["settings"]["dtype"] == "fp32"


@pytest.mark.torch
def test_both_sides_name_the_same_format_and_place(monkeypatch: pytest.MonkeyPatch) -> None:
    """Neither imports the other, so what they agree on stands twice."""
    from pillqc.model import acceleration

    monkeypatch.delenv(acceleration.VARIABLE, raising=False)
    assert acceleration.FORMAT == handover.FORMAT
    assert acceleration.default_path() == handover.default_path()
    monkeypatch.setenv(acceleration.VARIABLE, "/somewhere/else.json")
    assert acceleration.default_path() == handover.default_path() == Path("/somewhere/else.json")


def test_int8_is_another_model_and_only_recommended_when_asked_for(
    run: MakeRun, save: Save, tmp_path: Path
) -> None:
    """It is much faster, comes with its code and a warning, and pillqc is not sent there."""
    made = run(int8=True, rounds=4)
    assert "int8" not in (chosen(made) or "")
    found = recommend(Facts(made), Wish(int8=True))
    assert found.row is not None
    assert found.row.dtype == "int8"
    assert "calibration" in (found.code or "")
    assert any("another model" in warning for warning in found.warnings)
    folder, path = save(made, tmp_path / "run"), tmp_path / "way.json"
    done = bench("recommend", folder, "--int8", "--write", path)
    assert done.exit_code == 1
    assert "cannot run int8" in done.output
    assert not path.exists()


def test_versions_written_are_those_of_the_scenarios_own_environment(run: MakeRun) -> None:
    """What a newer PyTorch measured must not be run by the older one."""
    made = run(environments=("torch-latest",), rounds=4)
    environment = {
        **made.environment,
        "environments": {"torch-latest": {"packages": {"torch": "2.14.1"}}},
    }
    facts = Facts(dataclasses.replace(made, environment=environment))
    row = next(row for row in made.scenarios if row.environment == "torch-latest")
    assert handover.handover(facts, row)["versions"] == {"torch": "2.14.1"}


@pytest.mark.torch
def test_pillqc_reads_every_way_that_can_be_handed_over(
    run: MakeRun, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """`pillqc inspect --backend auto` sets up every recommendation as it was measured."""
    from pillqc.model import acceleration

    facts = Facts(run(profile="full", rounds=2, launches=1))
    monkeypatch.setattr(acceleration, "cpu_model", lambda: facts.metadata.machine.cpu_model)
    rows = [row for row in facts.run.scenarios if row.task == "inference" and row.batch_size == 1]
    compiled = next(row for row in rows if row.mode == "compile")
    rows += [
        dataclasses.replace(compiled, backend=name, layout="contiguous")
        for name in FURTHER_BACKENDS
    ]
    path = tmp_path / "way.json"
    refused: list[str] = []
    for row in (row for row in rows if row.backend != "placebo"):
        if row.dtype == "fp16" or row.options in ("max_autotune", "cpp_wrapper"):
            refused.append(row.scenario)
            with pytest.raises(BenchError, match=r"does not have (fp16|max_autotune|cpp_wrapper)"):
                handover.write(facts, row, tmp_path / "refused.json")
            continue
        held = {**handover.handover(facts, row), "versions": {}}
        path.write_text(json.dumps(held))
        way, note = acceleration.choose("auto", path)
        assert note.startswith(row.scenario)
        kind = (row.backend, row.mode, row.dtype, row.layout)
        assert (way.backend, way.mode, way.dtype, way.layout) == kind
        assert way.fusion == {"on": True, "off": False}.get(row.fusion or "")
        assert way.freezing == ("no_freezing" not in (row.options or ""))
    assert len(refused) == 6
    assert not (tmp_path / "refused.json").exists()


def test_supported_excludes_what_is_archived_deprecated_or_private(run: MakeRun) -> None:
    """TorchScript, the fastest without IPEX, is left out too, and nothing is warned of."""
    made = run()
    assert chosen(made, without_ipex=True) == SCRIPT_1
    found = recommend(Facts(made), Wish(supported=True))
    assert found.row is not None
    assert found.row.scenario == COMPILED_1
    assert found.concerns == ()
    assert found.supported is None
    assert not any(word in " ".join(found.warnings) for word in ("archived", "deprecated"))


@pytest.mark.parametrize("wish", [{}, {"without_ipex": True}])
def test_beside_an_unsupported_way_stands_the_fastest_supported_one(
    run: MakeRun, wish: dict[str, Any]
) -> None:
    """With the paired interval between the two, which is that of the page's claim for all ways."""
    facts = Facts(run())
    found = recommend(facts, Wish(**wish))
    assert found.row is not None
    assert {one.sentence for one in found.concerns} <= {*found.warnings}
    beside = found.supported
    assert beside is not None
    assert beside.row.scenario == COMPILED_1
    assert "torch.compile" in (beside.code or "")
    assert beside.comparison is not None
    assert (beside.comparison.scenario, beside.comparison.baseline) == (
        COMPILED_1,
        found.row.scenario,
    )
    assert beside.comparison.low < beside.comparison.estimate < beside.comparison.high < 1.02
    claim = facts.claims.answer(SUPPORTED, "inference/b1")
    assert claim is not None
    assert (beside.comparison == claim) == (not wish)


@pytest.mark.parametrize(
    ("low", "estimate", "high", "verdict", "said"),
    [
        (0.98, 0.99, 1.0, Verdict.SAME, "within 3 % of X, 0.99x [0.98, 1.00]"),
        (0.975, 0.98, 0.99, Verdict.SLOWER, "within 3 % of X, 0.98x [0.97, 0.99]"),
        (0.8, 0.85, 0.9, Verdict.SLOWER, "10 % to 20 % slower than X, 0.85x [0.80, 0.90]"),
        (1.02, 1.03, 1.04, Verdict.FASTER, "faster than X, 1.03x [1.02, 1.04]"),
        (0.98, 1.0, 1.01, Verdict.INCONCLUSIVE, "not shown to be within 3 % of X, 1.00x"),
        (0.98, 1.0, 1.01, Verdict.INVALID, "not compared with X: it is wrong"),
    ],
)
def test_distance_says_no_more_than_the_verdict(
    low: float, estimate: float, high: float, verdict: Verdict, said: str
) -> None:
    """Within the margin of `same`, or by how much not."""
    ratio = Ratio(estimate=estimate, low=low, high=high, launches=2, rounds=9)
    found = Comparison(
        scenario="a", baseline="b", ratio=ratio, verdict=verdict, reason="it is wrong."
    )
    assert how_far(found, "X", 0.03).replace(TIMES, "x").startswith(said)
    assert how_far(None, "X", 0.03) == "no round has both it and X"


@pytest.mark.parametrize(
    ("backends", "measured"), [((), True), (("stock", "ipex"), False), (("stock",), False)]
)
def test_compile_that_was_not_measured_is_named_beside_the_supported_way(
    run: MakeRun, backends: tuple[str, ...], measured: bool
) -> None:
    """Or eager would seem to be the best that leaving TorchScript and IPEX leaves.

    IPEX's compile backend is none of the supported ways.
    """
    whole = run()
    rows = [r for r in whole.scenarios if r.mode != "compile" or r.backend not in backends]
    names = {row.scenario for row in rows}
    cut = dataclasses.replace(
        whole,
        scenarios=tuple(rows),
        iterations=tuple(row for row in whole.iterations if row.scenario in names),
    )
    found = recommend(Facts(cut), Wish()).supported
    assert found is not None
    assert ("has no result here" in found.sentence) == (not measured)


def test_compile_that_does_not_fit_the_wish_is_not_missing(run: MakeRun) -> None:
    """It was measured, and needs more memory than the wish allows."""
    whole = run()
    rows = tuple(
        dataclasses.replace(row, peak_rss_mb=9000.0) if row.mode == "compile" else row
        for row in whole.scenarios
    )
    found = recommend(Facts(dataclasses.replace(whole, scenarios=rows)), Wish(memory_mb=8000))
    assert "no result here" not in known(found.supported).sentence


def test_compile_that_is_the_recommended_way_itself_is_not_missing(run: MakeRun) -> None:
    """Stock int8 is compiled, and its quantizer is deprecated: nothing supported has int8."""
    whole = run(int8=True)
    rows = [row for row in whole.scenarios if (row.backend, row.dtype) != ("ipex", "int8")]
    names = {row.scenario for row in rows}
    calls = tuple(row for row in whole.iterations if row.scenario in names)
    cut = dataclasses.replace(whole, scenarios=tuple(rows), iterations=calls)
    found = recommend(Facts(cut), Wish(int8=True))
    row = known(found.row)
    assert (row.mode, row.dtype) == ("compile", "int8")
    assert "no result here" not in known(found.supported).sentence


def test_command_warns_and_prints_the_supported_way_too(
    run: MakeRun, save: Save, tmp_path: Path
) -> None:
    """As text and as JSON; with --supported there is one way only."""
    folder = str(save(run(), tmp_path / "run"))

    def output(*options: str) -> str:
        done = bench("recommend", folder, *options)
        assert done.exit_code == 0, done.output
        return done.stdout

    text = output()
    assert "! IPEX is archived" in text
    assert "The fastest supported way is stock PyTorch with torch.compile" in text
    assert COMPILED_1 in text
    held = json.loads(output("--json"))
    assert held["concerns"][0]["severity"] == "archived"
    assert held["supported"]["scenario"] == COMPILED_1
    assert held["supported"]["code"] in text
    estimate, low, high = held["supported"]["speedup_over_recommended"]
    assert low < estimate < high
    only = json.loads(output("--json", "--supported"))
    assert only["scenario"] == COMPILED_1
    assert (only["concerns"], only["supported"]) == ([], None)
