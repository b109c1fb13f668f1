"""Machines that we do not have, as fake roots made from what such machines show."""

from __future__ import annotations

import dataclasses
import json
import os
from pathlib import Path
from typing import Any

import pytest

from bench import machine
from bench.machine import cpu, software
from bench.store.metadata import MachineFacts
from tests.fake_files import write, write_all
from tests.fresh_process import python

MACHINES = Path(__file__).with_name("machines")
NAMES = sorted(path.stem for path in MACHINES.glob("*.json"))
CPUS = "sys/devices/system/cpu"


def build(name: str, root: Path) -> dict[str, Any]:
    """Make the root of a stored machine; returns its description."""
    about: dict[str, Any] = json.loads((MACHINES / f"{name}.json").read_text())
    cores = about["sockets"] * about["cores_per_socket"]
    cpus = range(cores * about["threads_per_core"])
    one = (MACHINES / f"{name}.cpuinfo").read_text()
    for number in cpus:
        package = number % cores // about["cores_per_socket"]
        siblings = ",".join(str(other) for other in cpus if other % cores == number % cores)
        folder = f"{CPUS}/cpu{number}/topology"
        write(root, f"{folder}/thread_siblings_list", siblings)
        write(root, f"{folder}/physical_package_id", str(package))
    blocks = [one.replace("processor\t: 0", f"processor\t: {number}") for number in cpus]
    write(root, "proc/cpuinfo", "\n".join(blocks))
    write(root, f"{CPUS}/online", f"0-{len(cpus) - 1}")
    write(root, "proc/self/status", f"Name:\tpython\nCpus_allowed_list:\t0-{len(cpus) - 1}")
    write(root, "proc/meminfo", "MemTotal:       65011712 kB\nMemFree:        1 kB")
    for index, size in enumerate(about["caches"]):
        folder = f"{CPUS}/cpu0/cache/index{index}"
        write(root, f"{folder}/level", str(max(1, index)))
        write(root, f"{folder}/type", ("Data", "Instruction", "Unified", "Unified")[index])
        write(root, f"{folder}/size", size)
    for node in range(about["numa_nodes"]):
        members = [str(n) for n in cpus if n * about["numa_nodes"] // len(cpus) == node]
        write(root, f"sys/devices/system/node/node{node}/cpulist", ",".join(members))
        write(
            root,
            f"sys/devices/system/node/node{node}/meminfo",
            f"Node {node} MemTotal:       32505856 kB",
        )
    write_all(root, about["files"])
    return about


def described(name: str, root: Path) -> tuple[dict[str, Any], dict[str, Any]]:
    """A stored machine's description, and what `describe` says of it."""
    about = build(name, root)
    return about, machine.describe(root, frameworks=False)


@pytest.mark.parametrize("name", NAMES)
def test_stored_machines(name: str, tmp_path: Path) -> None:
    """Instruction sets and bf16 by the flags alone, names, cores, caches, limits, and notes.

    The terminal shows whether bf16 is native in the second line, before all detail.
    """
    about, found = described(name, tmp_path)
    assert sorted(flag for flag, has in found["isa"].items() if has) == about["isa"]
    assert found["native_bf16_by"] == about["native_bf16_by"]
    assert found["native_bf16"] == bool(about["native_bf16_by"])
    assert machine.bf16_native(found["isa"]) == found["native_bf16"]
    assert {key: found[key] for key in about["expect"]} == about["expect"]
    for note, part in zip(found["notes"], about["notes"], strict=True):
        assert part in note
    lines = machine.render(found).splitlines()
    assert lines[0] == found["name"]
    assert lines[1].startswith("bf16: native" if found["native_bf16"] else "bf16: EMULATED")
    assert max(map(len, lines)) <= 100


def test_the_terminal_names_every_package(tmp_path: Path) -> None:
    """With its version, those that decide a result first."""
    _, found = described("m6i.4xlarge", tmp_path)
    shown = " ".join(machine.render(found).split())
    assert "Packages torch 2." in shown
    assert all(f"{name} {version}" in shown for name, version in found["packages"].items())


def test_every_promised_key_is_there(tmp_path: Path) -> None:
    """The report and other people's scripts rely on these names."""
    _, found = described("m6i.4xlarge", tmp_path)
    promised = {item.name for item in dataclasses.fields(MachineFacts)} | {"native_bf16_by"}
    assert promised <= set(found)
    flags = "avx2 avx512f avx512bw avx512vl avx512_vnni avx512_bf16 avx512_fp16 amx_tile amx_int8"
    assert {*flags.split(), "amx_bf16"} <= set(found["isa"])


def test_the_tutorials_claim_is_corrected_on_its_own_instance_only(tmp_path: Path) -> None:
    """Ice Lake-SP gets the sentence on two chips; Skylake, which nobody claims, does not."""
    _, ice = described("m6i.4xlarge", tmp_path / "a")
    _, sky = described("m5.2xlarge-skylake", tmp_path / "b")
    assert any("Cooper Lake" in note for note in ice["notes"])
    assert not any("Cooper Lake" in note for note in sky["notes"])


def test_a_name_never_decides(tmp_path: Path) -> None:
    """A Sapphire Rapids name over Ice Lake flags is emulated; an Ice Lake name over bf16 is not."""
    sapphire, ice = (
        (MACHINES / f"{name}.cpuinfo").read_text() for name in ("m7i.2xlarge", "m6i.4xlarge")
    )
    flags = {text: text.split("flags\t\t: ")[1].split("\n")[0] for text in (sapphire, ice)}
    renamed = sapphire.replace(flags[sapphire], flags[ice])
    assert not cpu.bf16_native(cpu.parse_cpuinfo(renamed).isa)
    write(tmp_path, "proc/cpuinfo", ice.replace(flags[ice], flags[sapphire]))
    found = machine.describe(tmp_path, frameworks=False)
    assert found["native_bf16"]
    assert found["notes"] == []


@pytest.mark.parametrize(
    ("isa", "native"),
    [({"amx_bf16": True}, False), ({"amx_bf16": True, "amx_tile": True}, True), ({}, False)],
)
def test_amx_without_its_tiles_is_not_native(isa: dict[str, bool], native: bool) -> None:
    """amx_bf16 computes on tiles; a guest that masks amx_tile cannot use it."""
    assert machine.bf16_native(isa) is native


def test_a_host_without_proc_and_sys_is_described(tmp_path: Path) -> None:
    """No /proc and no /sys: unknown everywhere, one usable core, and nothing raised."""
    found = machine.describe(tmp_path, frameworks=False)
    assert (found["cpu_model"], found["logical_cores"], found["instance_type"]) == (None,) * 3
    assert (found["usable_physical_cores"], found["usable_logical_cores"]) == (1, 1)
    assert not any(found["isa"].values())
    assert found["name"] == "unknown-1c"
    assert json.loads(json.dumps(found)) == found
    assert "flags cannot be read" in found["notes"][0]
    machine.render(found)


@pytest.mark.parametrize("junk", ["", "\0\0", "max", "-1", "9" * 400, "a:b\n\n:c", "\xff\x1b[31m"])
def test_nonsense_in_every_file_is_no_failure(tmp_path: Path, junk: str) -> None:
    """Sandboxes fake these files in many ways; a description is never worth a crash."""
    build("container-masked-emerald-rapids", tmp_path)
    for path in tmp_path.rglob("*"):
        if path.is_file():
            path.write_text(junk)
    machine.render(machine.describe(tmp_path, frameworks=False))


def test_folders_in_place_of_files_are_no_failure(tmp_path: Path) -> None:
    """Nor is a folder where a file should be."""
    for path in ("proc/cpuinfo", "proc/self/status", "proc/meminfo", f"{CPUS}/online"):
        (tmp_path / path).mkdir(parents=True)
    assert machine.describe(tmp_path, frameworks=False)["cpu_model"] is None


def test_cores_are_counted_without_sysfs(tmp_path: Path) -> None:
    """Some sandboxes mount no /sys: package and core ids of /proc/cpuinfo do."""
    blocks = [
        f"processor\t: {number}\nphysical id\t: {number // 4}\ncore id\t\t: {number % 2}\n"
        for number in range(8)
    ]
    write(tmp_path, "proc/cpuinfo", "\n".join(blocks))
    found = machine.describe(tmp_path, frameworks=False)
    assert (found["physical_cores"], found["logical_cores"], found["sockets"]) == (4, 8, 2)


def test_py_cpuinfo_fills_in_where_proc_is_silent(monkeypatch: pytest.MonkeyPatch) -> None:
    """On systems without /proc/cpuinfo the name and the flags come from py-cpuinfo."""
    import cpuinfo

    answer = {
        "brand_raw": "Intel(R) Core(TM) i9",
        "vendor_id_raw": "GenuineIntel",
        "family": 6,
        "model": 158,
        "flags": ["avx2", "avx512f", "avx512vnni"],
    }
    monkeypatch.setattr(cpuinfo, "get_cpu_info", lambda: answer)
    found = cpu.completed(cpu.parse_cpuinfo(""))
    assert (found.model_name, found.vendor, found.family, found.model) == (
        "Intel(R) Core(TM) i9",
        "GenuineIntel",
        6,
        158,
    )
    assert found.isa["avx512_vnni"]
    assert not found.isa["avx512_bf16"]


def test_a_failing_py_cpuinfo_costs_nothing(monkeypatch: pytest.MonkeyPatch) -> None:
    """It parses other programs' output; what it raises stays there."""
    import cpuinfo

    def fail() -> None:
        raise RuntimeError("lscpu said something new")

    monkeypatch.setattr(cpuinfo, "get_cpu_info", fail)
    assert cpu.completed(cpu.Cpu(vendor="x")) == cpu.Cpu(vendor="x")


def test_affinity_limits_the_usable_cores(tmp_path: Path) -> None:
    """`taskset -c 0,8,1` on 8 cores of two threads leaves two cores and three threads."""
    build("m6i.4xlarge", tmp_path)
    write(tmp_path, "proc/self/status", "Cpus_allowed_list:\t0-1,8")
    found = machine.describe(tmp_path, frameworks=False)
    assert (found["usable_physical_cores"], found["usable_logical_cores"]) == (2, 3)
    assert found["affinity"] == [0, 1, 8]
    assert (found["physical_cores"], found["logical_cores"]) == (8, 16)


def test_a_cpuset_that_is_smaller_than_the_affinity_holds(tmp_path: Path) -> None:
    """Both are the kernel's, and some sandboxes show only one of them."""
    build("m6i.4xlarge", tmp_path)
    write(tmp_path, "proc/self/cgroup", "0::/a")
    write(tmp_path, "sys/fs/cgroup/a/cpuset.cpus.effective", "2-3")
    found = machine.describe(tmp_path, frameworks=False)
    assert found["affinity"] == found["worker_cpus"] == [2, 3]


def test_a_limit_above_the_machine_is_none(tmp_path: Path) -> None:
    """A group that allows more than there is limits nothing."""
    build("m6i.4xlarge", tmp_path)
    write(tmp_path, "sys/fs/cgroup/memory.max", str(1 << 40))
    write(tmp_path, "sys/fs/cgroup/cpu.max", "6400000 100000")
    found = machine.describe(tmp_path, frameworks=False)
    assert found["memory_limit_gib"] is None
    assert found["usable_physical_cores"] == 8
    assert not any("control group" in note for note in found["notes"])


def test_less_than_one_cpu_still_is_one_core(tmp_path: Path) -> None:
    """Half a CPU's time carries one thread, not none."""
    build("m6i.4xlarge", tmp_path)
    write(tmp_path, "sys/fs/cgroup/cpu.max", "50000 100000")
    found = machine.describe(tmp_path, frameworks=False)
    assert (found["usable_physical_cores"], found["usable_logical_cores"]) == (1, 1)
    assert found["worker_cpus"] == [0]
    assert "50%" in " ".join(found["notes"])
    assert "Workers on      CPUs 0\n" in machine.render(found)


def test_memory_nodes_carry_their_cpus_and_memory(tmp_path: Path) -> None:
    """Two sockets are two nodes."""
    _, found = described("m5.24xlarge-cascade-lake", tmp_path)
    first, second = found["numa_nodes"]
    assert (first["node"], len(first["cpus"]), first["memory_gib"]) == (0, 48, 31.0)
    assert second["cpus"][0] == 48


def test_the_fingerprint_covers_what_decides_a_speedup(tmp_path: Path) -> None:
    """Same machine, same digits; one flag, core, cache or instance type more, other digits."""
    _, found = described("m6i.4xlarge", tmp_path)
    same = {**found, "packages": {}, "memory_total_gib": 1, "notes": [], "container": "docker"}
    assert machine.fingerprint(same) == found["fingerprint"]
    assert len(found["fingerprint"]) == 12
    for name, value in (
        ("isa", {**found["isa"], "avx512_bf16": True}),
        ("usable_physical_cores", 7),
        ("caches", {**found["caches"], "l3_kib": 1}),
        ("instance_type", "m6i.8xlarge"),
        ("cpu_model", "another"),
    ):
        assert machine.fingerprint({**found, name: value}) != found["fingerprint"]


@pytest.mark.parametrize(
    ("facts", "name"),
    [
        ({"instance_type": "c7g.16xlarge"}, "c7g.16xlarge"),
        ({"cpu_model": "AMD EPYC", "usable_physical_cores": 2}, "amd-epyc-2c"),
        (
            {
                "cpu_model": "AMD Ryzen 7 5800X 8-Core Processor",
                "usable_physical_cores": 8,
            },
            "amd-ryzen-7-5800x-8c",
        ),
        ({"cpu_model": "../../etc/passwd\n $(x)"}, "etc-passwd-x"),
        ({"cpu_model": "名前"}, "unknown"),
        ({"cpu_model": "x" * 300, "usable_physical_cores": 4}, "x" * 40 + "-4c"),
        ({}, "unknown"),
    ],
)
def test_run_names_are_short_and_safe(facts: dict[str, Any], name: str) -> None:
    """A run's folder carries the name, so nothing in it may surprise a shell."""
    assert machine.run_name(facts) == name


def test_relevant_variables_are_kept_and_secrets_are_not() -> None:
    """What allocators, OpenMP, MKL, oneDNN and PyTorch listen to, and nothing else."""
    relevant = {
        "OMP_NUM_THREADS",
        "KMP_AFFINITY",
        "ONEDNN_MAX_CPU_ISA",
        "ATEN_CPU_CAPABILITY",
        "LD_PRELOAD",
        "MALLOC_CONF",
        "TORCHINDUCTOR_FREEZING",
        "PYTORCH_JIT",
    }
    private = {"AWS_SECRET_ACCESS_KEY", "HOME", "MY_OMP_THING"}
    assert software.variables(dict.fromkeys(relevant | private, "x")).keys() == relevant


def test_packages_go_by_their_normalised_names() -> None:
    """`pillqc_bench` and `pillqc-bench` are one package."""
    found = software.packages()
    assert "numpy" in found
    assert all(name == name.lower() and "_" not in name for name in found)


def test_this_machine_is_described_as_the_kernel_sees_it() -> None:
    """The real root agrees with what Python asks of the kernel, and torch stays out."""
    script = (
        "import json, sys; from bench.machine import describe, render;"
        "here = describe(frameworks=False); render(here);"
        "print(json.dumps([here['affinity'], 'torch' in sys.modules, here['isa']]))"
    )
    affinity, imported, isa = json.loads(python("-c", script).stdout)
    assert affinity == sorted(os.sched_getaffinity(0))
    assert not imported
    flags = Path("/proc/cpuinfo").read_text().split()
    assert all(has == (name in flags) for name, has in isa.items())
