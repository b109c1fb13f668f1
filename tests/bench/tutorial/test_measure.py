"""The tutorial's parts run in order, survive failures, and go on where they were cut."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import pytest

from bench import machine
from bench.errors import RecordError, UsageError
from bench.plan.operators import cases_matching
from bench.store import records
from bench.tutorial import measure, parts
from bench.tutorial.measure import DONE, FAILED, Tutorial
from bench.tutorial.parts import HELD_OUT, PARTS, Place
from tests.bench.began_here import CODE, ELSEWHERE, MACHINE, stay_here
from tests.bench.command import bench
from tests.fake_files import write

if TYPE_CHECKING:
    from pathlib import Path

    from bench.tutorial.parts import Command

KEYS = [part.key for part in PARTS]


@pytest.fixture
def place(tmp_path: Path) -> Place:
    """A place with the split that a training leaves: 12 good pills and 3 kinds of bad ones."""
    made = Place(
        folder=tmp_path / "t", reports=tmp_path / "pages", data=tmp_path / "data", has_bf16=True
    )
    rows = ["split,defect,path,sha256"]
    for kind in ("good", "crack", "color", "scratch"):
        for number in range(12):
            path = made.data / kind / f"{number}.png"
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_bytes(b"pill")
            split = "test" if number < 6 else "train"
            rows.append(f"{split},{kind},{kind}/{number}.png,0")
    made.model.parent.mkdir(parents=True)
    made.model.with_suffix(".split.csv").write_text("\n".join(rows))
    return made


class Runner:
    """Records commands, and fails those that have a word."""

    def __init__(self, failing: str = "", interrupted: str = "") -> None:
        self.ran: list[Command] = []
        self.failing, self.interrupted = failing, interrupted

    def __call__(self, command: Command, output: Path, log: Path) -> str:
        self.ran.append(command)
        if self.interrupted and self.interrupted in command:
            raise KeyboardInterrupt
        output.write_text("out")
        log.write_text("log")
        return "it broke" if self.failing and self.failing in command else ""


def run(tutorial: Tutorial, runner: Runner, *only: str) -> list[str]:
    """Run a tutorial, and return what it announced."""
    lines: list[str] = []
    measure.measure(tutorial, lines.append, only=only, run=runner)
    return lines


def test_one_case_of_each_operator_that_the_tutorial_names_is_measured(place: Place) -> None:
    """All of them would take as long as the whole tutorial."""
    (part,) = (one for one in PARTS if one.key == "operators")
    command = part.commands(place)[0]
    cases = [command[at + 1] for at, word in enumerate(command) if word == "--case"]
    assert sorted(one.operator for one in cases_matching(cases)) == [
        *("conv-relu", "linear-relu"),
        *("nms", "roi_align"),
    ]


def test_every_part_runs_once_in_the_tutorials_order(place: Place) -> None:
    """And a tutorial that is whole has nothing left to do."""
    tutorial, runner = Tutorial(place=place, machine={}), Runner()
    lines = run(tutorial, runner)
    assert [line.split(":")[0] for line in lines] == KEYS
    assert {outcome.status for outcome in tutorial.outcomes.values()} == {DONE}
    assert records.read_environment(place.folder)["complete"] is True
    again = measure.read(place.folder)
    assert (again.place.folder, list(again.outcomes)) == (place.folder, KEYS)
    assert run(again, runner) == []


def test_a_failing_part_keeps_its_reason_and_those_that_need_it_say_so(place: Place) -> None:
    """The others run."""
    tutorial = Tutorial(place=place, machine={})
    run(tutorial, Runner(failing="train"))
    outcomes = tutorial.outcomes
    assert (outcomes["training"].status, outcomes["training"].reason) == (FAILED, "it broke")
    for key in ("layers", "predictions"):
        assert outcomes[key].status == FAILED
        assert "training" in outcomes[key].reason
        assert outcomes[key].commands == ()
    assert outcomes["speed"].status == outcomes["model"].status == DONE


def test_what_failed_is_tried_again_and_what_is_done_is_not(place: Place) -> None:
    """With --resume, after the cause was mended."""
    tutorial = Tutorial(place=place, machine={})
    run(tutorial, Runner(failing="train"))
    runner = Runner()
    run(measure.read(place.folder), runner)
    assert [command[1] for command in runner.ran] == [
        *("train", "summary", "inspect"),
        *(3 * ["evaluate"]),
    ]


def test_an_interrupted_part_is_not_done(place: Place) -> None:
    """Those before it are kept."""
    tutorial = Tutorial(place=place, machine={})
    with pytest.raises(KeyboardInterrupt):
        run(tutorial, Runner(interrupted="explore"))
    kept = measure.read(place.folder)
    assert list(kept.outcomes) == KEYS[: KEYS.index("pills")]
    assert records.read_environment(place.folder)["complete"] is False


def test_only_some_parts(place: Place) -> None:
    """The first failure to be looked at need not wait for the rest."""
    tutorial, runner = Tutorial(place=place, machine={}), Runner()
    run(tutorial, runner, "model", "pills")
    assert list(tutorial.outcomes) == ["pills", "model"]


def test_bf16_is_trained_in_only_where_it_is_native(place: Place) -> None:
    """Emulated, it would be slower than fp32."""
    for native, dtype in ((True, "bf16"), (False, "fp32")):
        here = Place(folder=place.folder, reports=place.reports, data=place.data, has_bf16=native)
        (command,) = parts.BY_KEY["training"].commands(here)
        assert command[command.index("--dtype") + 1] == dtype


def test_held_out_pills_are_those_of_the_test_split_in_turn(place: Place) -> None:
    """As many of each kind, and none that trained."""
    tray = place.folder / "tray"
    parts.lay_out_held_out(place, tray)
    names = sorted(path.name for path in tray.iterdir())
    assert len(names) == HELD_OUT
    kinds = [name.split("-")[0] for name in names]
    assert {kinds.count(kind) for kind in set(kinds)} == {4}
    assert {int(name.split("-")[1].removesuffix(".png")) for name in names} <= set(range(6))


def test_held_out_pills_of_one_name_are_all_there(place: Place) -> None:
    """MVTec AD's layout has `train/good/003.png` and `test/good/003.png`."""
    paths = ["train/good/3.png", "test/good/3.png", "test/good/3-2.png", "test/crack/3.png"]
    for path in paths:
        write(place.data, path, path)
    rows = ["split,defect,path,sha256", *(f"test,{path.split('/')[1]},{path},0" for path in paths)]
    write(place.folder, "training/model.split.csv", "\n".join(rows))
    tray = place.folder / "tray"
    parts.lay_out_held_out(place, tray)
    copied = {path.name: path.read_text().strip() for path in tray.iterdir()}
    assert sorted(copied.values()) == sorted(paths)
    assert all(name.split("-")[0] in path for name, path in copied.items())


