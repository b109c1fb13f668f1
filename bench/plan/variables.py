"""Vary allocator, heap, OpenMP, threads, instruction set and fp32 arithmetic of a scenario.

A variable is set by how a worker's process is started. It is part of the scenario's options and id,
as `name=value`: `.../contiguous/b1/allocator=tcmalloc`. Scenarios without such a tag have the
defaults.

    varied = vary(scenarios, parse_vary(("allocator",)), everything=False)
    setting = setting_of(scenario)        # environment, preloaded library, threads of its worker
    sentence = contradiction(scenario, conditions)    # whether its process really had them

To add a variable, add its entry to `VARIABLES`.
"""

from __future__ import annotations

import os
import sys
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from bench.errors import UsageError, WorkerError
from bench.machine import isa, plain_paths, worker_settings
from bench.machine.cpu import read_cpu
from bench.plan.scenario import DEFAULT_ENVIRONMENT, Dtype, Layout, Mode, Scenario, Status, Task

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Mapping, Sequence

AS_SHIPPED = "glibc"
"""The value of `heap` without tunables, as a user has it; workers keep their heap by default."""
FPMATH = "fpmath"
"""The variable that changes results and not only speed."""
_FOLDERS = ("/usr/lib", "/usr/local/lib", "/lib", "/usr/lib64", "/lib64")


@dataclass(frozen=True, kw_only=True)
class Setting:
    """How a worker is started so that its variables have their values."""

    environment: Mapping[str, str] = field(default_factory=dict)
    preload: tuple[Path, ...] = ()
    """Libraries that the loader maps first."""
    threads: int | None = None
    """Threads, and as many CPUs; None for the default."""
    options: tuple[str, ...] = ()
    """Further arguments of the worker; compiled code is not shared with workers of others."""

    def variables(self, base: Mapping[str, str]) -> dict[str, str]:
        """Return the worker's environment: `base`, changed."""
        libraries = [str(plain_paths.plain(path.parent) / path.name) for path in self.preload]
        preload = {"LD_PRELOAD": ":".join(libraries)} if libraries else {}
        return {**base, **self.environment, **preload}


@dataclass(frozen=True, kw_only=True)
class Variable:
    """Something that can be varied.

    `setting(value)` returns how, or raises a WorkerError with the status `unavailable`. `differs`
    are the conditions and environment variables that it may change. `denies(conditions, value)`
    returns a sentence if the worker did not get the value.
    """

    what: str
    phrase: str
    """Its value in a sentence, with `{value}` as placeholder."""
    values: tuple[str, ...]
    """The values for `--vary NAME` alone."""
    setting: Callable[[str], Setting]
    differs: tuple[str, ...]
    denies: Callable[[Mapping[str, Any], str], str | None]
    dtypes: tuple[Dtype, ...] = (Dtype.FP32,)
    """The dtypes in which it is varied by default."""
    few: bool = False
    """Whether it is varied by default for stock default and IPEX eager at inference only."""
    any_number: bool = False
    """Whether every positive whole number is a value too."""
    everywhere: bool = False
    """Whether it is varied in other environments than the default one too."""
    caution: str = ""
    """What the report says beside its effect."""

    def has(self, value: str) -> bool:
        """Return whether there is such a value."""
        return value in self.values or (self.any_number and value.isdecimal() and int(value) > 0)


# ---- the variables -------------------------------------------------------------------------------


def _allocator(value: str) -> Setting:
    """Find the library in any version, from Debian's packages or an environment's own."""
    names, package = {
        "tcmalloc": (("libtcmalloc_minimal.so*", "libtcmalloc.so*"), "libtcmalloc-minimal4"),
        "jemalloc": (("libjemalloc.so*",), "libjemalloc2"),
    }[value]
    return Setting(preload=(_library(names, f"apt-get install {package}"),))


def _heap(_: str) -> Setting:
    """Set no tunables; an empty value is none."""
    return Setting(environment={"GLIBC_TUNABLES": ""})


def _openmp(value: str) -> Setting:
    hint = "pip install 'pillqc-bench[variables]'"
    return Setting(preload=(_library((f"lib{value}.so",), hint),))


def _threads(value: str) -> Setting:
    """Set the thread count before import: a change afterwards gives wrong results."""
    return Setting(
        environment={"OMP_NUM_THREADS": value, "MKL_NUM_THREADS": value}, threads=int(value)
    )


def _isa(value: str) -> Setting:
    cap = isa.CAPS[value]
    if cap.flag not in read_cpu(Path("/")).flags:
        raise WorkerError(
            Status.UNAVAILABLE, f"this CPU has no {cap.flag}: there is nothing to cap at {value}"
        )
    return Setting(environment=cap.environment)


def _other_isa(conditions: Mapping[str, Any], value: str) -> str | None:
    """Check the environment; `kernels.contradiction` compares what ran with the cap."""
    found = conditions.get("env") or {}
    missing = [n for n, v in isa.CAPS[value].environment.items() if found.get(n) != v]
    return f"the process has no such {', '.join(missing)}" if missing else None


