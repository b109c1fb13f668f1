"""Say how a run was measured, how to repeat it, and what others published."""

from __future__ import annotations

import shlex
from dataclasses import astuple, dataclass
from typing import TYPE_CHECKING

from bench.report.machine import plain
from bench.report.table import Cell, Row, Table
from bench.text.wording import NOTHING, TIMES, count, digits, percent, seconds

if TYPE_CHECKING:
    from collections.abc import Mapping

    from bench.analysis.run_facts import Facts

_PACKAGES = ("torch", "torchvision", "intel-extension-for-pytorch", "numpy", "triton")
"""The packages that the page names; environment.json has all."""


@dataclass(frozen=True, kw_only=True)
class Published:
    """A speedup that others published."""

    what: str
    speedup: str
    machine: str
    versions: str
    remark: str


def _of_the_tutorial(batch_size: int, speedup: str) -> Published:
    return Published(
        what=f"Pill model, fp32, batch {batch_size}",
        speedup=f"{speedup}{TIMES}",
        machine="Azure D4_v5 (Xeon 8370C, 4 vCPU)",
        versions="stock PyTorch 1.8.0 against IPEX 1.8.0",
        remark="no warm-up, no no_grad; another cloud, CPU and version than the tutorial's "
        "m6i.4xlarge",
    )


def _of_intel(machine: str, batch_64: str, batch_1: str) -> Published:
    return Published(
        what="VGG-11, fp32, batch 64 / batch 1",
        speedup=f"{batch_64}{TIMES} / {batch_1}{TIMES}",
        machine=machine,
        versions="Intel's performance page",
        remark="against stock PyTorch of its day",
    )


PUBLISHED = (
    _of_the_tutorial(1, "2.22"),
    _of_the_tutorial(10, "1.38"),
    _of_the_tutorial(50, "1.04"),
    _of_intel("c6i.2xlarge", "1.15", "1.21"),
    _of_intel("two Xeon 8380", "1.20", "1.13"),
)


def published() -> Table:
    """Return the speedups that others published, with what they were measured on."""
    return Table(
        name="published",
        caption="Published by others, not measured here.",
        columns=("What", "Speedup", "Machine", "Versions", "Remark"),
        rows=tuple(Row(cells=tuple(Cell(text=text) for text in astuple(one))) for one in PUBLISHED),
    )


def repeat(facts: Facts) -> str:
    """Return the commands that measure the same again."""
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


def model_name(facts: Facts) -> str:
    """Return the model's name, of a user's own with its settings; empty if it is not known."""
    own = facts.metadata.request.own
    name = own.model or facts.metadata.model.name
    return f"{name}({', '.join(own.settings)})" if own.settings else name


def model_in_one_line(facts: Facts) -> str:
    """Return which model was measured: its name, parameters and weights, and what it takes."""
    model = facts.metadata.model
    if not (name := model_name(facts)):
        return ""
    parts = [name]
    if model.parameters:
        parts.append(f"{digits(model.parameters / 1e6)} million parameters")
    parts.append(_weights(facts))
    if facts.is_own_model:
        parts.append(_inputs(facts))
    return " · ".join(part for part in parts if part)


def _weights(facts: Facts) -> str:
    trained = facts.metadata.model.trained
    if trained is None:
        return ""
    if not facts.is_own_model:
        return "trained" if trained else "UNTRAINED (random weights)"
    return "weights as the factory sets them" if trained else "RANDOM weights (by the seed)"


def _inputs(facts: Facts) -> str:
    """Say what a user's model takes."""
    data = facts.metadata.data
    if data.source == "random":
        return f"random inputs of {data.root.replace('x', TIMES)}"
    return f"inputs from {data.root}" if data.root else ""


