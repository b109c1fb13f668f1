"""The few lines of PyTorch that run the model the way a scenario does. Pure.

They set up what `bench.backends` sets up, for people who want to use a result. `model` and `images`
are the reader's own.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from bench.report import wording
from bench.report.facts import of_task
from bench.report.winners import candidates, winner
from bench.scenarios import Task

if TYPE_CHECKING:
    from collections.abc import Iterator

    from bench.records import ScenarioRow
    from bench.report.facts import Facts

_LAST = "memory_format=torch.channels_last"


@dataclass(frozen=True, kw_only=True)
class Recipe:
    """Code, and what it is good for."""

    title: str
    code: str


def recipes(facts: Facts) -> list[Recipe]:
    """How to use the fastest for one image and for throughput, and the same without IPEX."""
    found: dict[str, Recipe] = {}
    for use, row in _picks(facts):
        code = recipe(row)
        if code is not None and code not in found:
            found[code] = Recipe(title=f"{use}: {wording.spoken(row)}", code=code)
    return list(found.values())


def _picks(facts: Facts) -> Iterator[tuple[str, ScenarioRow]]:
    groups = of_task(facts.groups, Task.INFERENCE)
    winners = [best for group in groups if (best := winner(facts, group)) is not None]
    if not winners:
        return
    yield f"Fastest at batch {winners[0].group.batch_size}", winners[0].row
    most = max(winners, key=lambda best: best.row.images_per_s or 0.0)
    yield f"Most images per second, at batch {most.group.batch_size}", most.row
    for row, _ in candidates(facts, winners[0].group):
        if row.backend == "stock":
            yield f"Fastest without IPEX at batch {winners[0].group.batch_size}", row
            return


def recipe(row: ScenarioRow) -> str | None:
    """The code for one scenario; None for ways that this module does not know."""
    known = row.task == Task.INFERENCE and row.backend in ("stock", "ipex")
    if not known or row.dtype not in ("fp32", "bf16"):
        return None
    lines = [*_imports(row), "", "model.eval()", *_layout(row), *_prepare(row), "", *_call(row)]
    return "\n".join(lines)


def _imports(row: ScenarioRow) -> Iterator[str]:
    yield "import torch"
    if row.mode == "compile":
        yield "import torch._inductor.config"
    if row.backend == "ipex":
        yield "import intel_extension_for_pytorch as ipex"


def _layout(row: ScenarioRow) -> Iterator[str]:
    if row.layout == "channels_last":
        yield f"model = model.to({_LAST})"
        yield f"images = images.to({_LAST})"


def _prepare(row: ScenarioRow) -> Iterator[str]:
    bf16 = row.dtype == "bf16"
    if row.backend == "ipex":
        prepack = ", weights_prepack=False" if row.mode == "compile" else ""
        dtype = "torch.bfloat16" if bf16 else "torch.float32"
        yield f"model = ipex.optimize(model, dtype={dtype}{prepack})"
    elif bf16:
        yield "for layer in model.modules():"
        yield "    if isinstance(layer, (torch.nn.Conv2d, torch.nn.Linear)):"
        yield "        layer.to(torch.bfloat16)"
    if row.mode == "torchscript":
        yield from _script(row)
    if row.mode == "compile":
        yield from _compile(row)


def _script(row: ScenarioRow) -> Iterator[str]:
    on = row.fusion == "on"
    switch = "ipex" if row.backend == "ipex" else "torch.jit"
    yield f"{switch}.enable_onednn_fusion({on})"
    if row.dtype == "bf16":
        yield "torch._C._jit_set_autocast_mode(False)"
    yield f"with torch.no_grad(){_autocast(row)}:"
    yield "    model = torch.jit.trace(model, images, check_trace=False)"
    yield "    model = torch.jit.freeze(model.eval())"


def _compile(row: ScenarioRow) -> Iterator[str]:
    if "no_freezing" not in wording.option_tags(row):
        yield "torch._inductor.config.freezing = True"
    backend = "ipex" if row.backend == "ipex" else "inductor"
    yield f'model = torch.compile(model, backend="{backend}", dynamic=False)'


def _call(row: ScenarioRow) -> Iterator[str]:
    cast = _autocast(row) if row.mode != "torchscript" else ""
    yield f"with torch.no_grad(){cast}:"
    yield "    outputs = model(images)"


def _autocast(row: ScenarioRow) -> str:
    return ', torch.autocast("cpu", torch.bfloat16)' if row.dtype == "bf16" else ""
