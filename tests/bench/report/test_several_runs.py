"""The page of several runs, the page of all runs, other formats, and their command."""

from __future__ import annotations

import dataclasses
import json
import re
from pathlib import Path
from typing import Any

import pytest

from bench.analysis.prices import shipped
from bench.analysis.run_facts import Facts
from bench.report import build_comparison, compare, in_format
from bench.report.index import render_index
from bench.store.records import Run
from bench.text.wording import TIMES, times
from tests.bench.command import bench
from tests.bench.made_up_runs import DEFAULT_1, HOSTILE, THREE, MakeRun, Save


def on(run: Run, machine: str, *, run_id: str, **changes: Any) -> Run:
    """The run as if measured on that instance."""
    described = {**run.environment["machine"], "instance_type": machine, "fingerprint": machine}
    environment = {**run.environment, "run_id": run_id, "machine": described, **changes}
    return dataclasses.replace(run, folder=Path(run_id), environment=environment)


@pytest.fixture(scope="module")
def two(make_run: MakeRun) -> list[Run]:
    """The same three scenarios on two machines, one of them twice as fast."""
    slow = make_run(only=THREE, rounds=6, trained=True)
    fast = make_run(only=THREE, rounds=6, trained=True, seed=8)
    quick = tuple(
        dataclasses.replace(r, images_per_s=(r.images_per_s or 0) * 2) for r in fast.scenarios
    )
    return [
        on(slow, "m6i.4xlarge", run_id="a"),
        on(dataclasses.replace(fast, scenarios=quick), "m7i.4xlarge", run_id="b"),
    ]


def text_of(page: str) -> str:
    """What a reader sees, roughly."""
    return re.sub(r"\s+", " ", re.sub(r"<[^>]+>", " ", page))


def is_harmless(page: str) -> bool:
    """Whether the page's only script is ours, and its markup none of a file's."""
    return page.count("<script") == 1 and "<img" not in page


def test_each_machine_shows_its_own_speedups_and_no_other_ratio(two: list[Run]) -> None:
    """Every speedup on the page is one of a run's own rows."""
    page = build_comparison(two)
    own = {times(row.speedup) for run in two for row in run.speedups}
    shown = set(re.findall(rf"\d+\.\d+{TIMES}", text_of(page.split('id="speedups"')[1])))
    assert shown
    assert shown <= own


def test_throughput_and_cost_are_those_of_each_run(two: list[Run]) -> None:
    """Images a second from the rows, images for a dollar from the price of each machine."""
    facts = {"slow": Facts(two[0], shipped()), "fast": Facts(two[1], shipped())}
    names, values = list(facts), list(facts.values())
    for row in compare.throughput(names, values).rows:
        mine = facts[row.cells[0].text]
        rate = row.cells[3].sort
        assert isinstance(rate, float)
        assert rate in {item.images_per_s for item in mine.run.scenarios}
        assert mine.price is not None
        assert row.cells[6].sort == pytest.approx(rate * 3600 / mine.price.usd_per_hour)
    shown = {
        row.cells[1].text: row.cells[3].sort for row in compare.throughput(["x"], values[:1]).rows
    }
    rates = [values[0].scenarios[name].images_per_s for name in THREE]
    ways = ("Stock default", "Stock tuned, fp32", "IPEX, fp32", "Fastest")
    assert shown == dict(zip(ways, (*rates, rates[2]), strict=True))
    lead = compare.lead(names, values)
    assert (lead.count("fast"), lead.count("slow")) == (2, 0)
    assert "dollar" not in compare.lead(names, [Facts(run) for run in two])


def test_what_was_not_shown_to_be_faster_is_no_machines_fastest_way(make_run: MakeRun) -> None:
    """Its images a second choose no machine: stock default's stand for the run."""
    facts = Facts(make_run(only=THREE, spread=0.9, trained=True))
    rows = {row.cells[1].text: row for row in compare.throughput(["x"], [facts]).rows}
    assert rows["Fastest"].cells[3].sort == facts.scenarios[DEFAULT_1].images_per_s
    assert rows["Fastest"].cells[3].sort != rows["IPEX, fp32"].cells[3].sort


def test_runs_that_differ_in_more_than_the_machine_say_so(two: list[Run]) -> None:
    """Another commit, other images: each a sentence."""
    other = on(two[1], "m7i.4xlarge", run_id="b", commit="fffffff", data={"sha256": "1"})
    found = compare.differences(["a", "b"], [Facts(two[0]), Facts(other)])
    assert len(found) == 2
    assert "commit" in found[0]
    assert "images" in found[1]
    assert compare.differences(["a", "a"], [Facts(two[0])] * 2) == []


def test_runs_that_differ_in_thresholds_or_in_a_models_settings_say_so(two: list[Run]) -> None:
    """Any threshold; and names that begin alike are shown whole."""
    policy = {**two[0].environment["policy"], "verdict": {"min_rounds": 5}}
    facts = [Facts(two[0]), Facts(on(two[0], "m6i.4xlarge", run_id="b", policy=policy))]
    (found,) = compare.differences(["a", "b"], facts)
    assert "thresholds" in found
    facts = [
        Facts(on(two[0], "m", run_id="b", request={"own": {"model": "a.package:f", "settings": s}}))
        for s in (["depth=18"], ["depth=50"])
    ]
    (found,) = compare.differences(["a", "b"], facts)
    assert "depth=18" in found
    assert "depth=50" in found


