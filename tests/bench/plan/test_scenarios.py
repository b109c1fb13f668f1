"""The matrix is what the README says, ids are stable, and wrong names are explained."""

from __future__ import annotations

from dataclasses import replace

import pytest

from bench.errors import UsageError
from bench.plan.matrix import EXCLUSIONS, FURTHER_BACKENDS, capped, matrix, select
from bench.plan.profiles import PROFILES, Profile, profile_named
from bench.plan.scenario import (
    CPP_WRAPPER,
    FROZEN,
    FULL,
    FUSED_ADAM,
    MAX_AUTOTUNE,
    Dtype,
    Layout,
    Mode,
    Scenario,
    Task,
    stock_default,
    worker_key,
)
from bench.worker.protocol import decode, encode

STANDARD = matrix(PROFILES["standard"])


def test_the_id_of_the_design_is_the_id() -> None:
    """Scripts and policies hold these strings."""
    scenario = Scenario(
        task=Task.INFERENCE,
        backend="ipex",
        mode=Mode.TORCHSCRIPT,
        fusion=True,
        dtype=Dtype.BF16,
        layout=Layout.CHANNELS_LAST,
        batch_size=8,
    )
    assert scenario.id == "inference/ipex/torchscript+fusion/bf16/channels_last/b8"
    other = replace(scenario, fusion=False, environment="torch-latest")
    assert other.id == "inference/ipex/torchscript/bf16/channels_last/b8@torch-latest"
    assert (
        stock_default(Task.TRAINING, 8, (FROZEN, FUSED_ADAM)).id
        == "training/stock/eager/fp32/contiguous/b8/frozen+fused_adam"
    )


@pytest.mark.parametrize("profile", PROFILES.values(), ids=list(PROFILES))
def test_ids_are_unique_and_each_group_has_one_baseline(profile: object) -> None:
    """A duplicate would be averaged with its twin; a group without baseline has no speedups."""
    scenarios = matrix(profile)  # type: ignore[arg-type] # parametrize gives objects
    assert len({scenario.id for scenario in scenarios}) == len(scenarios)
    for group in {scenario.group for scenario in scenarios}:
        members = [scenario for scenario in scenarios if scenario.group == group]
        assert members[0].is_stock_default
        assert sum(scenario.is_stock_default for scenario in members) == 1


def test_the_standard_matrix_has_every_cell_that_was_promised() -> None:
    """{stock, ipex} x {eager, TorchScript off, on} x {fp32, bf16}, and the named extras."""
    cells = {
        (s.backend, s.mode, s.fusion, s.dtype)
        for s in STANDARD
        if s.task is Task.INFERENCE and s.batch_size == 8
    }
    modes = ((Mode.EAGER, None), (Mode.TORCHSCRIPT, False), (Mode.TORCHSCRIPT, True))
    for backend in ("stock", "ipex"):
        for mode, fusion in modes:
            for precision in (Dtype.FP32, Dtype.BF16):
                assert (backend, mode, fusion, precision) in cells
    for dtype in (Dtype.FP32, Dtype.BF16):
        for backend in ("stock", "ipex"):
            assert (backend, Mode.COMPILE, None, dtype) in cells
    assert ("placebo", Mode.EAGER, None, Dtype.FP32) in cells
    assert ("stock", Mode.COMPILE, None, Dtype.INT8) in cells
    assert ("ipex", Mode.TORCHSCRIPT, True, Dtype.INT8) in cells
    layouts = {
        s.layout
        for s in STANDARD
        if (s.task, s.backend, s.mode, s.dtype) == (Task.INFERENCE, "stock", Mode.EAGER, Dtype.FP32)
    }
    assert layouts == {Layout.CONTIGUOUS, Layout.CHANNELS_LAST}
    training = {s.id.removeprefix("training/") for s in STANDARD if s.task is Task.TRAINING}
    for trained in (FROZEN, FULL):
        for dtype in (Dtype.FP32, Dtype.BF16):
            assert f"stock/eager/{dtype}/contiguous/b8/{trained}" in training
            assert f"stock/eager/{dtype}/channels_last/b8/{trained}+fused_adam" in training
            assert f"ipex/eager/{dtype}/channels_last/b8/{trained}" in training
    assert {s.batch_size for s in STANDARD if s.task is Task.INFERENCE} == {1, 8, 32}


