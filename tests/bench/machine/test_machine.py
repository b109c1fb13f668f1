"""Machines that we do not have, as fake roots made from what such machines show."""

from __future__ import annotations

import dataclasses
import json
import os
import stat
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from bench import machine
from bench.machine import cpu, frameworks, host, software, topology
from bench.store.metadata import MachineFacts
from pillqc import limits
from tests.hardware import ONEDNN_HAS_BF16

MACHINES = Path(__file__).with_name("machines")
NAMES = sorted(path.stem for path in MACHINES.glob("*.json"))
CPUS = "sys/devices/system/cpu"


def write(root: Path, path: str, text: str) -> None:
    """Put a file into a fake root."""
    (root / path).parent.mkdir(parents=True, exist_ok=True)
    (root / path).write_text(text + "\n")


def write_all(root: Path, files: dict[str, str]) -> None:
    """Put several files into a fake root."""
    for path, text in files.items():
        write(root, path, text)


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


# --- stored machines -------------------------------------------------------------------------


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
    assert any("Cooper Lake has AVX512_BF16, Ice Lake-SP has not" in note for note in ice["notes"])
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


# --- hosts that say little, or nonsense ------------------------------------------------------


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
    found = cpu._completed(cpu.parse_cpuinfo(""))
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
    assert cpu._completed(cpu.Cpu(vendor="x")) == cpu.Cpu(vendor="x")


# --- limits ----------------------------------------------------------------------------------


def test_affinity_limits_the_usable_cores(tmp_path: Path) -> None:
    """`taskset -c 0,8,1` on 8 cores of two threads leaves two cores and three threads."""
    build("m6i.4xlarge", tmp_path)
    write(tmp_path, "proc/self/status", "Cpus_allowed_list:\t0-1,8")
    found = machine.describe(tmp_path, frameworks=False)
    assert (found["usable_physical_cores"], found["usable_logical_cores"]) == (2, 3)
    assert found["affinity"] == [0, 1, 8]
    assert (found["physical_cores"], found["logical_cores"]) == (8, 16)


def version_1(groups: str, folder: str, quota: int) -> dict[str, str]:
    """Files of a process in these control groups of version 1, with a quota of 100 ms periods."""
    return {
        "proc/self/cgroup": groups,
        f"{folder}/cpu.cfs_quota_us": str(quota),
        f"{folder}/cpu.cfs_period_us": "100000",
    }


CGROUP = "sys/fs/cgroup"


@pytest.mark.parametrize(
    ("files", "limit"),
    [
        ({}, None),
        ({f"{CGROUP}/cpu.max": "max 100000"}, None),
        ({f"{CGROUP}/cpu.max": "150000 100000"}, 1.5),
        ({"proc/self/cgroup": "0::/a/b", f"{CGROUP}/a/b/cpu.max": "400000 100000"}, 4.0),
        (
            {
                "proc/self/cgroup": "0::/a/b",
                f"{CGROUP}/a/b/cpu.max": "max 100000",
                f"{CGROUP}/a/cpu.max": "200000 100000",
            },
            2.0,
        ),
        (
            {  # the stricter limit is that of a group above
                "proc/self/cgroup": "0::/a/b",
                f"{CGROUP}/a/b/cpu.max": "800000 100000",
                f"{CGROUP}/a/cpu.max": "150000 100000",
            },
            1.5,
        ),
        (
            {  # mounted elsewhere, from a group of the host on
                "proc/self/cgroup": "0::/docker/01/job",
                "proc/self/mountinfo": "30 1 0:1 /docker/01 /my\\040groups rw - cgroup2 none rw",
                "my groups/job/cpu.max": "250000 100000",
            },
            2.5,
        ),
        (
            {
                **version_1("2:cpuacct,cpu:/d\n0::/", "cg/d", 50000),
                "proc/self/mountinfo": "30 1 0:1 / /cg rw - cgroup cgroup rw,cpu,cpuacct",
            },
            0.5,
        ),
        ({"proc/self/cgroup": "0::/../x", f"{CGROUP}/cpu.max": "50000 100000"}, 0.5),
        (
            version_1("4:memory:/d/1\n3:cpu,cpuacct:/d/1", f"{CGROUP}/cpu,cpuacct/d/1", 300000),
            3.0,
        ),
        # inside a container: the host's name, the container's tree
        (version_1("3:cpu,cpuacct:/docker/0123", f"{CGROUP}/cpu", 250000), 2.5),
        (version_1("1:cpu:/", f"{CGROUP}/cpu", -1), None),
        (
            {  # both versions side by side: the smaller one holds
                **version_1("1:cpu:/\n0::/", f"{CGROUP}/cpu", 400000),
                f"{CGROUP}/unified/cpu.max": "300000 100000",
            },
            3.0,
        ),
    ],
)
def test_cpu_limits_of_control_groups(
    tmp_path: Path, files: dict[str, str], limit: float | None
) -> None:
    """Version 1 and 2, nested, in containers: the smallest limit above the process holds."""
    write_all(tmp_path, files)
    assert limits.cpu_limit(tmp_path) == limit


