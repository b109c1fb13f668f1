"""The machine, the workers' settings and the provenance of a run, in words. Pure."""

from __future__ import annotations

import shlex
from typing import TYPE_CHECKING, Any

from bench.store.metadata import MachineFacts
from bench.text.wording import NOTHING, count, digits, percent, seconds
from bench.worker import conditions

if TYPE_CHECKING:
    from collections.abc import Mapping

    from bench.analysis.facts import Facts
    from bench.store.metadata import PeakFacts, RunMetadata

_ISA_NAMES = (
    ("avx512f", "AVX-512"),
    ("avx512_vnni", "VNNI"),
    ("avx512_bf16", "AVX512_BF16"),
    ("avx512_fp16", "AVX512_FP16"),
    ("amx_bf16", "AMX bf16"),
    ("amx_int8", "AMX int8"),
)


def in_one_line(facts: Facts) -> str:
    """`m6i.4xlarge · Xeon 8375C · 8 of 8 cores · AVX-512, VNNI · bf16 emulated`."""
    machine = facts.metadata.machine
    if machine == MachineFacts():
        return "The run does not say which machine it ran on."
    parts = [
        machine.instance_type,
        machine.cpu_model,
        _cores(machine),
        instruction_sets(machine),
        {True: "bf16 native", False: "bf16 emulated", None: "bf16 unknown"}[facts.native_bf16],
        machine.virtualization,
    ]
    return " · ".join(part for part in parts if part)


def instruction_sets(machine: MachineFacts) -> str:
    """The widest ones by name, from the CPU's own flags."""
    if not machine.isa:
        return ""
    names = [name for flag, name in _ISA_NAMES if machine.isa.get(flag)]
    if not names:
        return "AVX2" if machine.isa.get("avx2") else "no AVX2"
    return ", ".join(names)


def _cores(machine: MachineFacts) -> str:
    usable, physical = machine.usable_physical_cores, machine.physical_cores
    logical = machine.usable_logical_cores
    if usable is None:
        return ""
    cores = count(usable, "core")
    if physical is not None and physical > usable:
        cores = f"{usable} of {count(physical, 'core')}"
    return f"{cores} ({logical} logical)" if logical is not None else cores


_MACHINE = (
    ("Instance type", "instance_type"),
    ("CPU", "cpu_model"),
    ("Vendor", "vendor"),
    ("Sockets", "sockets"),
    ("Physical cores", "physical_cores"),
    ("Logical cores", "logical_cores"),
    ("Usable physical cores", "usable_physical_cores"),
    ("Usable logical cores", "usable_logical_cores"),
    ("CPU limit of the container", "cgroup_cpu_limit"),
    ("Memory, GiB", "memory_total_gib"),
    ("Memory limit, GiB", "memory_limit_gib"),
    ("Frequency governor", "governor"),
    ("Turbo", "turbo"),
    ("Virtualisation", "virtualization"),
    ("Container", "container"),
    ("Operating system", "os"),
    ("Kernel", "kernel"),
    ("C library", "libc"),
    ("Transparent huge pages", "transparent_huge_pages"),
    ("Fingerprint", "fingerprint"),
)


def described(facts: Facts) -> list[tuple[str, str]]:
    """The machine in full, as far as the run knows it."""
    machine = facts.metadata.machine
    pairs = [(label, plain(getattr(machine, key))) for label, key in _MACHINE]
    pairs.append(("Has", ", ".join(name for name, has in machine.isa.items() if has)))
    pairs.append(("Lacks", ", ".join(name for name, has in machine.isa.items() if not has)))
    family = [plain(part) for part in (machine.family, machine.model, machine.stepping)]
    pairs.append(("Family / model / stepping", " / ".join(family) if all(family) else ""))
    pairs.append(("Caches", _caches(machine)))
    pairs.append(("NUMA nodes", str(len(machine.numa_nodes) or "")))
    pairs.append(("Measured peak", _peaks(facts.metadata.peak)))
    pairs.append(("Frameworks", _frameworks(machine)))
    return [(label, value) for label, value in pairs if value]


