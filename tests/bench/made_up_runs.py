"""Runs that were never measured: seeded, realistic numbers for the whole matrix and its mishaps.

Import the fixtures `make_run` and `save` into the conftest of the folder that needs them.
"""

from __future__ import annotations

import dataclasses
import functools
import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from bench.analysis.run_facts import Facts, Group
from bench.analysis.speedups import RunAnalysis
from bench.plan.matrix import EXCLUSIONS
from bench.plan.thresholds import DEFAULT
from bench.report.answers import Answer, answers
from bench.store import records
from bench.store.records import (
    IterationRow,
    Run,
)
from tests.bench import made_up_rows
from tests.bench.made_up_rows import GFLOP, RUN_ID, Plan

DEFAULT_1 = "inference/stock/eager/fp32/contiguous/b1"
LAST_1 = "inference/stock/eager/fp32/channels_last/b1"
IPEX_1 = "inference/ipex/torchscript+fusion/fp32/channels_last/b1"
BATCH_1 = Group("inference", 1, "")
THREE = (DEFAULT_1, LAST_1, IPEX_1)
"""Stock default, its only rival of stock, and the best of IPEX, all at batch 1."""
ENVIRONMENT = Path(__file__).with_name("made_up_environment.json")
MakeRun = Callable[..., Run]
Save = Callable[[Run, Path], Path]
HOSTILE = "<script>alert(1)</script>\"'&<img src=x onerror=alert(2)>|`*$x^2$"


def _environment(plan: Plan) -> dict[str, Any]:
    has = dict.fromkeys(("avx2", "avx512f", "avx512bw", "avx512vl", "avx512_vnni"), True)
    made_up = json.loads(ENVIRONMENT.read_text(encoding="utf-8"))
    bf16 = dict.fromkeys(("avx512_bf16", "amx_tile", "amx_int8", "amx_bf16"), plan.native_bf16)
    return {
        **made_up["run"],
        "run_id": RUN_ID,
        "finished_utc": "2026-11-24T02:16:12Z" if plan.complete else None,
        "profile": plan.profile,
        "complete": plan.complete,
        "notes": list(plan.notes),
        "machine": {
            **made_up["machine"],
            "isa": {**has, **bf16, "avx512_fp16": False},
            "native_bf16": plan.native_bf16,
            "native_bf16_by": ["avx512_bf16", "amx_bf16"] if plan.native_bf16 else [],
        },
        "policy": dataclasses.asdict(DEFAULT),
        "matrix": {
            "scenarios": [scenario.id for scenario in plan.scenarios()],
            "excluded": [dataclasses.asdict(item) for item in EXCLUSIONS],
        },
        "workers": {scenario.id: made_up["worker"] for scenario in plan.scenarios()},
        "peak": {"gflop_per_s": plan.peak, "memory_gb_per_s": 18.4},
        "data": {"source": plan.source, "root": "data/pills", "images": 32, "sha256": "9f" * 32},
        "model": {**made_up["model"], "trained": plan.trained, "gflop_per_image": GFLOP},
    }


@functools.lru_cache(maxsize=32)
def build_run(plan: Plan) -> Run:
    """A whole run, as `records.read_run` would give it."""
    wanted = plan.scenarios()
    iterations = made_up_rows.calls(plan, wanted)
    by_name: dict[str, list[IterationRow]] = {}
    for call in iterations:
        by_name.setdefault(call.scenario, []).append(call)
    rows = [made_up_rows.scenario_row(plan, item, by_name.get(item.id, [])) for item in wanted]
    parity, noise = made_up_rows.parity(plan, rows), made_up_rows.noise(plan, rows)
    kernels = made_up_rows.kernels(rows)
    return Run(
        folder=Path("results") / RUN_ID,
        environment=_environment(plan),
        iterations=tuple(iterations),
        scenarios=tuple(rows),
        speedups=tuple(RunAnalysis(RUN_ID, rows, iterations, noise, parity, DEFAULT).rows()),
        parity=tuple(parity),
        noise=tuple(noise),
        kernels=tuple(kernels),
        logged_calls=tuple(made_up_rows.logged_calls(rows, kernels)),
        warnings=(),
    )


@pytest.fixture(scope="session")
def make_run() -> MakeRun:
    """Return a function that makes a run of the given `Plan` choices."""
    return lambda **choices: build_run(Plan(**choices))


def save_run(run: Run, folder: Path) -> Path:
    """Write a made-up run's files, as `bench run` would have left them."""
    folder.mkdir(parents=True, exist_ok=True)
    records.write_environment(folder, run.environment)
    for name, row_type in records.FILES.items():
        rows: Any = getattr(run, name.removesuffix(".csv"))
        records.replace_rows(folder / name, rows, row_type)
    return folder


@pytest.fixture(scope="session")
def save() -> Save:
    """Writes a made-up run to a folder."""
    return save_run


def answer_of(facts: Facts, key: str) -> Answer:
    """Return the first screen's answer of that key."""
    return next(answer for answer in answers(facts) if answer.key == key)