def test_pages_of_different_runs_have_different_names(
    two: list[Run], tmp_path: Path, save: Save
) -> None:
    """A comparison with another run replaces no earlier one."""
    names = ("a", "b", "c", "d" * 60, "e" * 60)
    a, b, c, d, e = (save(two[0], tmp_path / name) for name in names)
    for runs in ((a, b), (a, c), (a, b, c), (a, d, e), (a, e, d)):
        assert bench("report", *runs, "--reports", tmp_path / "r").exit_code == 0
    assert len(list((tmp_path / "r").iterdir())) == 5


def test_environments_of_one_machine_have_distinct_names(two: list[Run]) -> None:
    """By the version of PyTorch, and where that is the same by a number and the run."""
    machine = {**two[0].environment["machine"], "packages": {"torch": "2.14.1"}}
    environment = {**two[0].environment, "machine": machine}
    newer = dataclasses.replace(two[0], environment=environment)
    names = compare.run_names([Facts(two[0]), Facts(newer)])
    assert names == ["m6i.4xlarge, torch 2.8.0", "m6i.4xlarge, torch 2.14.1"]
    assert len(set(compare.run_names([Facts(two[0])] * 2))) == 2


def test_empty_and_noisy_runs_keep_their_place(two: list[Run], make_run: MakeRun) -> None:
    """A comparison with a run that has nothing still shows the others."""
    empty = Run(folder=Path("empty"), environment={})
    noisy = on(make_run(only=THREE, rounds=6, noisy=True), "m5.large", run_id="n")
    page = build_comparison([two[0], empty, noisy])
    assert page.count('<article class="card">') == 3
    assert "m5.large" in page
    assert "empty" not in compare.lead(["empty"], [Facts(empty)])


def test_script_in_several_runs_stays_text(two: list[Run], tmp_path: Path, save: Save) -> None:
    """Names, machines and commits on the page of several runs and of all runs, and in Markdown."""
    bad = on(two[0], HOSTILE, run_id=HOSTILE, commit=HOSTILE, profile=HOSTILE)
    assert is_harmless(build_comparison([bad, two[1]]))
    name = "<img src=x onerror=alert(1)>"
    save(bad, tmp_path / name)
    (tmp_path / f"{name}.html").touch()
    assert is_harmless(render_index(tmp_path, tmp_path))
    outside_code = in_format(bad, "markdown").split("```")[::2]
    outside_code = [re.sub(r"(?<!\\)`[^`]*`", "", part) for part in outside_code]
    assert not re.search(r"(?<!\\)<", "".join(outside_code).replace("\\\\", ""))


def test_the_index_lists_runs_and_histories(two: list[Run], tmp_path: Path, save: Save) -> None:
    """Two runs of one machine make a history; a broken folder keeps its line and reason."""
    results, reports = tmp_path / "results", tmp_path / "reports"
    assert "bench run" in render_index(results, reports)  # a new clone has no run
    again = on(two[1], "m6i.4xlarge", run_id="c", started_utc="2027-01-01T00:00:00Z")
    for run in (*two, again):
        save(run, results / str(run.environment["run_id"]))
    early = on(two[0], "m5.large", run_id="early", complete=False)
    save(early, results / "early")
    save(dataclasses.replace(early, scenarios=(), speedups=()), results / "none")
    (results / "broken").mkdir()
    (results / "broken" / "environment.json").write_text("{")
    reports.mkdir()
    (reports / "a.html").touch()
    page = render_index(results, reports)
    assert '<a href="a.html">' in page
    for trouble in ("is damaged", "incomplete", "no scenario was measured"):
        assert trouble in page
    assert page.count("Speedup in each run, oldest first") == 2
    row = next(r for r in again.speedups if r.scenario == THREE[2] and r.verdict == "faster")
    assert times(row.speedup) in text_of(page)


def test_markdown_and_json_hold_answers_and_rows(two: list[Run]) -> None:
    """Markdown for a pull request, JSON with the numbers unrounded."""
    text = in_format(two[0], "markdown")
    assert text.startswith("# ")
    row = next(r for r in two[0].speedups if r.baseline_kind == "stock_default")
    assert times(row.speedup) in text
    assert "git checkout 532bdfb" in text
    found = json.loads(in_format(two[0], "json"))
    assert [row["speedup"] for row in found["speedups"]] == [r.speedup for r in two[0].speedups]
    assert found["answers"][0]["headline"]


def test_command_refuses_what_it_cannot_do(two: list[Run], tmp_path: Path, save: Save) -> None:
    """Wrong usage exits with 2; several runs make one page."""
    folders = [str(save(run, tmp_path / str(n))) for n, run in enumerate(two)]
    for arguments in (["report", *folders, "--format", "json"], ["report", "--index", folders[0]]):
        done = bench(*arguments)
        assert done.exit_code == 2, done.output
    done = bench("report", *folders, "--reports", tmp_path / "r")
    assert done.exit_code == 0, done.output
    assert [path.name for path in (tmp_path / "r").iterdir()] == ["compare-0-and-1.html"]