def _caches(machine: MachineFacts) -> str:
    names = (("l1d_kib", "L1d"), ("l2_kib", "L2"), ("l3_kib", "L3"))
    return ", ".join(
        f"{name} {machine.caches[key]:,} KiB" for key, name in names if key in machine.caches
    )


def _peaks(peak: PeakFacts) -> str:
    peaks = [f"{digits(value)} GFLOP/s in {name}" for name, value in peak.gflop_per_s.items()]
    if peak.memory_gb_per_s is not None:
        peaks.append(f"{digits(peak.memory_gb_per_s)} GB/s from memory")
    return ", ".join(peaks)


def _frameworks(machine: MachineFacts) -> str:
    described = []
    for name, found in machine.frameworks.items():
        words = [word for word in (found.version, found.isa, found.unavailable) if word]
        if words:
            described.append(f"{name}: {', '.join(words)}")
    return "; ".join(described)


def plain(value: Any) -> str:  # noqa: ANN401 -- anything that JSON can hold
    """A JSON value as people read it."""
    if value is None:
        return ""
    if isinstance(value, bool):
        return "yes" if value else "no"
    if isinstance(value, float):
        return digits(value)
    if isinstance(value, dict):
        return _named(value)
    if isinstance(value, list):
        return ", ".join(plain(item) for item in value)
    return str(value)


def _named(values: Mapping[str, Any], sign: str = " ") -> str:
    return ", ".join(f"{key}{sign}{plain(value)}" for key, value in values.items() if plain(value))


def notes(facts: Facts) -> list[str]:
    """What the machine's description says about itself."""
    return list(facts.metadata.machine.notes)


_SETTINGS = {
    "threads": "Threads",
    "allocator": "Allocator",
    "openmp": "OpenMP runtime",
    "wait_policy": "OpenMP wait policy",
    "affinity": "Bound to CPUs",
    "thp": "Transparent huge pages",
    "denormals_flushed": "Denormals flushed",
    "env": "Environment variables",
}


def shared_settings(facts: Facts) -> tuple[list[tuple[str, str]], list[str]]:
    """The first worker's settings, and a sentence for each way in which another one differs."""
    named = facts.metadata.workers.values()
    # one that never came up, for lack of budget or of its package, has nothing to differ in
    workers = [one for one in named if one.get("threads") is not None]
    if not workers:
        return [], []
    first = workers[0]
    differing = dict.fromkeys(
        sentence for other in workers[1:] for sentence in conditions.differences(first, other)
    )
    first = {**first, "env": _without_paths(first.get("env")), "packages": None}
    settings = [(_SETTINGS.get(str(key), str(key)), plain(value)) for key, value in first.items()]
    sentences = [f"Workers differ, so compare with care: {sentence}." for sentence in differing]
    return [(name, value) for name, value in settings if value], sentences


def _without_paths(variables: object) -> dict[str, str]:
    """Where a cache lies tells nothing about the speed, and something about the user."""
    if not isinstance(variables, dict):
        return {}
    return {str(key): str(value) for key, value in variables.items() if "/" not in str(value)}


def repeat(facts: Facts) -> str:
    """The commands that measure the same again."""
    metadata = facts.metadata
    bench = "make bench"
    if metadata.profile:
        bench += f" PROFILE={metadata.profile}"
    if metadata.budget_s is not None:
        bench += f" BUDGET={metadata.budget_s:g}"
    if metadata.command:
        bench = shlex.join(metadata.command)
    checkout = [f"git checkout {metadata.commit}"] if metadata.commit else []
    return "\n".join([*checkout, bench, f"python -m bench report results/{facts.run_id}"])


