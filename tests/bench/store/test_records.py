"""The files of a run: what is written can be read back, whatever happens in between."""

from __future__ import annotations

import codecs
import csv
import dataclasses
import os
import random
import resource
import signal
import subprocess
import sys
import time
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from bench.errors import RecordError
from bench.store import durable, rows
from bench.store.records import (
    FILES,
    IterationRow,
    RunWriter,
    read_rows,
    read_run,
    replace_rows,
    write_environment,
)
from tests.bench.store.test_rows import HEADER, LINE, NOISE_HEADER, ROW
from tests.fresh_process import python

if TYPE_CHECKING:
    from collections.abc import Callable


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """A run's folder with an environment and all files, still without rows."""
    RunWriter(tmp_path).close()
    write_environment(tmp_path, {"run_id": "r"})
    return tmp_path


def test_other_programs_read_the_files(folder: Path) -> None:
    """The files are plain CSV: Python's own reader sees the same cells, quoted line ends too."""
    row = dataclasses.replace(ROW, scenario='a,"b"\r\nc\rd', round=3)
    with RunWriter(folder) as writer:
        writer.append(row)
    with (folder / "iterations.csv").open(newline="") as file:
        (cells,) = csv.DictReader(file, strict=True)
    assert cells["scenario"] == 'a,"b"\r\nc\rd'
    assert (cells["round"], cells["position"], cells["wall_ns"]) == ("3", "", "123456")


def test_a_row_is_one_write(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
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
def test_rows_are_added_to_cut_and_to_saved_files(folder: Path, content: bytes) -> None:
    """Never glued to what a crash left of the row before; a byte order mark changes no column."""
    path = folder / "iterations.csv"
    path.write_bytes(content)
    with RunWriter(folder) as writer:
        writer.append(ROW)
    assert read_rows(path, IterationRow) == ([ROW, ROW], [])


@pytest.mark.parametrize(
    ("content", "says"),
    [
        (HEADER + LINE, "other columns"),
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
    done = python("-c", FILL_UP, tmp_path, limit)
    path = tmp_path / "iterations.csv"
    found, warnings = read_rows(path, IterationRow)
    assert warnings == []
    assert [row.iteration for row in found] == list(range(len(found)))
    assert len(found) > 10
    assert str(path) in done.stdout
    assert done.stdout.count("\n") == 1


def test_a_page_is_replaced_in_one_step(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Its folder is made; a full disk leaves the old page and no other file."""
    path = tmp_path / "new" / "page.html"
    durable.replace(path, b"old", make_folder=True)

    def full(*_: object) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(Path, "replace", full)
    with pytest.raises(RecordError, match=r"cannot write .*page\.html: no space left"):
        durable.replace(path, b"new")
    assert path.read_bytes() == b"old"
    assert list(path.parent.iterdir()) == [path]


def test_a_link_stays_one_and_leads_to_the_new_page(tmp_path: Path) -> None:
    """As /dev/stdout does, which root would lose for every process of the machine."""
    page, link = tmp_path / "page.html", tmp_path / "elsewhere" / "newest.html"
    page.write_bytes(b"old")
    link.parent.mkdir()
    link.symlink_to(page)
    durable.replace(link, b"new")
    assert (link.is_symlink(), page.read_bytes()) == (True, b"new")
    assert [*link.parent.iterdir(), *tmp_path.glob(".*")] == [link]


@pytest.mark.skipif(not Path("/dev/full").exists(), reason="this host has no /dev/full")
def test_a_full_device_says_so() -> None:
    """ENOSPC itself, from the device that always gives it."""
    with (
        durable.AppendOnly(Path("/dev/full")) as file,
        pytest.raises(RecordError, match="no space left"),
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
    with pytest.raises(RecordError, match=r"iterations\.csv.*another folder"):
        durable.AppendOnly(path)
    with pytest.raises(RecordError, match=r"iterations\.csv.*permissions"):
        read_rows(path, IterationRow)


def test_a_folder_that_does_not_exist_is_one_sentence(tmp_path: Path) -> None:
    """No traceback for a results folder that was deleted."""
    with pytest.raises(RecordError, match="no such file or directory"):
        RunWriter(tmp_path / "gone")


def test_replacing_is_one_step(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """When the disk is full the old file is still there, whole, and no litter beside it."""
    path = folder / "iterations.csv"
    replace_rows(path, [ROW], IterationRow)
    assert read_rows(path, IterationRow) == ([ROW], [])

    def full(_: int) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(os, "fsync", full)
    before = sorted(folder.iterdir())
    with pytest.raises(RecordError, match="no space left"):
        replace_rows(path, [ROW, ROW], IterationRow)
    assert sorted(folder.iterdir()) == before
    assert read_rows(path, IterationRow) == ([ROW], [])


def test_a_missing_file_is_a_warning(tmp_path: Path) -> None:
    """A run that was killed early has no kernels yet, and still makes a report."""
    found, warnings = read_rows(tmp_path / "kernels.csv", FILES["kernels.csv"])
    assert (found, len(warnings)) == ([], 1)


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
        (Path.mkdir, "folder"),
        (lambda path: path.symlink_to(path), "symbolic links"),
        (os.mkfifo, "pipe"),
        (a_huge_file, "5.0 GiB"),
        (below_a_file, "not a directory"),
    ],
)
def test_unreadable_files_are_refused(
    tmp_path: Path, make: Callable[[Path], None], says: str
) -> None:
    """Nothing hangs on a pipe and nothing fills the memory."""
    path = tmp_path / "iterations.csv"
    make(path)
    with pytest.raises(RecordError, match=says):
        read_rows(path, IterationRow)


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
    assert "kernels.csv" in warnings
    assert "noise.csv" in warnings


def test_rows_of_another_run_are_pointed_out(folder: Path) -> None:
    """Files that were copied together from two runs are readable, but not one run."""
    with RunWriter(folder) as writer:
        writer.append(dataclasses.replace(ROW, run_id="other"))
    assert any("other" in note for note in read_run(folder).warnings)


def test_a_damaged_file_stops_the_reading(folder: Path) -> None:
    """Damage is never half a report."""
    (folder / "scenarios.csv").write_text("x\n")
    with pytest.raises(RecordError, match=r"scenarios.csv, line 1"):
        read_run(folder)


def test_what_is_no_run_is_explained(tmp_path: Path) -> None:
    """A wrong name, the results folder itself, a file."""
    with pytest.raises(RecordError, match="not exist"):
        read_run(tmp_path / "nothing")
    with pytest.raises(RecordError, match=r"environment\.json"):
        read_run(tmp_path)
    (tmp_path / "file").touch()
    with pytest.raises(RecordError, match="not a directory"):
        read_run(tmp_path / "file")
