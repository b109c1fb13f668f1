"""Training shared by two hosts: two network namespaces joined by one cable."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from contextlib import suppress
from typing import TYPE_CHECKING

import pytest

from pillqc.rendering.dataset import RenderPlan, render_dataset

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

pytestmark = [pytest.mark.torch, pytest.mark.slow, pytest.mark.timeout(900)]

_ADDRESSES = ("10.77.0.1", "10.77.0.2")
_HOSTS = tuple(f"pillqc{os.getpid()}{side}" for side in "ab")
_CABLES = tuple(f"pq{os.getpid() % 100000}{side}" for side in "ab")


def ip(*words: str) -> None:
    """One command of iproute2."""
    subprocess.run(["ip", *words], check=True, capture_output=True, timeout=30)


@pytest.fixture
def hosts() -> Iterator[tuple[str, ...]]:
    """Two namespaces that reach each other and nothing else; skips where they cannot be made."""
    if shutil.which("ip") is None:
        pytest.skip("iproute2 is not installed")
    try:
        try:
            for name in _HOSTS:
                ip("netns", "add", name)
            ip("link", "add", _CABLES[0], "type", "veth", "peer", "name", _CABLES[1])
            for name, cable, address in zip(_HOSTS, _CABLES, _ADDRESSES, strict=True):
                ip("link", "set", cable, "netns", name)
                ip("-n", name, "addr", "add", f"{address}/24", "dev", cable)
                ip("-n", name, "link", "set", cable, "up")
                ip("-n", name, "link", "set", "lo", "up")
        except (OSError, subprocess.SubprocessError) as error:
            pytest.skip(f"network namespaces cannot be made here: {error}")
        yield _HOSTS
    finally:
        for name in _HOSTS:
            with suppress(OSError, subprocess.SubprocessError):
                ip("netns", "del", name)


def on_host(rank: int, words: list[str]) -> subprocess.Popen[str]:
    """One machine's torchrun; the first one is where they meet."""
    torchrun = ["-m", "torch.distributed.run", "--nnodes", "2", "--nproc-per-node", "1"]
    meet = ["--node-rank", str(rank), "--master-addr", _ADDRESSES[0], "--master-port", "29511"]
    inside = ["ip", "netns", "exec", _HOSTS[rank]]
    return subprocess.Popen(
        [*inside, sys.executable, *torchrun, *meet, "-m", "pillqc", *words],
        env={**os.environ, "GLOO_SOCKET_IFNAME": _CABLES[rank], "OMP_NUM_THREADS": "1"},
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
    )


@pytest.mark.usefixtures("hosts")
def test_two_hosts_train_one_model(tmp_path: Path) -> None:
    """Each computes its part of every batch; the first one writes the model."""
    plan = RenderPlan(size=32, train_good=8, test_good=8, per_defect=2)
    render_dataset(tmp_path / "pills", plan, jobs=1)
    model = tmp_path / "model.safetensors"
    words = ["train", "--data", str(tmp_path / "pills"), "--out", str(model), "--weights", "random"]
    words += ["--epochs", "1", "--size", "32"]
    running = [on_host(rank, words) for rank in range(2)]
    try:
        outputs = [one.communicate(timeout=800)[0] for one in running]
    finally:
        for one in running:
            if one.poll() is None:
                one.kill()
    assert [one.returncode for one in running] == [0, 0], "\n".join(outputs)
    assert model.exists()