@pytest.mark.parametrize(
    ("files", "limit"),
    [
        ({"sys/fs/cgroup/memory.max": "max"}, None),
        ({"sys/fs/cgroup/memory.max": "4294967296"}, 4.0),
        (
            {  # above `high` a process is not killed and hardly moves
                "sys/fs/cgroup/memory.max": "4294967296",
                "sys/fs/cgroup/memory.high": "1073741824",
            },
            1.0,
        ),
        (
            {  # of a group above that cannot be seen from here
                "proc/self/cgroup": "4:memory:/x",
                "sys/fs/cgroup/memory/memory.limit_in_bytes": "9223372036854771712",
                "sys/fs/cgroup/memory/memory.stat": "rss 1\nhierarchical_memory_limit 3221225472",
            },
            3.0,
        ),
        (
            {
                "proc/self/cgroup": "4:memory:/x",
                "sys/fs/cgroup/memory/x/memory.limit_in_bytes": "9223372036854771712",
                "sys/fs/cgroup/memory/memory.limit_in_bytes": "2147483648",
            },
            2.0,
        ),
    ],
)
def test_memory_limits_of_control_groups(
    tmp_path: Path, files: dict[str, str], limit: float | None
) -> None:
    """Version 1 says 'none' with a huge number, version 2 with a word."""
    write_all(tmp_path, files)
    found = limits.memory_limit(tmp_path)
    assert (found and found / 2**30) == limit


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
    assert "even one thread is stopped 50% of the time" in " ".join(found["notes"])
    assert "Workers on      CPUs 0\n" in machine.render(found)


# --- host ------------------------------------------------------------------------------------

GUEST = cpu.Cpu(flags=frozenset({"hypervisor"}))
DMI = "sys/class/dmi/id"


