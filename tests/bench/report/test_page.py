"""The page as markup: whole, self-contained, escaped, and true to the rows it was made from."""

from __future__ import annotations

import dataclasses
import html
import re
from collections.abc import Callable
from html.parser import HTMLParser
from pathlib import Path
from typing import Any

import pytest

from bench.errors import BenchError
from bench.machine.placement import kept_heap
from bench.plan.scenario import Status
from bench.report import build, write_report
from bench.store.records import Run
from bench.text.wording import bounds, times

MakeRun = Callable[..., Run]
SMALL = (
    "inference/stock/eager/fp32/contiguous/b1",
    "inference/stock/eager/fp32/channels_last/b1",
    "inference/ipex/torchscript+fusion/fp32/channels_last/b1",
    "training/stock/eager/fp32/contiguous/b2/frozen",
    "training/ipex/eager/fp32/channels_last/b2/frozen",
)
HOSTILE = "<script>alert(1)</script>\"'&<img src=x onerror=alert(2)>$x^2$"


class Outline(HTMLParser):
    """Collects what the tests look at."""

    def __init__(self, page: str) -> None:
        super().__init__()
        self.ids: list[str] = []
        self.headings: list[int] = []
        self.tags: list[str] = []
        self.attributes: list[tuple[str, str, str]] = []
        self.feed(page)

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.append(tag)
        if re.fullmatch(r"h[1-6]", tag):
            self.headings.append(int(tag[1]))
        for name, value in attrs:
            self.attributes.append((tag, name, value or ""))
            if name == "id":
                self.ids.append(value or "")


@pytest.fixture(scope="module")
def page(make_run: MakeRun) -> str:
    """A good standard run's page."""
    return build(make_run())


@pytest.fixture(scope="module")
def outline(page: str) -> Outline:
    """That page, parsed."""
    return Outline(page)


def test_same_run_gives_same_page(make_run: MakeRun, page: str) -> None:
    """Nothing of the page depends on when or where it is made."""
    assert build(make_run()) == page


def test_page_names_nothing_to_load(page: str, outline: Outline) -> None:
    """No element refers to anything outside the page."""
    assert not {"link", "iframe", "img", "object", "base"} & set(outline.tags)
    references = [value for _, name, value in outline.attributes if name in ("href", "src")]
    assert references
    assert all(value.startswith("#") for value in references)
    assert "@import" not in page
    assert not re.search(r"url\((?!#)", page)


def test_content_policy_forbids_everything_but_the_page_itself(outline: Outline) -> None:
    """Even injected markup could load and run nothing."""
    policy = next(value for _, name, value in outline.attributes if "default-src" in value)
    assert policy.startswith("default-src 'none'")
    assert "script-src 'sha256-" in policy
    assert "script-src 'unsafe-inline'" not in policy


def test_ids_are_unique_and_every_reference_has_its_target(outline: Outline) -> None:
    """Links, labels and clip paths of many drawings in one document do not collide."""
    assert len(outline.ids) == len(set(outline.ids))
    ids = set(outline.ids)
    for _, name, value in outline.attributes:
        if name == "href":
            assert value[1:] in ids, value
        if name in ("aria-labelledby", "aria-describedby"):
            assert set(value.split()) <= ids, value
        for target in re.findall(r"url\(#([^)]+)\)", value):
            assert target in ids, value


def test_what_the_run_itself_took_is_on_the_page(page: str) -> None:
    """The parent's share of a core, and the memory of all processes together."""
    shown = html.unescape(page)
    assert re.search(r"Harness's own CPU use</dt>\s*<dd>0\.4", shown)
    assert re.search(r"all processes together, at most</dt>\s*<dd>11\.2 GiB", shown)


def test_headings_descend_one_level_at_a_time(outline: Outline) -> None:
    """A screen reader's outline has no holes."""
    assert outline.headings[0] == 1
    assert outline.headings.count(1) == 1
    steps = zip(outline.headings, outline.headings[1:], strict=False)
    assert all(after - before <= 1 for before, after in steps)


def test_every_drawing_has_a_text_alternative(page: str) -> None:
    """What a drawing shows is said in words, or it is marked as decoration."""
    drawings = re.findall(r"<svg[^>]*>(?:<title[^>]*>[^<]+</title><desc[^>]*>[^<]+</desc>)?", page)
    assert drawings
    for drawing in drawings:
        assert 'aria-hidden="true"' in drawing or ('role="img"' in drawing and "<desc" in drawing)


