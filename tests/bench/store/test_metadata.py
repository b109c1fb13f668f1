"""environment.json as a declared type, of this version, of earlier ones, and damaged."""

from __future__ import annotations

import math
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import pytest

from bench.errors import RecordError
from bench.plan.matrix import Exclusion
from bench.plan.scenario import Phase
from bench.plan.thresholds import DEFAULT
from bench.store import records, typed_json
from bench.store.metadata import Framework, RunMetadata

if TYPE_CHECKING:
    from collections.abc import Mapping


def test_what_a_file_does_not_say_has_its_default() -> None:
    """A run that was killed at once, and version 0.1, lack most entries."""
    found = RunMetadata.of({"run_id": "r", "complete": True, "machine": {"cpu_model": "X"}})
    assert (found.run_id, found.complete, found.machine.cpu_model) == ("r", True, "X")
    assert (found.commit, found.dirty, found.budget_s, found.machine.sockets) == (
        "",
        None,
        None,
        None,
    )
    assert found.policy == DEFAULT
    assert RunMetadata.of({}) == RunMetadata()


def test_every_part_reads_as_its_type() -> None:
    """Numbers, lists, tables of tables; `self` is no name for a field."""
    found = RunMetadata.of(
        {
            "budget_s": 900,
            "notes": ["a", "b"],
            "self": {"parent_cpu_share": 0.004},
            "machine": {
                "stepping": 0,
                "affinity": [0, 1],
                "isa": {"avx2": True},
                "frameworks": {"torch": {"version": "2.8", "says": {}}},
            },
            "matrix": {"scenarios": ["s"], "excluded": [{"what": "w", "reason": "r"}]},
            "environments": {"torch-latest": {"packages": {"torch": "2.14"}, "version": "3.11"}},
            "workers": {"s": {"threads": 2}},
            "request": {"own": {"model": "m:f"}},
        }
    )
    assert (found.budget_s, found.notes) == (900, ("a", "b"))
    assert found.harness.parent_cpu_share == 0.004
    assert (found.machine.stepping, found.machine.affinity) == (0, (0, 1))
    assert found.machine.frameworks == {"torch": Framework(version="2.8")}
    assert found.matrix.excluded == (Exclusion(what="w", reason="r"),)
    assert found.environments["torch-latest"].packages == {"torch": "2.14"}
    assert found.workers == {"s": {"threads": 2}}
    assert found.request.own.model == "m:f"


def test_entries_of_other_versions_are_left_out() -> None:
    """Those of a study too, which its own code reads."""
    assert RunMetadata.of({"bound_ms": 7, "new": [1]}) == RunMetadata()


@pytest.mark.parametrize(
    "values",
    [
        {"machine": 3, "notes": "x", "complete": "yes", "budget_s": math.nan, "workers": []},
        {"matrix": {"excluded": ["nonsense", {"what": "no reason"}]}, "workers": {"s": 1}},
        {"policy": {"verdict": {"min_rounds": True, "confidence": "high"}, "noise": None}},
        {"machine": {"family": 6.5, "sockets": True, "caches": {"l2_kib": None}}},
    ],
)
def test_what_is_of_another_type_reads_as_the_default(values: dict[str, Any]) -> None:
    """Damage in a part of the metadata is no reason not to read the rest."""
    assert RunMetadata.of(values) == RunMetadata()


def test_a_policy_keeps_its_numbers() -> None:
    """What is not there has today's value."""
    policy = {"model": {"participant_prior_dof": 9.0, "gone": 1}, "verdict": {"same_within": 0.1}}
    found = RunMetadata.of({"policy": policy})
    assert found.policy.model == replace(DEFAULT.model, participant_prior_dof=9.0)
    assert found.policy.verdict == replace(DEFAULT.verdict, same_within=0.1)
    assert found.has_model_policy
    assert not RunMetadata.of({"policy": {"verdict": {}}}).has_model_policy


def test_an_environment_reads_back_as_json_knows_it(tmp_path: Path) -> None:
    """Paths, tuples, numpy numbers and NaN come from all over the harness."""
    written = {
        "path": Path("/a"),
        "pair": (1, np.float32(0.5)),
        "nan": math.nan,
        "set": {2, 1},
        "phase": Phase.TIMED,
        "broken": "\udcff",
    }
    records.write_environment(tmp_path, written)
    assert records.read_environment(tmp_path) == {
        "path": "/a",
        "pair": [1, 0.5],
        "nan": None,
        "set": [1, 2],
        "phase": "timed",
        "broken": "\udcff",
    }


@pytest.mark.parametrize(
    ("content", "says"),
    [
        (b"", "is damaged"),
        (b'{"run_id": ', "is damaged"),
        (b"[1, 2]", r"it holds '\[1, 2\]', not an object"),
        (b'{"a": NaN}', "`a` is nan, which is not a finite number"),
        (b'{"a": [1e999]}', "`a` is inf"),
        (b'{"a": 1, "a": 2}', "a key is there twice"),
        (b"\xff\xfe", "is damaged"),
        (b"[" * 100_000, "is damaged"),
        (b"9" * 10_000, "is damaged"),
    ],
)
def test_a_damaged_environment_is_one_sentence(tmp_path: Path, content: bytes, says: str) -> None:
    """The first file that is read of a run explains itself too."""
    (tmp_path / "environment.json").write_bytes(content)
    with pytest.raises(RecordError, match=says) as caught:
        records.read_run(tmp_path)
    assert str(caught.value).isprintable()


@dataclass(frozen=True, kw_only=True)
class Inner:
    """A part of `Outer`."""

    number: float


@dataclass(frozen=True, kw_only=True)
class Outer:
    """What the strict conversion is tried on."""

    name: str
    parts: tuple[Inner, ...] = ()
    limit: int | None = None


@pytest.mark.parametrize(
    ("values", "says"),
    [
        ({}, "`name` is missing"),
        ({"name": 1}, "`name` is '1', not text"),
        ({"name": "n", "parts": {}}, "`parts` is '{}', not a list"),
        ({"name": "n", "parts": [{"number": 1}, 2]}, r"`parts\[1\]` is '2', not an object"),
        ({"name": "n", "parts": [{"number": "1"}]}, r"`parts\[0\].number` is '1', not a finite"),
        ({"name": "n", "parts": [{"number": 10**400}]}, r"`parts\[0\].number` is .* not a finite"),
        ({"name": "n", "limit": True}, "`limit` is 'True', not a whole number"),
    ],
)
def test_a_strict_conversion_names_the_place(values: Mapping[str, Any], says: str) -> None:
    """As of a gate's policy, where nothing may be guessed."""
    with pytest.raises(ValueError, match=says):
        typed_json.convert(Outer, values)


def test_a_strict_conversion_takes_what_fits() -> None:
    """Whole numbers are numbers; null is none; unknown keys are ignored."""
    values = {"name": "n", "parts": [{"number": 1, "x": 2}], "limit": None}
    assert typed_json.convert(Outer, values) == Outer(name="n", parts=(Inner(number=1),))
