"""Time the first call of a compiled model: cold, warm, and warm without Inductor's vector check.

    python tests/microbench/warm_start.py --times 3

Each time three processes, one after the other: the first finds an empty cache, the others what it
compiled, the last one with TORCHINDUCTOR_VEC_ISA_OK=1. Prints seconds.
"""

from __future__ import annotations

import os
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import click

STARTS = {"cold": {}, "warm": {}, "warm, no check": {"TORCHINDUCTOR_VEC_ISA_OK": "1"}}


def first_call_s() -> float:
    """Return the seconds of the first call of VGG-16 in bf16, compiled with frozen weights."""
    import torch
    import torch._inductor.config as inductor
    from torchvision.models import vgg16

    inductor.freezing = True
    model = torch.compile(vgg16().eval().to(memory_format=torch.channels_last))
    images = torch.rand(1, 3, 224, 224).to(memory_format=torch.channels_last)
    with torch.inference_mode(), torch.autocast("cpu", dtype=torch.bfloat16):
        started = time.perf_counter()
        model(images)  # type: ignore[no-untyped-call] # VGG is not annotated
        ended = time.perf_counter()
    return ended - started


@click.command()
@click.option("--times", type=click.IntRange(1), default=3, show_default=True)
@click.option("--once", is_flag=True, hidden=True)
def main(*, times: int, once: bool) -> None:
    """Compare first calls in fresh processes."""
    if once:
        click.echo(first_call_s())
        return
    click.echo("  ".join(f"{kind:>14}" for kind in STARTS))
    for _ in range(times):
        with tempfile.TemporaryDirectory() as cache:
            common = {**os.environ, "TORCHINDUCTOR_CACHE_DIR": cache, "TORCH_WARM_POOL": "0"}
            taken = [
                subprocess.run(
                    [sys.executable, Path(__file__), "--once"],
                    env={**common, "TORCHINDUCTOR_COMPILE_THREADS": "1", **own},
                    check=True,
                    text=True,
                    stdout=subprocess.PIPE,
                    stderr=subprocess.DEVNULL,
                ).stdout
                for own in STARTS.values()
            ]
        click.echo("  ".join(f"{float(seconds):14.1f}" for seconds in taken))


if __name__ == "__main__":
    main()