def test_a_missing_split_fails_its_part_alone(place: Place) -> None:
    """With the file's name."""
    place.model.with_suffix(".split.csv").unlink()
    tutorial = Tutorial(place=place, machine={})
    run(tutorial, Runner())
    assert "model.split.csv" in tutorial.outcomes["predictions"].reason


@pytest.fixture
def cut(place: Place, monkeypatch: pytest.MonkeyPatch) -> Runner:
    """What runs the rest of a tutorial that failed here, with this code, in its training."""
    stay_here(monkeypatch)
    run(Tutorial(place=place, machine=MACHINE, code=CODE), Runner(failing="train"))
    runner = Runner()
    monkeypatch.setattr(measure, "run_command", runner)
    return runner


@pytest.mark.parametrize("change", ELSEWHERE)
def test_a_tutorial_that_began_elsewhere_does_not_go_on(
    place: Place, cut: Runner, change: dict[str, Any]
) -> None:
    """One page is of one machine and one code."""
    before = {**records.read_environment(place.folder), **change}
    records.write_environment(place.folder, before)
    done = bench("tutorial", "--resume", place.folder, "--reports", place.reports)
    assert (done.exit_code, len(done.stderr.splitlines()), cut.ran) == (1, 1, [])
    assert records.read_environment(place.folder) == before


