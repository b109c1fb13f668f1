"""The machine, the workers' settings and the provenance of a run, in words. Pure."""

from __future__ import annotations

import shlex
from typing import TYPE_CHECKING, Any

from bench.text.wording import NOTHING, count, digits, percent, seconds
from bench.worker import conditions

if TYPE_CHECKING:
    from bench.analysis.facts import Environment, Facts

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
    environment = facts.environment
    if not environment.table("machine"):
        return "The run does not say which machine it ran on."
    parts = [
        environment.text("machine", "instance_type"),
        environment.text("machine", "cpu_model"),
        _cores(environment),
        instruction_sets(environment),
        {True: "bf16 native", False: "bf16 emulated", None: "bf16 unknown"}[facts.native_bf16],
        environment.text("machine", "virtualization"),
    ]
    return " · ".join(part for part in parts if part)


def instruction_sets(environment: Environment) -> str:
    """The widest ones by name, from the CPU's own flags."""
    flags = environment.table("machine", "isa")
    if not flags:
        return ""
    names = [name for flag, name in _ISA_NAMES if flags.get(flag) is True]
    if not names:
        return "AVX2" if flags.get("avx2") is True else "no AVX2"
    return ", ".join(names)


def _cores(environment: Environment) -> str:
    usable = environment.number("machine", "usable_physical_cores")
    physical = environment.number("machine", "physical_cores")
    logical = environment.number("machine", "usable_logical_cores")
    if usable is None:
        return ""
    cores = count(int(usable), "core")
    if physical is not None and physical > usable:
        cores = f"{int(usable)} of {count(int(physical), 'core')}"
    return f"{cores} ({int(logical)} logical)" if logical is not None else cores


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
    environment = facts.environment
    pairs = [(label, plain(environment.get("machine", key))) for label, key in _MACHINE]
    flags = environment.table("machine", "isa")
    pairs.append(("Has", ", ".join(name for name, has in flags.items() if has is True)))
    pairs.append(("Lacks", ", ".join(name for name, has in flags.items() if has is False)))
    family = [environment.text("machine", key) for key in ("family", "model", "stepping")]
    pairs.append(("Family / model / stepping", " / ".join(family) if all(family) else ""))
    pairs.append(("Caches", _caches(environment)))
    pairs.append(("NUMA nodes", _count_items(environment, "numa_nodes")))
    pairs.append(("Measured peak", _peaks(environment)))
    pairs.append(("Frameworks", _frameworks(environment)))
    return [(label, value) for label, value in pairs if value]


def _caches(environment: Environment) -> str:
    names = (("l1d_kib", "L1d"), ("l2_kib", "L2"), ("l3_kib", "L3"))
    sizes = ((name, environment.number("machine", "caches", key)) for key, name in names)
    return ", ".join(f"{name} {size:,.0f} KiB" for name, size in sizes if size is not None)


def _count_items(environment: Environment, key: str) -> str:
    items = environment.items("machine", key)
    return str(len(items)) if items else ""


def _peaks(environment: Environment) -> str:
    peaks = [
        f"{digits(float(value))} GFLOP/s in {name}"
        for name, value in environment.table("peak", "gflop_per_s").items()
        if isinstance(value, int | float)
    ]
    bandwidth = environment.number("peak", "memory_gb_per_s")
    if bandwidth is not None:
        peaks.append(f"{digits(bandwidth)} GB/s from memory")
    return ", ".join(peaks)


def _frameworks(environment: Environment) -> str:
    described = []
    for name in environment.table("machine", "frameworks"):
        parts = environment.table("machine", "frameworks", name)
        words = [plain(parts.get(key)) for key in ("version", "isa", "unavailable")]
        if any(words):
            described.append(f"{name}: {', '.join(word for word in words if word)}")
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


def _named(values: dict[str, Any]) -> str:
    return ", ".join(f"{key} {plain(value)}" for key, value in values.items() if plain(value))


def notes(facts: Facts) -> list[str]:
    """What the machine's description says about itself."""
    return [str(note) for note in facts.environment.items("machine", "notes")]


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
    named = facts.environment.table("workers").values()
    # one that never came up, for lack of budget or of its package, has nothing to differ in
    workers = [one for one in named if isinstance(one, dict) and one.get("threads") is not None]
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
    environment = facts.environment
    commit = environment.text("commit")
    profile = environment.text("profile")
    budget = environment.number("budget_s")
    bench = "make bench"
    if profile:
        bench += f" PROFILE={profile}"
    if budget is not None:
        bench += f" BUDGET={budget:g}"
    command = environment.items("command")
    if command:
        bench = shlex.join(str(word) for word in command)
    checkout = [f"git checkout {commit}"] if commit else []
    return "\n".join([*checkout, bench, f"python -m bench report results/{facts.run_id}"])


def provenance(facts: Facts) -> list[tuple[str, str]]:
    """Where the run comes from."""
    environment = facts.environment
    dirty = environment.flag("dirty")
    commit = environment.text("commit")
    if commit and dirty:
        commit += " with uncommitted changes"
    trained = environment.flag("model", "trained")
    model = environment.text("model", "name")
    if model and trained is not None:
        model += ", trained" if trained else ", UNTRAINED (random weights)"
    data = environment.text("data", "source")
    images = environment.number("data", "images")
    if data and images is not None:
        data += f", {count(int(images), 'image')}"
    pairs = [
        ("Run", facts.run_id),
        ("Started", environment.text("started_utc")),
        ("Finished", environment.text("finished_utc") or "never"),
        ("Profile", environment.text("profile")),
        ("Budget", seconds(environment.number("budget_s"))),
        ("Commit", commit),
        ("Model", model),
        ("Model's arithmetic", _gflop(environment)),
        ("Images", data),
        ("Images' checksum", environment.text("data", "sha256")),
        ("Memory of all processes together, at most", _gib(environment)),
        ("Harness's own CPU use", percent(environment.number("self", "parent_cpu_share"))),
        (
            "Share of all time spent in warm-up and timed calls",
            percent(environment.number("self", "measuring_share")),
        ),
        ("Packages", _packages(environment)),
        ("Environment variables", _variables(environment)),
    ]
    return [(label, value) for label, value in pairs if value and value != NOTHING]


def _gib(environment: Environment) -> str:
    """Empty in older runs, which did not look."""
    held = environment.number("self", "peak_memory_gib")
    return f"{held:.1f} GiB" if held else ""


_PACKAGES = ("torch", "torchvision", "intel-extension-for-pytorch", "numpy", "triton")


def _packages(environment: Environment) -> str:
    """The ones that can matter; environment.json has them all."""
    packages = environment.table("machine", "packages")
    named = [f"{name} {packages[name]}" for name in _PACKAGES if name in packages]
    others = len(packages) - len(named)
    if others > 0:
        named.append(f"{others} more in environment.json")
    return ", ".join(named)


def _gflop(environment: Environment) -> str:
    value = environment.number("model", "gflop_per_image")
    return f"{digits(value)} GFLOP an image" if value is not None else ""


def _variables(environment: Environment) -> str:
    return ", ".join(
        f"{name}={plain(value)}" for name, value in environment.table("machine", "env").items()
    )


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
