"""Which scenarios the studies compare, and what they refuse."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import pytest

from bench.errors import UsageError
from bench.plan.matrix import FURTHER_BACKENDS, matrix
from bench.plan.profiles import PROFILES
from bench.plan.scenario import FROZEN, FULL, Dtype, Layout, Task
from bench.studies import accuracy, instances, load, stages
from bench.studies.scenarios import STOCK_DEFAULT, Runnable
from bench.studies.study_folder import StudyRequest
from tests.bench.command import bench

if TYPE_CHECKING:
    from pathlib import Path

FUSED = "inference/stock/torchscript+fusion/fp32/channels_last/b1"
IPEX_FUSED = "inference/ipex/torchscript+fusion/fp32/channels_last/b1"
STAGES = Runnable(study="stages")
ACCURACY = Runnable(study="accuracy", task=Task.TRAINING, batch_size=8)


def request(folder: Path, profile: str = "smoke", **changes: Any) -> StudyRequest:
    """What a command asks of a study."""
    return StudyRequest(profile=PROFILES[profile], results=folder, **changes)


def test_without_only_the_best_of_stock_and_ipex_stand_beside_stock_default(tmp_path: Path) -> None:
    """Larger profiles add what memory layout and IPEX's eager mode give on the way."""
    few, more = (list(STAGES.chosen(request(tmp_path, name))) for name in ("smoke", "standard"))
    assert few == [STOCK_DEFAULT, FUSED, IPEX_FUSED]
    assert set(more) - set(few) == {
        "inference/stock/eager/fp32/channels_last/b1",
        "inference/ipex/eager/fp32/channels_last/b1",
    }


def test_training_takes_all_of_eager_training_in_larger_profiles(tmp_path: Path) -> None:
    """With the shallow blocks frozen; the smallest has IPEX alone beside stock default."""
    few, more = (list(ACCURACY.chosen(request(tmp_path, name))) for name in ("smoke", "standard"))
    ipex = "training/ipex/eager/{}/channels_last/b8/frozen"
    assert few == [STOCK_DEFAULT, ipex.format("fp32"), ipex.format("bf16")]
    assert len(more) == 6
    assert all("/eager/" in name and FROZEN in name for name in more[1:])


@pytest.mark.parametrize("task", list(Task))
def test_every_scenario_of_the_matrix_can_be_run(task: Task, tmp_path: Path) -> None:
    """Of the study's task and batch size, whatever the matrix has; stock default comes first."""
    runnable = {Task.INFERENCE: STAGES, Task.TRAINING: ACCURACY}[task]
    chosen = runnable.chosen(request(tmp_path, only=(f"{task}/*",)))
    wanted = [
        one
        for one in matrix(PROFILES["full"])
        if one.task is task and one.batch_size == runnable.batch_size and FULL not in one.options
    ]
    assert next(iter(chosen)) == STOCK_DEFAULT
    assert list(chosen.values()) == wanted
    assert {one.dtype for one in wanted} >= {Dtype.FP32, Dtype.BF16}


def test_only_selects_as_it_does_for_a_run(tmp_path: Path) -> None:
    """The baseline is added, and the profile does not limit which scenarios there are."""
    int8 = "inference/stock/compile/int8/channels_last/b1"
    chosen = STAGES.chosen(request(tmp_path, only=("*/stock/compile/int8/*",)))
    assert list(chosen) == [STOCK_DEFAULT, int8]
    eight = Runnable(study="instances", batch_size=8).chosen(request(tmp_path, only=("*/int8/*",)))
    assert {one.batch_size for one in eight.values()} == {8}


