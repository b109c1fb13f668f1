"""Two processes, on one host or on two, learn what one process learns."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from contextlib import suppress
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest
import torch

from pillqc.model.artifact import read_artifact
from pillqc.training.distributed import Team
from tests.pillqc.command import run

if TYPE_CHECKING:
    from collections.abc import Iterator

pytestmark = [pytest.mark.torch, pytest.mark.timeout(900)]

_ADDRESSES = ("10.77.0.1", "10.77.0.2")
_HOSTS = tuple(f"pillqc{os.getpid()}{side}" for side in "ab")
_CABLES = tuple(f"pq{os.getpid() % 100000}{side}" for side in "ab")
_TORCHRUN = (sys.executable, "-m", "torch.distributed.run")
_SHORT = ("--narrow", "--size", "32", "--epochs", "2", "--target-accuracy", "1", "--seed", "3")
_IN_THE_THIRD_EPOCH = 12
"""A step."""


@pytest.fixture(scope="module")
def pills(pills_to_train: Path) -> Path:
    """Some pills of every kind."""
    return pills_to_train


def train_words(pills: Path, out: Path, *options: str) -> list[str]:
    """The words of a short training, with a last batch of one image."""
    words = ["train", "--data", str(pills), "--out", str(out), "--batch-size", "5"]
    return [*words, *_SHORT, *options]


def check_learnt_the_same(one: Path, two: Path) -> None:
    """Compare weights, losses and seen images of two model files, within float error."""
    (card, weights), (other_card, other_weights) = read_artifact(one), read_artifact(two)
    for name, value in weights.items():
        # all weights together: where a gradient is 0 but for rounding, Adam steps by its sign;
        # training moves them by 4e-3
        apart = (value.float() - other_weights[name].float()).norm()
        assert float(apart) <= 3e-5 * float(value.float().norm()), name
    histories = zip(card.training["history"], other_card.training["history"], strict=True)
    for first, second in histories:
        assert first["loss"] == pytest.approx(second["loss"], rel=1e-4)
        assert first["validation_loss"] == pytest.approx(second["validation_loss"], rel=1e-3)
    assert card.seen == other_card.seen


def train_alone(words: list[str]) -> None:
    """Train in this process."""
    done = run(*words)
    assert done.exit_code == 0, done.output


def test_the_parts_of_a_team_are_the_whole_batch() -> None:
    """A batch smaller than the team leaves some processes with nothing."""
    for items in ([1, 2, 3, 4, 5], [1]):
        parts = [Team(rank=rank, size=3).part(items) for rank in range(3)]
        assert [item for part in parts for item in part] == items


def test_summed_gradients_have_the_layout_of_their_parameters(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """A fused optimizer reads both element by element as they lie in memory."""
    monkeypatch.setattr("torch.distributed.all_reduce", lambda values: values.mul_(2.0))
    weight = torch.nn.Parameter(torch.rand(4, 3, 2, 2).to(memory_format=torch.channels_last))
    gradient = torch.rand(4, 3, 2, 2)
    weight.grad = gradient.clone()
    Team(rank=0, size=2).add_gradients([weight])
    assert weight.grad.stride() == weight.stride() != gradient.stride()
    assert torch.equal(weight.grad, 2.0 * gradient)


@pytest.mark.slow
def test_two_processes_learn_what_one_learns(pills: Path, tmp_path: Path) -> None:
    """With the same total batch, names of defects too; only one of them writes and prints."""
    one, two = tmp_path / "one.safetensors", tmp_path / "two.safetensors"
    options = ("--masks", "--classes", "defects")
    train_alone(train_words(pills, one, *options))
    words = train_words(pills, two, *options)
    done = subprocess.run(
        [*_TORCHRUN, "--standalone", "--nproc-per-node=2", "-m", "pillqc", *words],
        capture_output=True,
        text=True,
        check=False,
        timeout=280,
        env=os.environ | {"OMP_NUM_THREADS": "1"},
    )
    assert done.returncode == 0, done.stderr[-2000:]
    assert done.stdout.count("trained for") == 1
    check_learnt_the_same(one, two)


def train_in_two_folders(folder: Path, pills: Path, *, killed_at: int) -> int:
    """Train in two processes, each in a folder of its own as on two machines; return the code."""
    # all layers learn: kept outputs of frozen ones round as the batch did that they came from
    words = train_words(pills, Path("m.safetensors"), "--epochs", "3", "--full")
    own_folder = ("-m", "tests.pillqc.training.own_folder", str(folder), str(killed_at))
    return subprocess.run(
        [*_TORCHRUN, "--standalone", "--nproc-per-node=2", *own_folder, *words],
        capture_output=True,
        check=False,
        timeout=280,
        env=os.environ | {"OMP_NUM_THREADS": "1"},
    ).returncode


@pytest.mark.slow
def test_a_killed_team_goes_on_together_where_only_the_leader_has_the_checkpoint(
    pills: Path, tmp_path: Path
) -> None:
    """The losses and weights are those of a training that was never killed."""
    whole, killed = tmp_path / "whole", tmp_path / "killed"
    assert train_in_two_folders(whole, pills, killed_at=0) == 0
    assert train_in_two_folders(killed, pills, killed_at=_IN_THE_THIRD_EPOCH) != 0
    assert (killed / "0/m.checkpoint").is_file()
    assert not any((killed / "1").iterdir())
    assert train_in_two_folders(killed, pills, killed_at=0) == 0
    (card, weights), (resumed, got) = (
        read_artifact(folder / "0/m.safetensors") for folder in (whole, killed)
    )
    losses = [
        [epoch["loss"] for epoch in training["history"]]
        for training in (card.training, resumed.training)
    ]
    assert losses[0] == losses[1]
    assert len(losses[0]) == 3
    assert all(torch.equal(weights[name], value) for name, value in got.items())


def ip(*words: str) -> None:
    """Run one command of iproute2."""
    subprocess.run(["ip", *words], check=True, capture_output=True, timeout=30)


@pytest.fixture
def hosts() -> Iterator[None]:
    """Join two network namespaces by one cable; skip where they cannot be made."""
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
            pytest.skip(f"network namespaces cannot be made on this machine: {error}")
        yield
    finally:
        for name in _HOSTS:
            with suppress(OSError, subprocess.SubprocessError):
                ip("netns", "del", name)


def start_on_host(rank: int, words: list[str]) -> subprocess.Popen[str]:
    """Start one host's torchrun; the first host is where they meet."""
    nodes = ["--nnodes", "2", "--nproc-per-node", "1", "--node-rank", str(rank)]
    meet = ["--master-addr", _ADDRESSES[0], "--master-port", "29511"]
    inside: list[Any] = ["ip", "netns", "exec", _HOSTS[rank], *_TORCHRUN, *nodes, *meet]
    return subprocess.Popen(
        [*inside, "-m", "pillqc", *words],
        env={**os.environ, "GLOO_SOCKET_IFNAME": _CABLES[rank], "OMP_NUM_THREADS": "1"},
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
    )


@pytest.mark.slow
@pytest.mark.usefixtures("hosts")
def test_two_hosts_learn_what_one_learns(pills: Path, tmp_path: Path) -> None:
    """Each computes its part of every batch; the first one writes the model."""
    one, two = tmp_path / "one.safetensors", tmp_path / "two.safetensors"
    running = [start_on_host(rank, train_words(pills, two)) for rank in range(2)]
    try:
        train_alone(train_words(pills, one))
        outputs = [process.communicate(timeout=800)[0] for process in running]
    finally:
        for process in running:
            if process.poll() is None:
                process.kill()
    assert [process.returncode for process in running] == [0, 0], "\n".join(outputs)
    check_learnt_the_same(one, two)