@pytest.mark.parametrize(
    ("files", "instance", "virtualization"),
    [
        (
            {f"{DMI}/sys_vendor": "Amazon EC2", f"{DMI}/product_name": "m6i.4xlarge"},
            "m6i.4xlarge",
            "KVM (Amazon EC2 Nitro)",
        ),
        (
            {f"{DMI}/sys_vendor": "Amazon EC2", f"{DMI}/product_name": "u-6tb1.112xlarge"},
            "u-6tb1.112xlarge",
            "KVM (Amazon EC2 Nitro)",
        ),
        (
            {
                f"{DMI}/sys_vendor": "Xen",
                f"{DMI}/product_name": "HVM domU",
                f"{DMI}/bios_version": "4.11.amazon",
                "sys/hypervisor/type": "xen",
            },
            None,
            "Xen (Amazon EC2)",
        ),
        ({f"{DMI}/sys_vendor": "QEMU", f"{DMI}/product_name": "pc.q35"}, None, "KVM or QEMU"),
        (
            {f"{DMI}/sys_vendor": "Microsoft Corporation", f"{DMI}/product_name": "Virtual"},
            None,
            "Hyper-V",
        ),
        (
            {f"{DMI}/sys_vendor": "Google", f"{DMI}/product_name": "Google Compute Engine"},
            None,
            "KVM (Google Compute Engine)",
        ),
        ({}, None, "unknown hypervisor"),
        ({"proc/sys/kernel/osrelease": "5.15-microsoft-standard-WSL2"}, None, "Hyper-V (WSL)"),
    ],
)
def test_instance_and_hypervisor_come_from_the_firmware(
    tmp_path: Path, files: dict[str, str], instance: str | None, virtualization: str
) -> None:
    """Nitro, Xen-era EC2, other clouds; without a network call."""
    write_all(tmp_path, files)
    assert host.instance_type(tmp_path) == instance
    assert host.virtualization(tmp_path, GUEST) == virtualization


def test_bare_metal_is_no_virtual_machine(tmp_path: Path) -> None:
    """A maker's name alone is no hypervisor: Microsoft also builds laptops."""
    write(tmp_path, f"{DMI}/sys_vendor", "Microsoft Corporation")
    assert host.virtualization(tmp_path, cpu.Cpu(flags=frozenset({"avx2"}))) is None


@pytest.mark.parametrize(
    ("path", "text", "kind"),
    [
        (".dockerenv", "", "docker"),
        ("run/.containerenv", "", "podman"),
        ("var/run/secrets/kubernetes.io/x", "", "kubernetes"),
        ("proc/1/cgroup", "12:cpu:/docker/0123abcd", "docker"),
        ("proc/1/cgroup", "0::/kubepods.slice/kubepods-pod1.slice", "kubepods"),
        ("run/systemd/container", "systemd-nspawn", "systemd-nspawn"),
        ("proc/1/cgroup", "0::/init.scope", None),
    ],
)
def test_containers_are_recognised(tmp_path: Path, path: str, text: str, kind: str | None) -> None:
    """By what each kind leaves in the file system."""
    write(tmp_path, path, text)
    assert host.container(tmp_path) == kind


def test_settings_of_the_kernel(tmp_path: Path) -> None:
    """Governors, turbo and huge pages where they can be seen, and the system's name."""
    for number, name in enumerate(("performance", "powersave")):
        write(tmp_path, f"{CPUS}/cpufreq/policy{number}/scaling_governor", name)
    write(tmp_path, f"{CPUS}/cpufreq/boost", "0")
    write(tmp_path, "sys/kernel/mm/transparent_hugepage/enabled", "always [madvise] never")
    write(tmp_path, "etc/os-release", 'NAME="X"\nPRETTY_NAME="Amazon Linux 2023"')
    assert host.governor(tmp_path) == "performance, powersave"
    assert host.turbo(tmp_path) is False
    assert host.transparent_huge_pages(tmp_path) == "madvise"
    assert host.operating_system(tmp_path) == "Amazon Linux 2023"


def test_memory_nodes_carry_their_cpus_and_memory(tmp_path: Path) -> None:
    """Two sockets are two nodes."""
    _, found = described("m5.24xlarge-cascade-lake", tmp_path)
    first, second = found["numa_nodes"]
    assert (first["node"], len(first["cpus"]), first["memory_gib"]) == (0, 48, 31.0)
    assert second["cpus"][0] == 48


@pytest.mark.parametrize(("text", "size"), [("1280K", 1280), ("54M", 55296), ("2x", None)])
def test_cache_sizes(text: str, size: int | None) -> None:
    """The kernel writes kibibytes and mebibytes."""
    assert topology.kib(text) == size


# --- names -----------------------------------------------------------------------------------


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


# --- software --------------------------------------------------------------------------------