def test_every_speedup_of_the_file_is_on_the_page(make_run: MakeRun, page: str) -> None:
    """Both baselines, every scenario: estimate and interval as speedups.csv has them."""
    run = make_run()
    text = re.sub(r"<[^>]+>", " ", page)
    for row in run.speedups:
        assert row.speedup is not None
        shown = f"{times(row.speedup)} {bounds(row.speedup_low, row.speedup_high)}"
        assert shown in re.sub(r"\s+", " ", text), row.scenario


def test_every_scenario_is_on_the_page_whatever_became_of_it(
    make_run: MakeRun, mishaps: Any
) -> None:
    """Nothing that failed is dropped; its status and reason stand in its place."""
    run = make_run(faults=mishaps)
    page = html.unescape(build(run))
    for row in run.scenarios:
        assert row.scenario in page
        assert row.reason is None or row.reason in page


def test_group_that_was_never_measured_has_no_bar_and_no_drawing(make_run: MakeRun) -> None:
    """A bar of 1.00 for stock tuned where nothing ran would be a figure from nowhere."""
    one = "inference/stock/eager/fp32/contiguous/b1"
    eight = "inference/stock/eager/fp32/contiguous/b8"
    late = "not measured: the budget was used up before its turn"
    run = make_run(
        only=(one, "inference/ipex/eager/fp32/channels_last/b1", eight),
        faults=((eight, Status.UNAVAILABLE, late),),
        rounds=4,
    )
    page = build(run)
    bars = page[page.index('<section id="speedups">') : page.index('id="table-speedups"')]
    assert "batch 1" in bars
    assert "batch 8" not in bars
    assert late in page


def test_workers_that_never_came_up_are_not_said_to_differ(make_run: MakeRun) -> None:
    """What has no settings has none that differ."""
    run = make_run(profile="smoke", rounds=3, only=SMALL)
    workers = {**run.environment["workers"], "late": {"threads": None, "env": {}}}
    page = build(dataclasses.replace(run, environment={**run.environment, "workers": workers}))
    assert "Workers differ" not in page


def test_a_failure_is_told_once_in_its_row(make_run: MakeRun, mishaps: Any) -> None:
    """The comparison fails for the scenario's own reason, which stands there already."""
    page = html.unescape(build(make_run(faults=mishaps)))
    table = page[page.index('id="table-speedups"') : page.index('<section id="batch"')]
    assert table.count("the worker needed more than 14 GiB") == 1


def test_every_measured_scenario_has_its_code_and_start_up_cost(make_run: MakeRun) -> None:
    """In its own entry: peak, memory, first call, break-even, and how to run the model so."""
    run = make_run(only=SMALL, rounds=4)
    page = html.unescape(build(run))
    entries = page[page.index('<section id="scenarios">') : page.index('<section id="machine">')]
    for name in (
        "Share of the machine's peak",
        "Peak memory",
        "First call",
        "Start earned back after",
    ):
        assert entries.count(f"<dt>{name}</dt>") == len(run.scenarios)
    inference = [row for row in run.scenarios if row.task == "inference"]
    assert entries.count("outputs = model(images)") == len(inference) > 1


def _hostile(run: Run) -> Run:
    """The same run with script in every string that a file could hold."""

    def spoil(value: Any) -> Any:
        if isinstance(value, dict):
            return {HOSTILE + str(key): spoil(item) for key, item in value.items()} | {
                key: spoil(item) for key, item in value.items()
            }
        if isinstance(value, list):
            return [spoil(item) for item in value] + [HOSTILE]
        return f"{value}{HOSTILE}" if isinstance(value, str) else value

    def name(row: Any) -> Any:
        return dataclasses.replace(row, scenario=row.scenario + HOSTILE)

    return dataclasses.replace(
        run,
        environment=spoil(run.environment),
        scenarios=tuple(
            dataclasses.replace(
                name(row), reason=HOSTILE, isa=HOSTILE, environment="ipex-2.8", mode=row.mode
            )
            for row in run.scenarios
        )
        + tuple(
            dataclasses.replace(
                row,
                scenario=f"{HOSTILE}{number}",
                backend=HOSTILE,
                mode=HOSTILE,
                fusion=HOSTILE,
                dtype=HOSTILE,
                layout=HOSTILE,
                options=HOSTILE,
                environment=HOSTILE,
                status=HOSTILE,
            )
            for number, row in enumerate(run.scenarios[:2])
        ),
        speedups=tuple(
            dataclasses.replace(name(row), baseline=row.baseline + HOSTILE, reason=HOSTILE)
            for row in run.speedups
        ),
        parity=tuple(name(row) for row in run.parity),
        kernels=tuple(
            dataclasses.replace(name(row), implementation=HOSTILE, post_ops=HOSTILE)
            for row in run.kernels
        ),
        noise=tuple(dataclasses.replace(row, group=row.group + HOSTILE) for row in run.noise),
        iterations=tuple(name(row) for row in run.iterations),
        warnings=(HOSTILE,),
    )


