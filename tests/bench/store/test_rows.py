"""Rows as CSV: reading undoes writing, and what is no row of ours is refused by its place."""

from __future__ import annotations

import csv
import dataclasses
import math
from typing import Any

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from bench.errors import RecordError
from bench.plan.scenario import Phase
from bench.store import rows
from bench.store.records import FILES, IterationRow, NoiseRow, ScenarioRow, SpeedupRow

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


def cells(row: Any) -> dict[str, str]:
    """The row's cells as another program reads them."""
    lines = (rows.header_line(type(row)) + rows.row_line(row)).decode().splitlines()
    return next(csv.DictReader(lines, strict=True))


def parsed(content: str | bytes, row_type: type = IterationRow) -> tuple[list[Any], list[str]]:
    """The rows and warnings of a file with this content."""
    whole = content if isinstance(content, bytes) else content.encode()
    return rows.parse("f.csv", whole, row_type)


@pytest.mark.parametrize("row_type", FILES.values())
@settings(max_examples=20, suppress_health_check=[HealthCheck.too_slow])
@given(data=st.data())
def test_every_row_reads_back_as_it_was(row_type: type, data: st.DataObject) -> None:
    """Commas, quotes, line ends, any text, any number: reading undoes writing."""
    names = [field.name for field in dataclasses.fields(row_type)]
    assert rows.header_line(row_type).decode() == ",".join(names) + "\n"
    written = data.draw(st.lists(any_row(row_type), max_size=4))
    content = rows.header_line(row_type) + b"".join(rows.row_line(row) for row in written)
    assert parsed(content, row_type) == (written, [])


@settings(max_examples=80)
@given(rest=st.lists(any_row(SpeedupRow), min_size=1, max_size=3), data=st.data())
def test_a_cut_file_keeps_whole_rows(rest: list[SpeedupRow], data: st.DataObject) -> None:
    """Whatever byte the crash came at, rows before it are whole and the cut one is named."""
    lines = [rows.header_line(SpeedupRow), *map(rows.row_line, rest)]
    content = b"".join(lines)
    cut = data.draw(st.integers(1, len(content)))
    found, warnings = parsed(content[:cut], SpeedupRow)
    ends = np.cumsum([len(line) for line in lines])
    assert found == rest[: max(0, int(np.sum(ends <= cut)) - 1)]
    assert bool(warnings) == (cut not in ends)


def test_cells_are_written_in_one_way() -> None:
    """None is empty, booleans are words, floats keep every digit, words of closed sets are text."""
    noise = {"cpu_pressure": 0.1 + 0.2, "steal": None, "involuntary_switches": 0, "quiet": True}
    row = rows.blank(NoiseRow, run_id="r", launch=0, group="g", round=0, probe_ratio=1, **noise)
    assert {name: cells(row)[name] for name in ("probe_ratio", *noise)} == {
        "probe_ratio": "1.0",
        "cpu_pressure": "0.30000000000000004",
        "steal": "",
        "involuntary_switches": "0",
        "quiet": "true",
    }
    assert cells(dataclasses.replace(ROW, phase=Phase.TIMED))["phase"] == "timed"


def test_numpy_numbers_are_numbers() -> None:
    """Statistics hand over numpy scalars, whose repr is no number; what is not finite is empty."""
    row = dataclasses.replace(ROW, round=np.int64(7))  # type: ignore[arg-type] # what numpy gives
    assert cells(row)["round"] == "7"
    numbers: dict[str, float] = {
        "speedup": np.float64(1.25),
        "speedup_low": np.float64("nan"),
        "speedup_high": math.inf,
        "margin": -0.0,
    }
    names = {"run_id": "r", "scenario": "s", "baseline_kind": "control", "baseline": "b"}
    counts = {"launches": 1, "rounds": 1, "processes": 0}
    speedup = rows.blank(SpeedupRow, verdict="same", **names, **counts, **numbers)
    assert [cells(speedup)[name] for name in numbers] == ["1.25", "", "", "0.0"]