def test_smoke_keeps_one_of_each_kind_of_the_standard_matrix() -> None:
    """The few-minutes profile leaves little untried beside int8: what takes long to compile."""

    def ways(name: str) -> set[tuple[object, ...]]:
        return {(s.task, s.backend, s.mode, s.fusion) for s in matrix(PROFILES[name])}

    def dtypes(name: str) -> set[tuple[object, ...]]:
        return {(s.backend, s.dtype, s.layout) for s in matrix(PROFILES[name])}

    assert ways("smoke") < ways("standard")
    assert ways("standard") - ways("smoke") == {
        (Task.INFERENCE, "stock", Mode.AOT, None),
    }
    compiled = [s for s in matrix(PROFILES["smoke"]) if s.compiles]
    assert [(s.backend, s.dtype, s.batch_size) for s in compiled] == [
        ("stock", Dtype.FP32, 1),
        ("ipex", Dtype.FP32, 1),
    ]
    assert dtypes("standard") - dtypes("smoke") == {
        ("stock", Dtype.BF16, Layout.CONTIGUOUS),
        ("stock", Dtype.INT8, Layout.CHANNELS_LAST),
        ("ipex", Dtype.INT8, Layout.CHANNELS_LAST),
    }
    options = {tag for s in matrix(PROFILES["smoke"]) for tag in s.options}
    assert options == {FROZEN, FULL, FUSED_ADAM}


@pytest.mark.parametrize("profile", sorted(PROFILES))
def test_each_of_ipexs_scenarios_has_its_equal_in_stock_pytorch(profile: str) -> None:
    """Else what stock PyTorch can do as well would count as a gain of IPEX.

    Its static int8 is TorchScript's, which stock PyTorch has not: that is compared with compile.
    """
    scenarios = matrix(PROFILES[profile])
    for one in (s for s in scenarios if s.backend == "ipex" and s.dtype is not Dtype.INT8):
        adam = {FUSED_ADAM} if one.task is Task.TRAINING else set()
        equals = [
            s
            for s in scenarios
            if replace(s, backend="ipex", options=one.options) == one
            and s.backend == "stock"
            and set(s.options) == {*one.options, *adam}
        ]
        assert len(equals) == 1, one.id


def test_full_has_what_takes_long_to_compile() -> None:
    """Compiled training, fp16 and options of compile; ahead of time elsewhere at one batch size."""
    assert [(s.dtype, s.batch_size) for s in STANDARD if s.mode is Mode.AOT] == [
        (Dtype.FP32, 1),
        (Dtype.BF16, 1),
    ]
    full = matrix(PROFILES["full"])
    assert len({s.batch_size for s in full if s.mode is Mode.AOT}) == 8
    beyond = {(s.mode, s.dtype, s.options) for s in full} - {
        (s.mode, s.dtype, s.options) for s in STANDARD
    }
    assert beyond == {
        (Mode.EAGER, Dtype.FP16, ()),
        (Mode.COMPILE, Dtype.FP16, ()),
        *(
            (Mode.COMPILE, dtype, (trained, FUSED_ADAM))
            for dtype in (Dtype.FP32, Dtype.BF16)
            for trained in (FROZEN, FULL)
        ),
        *(
            (Mode.COMPILE, dtype, (tag,))
            for dtype in (Dtype.FP32, Dtype.BF16)
            for tag in (MAX_AUTOTUNE, CPP_WRAPPER)
        ),
    }


def test_every_exclusion_has_its_reason() -> None:
    """What is absent is absent for a stated reason."""
    assert all(exclusion.reason and exclusion.what for exclusion in EXCLUSIONS)


def test_batch_sizes_share_a_worker_and_settings_do_not() -> None:
    """Batch size and frozen or full take turns in one process; layout, dtype and Adam do not."""
    base = stock_default(Task.TRAINING, 8, (FROZEN,))
    assert worker_key(base) == worker_key(stock_default(Task.TRAINING, 2, (FULL,)))
    for change in (
        {"layout": Layout.CHANNELS_LAST},
        {"dtype": Dtype.BF16},
        {"backend": "ipex"},
        {"options": (FROZEN, FUSED_ADAM)},
        {"environment": "torch-latest"},
    ):
        assert worker_key(replace(base, **change)) != worker_key(base)


