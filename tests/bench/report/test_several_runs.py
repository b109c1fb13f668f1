"""Several runs in one page, the page of all runs, prices, and other formats."""

from __future__ import annotations

import dataclasses
import json
import re
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from click.testing import CliRunner

from bench.analysis.facts import Facts
from bench.analysis.prices import images_per_dollar, read_prices, shipped
from bench.cli.main import cli
from bench.errors import UsageError
from bench.report import build_comparison, compare, in_format
from bench.report.index import render_index
from bench.store.records import Run
from bench.text.wording import TIMES, times

MakeRun = Callable[..., Run]
Save = Callable[[Run, Path], Path]
HOSTILE = "<script>alert(1)</script>\"'&<img src=x onerror=alert(2)>|`*"
SMALL = (
    "inference/stock/eager/fp32/contiguous/b1",
    "inference/stock/eager/fp32/channels_last/b1",
    "inference/ipex/torchscript+fusion/fp32/channels_last/b1",
)


def on(run: Run, machine: str, *, run_id: str, **changes: Any) -> Run:
    """The run as if measured on that instance."""
    described = {**run.environment["machine"], "instance_type": machine, "fingerprint": machine}
    environment = {**run.environment, "run_id": run_id, "machine": described, **changes}

    def own(rows: Any) -> Any:
        return tuple(dataclasses.replace(row, run_id=run_id) for row in rows)

    files = ("iterations", "scenarios", "speedups", "parity", "noise", "kernels")
    rows: Any = {name: own(getattr(run, name)) for name in files}
    return dataclasses.replace(run, folder=Path(run_id), environment=environment, **rows)


@pytest.fixture(scope="module")
def two(make_run: MakeRun) -> list[Run]:
    """The same three scenarios on two machines, one of them twice as fast."""
    slow = make_run(only=SMALL, rounds=6, trained=True)
    fast = make_run(only=SMALL, rounds=6, trained=True, seed=8)
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


def test_each_machine_shows_its_own_speedups_and_no_other_ratio(two: list[Run]) -> None:
    """Every speedup on the page is one of a run's own rows."""
    page = build_comparison(two)
    own = {times(row.speedup) for run in two for row in run.speedups}
    shown = set(re.findall(rf"\d+\.\d+{TIMES}", text_of(page.split('id="speedups"')[1])))
    assert shown
    assert shown <= own


def test_throughput_and_cost_stand_side_by_side(two: list[Run]) -> None:
    """Images a second from the rows, images for a dollar from the price of each machine."""
    facts = [Facts(run, shipped()) for run in two]
    table = compare.throughput(["slow", "fast"], facts)
    for row in table.rows:
        facts_of = facts[0] if row.cells[0].text == "slow" else facts[1]
        rate = row.cells[3].sort
        assert isinstance(rate, float)
        assert rate in {item.images_per_s for item in facts_of.run.scenarios}
        assert facts_of.price is not None
        assert row.cells[6].sort == pytest.approx(rate * 3600 / facts_of.price.usd_per_hour)
    assert compare.lead(["slow", "fast"], facts).startswith("Most images a second: fast")
    assert "Most for a dollar: fast" in compare.lead(["slow", "fast"], facts)


def test_runs_that_differ_in_more_than_the_machine_say_so(two: list[Run]) -> None:
    """Another commit, other images, other weights: each a sentence."""
    other = on(two[1], "m7i.4xlarge", run_id="b", commit="fffffff", data={"sha256": "1"})
    found = compare.differences(["a", "b"], [Facts(two[0]), Facts(other)])
    assert any("commit" in sentence for sentence in found)
    assert any("images" in sentence for sentence in found)
    assert compare.differences(["a", "a"], [Facts(two[0])] * 2) == []


def test_two_environments_of_one_machine_are_told_apart(two: list[Run]) -> None:
    """By the version of PyTorch, and where that is the same by the run."""
    machine = {**two[0].environment["machine"], "packages": {"torch": "2.14.1"}}
    newer = on(two[0], "m6i.4xlarge", run_id="c")
    newer = dataclasses.replace(newer, environment={**newer.environment, "machine": machine})
    names = compare.run_names([Facts(two[0]), Facts(newer)])
    assert names == ["m6i.4xlarge, torch 2.8.0", "m6i.4xlarge, torch 2.14.1"]
    same = compare.run_names([Facts(two[0])] * 2)
    assert len(set(same)) == 2


def test_empty_and_noisy_runs_keep_their_place(two: list[Run], make_run: MakeRun) -> None:
    """A comparison with a run that has nothing still shows the other."""
    empty = Run(folder=Path("empty"), environment={})
    noisy = on(make_run(only=SMALL, rounds=6, noisy=True), "m5.large", run_id="n")
    page = build_comparison([two[0], empty, noisy])
    assert "no answer yet" in page
    assert "cannot be believed" in page


