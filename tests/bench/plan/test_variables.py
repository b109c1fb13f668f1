"""Variables of scenarios: their ids, how their workers start, and what is checked afterwards."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from bench.errors import UsageError, WorkerError
from bench.machine import isa, worker_settings
from bench.machine.cpu import Cpu
from bench.plan import variables
from bench.plan.matrix import matrix
from bench.plan.profiles import PROFILES
from bench.plan.scenario import (
    FROZEN,
    Dtype,
    Layout,
    Mode,
    Scenario,
    Status,
    Task,
    stock_default,
    worker_key,
)
from bench.worker import conditions, protocol

STOCK = stock_default(Task.INFERENCE, 1)
TCMALLOC = replace(STOCK, options=("allocator=tcmalloc",))


def test_a_varied_scenario_says_so_in_its_id() -> None:
    """The suffix is the variable; without one the id is what it always was."""
    assert STOCK.id == "inference/stock/eager/fp32/contiguous/b1"
    assert TCMALLOC.id == "inference/stock/eager/fp32/contiguous/b1/allocator=tcmalloc"
    assert variables.of(TCMALLOC) == {"allocator": "tcmalloc"}
    assert variables.of(STOCK) == {}


def test_a_varied_scenario_shares_rounds_and_is_no_baseline() -> None:
    """It is paired with its group, runs in a separate process, and is never stock default."""
    assert TCMALLOC.group == STOCK.group
    assert not TCMALLOC.is_stock_default
    assert worker_key(TCMALLOC) != worker_key(STOCK)
    assert protocol.decode(protocol.encode(TCMALLOC)) == TCMALLOC


def test_options_that_are_no_variables_are_kept() -> None:
    """Only tags that name a variable are one."""
    tags = (FROZEN, "slow=0.05", "threads=2")
    assert variables.of_tags(tags) == {"threads": "2"}
    assert variables.without(tags) == (FROZEN, "slow=0.05")


def test_without_a_pattern_one_of_each_kind_is_varied() -> None:
    """Stock default, stock channels_last and IPEX's fused TorchScript and eager, once a value."""
    scenarios = matrix(PROFILES["standard"], (1,))
    found = variables.vary(scenarios, {"allocator": ("tcmalloc",)}, everything=False)
    assert found[: len(scenarios)] == scenarios
    added = found[len(scenarios) :]
    assert added
    assert all(variables.of(one) == {"allocator": "tcmalloc"} for one in added)
    kinds = {(one.task, one.backend, one.mode, one.layout) for one in added}
    assert (Task.INFERENCE, "stock", Mode.EAGER, Layout.CONTIGUOUS) in kinds
    assert (Task.INFERENCE, "ipex", Mode.TORCHSCRIPT, Layout.CHANNELS_LAST) in kinds
    assert not any(one.backend == "placebo" or one.dtype != "fp32" for one in added)


def test_the_heap_of_few_is_varied_without_a_pattern() -> None:
    """Stock default and IPEX eager show by default what it gains."""
    assert all("heap" in PROFILES[name].vary for name in ("standard", "full"))
    scenarios = matrix(PROFILES["standard"], (1, 8))
    wanted = variables.parse_vary(("heap",))
    added = variables.vary(scenarios, wanted, everything=False)[len(scenarios) :]
    assert [one.id for one in added] == [
        f"inference/{way}/b{size}/heap=glibc"
        for size in (1, 8)
        for way in ("stock/eager/fp32/contiguous", "ipex/eager/fp32/channels_last")
    ]


def test_every_variable_has_words_for_its_values() -> None:
    """As the first screen says them."""
    assert variables.in_words(("frozen", "heap=glibc")) == "the heap as glibc ships it"
    assert variables.in_words(("allocator=tcmalloc", "threads=2")) == (
        "tcmalloc as allocator, 2 threads"
    )
    assert all("{value}" in variable.phrase for variable in variables.VARIABLES.values())


def test_with_a_pattern_all_that_it_chose_is_varied_one_variable_at_a_time() -> None:
    """Never two at once, so that each effect is its own."""
    chosen = {"allocator": ("tcmalloc", "jemalloc"), "threads": ("1",)}
    found = variables.vary((STOCK,), chosen, everything=True)
    assert [one.options for one in found] == [
        (),
        ("allocator=tcmalloc",),
        ("allocator=jemalloc",),
        ("threads=1",),
    ]


def test_other_environments_are_not_varied() -> None:
    """Their packages are the only thing that differs there."""
    other = replace(STOCK, environment="torch-latest")
    assert variables.vary((other,), {"threads": ("1",)}, everything=True) == (other,)


@pytest.mark.parametrize(
    ("asked", "complaint"),
    [
        ("malloc", "no variable 'malloc'"),
        ("allocator=glib", "no value 'glib'"),
        ("threads=0", "no value '0'"),
        ("threads=two", "no value 'two'"),
    ],
)
def test_a_wrong_variable_is_named_in_one_line(asked: str, complaint: str) -> None:
    """With what there is to choose from."""
    with pytest.raises(UsageError, match=complaint):
        variables.parse_vary((asked,))


