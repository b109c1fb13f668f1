"""A training that was killed goes on to the bits it would have had; several processes agree."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from functools import partial
from typing import TYPE_CHECKING, Any

import pytest
import torch
from click.testing import CliRunner

from pillqc.commands.main import main
from pillqc.errors import ModelFileError
from pillqc.model.artifact import read_artifact
from pillqc.rendering.dataset import RenderPlan, render_dataset
from pillqc.training.checkpoint import read_checkpoint
from pillqc.training.loop import TrainingLoop
from pillqc.training.run import Trained, TrainingRun, run_training
from pillqc.training.train import Kept
from tests.hardware import needs_onednn_bf16

if TYPE_CHECKING:
    from pathlib import Path

pytestmark = pytest.mark.torch

EPOCHS = 3


@pytest.fixture(scope="module")
def pills(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Some pills of every kind."""
    root = tmp_path_factory.mktemp("data") / "pills"
    render_dataset(root, RenderPlan(size=32, train_good=9, test_good=3, per_defect=4), jobs=1)
    return root


def asked(pills: Path, out: Path, **options: Any) -> TrainingRun:
    """A short training of the real model."""
    usual: dict[str, Any] = {"size": 32, "epochs": EPOCHS, "target_accuracy": None}
    return TrainingRun(data=pills, out=out, **(usual | options))


def trained(run: TrainingRun) -> tuple[Trained, dict[str, torch.Tensor]]:
    """The training's result and the weights in its file."""
    done = run_training(run)
    assert done is not None
    return done, read_artifact(run.out)[1]


class Killed(BaseException):
    """Stands for a kill: nothing catches it."""


def kill_at(monkeypatch: pytest.MonkeyPatch, step: int) -> None:
    """Let the given step end the process, as it were."""
    original, seen = TrainingLoop._step, [0]

    def counted(self: TrainingLoop, *arguments: Any) -> Any:
        seen[0] += 1
        if seen[0] == step:
            raise Killed
        return original(self, *arguments)

    monkeypatch.setattr(TrainingLoop, "_step", counted)


@pytest.mark.parametrize(
    ("step", "options"),
    [
        (5, {}),
        (7, {"full": True, "augment": True, "masks": True, "cycle": True}),
        (6, {"masks": True}),
    ],
)
def test_a_killed_training_ends_with_the_same_bits(
    pills: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, step: int, options: dict[str, Any]
) -> None:
    """Between epochs and inside one: weights, history and threshold are those of a whole run."""
    whole, wanted = trained(asked(pills, tmp_path / "whole.safetensors", **options))
    run = asked(pills, tmp_path / "killed.safetensors", **options)
    with monkeypatch.context() as patched:
        # a checkpoint after every step
        patched.setattr("pillqc.training.run.Kept", partial(Kept, seconds=0.0))
        kill_at(patched, step)
        with pytest.raises(Killed):
            run_training(run)
    assert run.out.with_suffix(".checkpoint").is_file()
    assert not run.out.exists()
    done, got = trained(run)
    assert done.result.resumed_at is not None
    assert [e.loss for e in done.result.history] == [e.loss for e in whole.result.history]
    assert done.chosen == whole.chosen
    assert all(torch.equal(wanted[name], value) for name, value in got.items())
    assert not run.out.with_suffix(".checkpoint").exists()


