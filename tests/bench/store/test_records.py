"""The files of a run: what is written can be read back, whatever happens in between."""

from __future__ import annotations

import codecs
import csv
import dataclasses
import math
import os
import random
import resource
import signal
import subprocess
import sys
import time
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from bench.errors import RecordError
from bench.plan.scenario import Phase
from bench.store import durable, rows
from bench.store.records import (
    FILES,
    IterationRow,
    NoiseRow,
    RunWriter,
    ScenarioRow,
    SpeedupRow,
    read_rows,
    read_run,
    replace_rows,
    write_environment,
)

if TYPE_CHECKING:
    from collections.abc import Callable

ROW = IterationRow(
    run_id="r",
    scenario="inference/stock/eager/fp32/contiguous/b1",
    launch=0,
    round=None,
    position=None,
    iteration=0,
    phase="warmup",
    wall_ns=123456,
    cpu_ns=234567,
)
HEADER = "run_id,scenario,launch,round,position,iteration,phase,wall_ns,cpu_ns\n"
LINE = "r,s,0,1,2,3,timed,100,200\n"
"""Of a version before `page_faults`, which files of it must still be read by."""
NOISE_HEADER = (
    "run_id,launch,group,round,cpu_pressure,steal,involuntary_switches,probe_ratio,quiet\n"
)
"""Of a version before `throttled`."""

VALUES: dict[type, st.SearchStrategy[Any]] = {
    bool: st.booleans(),
    int: st.integers(0, 2**63 - 1),
    float: st.floats(min_value=0, allow_nan=False, allow_infinity=False),
    str: st.text(st.characters(exclude_characters="\0", exclude_categories=["Cs"]), max_size=60),
}


def any_row(row_type: type) -> st.SearchStrategy[Any]:
    """Rows of every shape the type allows."""
    fields = {}
    for column in rows.columns(row_type):
        values = VALUES[column.kind]
        if column.optional:
            values = st.none() | values.filter(lambda value: value != "")
        fields[column.name] = values
    return st.builds(row_type, **fields)


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """A run's folder with an environment and all files, still without rows."""
    RunWriter(tmp_path).close()
    write_environment(tmp_path, {"run_id": "r"})
    return tmp_path


def damaged(tmp_path: Path, content: str | bytes, row_type: type = IterationRow) -> str:
    """What reading such a file says; it must be refused."""
    path = tmp_path / "iterations.csv"
    path.write_bytes(content if isinstance(content, bytes) else content.encode())
    with pytest.raises(RecordError) as caught:
        read_rows(path, row_type)
    message = str(caught.value)
    assert str(path) in message
    assert message.isprintable()
    assert len(message) < len(str(path)) + 200
    return message.replace(str(path), "FILE")


# --- round trips -----------------------------------------------------------------------------


@pytest.mark.parametrize("row_type", FILES.values())
@settings(max_examples=20, suppress_health_check=[HealthCheck.too_slow])
@given(data=st.data())
def test_every_row_reads_back_as_it_was(row_type: type, data: st.DataObject) -> None:
    """Commas, quotes, line ends, any text, any number: reading undoes writing."""
    names = [field.name for field in dataclasses.fields(row_type)]
    assert rows.header_line(row_type).decode() == ",".join(names) + "\n"
    written = data.draw(st.lists(any_row(row_type), max_size=4))
    content = rows.header_line(row_type) + b"".join(rows.row_line(row) for row in written)
    assert rows.parse("f.csv", content, row_type) == (written, [])


@settings(max_examples=80)
@given(rest=st.lists(any_row(SpeedupRow), min_size=1, max_size=3), data=st.data())
def test_a_file_cut_anywhere_keeps_its_whole_rows(
    rest: list[SpeedupRow], data: st.DataObject
) -> None:
    """Whatever byte the crash came at, rows before it are whole and the cut one is named."""
    lines = [rows.header_line(SpeedupRow), *map(rows.row_line, rest)]
    content = b"".join(lines)
    cut = data.draw(st.integers(1, len(content)))
    found, warnings = rows.parse("f.csv", content[:cut], SpeedupRow)
    ends = np.cumsum([len(line) for line in lines])
    assert found == rest[: max(0, int(np.sum(ends <= cut)) - 1)]
    assert bool(warnings) == (cut not in ends)