def test_values_may_be_listed_or_left_to_the_variable() -> None:
    """`threads` takes any positive number. A variable that is named twice has all its values."""
    assert variables.parse_vary(("threads=1,3", "allocator", "threads=2,1")) == {
        "threads": ("1", "3", "2"),
        "allocator": ("tcmalloc", "jemalloc"),
    }


@pytest.mark.parametrize(
    ("option", "name"),
    [
        ("allocator=tcmalloc", "libtcmalloc_minimal.so.4.5.9"),
        ("allocator=jemalloc", "libjemalloc.so.2"),
        ("openmp=iomp5", "libiomp5.so"),
    ],
)
def test_a_library_is_found_under_any_version(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, option: str, name: str
) -> None:
    """Debian ships libtcmalloc_minimal.so.4 and no plain .so; a user's folder comes first."""
    library = tmp_path / name
    library.write_bytes(b"")
    monkeypatch.setenv("LD_LIBRARY_PATH", str(tmp_path))
    setting = variables.setting_of(replace(STOCK, options=(option,)))
    assert setting.preload == (library,)
    assert setting.variables({"A": "1"}) == {"A": "1", "LD_PRELOAD": str(library)}


@pytest.mark.parametrize("folder", ["my libraries", "my:libraries"])
def test_the_loader_does_not_split_the_path_of_a_library(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, folder: str
) -> None:
    """It would at a space and at a colon, and ignore both parts."""
    library = tmp_path / folder / "libjemalloc.so.2"
    library.parent.mkdir()
    library.write_bytes(b"")
    monkeypatch.setattr(variables, "library_folders", lambda: [library.parent])
    setting = variables.setting_of(replace(STOCK, options=("allocator=jemalloc",)))
    preloaded = setting.variables({})["LD_PRELOAD"]
    assert not set(preloaded) & set(" :")
    assert Path(preloaded).samefile(library)