@pytest.mark.parametrize("largest", [1, 4, 16, 64])
@pytest.mark.parametrize("profile", PROFILES.values(), ids=list(PROFILES))
def test_batches_above_the_cap_become_the_cap_once(profile: Profile, largest: int) -> None:
    """{1, 8, 32} on a machine that does 16 is {1, 8, 16}; on one that does 4, {1, 4}."""
    sizes = tuple(dict.fromkeys(min(size, largest) for size in profile.batch_sizes))
    assert capped(matrix(profile), largest) == matrix(profile, sizes)


def test_selecting_brings_the_baseline_along() -> None:
    """A chosen scenario without its stock default could not be compared."""
    chosen = select(STANDARD, ("inference/ipex/eager/fp32/*/b8",))
    assert [scenario.id for scenario in chosen] == [
        "inference/stock/eager/fp32/contiguous/b8",
        "inference/ipex/eager/fp32/channels_last/b8",
    ]
    assert select(STANDARD, ()) == STANDARD


def test_an_unknown_scenario_or_profile_is_one_line_with_a_hint() -> None:
    """The line names what is near and where the list is."""
    with pytest.raises(
        UsageError, match=r"no scenario matches 'inference/ipx/.*nearest: inference/ipex"
    ):
        select(STANDARD, ("inference/ipx/eager/fp32/channels_last/b8",))
    with pytest.raises(UsageError, match="smoke, standard, suite, full"):
        profile_named("quick")


@pytest.mark.parametrize("scenario", STANDARD, ids=lambda scenario: scenario.id)
def test_a_scenario_survives_the_protocol(scenario: Scenario) -> None:
    """The worker prepares what the parent requested."""
    assert decode(encode(scenario)) == scenario


def test_further_backends_are_measured_on_request() -> None:
    """What a profile measures does not depend on what is installed."""
    assert not any(s.backend in FURTHER_BACKENDS for s in STANDARD)
    asked = matrix(PROFILES["smoke"], backends=("openvino",))
    added = [s.id for s in asked if s.backend in FURTHER_BACKENDS]
    assert added == [
        f"inference/openvino/compile/{dtype}/contiguous/b{size}"
        for size in (1, 4)
        for dtype in ("fp32", "bf16")
    ]
    with pytest.raises(UsageError, match="no further backend 'onnx': choose one of openvino"):
        matrix(PROFILES["smoke"], backends=("onnx",))


def test_a_backend_that_needs_a_newer_pytorch_runs_in_the_other_environments() -> None:
    """In each of them, and nowhere without one."""
    names = ("torch-latest", "nightly")
    asked = matrix(PROFILES["standard"], (1,), environments=names, backends=("zentorch",))
    assert [s.id for s in asked if s.backend == "zentorch"] == [
        f"inference/zentorch/compile/{dtype}/channels_last/b1@{name}"
        for name in names
        for dtype in ("fp32", "bf16")
    ]
    with pytest.raises(UsageError, match=r"--backend zentorch needs a newer PyTorch .* --env"):
        matrix(PROFILES["standard"], (1,), backends=("zentorch",))


@pytest.mark.parametrize(("profile", "int8"), [("smoke", False), ("standard", True)])
def test_a_further_backend_has_int8_where_the_profile_has(profile: str, *, int8: bool) -> None:
    """Calibrating would be most of a smoke run."""
    asked = matrix(PROFILES[profile], (1,), backends=("onnxruntime",))
    found = "inference/onnxruntime/compile/int8/contiguous/b1" in {s.id for s in asked}
    assert found == int8


@pytest.mark.parametrize(
    ("options", "value"),
    [((), None), (("slow=0.05",), "0.05"), ((FROZEN, "slow=0.1"), "0.1"), (("slow",), None)],
)
def test_an_option_with_a_value_is_read_by_its_name(
    options: tuple[str, ...], value: str | None
) -> None:
    """So the scenario's id shows the value; a plain tag of that name has none."""
    scenario = replace(stock_default(Task.INFERENCE, 1), options=options)
    assert scenario.option("slow") == value