def provenance(facts: Facts) -> list[tuple[str, str]]:
    """Where the run comes from."""
    metadata = facts.metadata
    commit = metadata.commit
    if commit and metadata.dirty:
        commit += " with uncommitted changes"
    model = metadata.model.name
    if model and metadata.model.trained is not None:
        model += ", trained" if metadata.model.trained else ", UNTRAINED (random weights)"
    data = metadata.data.source
    if data and metadata.data.images is not None:
        data += f", {count(metadata.data.images, 'image')}"
    pairs = [
        ("Run", facts.run_id),
        ("Started", metadata.started_utc),
        ("Finished", metadata.finished_utc or "never"),
        ("Profile", metadata.profile),
        ("Budget", seconds(metadata.budget_s)),
        ("Commit", commit),
        ("Model", model),
        ("Model's arithmetic", _gflop(metadata)),
        ("Images", data),
        ("Images' checksum", metadata.data.sha256),
        ("Memory of all processes together, at most", _gib(metadata)),
        ("Harness's own CPU use", percent(metadata.harness.parent_cpu_share)),
        (
            "Share of all time spent in warm-up and timed calls",
            percent(metadata.harness.measuring_share),
        ),
        ("Packages", _packages(metadata.machine)),
        ("Environment variables", _named(metadata.machine.env, "=")),
    ]
    return [(label, value) for label, value in pairs if value and value != NOTHING]


def _gib(metadata: RunMetadata) -> str:
    """Empty in older runs, which did not look."""
    held = metadata.harness.peak_memory_gib
    return f"{held:.1f} GiB" if held else ""


_PACKAGES = ("torch", "torchvision", "intel-extension-for-pytorch", "numpy", "triton")


def _packages(machine: MachineFacts) -> str:
    """The ones that can matter; environment.json has them all."""
    packages = machine.packages
    named = [f"{name} {packages[name]}" for name in _PACKAGES if name in packages]
    others = len(packages) - len(named)
    if others > 0:
        named.append(f"{others} more in environment.json")
    return ", ".join(named)


def _gflop(metadata: RunMetadata) -> str:
    value = metadata.model.gflop_per_image
    return f"{digits(value)} GFLOP an image" if value is not None else ""


def _heaps(facts: Facts) -> str:
    """What the workers of a way of running as everything does said of their heap."""
    if any(facts.keeps_heap(scenario) for scenario in facts.scenarios):
        return (
            "Every process keeps the memory that it frees (GLIBC_TUNABLES in docs/variables.md): "
            "as glibc ships, it goes back to the kernel, and how many pages a call faults in "
            "again differs from process to process by luck."
        )
    return (
        "Processes had their heap as the C library ships it: how many pages a call faults in again "
        "may differ from process to process by luck."
    )


def method(facts: Facts) -> list[str]:
    """How it was measured, in a few sentences with this run's own thresholds."""
    policy = facts.policy.verdict
    return [
        (
            "Every scenario has a process of its own; one works at a time, the others are stopped. "
            "What decides a headline is measured in fresh processes again and again, because "
            "processes of one build differ; the rest once. "
            "Each worker prepares the model, has its outputs checked against stock default's, and "
            f"warms up until steady before anything counts. {_heaps(facts)}"
        ),
        (
            "In each round every scenario of a comparison group runs one block of calls, in a "
            "shuffled and balanced order, so drift of the machine cancels; times of different "
            "rounds are never divided. One model of all blocks of the run gives the intervals: "
            "scenario, round, process and error, on the logarithm of a block's median time. A "
            "process's level is a robust mean of its rounds, a scenario's the mean of its "
            "processes, and the variances are estimated from all scenarios together. Brackets hold "
            f"the {percent(policy.confidence)} interval (Student's t)."
        ),
        (
            "A scenario is faster or slower when its whole interval lies more than "
            f"{percent(policy.minimal_effect)} from 1, the same when all of it lies within "
            f"{percent(policy.same_within)}, and else inconclusive. Each group carries a control, "
            "a second worker of stock default: it counts with its baseline and checks the model. "
            "Blocks that other work disturbed do not count; no call was deleted from the files."
        ),
        (
            "Stock tuned, and the best of IPEX, are picked by the rounds that measure them; their "
            "intervals allow for that. All headlines together are wrong in at most "
            f"{percent(policy.headline_error)} of runs. Images per second at different batch sizes "
            "come from different rounds and are compared without an interval."
        ),
    ]