@pytest.mark.parametrize(
    ("changes", "value"),
    [
        ({"wall_ns": 1.5}, "'1.5'"),
        ({"wall_ns": -1}, "'-1'"),
        ({"wall_ns": None}, "a value"),
        ({"launch": "one"}, "'one'"),
    ],
)
def test_an_unreadable_row_is_not_written(changes: dict[str, Any], value: str) -> None:
    """A mistake in the harness shows where it is made, and not when the report is wanted."""
    with pytest.raises(RecordError, match=f"'{next(iter(changes))}' .*{value}"):
        rows.row_line(dataclasses.replace(ROW, **changes))


def test_text_that_no_file_can_hold_is_made_harmless() -> None:
    """What a crashing worker printed becomes a reason: NULs, halves of characters, megabytes."""
    row = dataclasses.replace(ROW, scenario="a\0b\udcff" + "x" * 500_000)
    ((found,), warnings) = parsed(rows.header_line(IterationRow) + rows.row_line(row))
    assert found.scenario.startswith("a\\x00b\\udcffxxx")
    assert len(found.scenario) < 110_000
    assert warnings == []


def test_harmless_changes_are_accepted() -> None:
    """A spreadsheet's byte order mark and line ends, an empty line at the end."""
    found, warnings = parsed(
        b"\xef\xbb\xbf" + (HEADER + LINE + LINE + "\n").replace("\n", "\r\n").encode()
    )
    assert (len(found), warnings) == (2, [])
    assert found[0].run_id == "r"


def test_columns_of_a_newer_version_are_ignored_with_a_warning() -> None:
    """An older report can read a newer run; the order of columns does not matter."""
    (row,), (warning,) = parsed("watts," + HEADER + "9," + LINE)
    assert (row.run_id, row.cpu_ns) == ("r", 200)
    assert "watts" in warning


@pytest.mark.parametrize("content", [b"", b"\xef\xbb\xbf", b"\n\n", HEADER[:20].encode()])
def test_a_file_without_a_whole_header_has_no_rows(content: bytes) -> None:
    """The kill came before the first row: nothing is lost, and there is a warning."""
    found, warnings = parsed(content)
    assert (found, len(warnings)) == ([], 1)


def test_a_file_from_before_a_column_existed_still_reads() -> None:
    """A run that was measured before energy was counted says nothing about it."""
    names = [column.name for column in rows.columns(ScenarioRow) if not column.is_later]
    known = {"task": "inference", "batch_size": "1", "rounds": "3", "launches": "1"}
    line = ",".join(known.get(name, "") for name in names)
    (found,), warnings = parsed(",".join(names) + "\n" + line + "\n", ScenarioRow)
    assert (found.rounds, found.joules_per_image, warnings) == (3, None, [])


def refused(content: str | bytes, row_type: type = IterationRow) -> str:
    """What reading such a file says after the file's name, in one short printable line."""
    with pytest.raises(RecordError) as caught:
        parsed(content, row_type)
    message = str(caught.value)
    assert message.startswith("f.csv, ")
    assert message.isprintable()
    assert len(message) < 200
    return message.removeprefix("f.csv, ")