@pytest.mark.parametrize("lacking", [(), ("dirty", "policy", "synthetic")])
def test_a_tutorial_goes_on_where_it_began(
    place: Place, cut: Runner, lacking: tuple[str, ...]
) -> None:
    """One of an earlier version too, whose file has less."""
    kept = records.read_environment(place.folder)
    records.write_environment(place.folder, {k: v for k, v in kept.items() if k not in lacking})
    done = bench("tutorial", "--resume", place.folder, "--reports", place.reports)
    assert (done.exit_code, cut.ran[0][1]) == (0, "train")
    after = records.read_environment(place.folder)
    assert (after["commit"], after["dirty"], after["machine"]) == ("c" * 40, False, MACHINE)


@pytest.mark.parametrize("is_rendered", [True, False])
def test_the_page_is_made_again_from_anywhere(
    place: Place, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, is_rendered: bool
) -> None:
    """Pills that were rendered stay synthetic, wherever they are by then."""
    monkeypatch.setattr(machine, "describe", lambda: {"native_bf16": True})
    monkeypatch.chdir(tmp_path)
    if is_rendered:
        write(place.data, "manifest.csv", "")
    data = place.data.relative_to(tmp_path)
    tutorial = measure.new(tmp_path / "results", tmp_path / "reports", data, None, 0)
    run(tutorial, Runner())
    elsewhere = tmp_path / "elsewhere"
    elsewhere.mkdir()
    monkeypatch.chdir(elsewhere)
    again = bench("tutorial", "--again", tutorial.place.folder)
    assert again.exit_code == 0
    assert ("Synthetic" in again.stdout) == is_rendered


def test_a_folder_without_pills_is_refused_before_anything_runs(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """In one line that names it; what needs no pills runs all the same."""
    monkeypatch.setattr(machine, "describe", dict)
    runner = Runner()
    monkeypatch.setattr(measure, "run_command", runner)
    places = ("--results", tmp_path / "r", "--reports", tmp_path / "p", "--data", tmp_path / "no")
    refused = bench("tutorial", *places)
    assert refused.exit_code == 1
    (line,) = refused.stderr.splitlines()
    assert str(tmp_path / "no") in line
    assert (runner.ran, list(tmp_path.iterdir())) == ([], [])
    assert bench("tutorial", *places, "--part", "model").exit_code == 0
    assert runner.ran == [["pillqc", "summary"]]


def test_another_folder_is_refused(place: Place, tmp_path: Path) -> None:
    """Before anything is written there."""
    with pytest.raises(RecordError):
        measure.read(tmp_path / "nothing")
    records.write_environment(place.data, {"study": "suite"})
    with pytest.raises(UsageError, match="not the folder of a tutorial"):
        measure.read(place.data)


def test_a_command_that_fails_gives_its_last_line(tmp_path: Path) -> None:
    """Its output and its errors are kept in two files."""
    output, log = tmp_path / "out", tmp_path / "log"
    reason = measure.run_command(["json.tool", "--no-such-option"], output, log)
    assert "exit code 2" in reason
    assert log.read_text()
    assert measure.run_command(["this"], output, log) == ""
    assert "Zen of Python" in output.read_text()


@pytest.mark.usefixtures("cut")
def test_a_failed_part_shows_in_the_exit_code(
    place: Place, monkeypatch: pytest.MonkeyPatch
) -> None:
    """For CI; its page is written all the same. Other parts, and the page again, do not fail."""
    monkeypatch.setattr(measure, "run_command", Runner(failing="evaluate"))
    done = bench("tutorial", "--resume", place.folder)
    assert (done.exit_code, place.reports.with_suffix(".html").exists()) == (1, True)
    assert "predictions" in done.stderr.splitlines()[-1]
    for others in (["--again", place.folder], ["--resume", place.folder, "--part", "model"]):
        assert bench("tutorial", *others).exit_code == 0


def test_an_interrupted_tutorial_ends_as_ctrl_c_does(
    place: Place, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Its page is made of what there is, and made again where one asks for it."""
    stay_here(monkeypatch)
    Tutorial(place=place, machine=MACHINE, code=CODE).save()
    monkeypatch.setattr(measure, "run_command", Runner(interrupted="explore"))
    assert bench("tutorial", "--resume", place.folder).exit_code == 130
    assert place.reports.with_suffix(".html").exists()
    elsewhere = place.folder / "pages"
    done = bench("tutorial", "--again", place.folder, "--reports", elsewhere)
    assert (done.exit_code, [*elsewhere.rglob("*.html")]) == (
        0,
        [elsewhere / "tutorial" / f"{place.reports.name}.html"],
    )