def test_relevant_variables_are_kept_and_secrets_are_not() -> None:
    """What allocators, OpenMP, MKL, oneDNN and PyTorch listen to, and nothing else."""
    environment = {
        "OMP_NUM_THREADS": "2",
        "KMP_AFFINITY": "x",
        "ONEDNN_MAX_CPU_ISA": "AVX2",
        "ATEN_CPU_CAPABILITY": "avx2",
        "LD_PRELOAD": "libtcmalloc.so",
        "MALLOC_CONF": "x",
        "TORCHINDUCTOR_FREEZING": "1",
        "PYTORCH_JIT": "0",
        "AWS_SECRET_ACCESS_KEY": "x",
        "HOME": "/root",
        "MY_OMP_THING": "x",
    }
    kept = software.variables(environment)
    assert set(environment) - set(kept) == {"AWS_SECRET_ACCESS_KEY", "HOME", "MY_OMP_THING"}


def test_packages_go_by_their_normalised_names() -> None:
    """`pillqc_bench` and `pillqc-bench` are one package."""
    found = software.packages()
    assert "numpy" in found
    assert all(name == name.lower() and "_" not in name for name in found)


# --- what the frameworks say -----------------------------------------------------------------

MISMATCH = (
    "ERROR! Intel® Extension for PyTorch* needs to work with PyTorch 2.8.*, but PyTorch 2.9.1 is "
    "found. Please switch to the matching version and run again.\n"
    "Traceback (most recent call last):\nAttributeError: module 'os' has no attribute 'exit'\n"
)


@pytest.mark.parametrize(
    ("output", "code", "says"),
    [
        (MISMATCH, 1, "PyTorch 2.8.*, but PyTorch 2.9.1 is found"),
        (MISMATCH, 0, "PyTorch 2.8.*, but PyTorch 2.9.1 is found"),
        ("ModuleNotFoundError: No module named 'torch'", 1, "torch is not installed"),
        (
            "ModuleNotFoundError: No module named 'intel_extension_for_pytorch'",
            1,
            "intel-extension-for-pytorch is not installed",
        ),
        ("", -11, "crashed (SIGSEGV)"),
        ("noise\n", -4, "crashed (SIGILL)"),
        ("a\nOSError: libiomp5.so: cannot open\n\n", 1, "failed: OSError: libiomp5.so"),
        ("", 127, "ended with code 127"),
    ],
)
def test_the_reason_of_a_failed_import_is_one_true_sentence(
    output: str, code: int, says: str
) -> None:
    """IPEX's mismatch is known by its message; its exit code says something else."""
    reason = frameworks.why(output, code)
    assert says in reason
    assert "\n" not in reason


def interpreter(tmp_path: Path, script: str) -> str:
    """A program in place of a Python interpreter."""
    path = tmp_path / "python"
    path.write_text(f"#!/bin/sh\n{script}\n")
    path.chmod(path.stat().st_mode | stat.S_IXUSR)
    return str(path)


def test_an_environment_without_frameworks_says_why(tmp_path: Path) -> None:
    """All three entries are there, each with the reason."""
    python = interpreter(tmp_path, "echo \"No module named 'torch'\"; exit 1")
    found = frameworks.frameworks(python)
    assert list(found) == ["torch", "onednn", "ipex"]
    assert all("torch is not installed" in said["unavailable"] for said in found.values())


def test_a_missing_interpreter_is_no_failure(tmp_path: Path) -> None:
    """Environments may be named before they are made."""
    found = frameworks.frameworks(str(tmp_path / "none"))
    assert "No such file" in found["torch"]["unavailable"]


