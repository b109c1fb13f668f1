"""Which ways of running the studies compare."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from bench.errors import UsageError
from bench.plan.matrix import FURTHER_BACKENDS
from bench.plan.profiles import PROFILES
from bench.plan.scenario import Dtype, Layout
from bench.studies import stages, ways
from bench.studies.study_folder import StudyRequest

if TYPE_CHECKING:
    from pathlib import Path


HERE = tuple(name for name, one in FURTHER_BACKENDS.items() if not one.elsewhere)


def test_a_further_backend_stands_beside_the_others_in_fp32(tmp_path: Path) -> None:
    """OpenVINO has bf16 too, but the ways are of one dtype; stock default stays first."""
    request = StudyRequest(profile=PROFILES["smoke"], results=tmp_path, backends=HERE)
    first, control, *others = stages.group(request).participants
    assert (first.name, control.is_control) == (ways.DEFAULT, True)
    added = [participant.scenario for participant in others if participant.name in FURTHER_BACKENDS]
    assert [way.backend for way in added] == list(HERE)
    assert {(way.dtype, way.layout) for way in added} == {(Dtype.FP32, Layout.CONTIGUOUS)}


def test_an_unknown_backend_is_refused_before_anything_starts(tmp_path: Path) -> None:
    """In the words of a run, which names those that there are."""
    with pytest.raises(UsageError, match=r"no further backend 'tvm': choose one of openvino"):
        StudyRequest(profile=PROFILES["smoke"], results=tmp_path, backends=("tvm",))


def test_a_backend_for_another_environment_is_refused_before_anything_starts(
    tmp_path: Path,
) -> None:
    """Studies run in the default environment, which has an older PyTorch."""
    with pytest.raises(UsageError, match=r"--backend zentorch needs a newer PyTorch"):
        StudyRequest(profile=PROFILES["smoke"], results=tmp_path, backends=("zentorch",))


def test_the_larger_profiles_have_the_steps_in_between() -> None:
    """What memory layout and IPEX's eager mode give on the way to fused TorchScript."""
    few, all_of_them = (list(ways.inference(PROFILES[name])) for name in ("smoke", "standard"))
    assert few == ["stock-default", "stock-torchscript", "ipex-torchscript"]
    assert set(few) < set(all_of_them)
    assert "ipex-eager" in all_of_them