@pytest.mark.parametrize(
    ("runnable", "pattern", "reason"),
    [
        (STAGES, "training/*", "bench stages cannot run training/.*: it measures inference and"),
        (STAGES, "inference/*/b8", "its calls have 1 image$"),
        (ACCURACY, "*/int8/*", "bench accuracy cannot run .*/int8/.*: it measures training and"),
        (ACCURACY, "training/*/full", "another training, with another baseline"),
        (STAGES, "*/tpu/*", "no scenario matches '\\*/tpu/\\*'"),
        (STAGES, "inference/openvino/*", "no scenario matches"),
    ],
)
def test_what_a_study_cannot_run_is_refused_with_the_reason(
    runnable: Runnable, pattern: str, reason: str, tmp_path: Path
) -> None:
    """In one line, before anything starts; `--backend` alone adds further backends."""
    with pytest.raises(UsageError, match=reason):
        runnable.chosen(request(tmp_path, only=(pattern,)))


@pytest.mark.parametrize("study", ["stages", "instances", "load", "accuracy"])
def test_a_refused_pattern_is_wrong_usage_and_leaves_no_folder(study: str, tmp_path: Path) -> None:
    """Exit code 2 from every command that takes `--only`."""
    (tmp_path / "test" / "good").mkdir(parents=True)
    options = ["--data", str(tmp_path), "--results", str(tmp_path / "results")]
    options += ["--reports", str(tmp_path / "reports"), "--only", "inference/*/b3"]
    done = bench(study, *options)
    assert done.exit_code == 2, done.output
    assert not (tmp_path / "results").exists()


def test_a_further_backend_stands_beside_the_others_in_fp32(tmp_path: Path) -> None:
    """OpenVINO has bf16 too, but the usual scenarios have one dtype; stock default stays first."""
    here = [name for name, one in FURTHER_BACKENDS.items() if not one.elsewhere]
    asked = request(tmp_path, backends=tuple(here))
    first, control, *others = stages.group_of(asked).participants
    assert (first.name, control.is_control) == (STOCK_DEFAULT, True)
    added = [one.scenario for one in others if one.scenario.backend in FURTHER_BACKENDS]
    assert [one.backend for one in added] == here
    assert {(one.dtype, one.layout) for one in added} == {(Dtype.FP32, Layout.CONTIGUOUS)}
    bf16 = STAGES.chosen(request(tmp_path, backends=("openvino",), only=("*/openvino/*/bf16/*",)))
    assert [one.backend for one in bf16.values()] == ["stock", "openvino"]


def test_a_backend_for_another_environment_is_refused_before_anything_starts(
    tmp_path: Path,
) -> None:
    """Studies run in the default environment, which has an older PyTorch."""
    with pytest.raises(UsageError, match=r"--backend zentorch needs a newer PyTorch"):
        request(tmp_path, backends=("zentorch",))


def test_an_unknown_backend_is_refused_before_anything_starts(tmp_path: Path) -> None:
    """In the words of a run, which names those that there are."""
    with pytest.raises(UsageError, match=r"no further backend 'tvm': choose one of openvino"):
        request(tmp_path, backends=("tvm",))


def test_every_study_takes_the_chosen_scenarios(tmp_path: Path) -> None:
    """Each in its own process, compared with stock default."""
    inference = request(tmp_path, only=("inference/stock/compile/fp32/*",))
    training = request(tmp_path, only=("training/ipex/*/bf16/*",))
    compiled = "inference/stock/compile/fp32/channels_last/b1"
    for group in (stages.group_of(inference), load.group_of(inference)):
        assert compiled in {one.scenario.id for one in group.participants}
    (group,) = instances.groups(inference, [(2, 1)], 2, 1)
    assert f"{compiled}/2x1" in {one.name for one in group.participants}
    default, ipex = accuracy.participants(training)
    assert (default.base, ipex.base) == ("", STOCK_DEFAULT)
    assert ipex.name == "training/ipex/eager/bf16/channels_last/b8/frozen"


def test_a_further_backend_that_only_leaves_out_is_refused(tmp_path: Path) -> None:
    """As by a run: it was asked for, and would not be measured."""
    only = ("inference/stock/compile/*/b1",)
    with pytest.raises(UsageError, match="--backend openvino: --only leaves none"):
        STAGES.chosen(request(tmp_path, backends=("openvino",), only=only))
