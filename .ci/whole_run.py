"""Is the newest run whole? Called by .ci/run after the smoke bench; exits 1 with what is missing.

Holds the run's files against each other: every scenario of the matrix has its row, every row that
claims to be measured has its calls, intervals, parity and evidence, and the page shows the same
figures, has its sections and plots, and asks nothing of the network.
"""

from __future__ import annotations

import re
import sys
from pathlib import Path

from bench.analysis.scenario_kinds import varied
from bench.plan.scenario import Status
from bench.store import records

MEASURED = (Status.OK, Status.NO_STEADY_STATE)
SECTIONS = {
    "answer": "",
    "speedups": "<svg",
    "batch": "<svg",  # see `_has_curves`
    "training": "<svg",
    "cost": "<svg",
    "parity": "<table",
    "noise": "<table",
    "scenarios": "<svg",
    "machine": "<dl",
    "method": "",
}
"""Sections of the page, and what each cannot be without."""
FETCHED = re.compile(
    r"""<(?!a\b)[a-z]+\b[^>]*?\b(?:src|href)=["']?(?!data:|#)[^\s"'>]+|url\(\s*["']?http"""
)
"""What would make a browser ask the network."""
SAME_VARIABLE = ("unvaried", "stock_alike")
"""What the page divides a varied scenario by: others run under other conditions."""


def faults(run: records.Run, page: str) -> list[str]:
    """Every way in which the run or its page is not whole, as sentences."""
    found = list(run.warnings)
    wanted = run.environment["matrix"]["scenarios"]
    rows = {row.scenario: row for row in run.scenarios}
    found += [f"no row for {name}" for name in wanted if name not in rows]
    if not run.environment["complete"]:
        found.append("environment.json says that the run did not complete")
    measured = {name for name, row in rows.items() if row.status in MEASURED}
    if not any(name.startswith("inference/ipex/") for name in measured):
        found.append("no IPEX inference scenario was measured")
    if not any(name.startswith("training/ipex/") for name in measured):
        found.append("no IPEX training scenario was measured")
    timed = {row.scenario for row in run.iterations if row.phase == "timed"}
    ratios = {(row.scenario, row.baseline_kind): row for row in run.speedups}
    parity = {row.scenario for row in run.parity}
    kernels = {row.scenario for row in run.kernels}
    for name, row in rows.items():
        if row.status not in MEASURED:
            if not row.reason:
                found.append(f"{name} is {row.status} without a reason")
            continue
        is_default = (name, "control") in ratios
        baseline = "unvaried" if varied(row) else "stock_default"
        checks = {
            "timed calls": name in timed,
            "a median": row.median_ms is not None,
            "percent of peak": row.percent_of_peak is not None,
            "parity": name in parity,
            "kernel evidence": name in kernels or _has_none_to_log(run, row),
            f"a speedup over {baseline}": is_default or (name, baseline) in ratios,
            "a place on the page": name in page,
        }
        found += [f"{name} has no {what}" for what, there in checks.items() if not there]
    groups = {(row.task, row.batch_size) for row in rows.values() if row.status in MEASURED}
    if len([row for row in run.speedups if row.baseline_kind == "control"]) < len(groups):
        found.append("a comparison group has no control")
    return found


def _has_none_to_log(run: records.Run, row: records.ScenarioRow) -> bool:
    """OneDNN has no bf16 below AVX-512: stock's bf16 runs there on PyTorch's own kernels alone."""
    said = run.environment["machine"].get("frameworks", {}).get("torch", {})
    stock_bf16 = (row.backend, row.dtype) == ("stock", "bf16")
    return stock_bf16 and said.get("mkldnn_bf16_supported") is False


def page_faults(run: records.Run, page: str) -> list[str]:
    """Every way in which the page is hollow: figures, sections or plots that it does not have."""
    found = [
        f"the page does not show the median of {row.scenario}"
        for row in run.scenarios
        if row.status in MEASURED and f'data-sort="{row.median_ms}"' not in page
    ]
    unusual = {row.scenario for row in run.scenarios if varied(row)}
    found += [
        f"the page does not show {ratio.scenario} over {ratio.baseline_kind}"
        for ratio in run.speedups
        if ratio.speedup is not None
        and (ratio.scenario not in unusual or ratio.baseline_kind in SAME_VARIABLE)
        and f'data-sort="{ratio.speedup}"' not in page
    ]
    sections = dict(re.findall(r'<section id="(\w+)"[^>]*>(.*?)</section>', page, re.DOTALL))
    wanted = SECTIONS if _has_curves(run) else {**SECTIONS, "batch": 'class="missing"'}
    for name, needed in wanted.items():
        if needed not in sections.get(name, "") or not sections.get(name, "").strip():
            found.append(f"the page's section {name} has no {needed.strip('<') or 'text'}")
    found += [f"the page would fetch {tag}" for tag in FETCHED.findall(page)]
    return found


def _has_curves(run: records.Run) -> bool:
    """Whether fp32 has two batch sizes: the budget may have ended before the second."""
    sizes = {
        row.batch_size
        for row in run.scenarios
        if row.status in MEASURED and (row.task, row.dtype) == ("inference", "fp32")
    }
    return len(sizes) > 1


def main() -> int:
    """Check the newest run of results/ and its page in reports/."""
    folder = max(path.parent for path in Path("results").glob("*/environment.json"))
    page = Path("reports") / f"{folder.name}.html"
    if not page.is_file():
        print(f"{page} is missing")
        return 1
    run, text = records.read_run(folder), page.read_text(encoding="utf-8")
    found = faults(run, text) + page_faults(run, text)
    print("\n".join(found) or f"{folder} and {page} are whole")
    return 1 if found else 0


if __name__ == "__main__":
    sys.exit(main())