def provenance(facts: Facts) -> list[tuple[str, str]]:
    """Return where the run comes from, as labels and values."""
    metadata, own = facts.metadata, facts.metadata.request.own
    commit = metadata.commit
    if commit and metadata.dirty:
        commit += " with uncommitted changes"
    data = metadata.data.source
    if data and metadata.data.images is not None:
        data += f", {count(metadata.data.images, 'image')}"
    if facts.is_own_model:
        data = _inputs(facts)
    items = facts.nouns.items.capitalize()
    gflop, memory = metadata.model.gflop_per_image, metadata.harness.peak_memory_gib
    variables = metadata.machine.env.items()
    arithmetic = "" if gflop is None else f"{digits(gflop)} GFLOP an {facts.nouns.item}"
    pairs = [
        ("Run", facts.run_id),
        ("Started", metadata.started_utc),
        ("Finished", metadata.finished_utc or "never"),
        ("Profile", metadata.profile),
        ("Budget", seconds(metadata.budget_s)),
        ("Commit", commit),
        ("Model", model_in_one_line(facts)),
        ("Model's arithmetic", arithmetic),
        (items, data),
        (f"{items}' checksum", metadata.data.sha256),
        ("Labels by", own.decide),
        ("int8 calibrated on", own.calibration),
        ("Loss of a training step by", f"{own.train_step}; Adam" if own.train_step else ""),
        ("Memory of all processes together, at most", f"{memory:.1f} GiB" if memory else ""),
        ("Harness's own CPU use", percent(metadata.harness.parent_cpu_share)),
        (
            "Share of all time spent in warm-up and timed calls",
            percent(metadata.harness.measuring_share),
        ),
        ("Packages", _packages(metadata.machine.packages)),
        ("Environment variables", ", ".join(f"{key}={plain(item)}" for key, item in variables)),
    ]
    return [(label, value) for label, value in pairs if value and value != NOTHING]


def _packages(packages: Mapping[str, str]) -> str:
    named = [f"{name} {packages[name]}" for name in _PACKAGES if name in packages]
    if len(packages) > len(named):
        named.append(f"{len(packages) - len(named)} more in environment.json")
    return ", ".join(named)


def how_measured(facts: Facts) -> list[str]:
    """Explain how the run was measured, with its own thresholds, a paragraph an item."""
    policy = facts.policy.verdict
    heap = (
        "Processes had their heap as the C library ships it: how many pages a call faults in again "
        "depends on heap layout and may differ between processes."
    )
    if any(facts.keeps_heap(scenario) for scenario in facts.scenarios):
        heap = (
            "Every process keeps the memory that it frees (GLIBC_TUNABLES in docs/variables.md). "
            "By default glibc returns it to the kernel; how many pages a call then faults in again "
            "depends on heap layout and differs between processes."
        )
    return [
        (
            "Every scenario runs in its own process. One process works at a time; the others are "
            "stopped. Processes of one build differ, so scenarios that decide a headline are "
            "measured in several fresh processes, the others in one. Each worker prepares the "
            "model, has its outputs checked against stock default's, and warms up "
            "before any call counts; a scenario that reaches no steady state is measured and "
            f"flagged. {heap}"
        ),
        (
            "In each round, every scenario of a comparison group runs one block of calls. The "
            "order is shuffled and balanced, so that drift of the machine cancels; times of "
            "different rounds are never divided. One model of all blocks of the run gives the "
            "intervals: the logarithm of a block's median time is the sum of scenario, round, "
            "process and error. The level of a process is a robust mean of its rounds, that of a "
            "scenario the mean of its processes, and the variances are estimated from all "
            f"scenarios together. Brackets hold the {percent(policy.confidence)} interval "
            "(Student's t)."
        ),
        (
            "A scenario is faster or slower if its whole interval lies more than "
            f"{percent(policy.minimal_effect)} from 1, the same if all of it lies within "
            f"{percent(policy.same_within)}, and otherwise inconclusive. Each group has a control, "
            "a second worker of stock default: it counts with its baseline and checks the model. "
            "Blocks that other work disturbed do not count, but the files keep every call."
        ),
        (
            "The rounds that measure stock tuned and the best of IPEX also choose them; their "
            "intervals allow for that. At most "
            f"{percent(policy.headline_error)} of runs have a wrong headline. "
            f"{facts.nouns.items.capitalize()} per second at different batch sizes come from "
            "different rounds and are compared without an interval."
        ),
    ]