def _other_fpmath(conditions: Mapping[str, Any], value: str) -> str | None:
    """Check what is allowed; `kernels.contradiction` looks for a kernel that made use of it."""
    found = conditions.get("fpmath") or "fp32"
    return None if found == value else f"the process allows {found} and not {value}"


def _library(patterns: Iterable[str], hint: str) -> Path:
    """Return the newest library of the first pattern that is in a folder of libraries.

    Raises:
        WorkerError: there is none; says how to install it.
    """
    for pattern in patterns:
        for folder in library_folders():
            found = sorted(path for path in folder.glob(pattern) if path.is_file())
            if found:
                return found[-1]
    raise WorkerError(
        Status.UNAVAILABLE, f"no {' or '.join(patterns)} is installed: `{hint}` installs it"
    )


def library_folders() -> list[Path]:
    """Return folders of libraries: LD_LIBRARY_PATH, this environment's, the system's."""
    named = [Path(part) for part in os.environ.get("LD_LIBRARY_PATH", "").split(":") if part]
    system = [Path(folder) for folder in _FOLDERS]
    triples = [
        path for folder in system if folder.is_dir() for path in sorted(folder.glob("*-linux-*"))
    ]
    return [*named, Path(sys.prefix) / "lib", *triples, *system]


def _other_allocator(conditions: Mapping[str, Any], value: str) -> str | None:
    found = conditions.get("allocator")
    return None if found == value else f"the process has {found} and not {value}"


def _other_heap(conditions: Mapping[str, Any], value: str) -> str | None:
    """Return why glibc's default heap was not used; no other allocator reads its tunables."""
    if conditions.get("allocator") != value:
        return f"the process has {conditions.get('allocator')} and not {value}'s allocator"
    if worker_settings.keeps_heap((conditions.get("env") or {}).get("GLIBC_TUNABLES")):
        return "the process keeps its heap"
    return None


def _other_openmp(conditions: Mapping[str, Any], value: str) -> str | None:
    """Accept a second mapped runtime: the loader binds to the preloaded one first."""
    mapped = [str(name) for name in conditions.get("openmp") or ()]
    if any(value in name for name in mapped):
        return None
    return f"the process has {', '.join(mapped) or 'no OpenMP runtime'} and not {value}"


def _other_threads(conditions: Mapping[str, Any], value: str) -> str | None:
    found = conditions.get("threads")
    return None if found == int(value) else f"the process has {found} threads and not {value}"


VARIABLES: dict[str, Variable] = {
    "allocator": Variable(
        what="which library serves malloc, glibc's own by default",
        phrase="{value} as allocator",
        values=("tcmalloc", "jemalloc"),
        setting=_allocator,
        differs=("allocator", "LD_PRELOAD"),
        denies=_other_allocator,
    ),
    "heap": Variable(
        what="whether freed memory is kept, by default, or given back to the kernel as glibc ships",
        phrase="the heap as {value} ships it",
        values=(AS_SHIPPED,),
        setting=_heap,
        differs=("GLIBC_TUNABLES",),
        denies=_other_heap,
        few=True,
    ),
    "openmp": Variable(
        what="which OpenMP runtime runs the threads, PyTorch's libgomp by default",
        phrase="lib{value} as OpenMP runtime",
        values=("iomp5",),
        setting=_openmp,
        differs=("openmp", "LD_PRELOAD"),
        denies=_other_openmp,
    ),
    "threads": Variable(
        what="threads of a worker, as many CPUs; one for each physical core by default",
        phrase="{value} threads",
        values=("1", "2", "4", "8"),
        setting=_threads,
        differs=("threads", "affinity", "OMP_NUM_THREADS", "MKL_NUM_THREADS"),
        denies=_other_threads,
        any_number=True,
    ),
    "isa": Variable(
        what="the latest instructions that libraries may use, all that the CPU has by default",
        phrase="instructions up to {value}",
        values=tuple(isa.CAPS),
        setting=_isa,
        differs=("ONEDNN_MAX_CPU_ISA", "ATEN_CPU_CAPABILITY", "MKL_ENABLE_INSTRUCTIONS"),
        denies=_other_isa,
        dtypes=(Dtype.FP32, Dtype.BF16),
    ),
    FPMATH: Variable(
        what="what oneDNN may multiply fp32 data in, fp32 by default",
        phrase="fp32 multiplied in {value}",
        values=("bf16", "tf32"),
        setting=lambda value: Setting(options=("--fpmath", value)),
        differs=("fpmath", "DNNL_DEFAULT_FPMATH_MODE"),
        denies=_other_fpmath,
        everywhere=True,
        caution="reduced arithmetic under an fp32 label: outputs need only agree as bf16's do",
    ),
}
"""By the name in tags."""


# ---- scenarios -----------------------------------------------------------------------------------


def of_tags(tags: Iterable[str]) -> dict[str, str]:
    """Return the variables among a scenario's options, with their values."""
    pairs = (tag.partition("=") for tag in tags)
    return {name: value for name, equals, value in pairs if equals and name in VARIABLES}