def test_a_missing_library_is_unavailable_with_what_brings_it(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """The scenario keeps its row; the others are measured."""
    monkeypatch.setattr(variables, "library_folders", list)
    with pytest.raises(WorkerError, match="apt-get install libtcmalloc-minimal4") as caught:
        variables.setting_of(TCMALLOC)
    assert caught.value.status is Status.UNAVAILABLE


def test_threads_are_an_option_of_the_scenario() -> None:
    """As any variable is."""
    assert variables.setting_of(replace(STOCK, options=("threads=1",))).threads == 1


def test_a_variable_that_did_not_take_is_a_contradiction() -> None:
    """Read back from the worker's own memory map, not from the request."""
    sentence = variables.contradiction(TCMALLOC, {"allocator": "glibc"})
    assert sentence == "allocator=tcmalloc did not take: the process has glibc and not tcmalloc"
    assert variables.contradiction(TCMALLOC, {"allocator": "tcmalloc"}) is None
    iomp = replace(STOCK, options=("openmp=iomp5",))
    assert variables.contradiction(iomp, {"openmp": ["libgomp.so.1"]}) is not None
    assert variables.contradiction(iomp, {"openmp": ["libgomp.so.1", "libiomp5.so"]}) is None


def test_a_heap_as_glibc_ships_it_is_glibcs_alone_and_is_read_back(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    """Under another allocator, or with a heap that is kept, it would be a label and no more."""
    heap = replace(STOCK, options=("heap=glibc",))
    monkeypatch.setenv("GLIBC_TUNABLES", "glibc.malloc.check=0")
    ordinary = worker_settings.worker_environment(2, tmp_path)
    shipped = variables.setting_of(heap).variables(ordinary)
    assert shipped["GLIBC_TUNABLES"] == ""
    assert variables.contradiction(heap, {"allocator": "glibc", "env": shipped}) is None
    assert variables.contradiction(heap, {"allocator": "glibc", "env": {}}) is None
    kept = variables.contradiction(heap, {"allocator": "glibc", "env": ordinary})
    assert kept is not None
    assert "keeps its heap" in kept
    other = variables.contradiction(heap, {"allocator": "tcmalloc", "env": shipped})
    assert other is not None
    assert "has tcmalloc and not glibc" in other


def test_only_what_is_varied_may_differ() -> None:
    """A tcmalloc worker with other threads besides is still not comparable."""
    default = {"threads": 2, "allocator": "glibc", "openmp": ["libgomp.so.1"], "env": {}}
    preloaded = {**default, "allocator": "tcmalloc", "env": {"LD_PRELOAD": "libtcmalloc.so"}}
    allowed = variables.may_differ(TCMALLOC)
    assert conditions.differences(default, preloaded, allowed=allowed) == []
    assert len(conditions.differences(default, preloaded)) == 2
    fewer = {**preloaded, "threads": 1}
    assert conditions.differences(default, fewer, allowed=allowed) == ["threads: 2 against 1"]


def test_the_setting_of_an_ordinary_scenario_changes_nothing() -> None:
    """Its worker starts as it always did."""
    scenario = Scenario(task=Task.INFERENCE, backend="stock", mode=Mode.EAGER, batch_size=1)
    setting = variables.setting_of(scenario)
    assert setting.variables({"A": "1"}) == {"A": "1"}
    assert setting.threads is None


# --- instruction sets ----------------------------------------------------------------------------


def test_a_cap_binds_all_three_libraries(monkeypatch: pytest.MonkeyPatch) -> None:
    """OneDNN, ATen and MKL each have their own; one that is left open would compute wider."""
    monkeypatch.setattr(variables, "read_cpu", lambda _: Cpu(flags=frozenset({"avx2", "avx512f"})))
    setting = variables.setting_of(replace(STOCK, options=("isa=avx512",)))
    assert setting.environment == {
        "ONEDNN_MAX_CPU_ISA": "AVX512_CORE",
        "ATEN_CPU_CAPABILITY": "avx512",
        "MKL_ENABLE_INSTRUCTIONS": "AVX512",
    }


def test_instructions_that_the_cpu_lacks_cannot_be_capped_at(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """The row says so; it would be the uncapped scenario under another name."""
    monkeypatch.setattr(variables, "read_cpu", lambda _: Cpu(flags=frozenset({"avx2"})))
    with pytest.raises(WorkerError, match="no amx_tile") as caught:
        variables.setting_of(replace(STOCK, options=("isa=amx",)))
    assert caught.value.status is Status.UNAVAILABLE


@pytest.mark.parametrize(
    ("cap", "seen", "words"),
    [
        ("avx2", "avx2", None),
        ("avx512", "avx2", None),
        ("avx512", "avx512_core", None),
        ("avx2", "avx512_core", "but avx512_core ran"),
        ("bf16", "avx512_core_amx", "but avx512_core_amx ran"),
        ("amx", "avx99_core", "but avx99_core ran"),
        ("avx2", None, "no oneDNN line"),
    ],
)
def test_the_log_proves_the_cap(cap: str, seen: str | None, words: str | None) -> None:
    """A cap that did not take would show a generation as better than it is."""
    found = isa.passed(cap, seen)
    assert (found is None) == (words is None)
    assert words is None or words in str(found)


def test_full_measures_caps_in_fp32_and_bf16_and_leaves_other_ids_alone() -> None:
    """Only capped scenarios carry the suffix."""
    assert "isa" in PROFILES["full"].vary
    own = matrix(PROFILES["full"], (1,))
    varied = variables.vary(own, variables.parse_vary(("isa",)), everything=False)
    assert varied[: len(own)] == own
    added = varied[len(own) :]
    assert {scenario.dtype for scenario in added} == {Dtype.FP32, Dtype.BF16}
    assert {variables.of(scenario)["isa"] for scenario in added} == set(isa.CAPS)
    assert all("/isa=" in scenario.id or "+isa=" in scenario.id for scenario in added)


# --- reduced arithmetic --------------------------------------------------------------------------

BF16_MATH = replace(STOCK, options=("fpmath=bf16",))


def test_reduced_arithmetic_is_set_by_the_worker_and_read_back_from_it() -> None:
    """How depends on its PyTorch, so the process is told the value and no more."""
    assert variables.setting_of(BF16_MATH).options == ("--fpmath", "bf16")
    assert variables.setting_of(STOCK).options == ()
    assert variables.contradiction(BF16_MATH, {"fpmath": "bf16"}) is None
    for found in (None, "tf32", "bf16, fp32"):
        denied = variables.contradiction(BF16_MATH, {"fpmath": found})
        assert denied == (
            f"fpmath=bf16 did not take: the process allows {found or 'fp32'} and not bf16"
        )


def test_only_reduced_fp32_is_held_to_the_tolerance_of_bf16() -> None:
    """Its label is fp32; other variables change no result, and int8 keeps its own tolerance."""
    assert variables.tolerated(BF16_MATH) is Dtype.BF16
    assert variables.tolerated(TCMALLOC) is Dtype.FP32
    assert variables.tolerated(replace(BF16_MATH, dtype=Dtype.INT8)) is Dtype.INT8


def test_reduced_arithmetic_is_varied_in_every_environment() -> None:
    """Only a newer PyTorch has settings of its own for it."""
    other = replace(STOCK, layout=Layout.CHANNELS_LAST, environment="torch-latest")
    found = variables.vary((STOCK, other), {"fpmath": ("bf16",)}, everything=False)
    assert [one.id for one in found[2:]] == [
        "inference/stock/eager/fp32/contiguous/b1/fpmath=bf16",
        "inference/stock/eager/fp32/channels_last/b1/fpmath=bf16@torch-latest",
    ]


def test_allowing_less_than_fp32_is_a_difference_between_workers() -> None:
    """A model of the user's own may do it when it is imported."""
    plain: dict[str, Any] = {"fpmath": None, "env": {}}
    reduced: dict[str, Any] = {"fpmath": "bf16", "env": {}}
    assert conditions.differences(plain, reduced) == ["fpmath: None against bf16"]
    allowed = variables.may_differ(BF16_MATH)
    assert conditions.differences(plain, reduced, allowed=allowed) == []
    assert conditions.differences({"env": {}}, plain) == []  # of an earlier version