def test_a_hanging_import_is_ended(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """With everything that it started."""
    monkeypatch.setattr(frameworks, "_TIMEOUT_S", 0.2)
    answer = frameworks.ask("ask_library", interpreter(tmp_path, "sleep 1000 & sleep 1000"))
    assert answer.result is None
    assert "did not end within 0.2 s" in answer.reason


def test_chatter_cannot_spoil_an_answer(tmp_path: Path) -> None:
    """Answers go through a file, whatever is printed; crashes after the answer do not matter."""
    python = interpreter(tmp_path, 'echo "{ERROR!"; echo \'{"version": "9"}\' > "$3"; exit 3')
    assert frameworks.ask("ask_library", python).result == {"version": "9"}


def test_known_untruths_are_labelled(tmp_path: Path) -> None:
    """'bf16 supported' of oneDNN means 'can emulate', and has that label."""
    said = '{"version": "2.8", "mkldnn_bf16_supported": true, "onednn_bf16_supported": true}'
    python = interpreter(tmp_path, f"echo '{said}' > \"$3\"")
    found = frameworks.frameworks(python)
    assert "emulate" in found["torch"]["caution"]["mkldnn_bf16_supported"]
    assert "emulate" in found["ipex"]["caution"]["onednn_bf16_supported"]
    text = " ".join(machine.render({"frameworks": found}).split())
    assert text.count("means 'can at least emulate'") == 2


LOG = """\
onednn_verbose,v1,info,oneDNN v3.7.1 (commit 8d263e693366ef8db40acc569cc7d8edf644556d)
onednn_verbose,v1,info,cpu,runtime:OpenMP,nthr:2
onednn_verbose,v1,info,cpu,isa:Intel AVX-512 with AVX512BW, AVX512VL, and AVX512DQ extensions
noise
onednn_verbose,v1,primitive,exec,cpu,reorder,jit:uni,undef,src:f32::blocked:acdb::f0 dst:f32,,,1
onednn_verbose,v1,primitive,exec,cpu,convolution,brg_conv_fwd:avx512_core,forward_training,src:f32::b
onednn_verbose,v1,primitive,exec,cpu,convolution,jit_bf16:avx512_core,forward_training,src:bf16::blo
"""


def test_the_log_shows_what_onednn_chose() -> None:
    """Version, instruction set and the kernel of each type: emulated bf16 shows in its name."""
    assert frameworks.read_log(LOG) == {
        "version": "3.7.1",
        "isa": "Intel AVX-512 with AVX512BW, AVX512VL, and AVX512DQ extensions",
        "fp32_convolution": "brg_conv_fwd:avx512_core",
        "bf16_convolution": "jit_bf16:avx512_core",
    }
    assert frameworks.read_log("") == {}


# --- this machine ----------------------------------------------------------------------------


def test_this_machine_is_described_as_the_kernel_sees_it() -> None:
    """The real root agrees with what Python asks of the kernel, and torch stays out."""
    script = (
        "import json, sys; from bench.machine import describe, render;"
        "here = describe(frameworks=False); render(here);"
        "print(json.dumps([here['affinity'], 'torch' in sys.modules, here['isa']]))"
    )
    done = subprocess.run(
        [sys.executable, "-c", script], capture_output=True, text=True, check=True
    )
    affinity, imported, isa = json.loads(done.stdout)
    assert affinity == sorted(os.sched_getaffinity(0))
    assert not imported
    flags = Path("/proc/cpuinfo").read_text().split()
    assert all(has == (name in flags) for name, has in isa.items())


@pytest.mark.torch
@pytest.mark.ipex
def test_torch_and_ipex_answer_on_this_machine() -> None:
    """Real interpreters: native bf16 agrees with the flags in torch's answer and oneDNN's log."""
    here = machine.describe()
    said = here["frameworks"]
    assert said["torch"]["says"]["avx512_bf16"] == here["isa"]["avx512_bf16"]
    assert said["torch"]["says"]["amx_tile"] == here["isa"]["amx_tile"]
    assert ("bf16_convolution" in said["onednn"]) == ONEDNN_HAS_BF16
    if "unavailable" not in said["ipex"]:
        assert said["ipex"]["onednn_bf16_supported"] == ONEDNN_HAS_BF16
    assert "isa" in said["ipex"] or "unavailable" in said["ipex"]