def test_script_in_any_string_of_a_file_stays_text(make_run: MakeRun) -> None:
    """The page holds exactly one script, ours, and no handler."""
    page = build(_hostile(make_run(profile="smoke", rounds=3)))
    outline = Outline(page)
    assert outline.tags.count("script") == 1
    assert "img" not in outline.tags
    assert not [name for _, name, _ in outline.attributes if name.startswith("on")]
    assert "&lt;script&gt;alert(1)" in page


def test_empty_run_gives_a_page_that_says_what_is_missing() -> None:
    """A folder with nothing but an empty environment.json is still answered."""
    page = build(Run(folder=Path("results/empty"), environment={}))
    assert "Nothing was measured" in page
    assert "does not say which machine" in page
    assert "How it was measured" in page


def test_page_says_whether_processes_kept_their_heap(make_run: MakeRun) -> None:
    """As the workers said, not as this version starts them."""
    run = make_run(profile="smoke", rounds=3, only=SMALL)
    assert "as the C library ships it" in build(run)
    workers = {name: {"env": kept_heap({})} for name in run.environment["workers"]}
    kept = dataclasses.replace(run, environment={**run.environment, "workers": workers})
    assert "Every process keeps the memory that it frees" in build(kept)


@pytest.mark.parametrize(
    "missing", ["iterations", "speedups", "parity", "noise", "kernels", "scenarios", "environment"]
)
def test_run_without_one_of_its_files_gives_a_page(make_run: MakeRun, missing: str) -> None:
    """Any file may be lost; the page shows what the others hold."""
    nothing: Any = {} if missing == "environment" else ()
    run = make_run(profile="smoke", rounds=3, only=SMALL)
    page = build(dataclasses.replace(run, **{missing: nothing}))
    assert "</html>" in page


def test_nonsense_in_the_environment_gives_a_page(make_run: MakeRun) -> None:
    """Values of other types than expected are read as missing."""
    broken = {
        "machine": {"isa": ["x"], "caches": 3, "usable_physical_cores": "many", "notes": "none"},
        "policy": {"verdict": {"confidence": "high", "unknown": 1}},
        "matrix": [],
        "workers": {"a": 3},
        "peak": None,
        "model": "vgg",
        "notes": 4,
    }
    run = make_run(profile="smoke", rounds=3, only=SMALL)
    assert "</html>" in build(dataclasses.replace(run, environment=broken))


def test_single_scenario_run_says_that_there_is_nothing_to_compare(make_run: MakeRun) -> None:
    """Stock default alone has a latency and a control, and no speedup."""
    page = build(make_run(only=("inference/stock/eager/fp32/contiguous/b1",)))
    assert "Only stock default was measured" in page


def test_speedups_are_made_again_where_a_kill_left_none(make_run: MakeRun) -> None:
    """The raw rows are enough, and the page says that it computed them."""
    whole = make_run(profile="smoke", rounds=3, only=SMALL)
    page = build(dataclasses.replace(whole, speedups=()))
    assert "Speedups were computed for this page" in page
    row = next(row for row in whole.speedups if row.baseline_kind == "stock_tuned")
    assert times(row.speedup) in page


def test_published_figures_are_marked_as_not_ours(page: str) -> None:
    """History stands apart from measurements."""
    assert "2.22" in page
    assert "not measured here" in page


def test_report_is_written_in_one_step(tmp_path: Path) -> None:
    """The file is whole, its folder is made, and nothing else is left there."""
    run = Run(folder=Path("results/empty"), environment={})
    path = tmp_path / "new" / "page.html"
    write_report(run, path)
    write_report(run, path)
    assert path.read_text(encoding="utf-8") == build(run)
    assert list(path.parent.iterdir()) == [path]


def test_report_that_cannot_be_written_is_explained_in_one_line(tmp_path: Path) -> None:
    """The sentence names the file and says what to do."""
    blocker = tmp_path / "file"
    blocker.write_text("not a folder", encoding="utf-8")
    with pytest.raises(BenchError, match=r"cannot write .*page\.html"):
        write_report(Run(folder=tmp_path, environment={}), blocker / "page.html")


def test_failed_write_leaves_the_old_report_and_no_scrap(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A full disk costs nothing that was there."""
    path = tmp_path / "page.html"
    path.write_text("old", encoding="utf-8")

    def full(*_: Any) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(Path, "replace", full)
    with pytest.raises(BenchError, match="no space left"):
        write_report(Run(folder=tmp_path, environment={}), path)
    assert path.read_text(encoding="utf-8") == "old"
    assert list(tmp_path.iterdir()) == [path]