def test_other_programs_read_the_files(folder: Path) -> None:
    """The files are plain CSV: Python's own reader sees the same cells, quoted line ends too."""
    row = dataclasses.replace(ROW, scenario='a,"b"\r\nc\rd', round=3)
    with RunWriter(folder) as writer:
        writer.append(row)
    with (folder / "iterations.csv").open(newline="") as file:
        (cells,) = csv.DictReader(file, strict=True)
    assert cells["scenario"] == 'a,"b"\r\nc\rd'
    assert (cells["round"], cells["position"], cells["wall_ns"]) == ("3", "", "123456")


def test_cells_are_written_in_one_way(tmp_path: Path) -> None:
    """None is empty, booleans are words, floats keep every digit, words of closed sets are text."""
    noise = rows.blank(
        NoiseRow,
        run_id="r",
        launch=0,
        group="inference/b1",
        round=0,
        cpu_pressure=0.1 + 0.2,
        involuntary_switches=0,
        probe_ratio=1,
        quiet=True,
    )
    replace_rows(tmp_path / "noise.csv", [noise], NoiseRow)
    assert (tmp_path / "noise.csv").read_text() == (
        NOISE_HEADER.replace("\n", ",throttled\n")
        + "r,0,inference/b1,0,0.30000000000000004,,0,1.0,true,\n"
    )
    line = rows.row_line(dataclasses.replace(ROW, phase=Phase.TIMED)).decode()
    assert ",timed," in line


def test_numpy_numbers_are_numbers() -> None:
    """Statistics hand over numpy scalars, whose repr is not a number."""
    row = dataclasses.replace(ROW, round=np.int64(7))  # type: ignore[arg-type] # what numpy gives
    assert rows.row_line(row) == rows.row_line(dataclasses.replace(ROW, round=7))
    speedup = rows.blank(
        SpeedupRow,
        run_id="r",
        scenario="s",
        baseline_kind="control",
        baseline="b",
        speedup=np.float64(1.25),
        speedup_low=np.float64("nan"),
        speedup_high=math.inf,
        margin=-0.0,
        launches=1,
        rounds=1,
        verdict="same",
        reason="",
        processes=0,
    )
    assert rows.row_line(speedup) == b"r,s,control,b,1.25,,,0.0,1,1,same,,,,0,,,,,\n"


@pytest.mark.parametrize(
    ("changes", "says"),
    [
        ({"wall_ns": 1.5}, "'wall_ns' takes a whole number, not '1.5'"),
        ({"wall_ns": -1}, "'wall_ns' takes a whole number, not '-1'"),
        ({"wall_ns": None}, "'wall_ns' needs a value"),
        ({"launch": "one"}, "'launch' takes a whole number, not 'one'"),
    ],
)
def test_a_row_that_could_not_be_read_back_is_not_written(
    folder: Path, changes: dict[str, Any], says: str
) -> None:
    """A mistake in the harness shows where it is made, and not when the report is wanted."""
    with RunWriter(folder) as writer, pytest.raises(RecordError, match=says):
        writer.append(dataclasses.replace(ROW, **changes))
    assert read_rows(folder / "iterations.csv", IterationRow) == ([], [])


def test_text_that_no_file_can_hold_is_made_harmless(folder: Path) -> None:
    """What a crashing worker printed becomes a reason: NULs, halves of characters, megabytes."""
    with RunWriter(folder) as writer:
        writer.append(dataclasses.replace(ROW, scenario="a\0b\udcff" + "x" * 500_000))
    ((found,), warnings) = read_rows(folder / "iterations.csv", IterationRow)
    assert found.scenario.startswith("a\\x00b\\udcffxxx")
    assert len(found.scenario) < 110_000
    assert warnings == []


# --- appending -------------------------------------------------------------------------------