def test_a_checkpoint_of_another_training_is_refused(
    pills: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Other settings or images would not go on but begin something else under the same name."""
    run = asked(pills, tmp_path / "m.safetensors")
    with monkeypatch.context() as patched:
        kill_at(patched, 6)
        with pytest.raises(Killed):
            run_training(run)
    with pytest.raises(ModelFileError, match="other settings, images or weights"):
        run_training(asked(pills, tmp_path / "m.safetensors", seed=1))


@pytest.mark.parametrize("content", [b"", b"no checkpoint", b"PK\x03\x04 cut"])
def test_a_damaged_checkpoint_is_one_clear_line(tmp_path: Path, content: bytes) -> None:
    """Empty, foreign and cut files."""
    path = tmp_path / "m.checkpoint"
    path.write_bytes(content)
    with pytest.raises(ModelFileError, match="remove it to begin anew"):
        read_checkpoint(path, "anything")


def alone(*arguments: str) -> str:
    """What `pillqc ...` prints, in this process."""
    done = CliRunner().invoke(main, arguments)
    assert done.exit_code == 0, done.output
    return done.stdout


def in_two(*arguments: str) -> str:
    """What `torchrun -m pillqc ...` prints, two processes of one thread each."""
    command = (sys.executable, "-m", "torch.distributed.run", "--standalone")
    done = subprocess.run(
        [*command, "--nproc-per-node=2", "-m", "pillqc", *arguments],
        capture_output=True,
        text=True,
        check=False,
        timeout=280,
        env=os.environ | {"OMP_NUM_THREADS": "1"},
    )
    assert done.returncode == 0, done.stderr[-2000:]
    return done.stdout


@pytest.mark.slow
@pytest.mark.parametrize("options", [(), ("--masks",)])
def test_two_processes_learn_what_one_learns(
    pills: Path, tmp_path: Path, options: tuple[str, ...]
) -> None:
    """The same total batch, within float error; one of them writes and speaks."""
    weights, cards = [], []
    short = ("--size", "32", "--epochs", "2", "--target-accuracy", "1", "--batch-size", "5")
    for processes, run in enumerate((alone, in_two), start=1):
        out = tmp_path / f"{processes}.safetensors"
        where = ("--data", str(pills), "--out", str(out))
        said = run("train", *where, *short, "--seed", "3", *options)
        assert said.count("trained for") == 1
        card, tensors = read_artifact(out)
        weights.append(tensors)
        cards.append(card)
    for name, value in weights[0].items():
        # all weights together: where a gradient is 0 but for rounding, Adam steps by its sign;
        # training moves them by 4e-3
        apart = (value.float() - weights[1][name].float()).norm()
        assert float(apart) <= 3e-5 * float(value.float().norm()), name
    histories = [card.training["history"] for card in cards]
    for one, two in zip(*histories, strict=True):
        assert one["loss"] == pytest.approx(two["loss"], rel=1e-4)
        assert one["validation_loss"] == pytest.approx(two["validation_loss"], rel=1e-3)
    assert cards[0].seen == cards[1].seen


def test_the_best_epoch_by_validation_is_kept(pills: Path, tmp_path: Path) -> None:
    """Its number is in the card, and its figures are the best of the history."""
    run = asked(pills, tmp_path / "m.safetensors", epochs=4)
    run_training(run)
    told = read_artifact(run.out)[0].training
    scores = [(e["validation_auroc"], -e["validation_loss"]) for e in told["history"]]
    assert told["best_epoch"] == scores.index(max(scores)) + 1
    assert json.dumps(told)


def test_patience_ends_a_training_that_gets_no_better(pills: Path, tmp_path: Path) -> None:
    """After so many epochs without a better one; a rate of nearly 0 changes nothing."""
    run = asked(pills, tmp_path / "m.safetensors", epochs=9, patience=2, learning_rate=1e-30)
    done = run_training(run)
    assert done is not None
    assert (done.result.stopped, len(done.result.history)) == ("patience", 3)


_IPEX = """
import sys
from pathlib import Path
import torch
from pillqc.model.artifact import read_artifact
from pillqc.training.loop import TrainingLoop
from pillqc.training.run import TrainingRun, run_training
pills, folder, dtype = Path(sys.argv[1]), Path(sys.argv[2]), sys.argv[3]
def run(name):
    return TrainingRun(data=pills, out=folder / name, size=32, epochs=3, target_accuracy=None,
                       backend="ipex", dtype=dtype)
whole = run_training(run("whole.safetensors"))
step, seen = TrainingLoop._step, []
def dying(self, *arguments):
    seen.append(1)
    if len(seen) == 5:
        raise KeyboardInterrupt
    return step(self, *arguments)
TrainingLoop._step = dying
try:
    run_training(run("killed.safetensors"))
except KeyboardInterrupt:
    pass
done = run_training(run("killed.safetensors"))
assert done.result.resumed_at == 2 and done.result.optimized_layers >= 13, done.result
wanted, got = (read_artifact(folder / f"{n}.safetensors")[1] for n in ("whole", "killed"))
assert all(torch.equal(wanted[k], v) for k, v in got.items())
"""


@pytest.mark.ipex
@pytest.mark.slow
@pytest.mark.parametrize("dtype", ["fp32", pytest.param("bf16", marks=needs_onednn_bf16)])
def test_a_killed_ipex_training_ends_with_the_same_bits(
    pills: Path, tmp_path: Path, dtype: str
) -> None:
    """Its packed weights and the optimizer's packed state come back as they were."""
    pytest.importorskip("importlib.metadata").version("intel-extension-for-pytorch")
    done = subprocess.run(
        [sys.executable, "-c", _IPEX, str(pills), str(tmp_path), dtype],
        capture_output=True,
        text=True,
        check=False,
        timeout=280,
    )
    assert done.returncode == 0, done.stderr[-2000:]
