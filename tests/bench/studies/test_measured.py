"""A study read back from its folder: what it measured, and the policy that it was judged by."""

from __future__ import annotations

from dataclasses import asdict, replace
from typing import TYPE_CHECKING

import numpy as np
import pytest

from bench.plan.thresholds import DEFAULT, Policy
from bench.store import records
from bench.studies.measured import Measured, measured_again
from bench.worker.protocol import ModelFacts

if TYPE_CHECKING:
    from pathlib import Path

STRICT = replace(DEFAULT, verdict=replace(DEFAULT.verdict, minimal_effect=0.5))
TOLERANT = replace(DEFAULT, verdict=replace(STRICT.verdict, same_within=0.5))


def stored(folder: Path, policy: object) -> Path:
    """A study's folder with that policy in it."""
    records.write_environment(folder, {"study": "stages", "policy": policy})
    records.replace_rows(folder / "noise.csv", [], records.NoiseRow)
    return folder


def blocks() -> dict[str, dict[tuple[int, int], float]]:
    """Three processes of each participant; `fast` takes four fifths of the time."""
    rng = np.random.default_rng(1)
    return {
        participant: {
            (launch, place): float(ms * np.exp(rng.normal(0, 0.005)))
            for launch in range(3)
            for place in range(5)
        }
        for participant, ms in (("base", 100.0), ("base#control", 100.0), ("fast", 80.0))
    }


@pytest.mark.parametrize(
    ("policy", "verdict"), [(DEFAULT, "faster"), (STRICT, "inconclusive"), (TOLERANT, "same")]
)
def test_a_study_is_judged_by_its_own_policy(tmp_path: Path, policy: Policy, verdict: str) -> None:
    """1.25 times as fast is faster by today's, and not by those for which a half is little."""
    folder = stored(tmp_path, asdict(policy))
    measured, own = measured_again(folder, {"g": blocks()})
    assert own == policy
    assert measured.judge(own).compare("fast", "base").verdict == verdict


@pytest.mark.parametrize("kept", [None, [], {"verdict": None}, {"verdict": {"gone": 1}, "x": {}}])
def test_what_an_earlier_version_did_not_know_has_todays_value(
    tmp_path: Path, kept: object
) -> None:
    """Damaged or older entries are no reason not to read a study."""
    _, own = measured_again(stored(tmp_path, kept), {})
    assert own == DEFAULT


def test_numbers_of_a_policy_are_taken_and_nothing_else(tmp_path: Path) -> None:
    """Text where a number belongs is left out, as is a flag."""
    kept = {"verdict": {"same_within": 0.1, "confidence": "high", "min_rounds": True}}
    _, own = measured_again(stored(tmp_path, kept), {})
    assert own.verdict == replace(DEFAULT.verdict, same_within=0.1)


def test_an_untrue_label_is_kept_with_the_study(tmp_path: Path) -> None:
    """Its page, made again from the files, gives no verdict either."""
    folder = stored(tmp_path, {})
    found = {**records.read_environment(folder), "contradictions": {"fast": "it ran in f32"}}
    records.write_environment(folder, found)
    measured, own = measured_again(folder, {"g": blocks()})
    assert measured.judge(own).compare("fast", "base").verdict == "invalid"


def test_emulation_and_random_weights_are_said() -> None:
    """A worker reports both when it prepares a scenario."""
    trained = ModelFacts(name="m", trained=True, threshold=0.5)
    untrained = ModelFacts(name="m", trained=False, threshold=0.5)
    measured = Measured(
        prepared={
            "a": {"native_dtype": True, "model": trained},
            "b": {"native_dtype": False, "model": untrained},
        }
    )
    emulated, random = measured.caveats()
    assert emulated == "This CPU emulates the dtype of b."
    assert "weights are random" in random
    assert Measured(prepared={"a": {"native_dtype": True, "model": trained}}).caveats() == []