def of(scenario: Scenario) -> dict[str, str]:
    """Return the variables of a scenario, with their values."""
    return of_tags(scenario.options)


def without(tags: Iterable[str]) -> tuple[str, ...]:
    """Return the options that are no variables."""
    return tuple(tag for tag in tags if not of_tags([tag]))


def parse_vary(texts: Sequence[str]) -> dict[str, tuple[str, ...]]:
    """Parse `NAME` or `NAME=VALUE,VALUE` of each `--vary` into values by name, each once.

    Raises:
        UsageError: there is no such variable or value.
    """
    chosen: dict[str, tuple[str, ...]] = {}
    for text in texts:
        name, equals, listed = text.partition("=")
        if name not in VARIABLES:
            raise UsageError(f"there is no variable {name!r}: choose one of {', '.join(VARIABLES)}")
        variable = VARIABLES[name]
        values = tuple(listed.split(",")) if equals else variable.values
        for value in values:
            if not variable.has(value):
                numbers = " or another number" if variable.any_number else ""
                raise UsageError(
                    f"{name} has no value {value!r}: choose from "
                    f"{', '.join(variable.values)}{numbers}"
                )
        chosen[name] = tuple(dict.fromkeys((*chosen.get(name, ()), *values)))
    return chosen


def vary(
    scenarios: Sequence[Scenario], chosen: Mapping[str, Sequence[str]], *, everything: bool
) -> tuple[Scenario, ...]:
    """Return the scenarios, then varied copies, one for each value of each variable.

    One variable changes at a time, which isolates its effect. `everything` varies all scenarios of
    the default environment, and of the others where the variable is `everywhere`; otherwise those
    of `is_varied_by_default`.
    """
    added = [
        replace(scenario, options=(*scenario.options, f"{name}={value}"))
        for name, values in chosen.items()
        for value in values
        for scenario in scenarios
        if (VARIABLES[name].everywhere or scenario.environment == DEFAULT_ENVIRONMENT)
        and (everything or is_varied_by_default(scenario, VARIABLES[name]))
    ]
    return tuple(dict.fromkeys((*scenarios, *added)))


def is_varied_by_default(scenario: Scenario, variable: Variable) -> bool:
    """Return whether it is stock default, stock channels_last or IPEX's fastest way, in fp32."""
    if scenario.dtype not in variable.dtypes or of(scenario):
        return False
    if variable.few:
        eager_ipex = scenario.backend == "ipex" and scenario.mode is Mode.EAGER
        return scenario.task is Task.INFERENCE and (scenario.is_stock_default or eager_ipex)
    if scenario.backend == "stock":
        plain = scenario.mode is Mode.EAGER and scenario.layout is Layout.CHANNELS_LAST
        return scenario.is_stock_default or plain
    return (
        scenario.backend == "ipex"
        and scenario.fusion is not False
        and (scenario.mode is not Mode.COMPILE)
    )


def in_words(tags: Iterable[str]) -> str:
    """Return the variables among a scenario's options in words: `2 threads`."""
    found = of_tags(tags).items()
    return ", ".join(VARIABLES[name].phrase.format(value=value) for name, value in found)


def tolerated(scenario: Scenario) -> Dtype:
    """Return the dtype whose tolerance and peak hold: bf16's where fp32 is multiplied in less."""
    reduced = scenario.dtype is Dtype.FP32 and FPMATH in of(scenario)
    return Dtype.BF16 if reduced else scenario.dtype


# ---- workers -------------------------------------------------------------------------------------


def setting_of(scenario: Scenario) -> Setting:
    """Return how the worker of this scenario is started.

    Raises:
        WorkerError: a value is not available on this machine; the sentence says how to get it.
    """
    environment: dict[str, str] = {}
    preload: list[Path] = []
    options: list[str] = []
    threads = None
    for name, value in of(scenario).items():
        one = VARIABLES[name].setting(value)
        environment.update(one.environment)
        preload.extend(one.preload)
        options.extend(one.options)
        threads = one.threads or threads
    return Setting(
        environment=environment, preload=tuple(preload), threads=threads, options=tuple(options)
    )


def may_differ(scenario: Scenario) -> frozenset[str]:
    """Return the conditions in which this scenario's worker may differ from stock default's."""
    return frozenset(name for variable in of(scenario) for name in VARIABLES[variable].differs)


def contradiction(scenario: Scenario, conditions: Mapping[str, Any]) -> str | None:
    """Return a sentence if the worker did not get what its scenario names."""
    for name, value in of(scenario).items():
        denied = VARIABLES[name].denies(conditions, value)
        if denied:
            return f"{name}={value} did not take: {denied}"
    return None


def check(scenario: Scenario, conditions: Mapping[str, Any]) -> None:
    """Check that the worker got what its scenario names.

    Raises:
        WorkerError: it did not, so that its label would be untrue.
    """
    denied = contradiction(scenario, conditions)
    if denied:
        raise WorkerError(Status.UNSUPPORTED, denied)