def test_a_row_is_one_write_to_an_append_descriptor(
    folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """One write a row is why a kill between two instructions leaves whole rows."""
    with RunWriter(folder) as writer:
        written: list[bytes] = []
        real = os.write

        def watched(descriptor: int, piece: bytes) -> int:
            written.append(piece)
            return real(descriptor, piece)

        monkeypatch.setattr(os, "write", watched)
        writer.append(ROW)
        monkeypatch.undo()
    assert written == [rows.row_line(ROW)]
    # another writer's rows in between stay: the descriptor appends
    with RunWriter(folder) as first, RunWriter(folder) as second:
        for writer in (first, second, first):
            writer.append(ROW)
    assert read_rows(folder / "iterations.csv", IterationRow) == ([ROW] * 4, [])


def test_all_files_have_their_header_before_the_first_row(folder: Path) -> None:
    """A folder that cannot be written shows before anything is measured."""
    for name, row_type in FILES.items():
        assert (folder / name).read_bytes() == rows.header_line(row_type)
    RunWriter(folder).close()


WHOLE = rows.header_line(IterationRow) + rows.row_line(ROW)


@pytest.mark.parametrize(
    "content", [WHOLE + rows.row_line(ROW)[:9], codecs.BOM_UTF8 + WHOLE.replace(b"\n", b"\r\n")]
)
def test_rows_are_added_to_a_cut_file_and_to_what_a_spreadsheet_saved(
    folder: Path, content: bytes
) -> None:
    """Never glued to what a crash left of the row before; a byte order mark changes no column."""
    path = folder / "iterations.csv"
    path.write_bytes(content)
    with RunWriter(folder) as writer:
        writer.append(ROW)
    assert read_rows(path, IterationRow) == ([ROW, ROW], [])


@pytest.mark.parametrize(
    ("content", "says"),
    [
        (HEADER + LINE, "other columns than this version writes"),
        ("precious,notes\n1,2\n", "not the header"),
    ],
)
def test_nothing_is_added_to_other_columns(folder: Path, content: str, says: str) -> None:
    """Of an earlier version, or of a file that is not ours: it stays as it is."""
    path = folder / "iterations.csv"
    path.write_text(content)
    with pytest.raises(RecordError, match=says):
        RunWriter(folder)
    assert path.read_text() == content


def test_closing_twice_is_harmless(folder: Path) -> None:
    """Ctrl-C during closing closes again."""
    writer = RunWriter(folder)
    writer.close()
    writer.close()


WRITE_FOREVER = """
import sys, itertools
from pathlib import Path
from bench.store.records import IterationRow, RunWriter
folder = Path(sys.argv[1])
folder.mkdir()
with RunWriter(folder) as writer:
    print("ready", flush=True)
    for number in itertools.count():
        writer.append(IterationRow(run_id="r", scenario='s,"x"\\n' * (number % 40), launch=0,
            round=None, position=1, iteration=number, phase="timed", wall_ns=number, cpu_ns=2))
"""


def test_a_kill_at_any_moment_leaves_whole_rows(tmp_path: Path) -> None:
    """SIGKILL while rows are being written: all rows that are there are right, in order."""
    for attempt in range(3):
        process = subprocess.Popen(
            [sys.executable, "-c", WRITE_FOREVER, str(tmp_path / str(attempt))],
            stdout=subprocess.PIPE,
        )
        with process:
            assert process.stdout is not None
            process.stdout.readline()
            time.sleep(random.Random(attempt).uniform(0, 0.1))
            process.send_signal(signal.SIGKILL)
        found, _ = read_rows(tmp_path / str(attempt) / "iterations.csv", IterationRow)
        assert [row.iteration for row in found] == list(range(len(found)))
        assert all(row.wall_ns == row.iteration for row in found)


FILL_UP = """
import resource, sys
from pathlib import Path
from bench.errors import RecordError
from bench.store.records import IterationRow, RunWriter
with RunWriter(Path(sys.argv[1])) as writer:
    limit = int(sys.argv[2])
    resource.setrlimit(resource.RLIMIT_FSIZE, (limit, limit))
    try:
        for number in range(10**6):
            writer.append(IterationRow(run_id="r", scenario="s", launch=0, round=None, position=1,
                iteration=number, phase="timed", wall_ns=number, cpu_ns=2))
    except RecordError as error:
        print(error)
"""


@pytest.mark.parametrize("limit", [1001, 1017])
def test_a_full_disk_is_one_sentence_and_leaves_whole_rows(tmp_path: Path, limit: int) -> None:
    """The row that only fitted in part is taken back; the message names the file."""
    assert resource.getrlimit(resource.RLIMIT_FSIZE)[1] == resource.RLIM_INFINITY
    done = subprocess.run(
        [sys.executable, "-c", FILL_UP, str(tmp_path), str(limit)],
        capture_output=True,
        text=True,
        check=True,
    )
    path = tmp_path / "iterations.csv"
    found, warnings = read_rows(path, IterationRow)
    assert warnings == []
    assert [row.iteration for row in found] == list(range(len(found)))
    assert len(found) > 10
    assert done.stdout.startswith(f"cannot add a row to {path}: ")
    assert done.stdout.count("\n") == 1
    assert "free some space" in done.stdout


@pytest.mark.skipif(not Path("/dev/full").exists(), reason="this host has no /dev/full")
def test_a_full_device_says_so() -> None:
    """ENOSPC itself, from the device that always gives it."""
    with (
        durable.AppendOnly(Path("/dev/full")) as file,
        pytest.raises(RecordError, match="no space left on device; free some space"),
    ):
        file.append(b"x\n")


@pytest.mark.parametrize("error", [PermissionError(13, "Permission denied"), OSError(30, "R-O fs")])
def test_a_file_without_permission_is_one_sentence(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, error: OSError
) -> None:
    """EACCES and EROFS, which root never meets by permissions alone, say what to look at."""

    def refuse(*_: object) -> int:
        raise error

    path = tmp_path / "iterations.csv"
    monkeypatch.setattr(os, "open", refuse)
    with pytest.raises(RecordError, match=r"cannot write .*iterations.csv: .*another folder$"):
        durable.AppendOnly(path)
    with pytest.raises(RecordError, match=r"cannot read .*iterations.csv: .*check .* permissions"):
        read_rows(path, IterationRow)


def test_a_folder_that_does_not_exist_is_one_sentence(tmp_path: Path) -> None:
    """No traceback for a results folder that was deleted."""
    with pytest.raises(RecordError, match="no such file or directory"):
        RunWriter(tmp_path / "gone")


# --- replacing -------------------------------------------------------------------------------


def test_replacing_is_one_step(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """When the disk is full the old file is still there, whole, and no litter beside it."""
    path = folder / "iterations.csv"
    replace_rows(path, [ROW], IterationRow)
    assert read_rows(path, IterationRow) == ([ROW], [])

    def full(_: int) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(os, "fsync", full)
    before = sorted(folder.iterdir())
    with pytest.raises(RecordError, match=r"cannot write .*: no space left on device"):
        replace_rows(path, [ROW, ROW], IterationRow)
    assert sorted(folder.iterdir()) == before
    assert read_rows(path, IterationRow) == ([ROW], [])


# --- damage ----------------------------------------------------------------------------------


def test_harmless_changes_are_accepted(tmp_path: Path) -> None:
    """A spreadsheet's byte order mark and line ends, an empty line at the end."""
    path = tmp_path / "iterations.csv"
    path.write_bytes(b"\xef\xbb\xbf" + (HEADER + LINE + LINE + "\n").replace("\n", "\r\n").encode())
    found, warnings = read_rows(path, IterationRow)
    assert (len(found), warnings) == (2, [])
    assert found[0].run_id == "r"


def test_columns_of_a_newer_version_are_ignored_with_a_warning(tmp_path: Path) -> None:
    """An older report can read a newer run; the order of columns does not matter."""
    path = tmp_path / "iterations.csv"
    path.write_text("watts," + HEADER + "9," + LINE)
    (row,), warnings = read_rows(path, IterationRow)
    assert (row.run_id, row.cpu_ns) == ("r", 200)
    assert len(warnings) == 1
    assert "watts" in warnings[0]


@pytest.mark.parametrize("content", [b"", b"\xef\xbb\xbf", b"\n\n", HEADER[:20].encode()])
def test_a_file_without_a_whole_header_has_no_rows(tmp_path: Path, content: bytes) -> None:
    """The kill came before the first row: nothing is lost, and there is a warning."""
    path = tmp_path / "iterations.csv"
    path.write_bytes(content)
    found, warnings = read_rows(path, IterationRow)
    assert (found, len(warnings)) == ([], 1)


def test_a_file_from_before_a_column_existed_still_reads(tmp_path: Path) -> None:
    """A run that was measured before energy was counted says nothing about it."""
    names = [column.name for column in rows.columns(ScenarioRow) if not column.is_later]
    cells = {"task": "inference", "batch_size": "1", "rounds": "3", "launches": "1"}
    line = ",".join(cells.get(name, "") for name in names)
    path = tmp_path / "scenarios.csv"
    path.write_text(",".join(names) + "\n" + line + "\n")
    found, warnings = read_rows(path, ScenarioRow)
    assert (found[0].rounds, found[0].joules_per_image, warnings) == (3, None, [])


def test_a_missing_file_is_a_warning(tmp_path: Path) -> None:
    """A run that was killed early has no kernels yet, and still makes a report."""
    found, warnings = read_rows(tmp_path / "kernels.csv", FILES["kernels.csv"])
    assert (found, warnings) == ([], ["kernels.csv: the file is missing"])


@pytest.mark.parametrize(
    ("content", "says"),
    [
        (HEADER + "r,s,0,1,2,3,timed,abc,200\n", "line 2, column wall_ns: 'abc' is not a whole"),
        (HEADER + LINE + "r,s,,1,2,3,timed,1,200\n", "line 3, column launch: '' is not a whole"),
        (HEADER + "r,s,0,1,2,3,timed,-5,200\n", "column wall_ns: '-5' is not a whole number"),
        (HEADER + "r,s,0,1,2,3,timed,1_0,200\n", "column wall_ns: '1_0' is not"),
        (HEADER + "r,s,0,1,2,3,timed, 1,200\n", "column wall_ns: ' 1' is not"),
        (HEADER + "r,s,0,1,2,3,timed,٣,200\n", r"column wall_ns: '\u0663' is not"),
        (HEADER + f"r,s,0,1,2,3,timed,{'9' * 5000},200\n", "(5,000 characters) is not a whole"),
        (HEADER + "r,s,0,1,2,3,timed,\x1b[31m\t7,2\n", r"column wall_ns: '\x1b[31m\t7' is not"),
        (HEADER + 'r,"s\n\n",0,1,2,3,timed,1,2\n' + "r,s\n", "line 5: 2 cells where the header"),
        (HEADER + LINE.replace("r,", "r,r,"), "line 2: 10 cells where the header has 9"),
        (HEADER.replace(",phase", "") + LINE, "line 1: column phase is missing"),
        (HEADER.replace("position", "round") + LINE, "line 1: column position is missing"),
        (HEADER.replace("run_id", "wall_ns,run_id"), "line 1: column wall_ns is there twice"),
        ("<html><body>\n404\n", "line 1: '<html><body>' is not the header of such a file"),
        ("half a word", "line 1: 'half a word' is not the header"),
        (HEADER + 'r,"s,0,1,2,3,timed,100,200\n' + LINE * 3, "line 2: a quote is opened and never"),
        (HEADER + 'r,"s"s,0,1,2,3,timed,1,2\n', "line 2: "),
        (HEADER + f"r,{'s' * 140_000},0,1,2,3,timed,1,2\n", "line 2: field larger than"),
        (HEADER + LINE + "r,s\0,0,1,2,3,timed,1,2\n", "line 3: holds a NUL"),
        (b"\x7fELF\x02\x01\x01\0\0\n\0\n", "line 1: holds a NUL"),
        (HEADER.encode() + LINE.encode() + b"\xff\xfe\xb5\n", "line 3: b'\\xff\\xfe\\xb5"),
        (HEADER.encode("utf-16"), "line 1: "),
    ],
)
def test_damage_is_named_by_file_line_column_and_value(
    tmp_path: Path, content: str | bytes, says: str
) -> None:
    """One line that a person can act on, with the value shortened and made printable."""
    assert says in damaged(tmp_path, content)


@pytest.mark.parametrize(
    ("column", "value", "noun"),
    [
        *(
            ("cpu_pressure", value, "a number of zero or more")
            for value in ("nan", "inf", "-inf", "-1.5", "1e999", "0x10", "1,5", "1 000")
        ),
        *(("quiet", value, "true or false") for value in ("True", "1", "yes", "")),
    ],
)
def test_other_numbers_and_booleans_are_damage(
    tmp_path: Path, column: str, value: str, noun: str
) -> None:
    """Python takes most of these; a report built on them would be wrong in silence."""
    cells = {"quiet": "true", column: f'"{value}"'}
    line = f"r,0,g,0,{cells.get('cpu_pressure', '')},,,,{cells['quiet']}\n"
    message = damaged(tmp_path, NOISE_HEADER + line, NoiseRow)
    assert f"line 2, column {column}: '{value}' is not {noun}" in message


@settings(max_examples=200)
@given(
    start=st.sampled_from([b"", HEADER.encode(), (HEADER + LINE).encode()]),
    content=st.binary(max_size=200) | st.text().map(str.encode),
)
def test_no_content_gives_anything_but_rows_or_a_record_error(start: bytes, content: bytes) -> None:
    """Whatever bytes follow the header, the answer is rows or one explained refusal."""
    try:
        rows.parse("f.csv", start + content, IterationRow)
    except RecordError as error:
        assert str(error).isprintable()  # noqa: PT017 - rows are right too


def a_huge_file(path: Path) -> None:
    """Five GiB that take no room on the disk."""
    path.touch()
    os.truncate(path, 5 << 30)


def below_a_file(path: Path) -> None:
    """A name whose folder is a file."""
    path.parent.joinpath("file").touch()
    path.symlink_to(path.parent / "file" / "below")


@pytest.mark.parametrize(
    ("make", "says"),
    [
        (Path.mkdir, "is a folder where a file was expected"),
        (lambda path: path.symlink_to(path), "too many levels of symbolic links"),
        (os.mkfifo, "is a device or a pipe"),
        (a_huge_file, "has 5.0 GiB"),
        (below_a_file, "not a directory"),
    ],
)
def test_what_is_no_readable_file_is_refused_at_once(
    tmp_path: Path, make: Callable[[Path], None], says: str
) -> None:
    """Nothing hangs on a pipe and nothing fills the memory."""
    path = tmp_path / "iterations.csv"
    make(path)
    with pytest.raises(RecordError, match=says):
        read_rows(path, IterationRow)


# --- whole runs ------------------------------------------------------------------------------


def test_a_run_reads_back_whole(folder: Path) -> None:
    """Rows are in the file of their type; the environment comes along."""
    with RunWriter(folder) as writer:
        writer.append(ROW)
    run = read_run(folder)
    assert (run.folder, run.environment) == (folder, {"run_id": "r"})
    assert (run.iterations, run.scenarios, run.warnings) == ((ROW,), (), ())


def test_a_run_with_missing_and_cut_files_warns(folder: Path) -> None:
    """A report can be made of what a kill left, and it says what is missing."""
    (folder / "kernels.csv").unlink()
    (folder / "noise.csv").write_text(NOISE_HEADER + "r,0,")
    warnings = " ".join(read_run(folder).warnings)
    assert "kernels.csv: the file is missing" in warnings
    assert "noise.csv: the last line was cut short" in warnings


def test_rows_of_another_run_are_pointed_out(folder: Path) -> None:
    """Files that were copied together from two runs are readable, but not one run."""
    with RunWriter(folder) as writer:
        writer.append(dataclasses.replace(ROW, run_id="other"))
    assert any("rows of another run than r: other" in note for note in read_run(folder).warnings)


def test_a_damaged_file_stops_the_reading(folder: Path) -> None:
    """Damage is never half a report."""
    (folder / "scenarios.csv").write_text("x\n")
    with pytest.raises(RecordError, match=r"scenarios.csv, line 1"):
        read_run(folder)


def test_what_is_no_run_is_explained(tmp_path: Path) -> None:
    """A wrong name, the results folder itself, a file."""
    with pytest.raises(RecordError, match="is not a run: it does not exist"):
        read_run(tmp_path / "nothing")
    with pytest.raises(RecordError, match=r"is not a run: it has no environment\.json"):
        read_run(tmp_path)
    (tmp_path / "file").touch()
    with pytest.raises(RecordError, match="not a directory"):
        read_run(tmp_path / "file")