@pytest.mark.parametrize(
    ("content", "place"),
    [
        (HEADER + "r,s,0,1,2,3,timed,abc,200\n", "line 2, column wall_ns: 'abc'"),
        (HEADER + LINE + "r,s,,1,2,3,timed,1,200\n", "line 3, column launch: ''"),
        (HEADER + "r,s,0,1,2,3,timed,-5,200\n", "line 2, column wall_ns: '-5'"),
        (HEADER + "r,s,0,1,2,3,timed,1_0,200\n", "line 2, column wall_ns: '1_0'"),
        (HEADER + "r,s,0,1,2,3,timed, 1,200\n", "line 2, column wall_ns: ' 1'"),
        (HEADER + "r,s,0,1,2,3,timed,٣,200\n", r"line 2, column wall_ns: '\u0663'"),
        (HEADER + f"r,s,0,1,2,3,timed,{'9' * 5000},200\n", "line 2, column wall_ns: '999"),
        (HEADER + "r,s,0,1,2,3,timed,\x1b[31m\t7,2\n", r"line 2, column wall_ns: '\x1b[31m\t7'"),
        (HEADER + 'r,"s\n\n",0,1,2,3,timed,1,2\n' + "r,s\n", "line 5: 2 cells"),
        (HEADER + LINE.replace("r,", "r,r,"), "line 2: 10 cells"),
        (HEADER.replace(",phase", "") + LINE, "line 1: column phase"),
        (HEADER.replace("position", "round") + LINE, "line 1: column position"),
        (HEADER.replace("run_id", "wall_ns,run_id"), "line 1: column wall_ns"),
        ("<html><body>\n404\n", "line 1: '<html><body>'"),
        ("half a word", "line 1: 'half a word'"),
        (HEADER + 'r,"s,0,1,2,3,timed,100,200\n' + LINE * 3, "line 2: a quote"),
        (HEADER + 'r,"s"s,0,1,2,3,timed,1,2\n', "line 2: "),
        (HEADER + f"r,{'s' * 140_000},0,1,2,3,timed,1,2\n", "line 2: field larger"),
        (HEADER + LINE + "r,s\0,0,1,2,3,timed,1,2\n", "line 3: holds a NUL"),
        (b"\x7fELF\x02\x01\x01\0\0\n\0\n", "line 1: holds a NUL"),
        (HEADER.encode() + LINE.encode() + b"\xff\xfe\xb5\n", "line 3: b'\\xff\\xfe\\xb5"),
        (HEADER.encode("utf-16"), "line 1: "),
    ],
)
def test_damage_is_named_by_file_line_column_and_value(content: str | bytes, place: str) -> None:
    """A person finds it there; the value is shortened and made printable."""
    assert refused(content).startswith(place)


@pytest.mark.parametrize(
    ("column", "value"),
    [
        *(
            ("cpu_pressure", value)
            for value in ("nan", "inf", "-inf", "-1.5", "1e999", "0x10", "1,5", "1 000")
        ),
        *(("quiet", value) for value in ("True", "1", "yes", "")),
    ],
)
def test_other_numbers_and_booleans_are_damage(column: str, value: str) -> None:
    """Python takes most of these; a report built on them would be wrong in silence."""
    given_ = {"cpu_pressure": "", "quiet": "true", column: f'"{value}"'}
    line = f"r,0,g,0,{given_['cpu_pressure']},,,,{given_['quiet']}\n"
    place = f"line 2, column {column}: '{value}'"
    assert refused(NOISE_HEADER + line, NoiseRow).startswith(place)


@settings(max_examples=200)
@given(
    start=st.sampled_from([b"", HEADER.encode(), (HEADER + LINE).encode()]),
    content=st.binary(max_size=200) | st.text().map(str.encode),
)
def test_no_content_gives_anything_but_rows_or_a_record_error(start: bytes, content: bytes) -> None:
    """Whatever bytes follow the header, the answer is rows or one explained refusal."""
    try:
        parsed(start + content)
    except RecordError as error:
        assert str(error).isprintable()  # noqa: PT017 - rows are right too


def test_every_scenario_column_of_the_design_is_there() -> None:
    """Later versions may add columns, and take none away."""
    promised = (
        "run_id scenario task backend mode fusion dtype layout batch_size environment threads "
        "status reason rounds median_ms p90_ms p99_ms images_per_s prepare_s first_call_ms "
        "warmup_iterations peak_rss_mb gflop_per_s percent_of_peak native_dtype isa fused_ops"
    )
    assert set(promised.split()) <= {column.name for column in rows.columns(ScenarioRow)}