def test_script_in_several_runs_stays_text(two: list[Run]) -> None:
    """Names, machines, reasons and commits of every run."""
    bad = on(two[0], HOSTILE, run_id=HOSTILE, commit=HOSTILE, profile=HOSTILE)
    page = build_comparison([bad, two[1]])
    assert page.count("<script") == 1
    assert "<img" not in page
    outside_code = in_format(bad, "markdown").split("```")[::2]
    outside_code = [re.sub(r"(?<!\\)`[^`]*`", "", part) for part in outside_code]
    assert not re.search(r"(?<!\\)<", "".join(outside_code).replace("\\\\", ""))


# ---- the page of all runs -----------------------------------------------------------------


def test_index_lists_every_run_and_the_history_of_a_scenario(
    two: list[Run], tmp_path: Path, save: Save
) -> None:
    """Two runs of one machine make a history; a broken folder keeps its line and reason."""
    results, reports = tmp_path / "results", tmp_path / "reports"
    again = on(two[1], "m6i.4xlarge", run_id="c", started_utc="2027-01-01T00:00:00Z")
    for run in (*two, again):
        save(run, results / str(run.environment["run_id"]))
    (results / "broken").mkdir()
    (results / "broken" / "environment.json").write_text("{")
    reports.mkdir()
    (reports / "a.html").write_text("page")
    page = render_index(results, reports)
    assert '<a href="a.html">' in page
    assert "is damaged" in page
    assert page.count("Speedup in each run, oldest first") == 2
    row = next(r for r in again.speedups if r.scenario == SMALL[2] and r.verdict == "faster")
    assert times(row.speedup) in text_of(page)


def test_index_of_nothing_says_what_to_do(tmp_path: Path) -> None:
    """A new clone has no run."""
    assert "bench run" in render_index(tmp_path, tmp_path)


def test_index_escapes_names(two: list[Run], tmp_path: Path, save: Save) -> None:
    """A folder may be called anything that a file system allows."""
    name = "<img src=x onerror=alert(1)>"
    save(on(two[0], HOSTILE, run_id=HOSTILE), tmp_path / name)
    (tmp_path / f"{name}.html").write_text("x")
    page = render_index(tmp_path, tmp_path)
    assert "<img" not in page
    assert page.count("<script") == 1


# ---- prices -------------------------------------------------------------------------------


def test_shipped_prices_are_dated_and_say_where_they_come_from() -> None:
    """A price without a date, a region and a source is no information."""
    for price in shipped().known:
        assert all((price.region, price.date, price.source))
        assert price.usd_per_hour > 0
    assert shipped().of("no.such") is None
    assert shipped().of("") is None


def test_users_own_prices_replace_the_table(two: list[Run], tmp_path: Path) -> None:
    """Also for a machine that has no instance type in the shipped one."""
    path = tmp_path / "prices.csv"
    path.write_text("instance_type,usd_per_hour,region,date,source\nm6i.4xlarge,2,here,now,me\n")
    facts = Facts(two[0], read_prices(path))
    assert images_per_dollar(10.0, facts.price) == 18_000
    assert Facts(two[1], read_prices(path)).price is None


@pytest.mark.parametrize(
    ("content", "says"),
    [
        ("a,b\n", "instance_type is missing"),
        ("instance_type,usd_per_hour,region,date,source\nx,free,,,\n", "line 2: usd_per_hour"),
        ("instance_type,usd_per_hour,region,date,source\nx,-1,,,\n", "not a price above zero"),
        ("instance_type,usd_per_hour,region,date,source\nx\n", "line 2"),
    ],
)
def test_wrong_prices_are_one_line(tmp_path: Path, content: str, says: str) -> None:
    """It names the file and the line."""
    path = tmp_path / "prices.csv"
    path.write_text(content)
    with pytest.raises(UsageError, match=re.escape(says)):
        read_prices(path)


# ---- formats ------------------------------------------------------------------------------


def test_markdown_holds_answer_table_and_how_to_repeat(two: list[Run]) -> None:
    """For a pull request."""
    text = in_format(two[0], "markdown")
    assert text.startswith("# ")
    row = next(r for r in two[0].speedups if r.baseline_kind == "stock_default")
    assert times(row.speedup) in text
    assert "git checkout 532bdfb" in text


def test_json_holds_the_rows_as_they_are(two: list[Run]) -> None:
    """Numbers unrounded."""
    found = json.loads(in_format(two[0], "json"))
    assert [row["speedup"] for row in found["speedups"]] == [r.speedup for r in two[0].speedups]
    assert found["answers"][0]["headline"]


def test_command_refuses_what_it_cannot_do(two: list[Run], tmp_path: Path, save: Save) -> None:
    """Wrong usage is one line."""
    folders = [str(save(run, tmp_path / str(n))) for n, run in enumerate(two)]
    for arguments in (["report", *folders, "--format", "json"], ["report", "--index", folders[0]]):
        done = CliRunner().invoke(cli, arguments)
        assert done.exit_code == 2, done.output
    done = CliRunner().invoke(cli, ["report", *folders, "--reports", str(tmp_path / "r")])
    assert done.exit_code == 0, done.output
    assert next((tmp_path / "r").iterdir()).name.startswith("compare-")
