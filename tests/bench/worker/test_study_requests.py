"""The studies' operations in a real session: stages, calls, arrivals, training."""

from __future__ import annotations

import time
from dataclasses import replace
from types import SimpleNamespace
from typing import TYPE_CHECKING, Any, cast

import numpy as np
import pytest
from PIL import Image

from bench.plan.scenario import (
    FROZEN,
    FUSED_ADAM,
    Layout,
    Mode,
    Scenario,
    Task,
    stock_default,
)
from bench.plan.thresholds import STUDIES
from bench.worker import backends
from bench.worker.arrivals import ms_per_call
from tests.known import known

if TYPE_CHECKING:
    from pathlib import Path

    from bench.worker.session import Session

pytestmark = pytest.mark.torch

SIZE = 32
INFERENCE = stock_default(Task.INFERENCE, 1)
FUSED = replace(INFERENCE, mode=Mode.TORCHSCRIPT, fusion=True, layout=Layout.CHANNELS_LAST)
TRAINING = stock_default(Task.TRAINING, 8, (FROZEN,))
TUNED = replace(TRAINING, layout=Layout.CHANNELS_LAST, options=(FROZEN, FUSED_ADAM))


@pytest.fixture(scope="module")
def data(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Bright and dark squares: good and bad that a network learns at once."""
    root = tmp_path_factory.mktemp("pills")
    rng = np.random.default_rng(0)
    for split, count in (("train", 8), ("test", 4)):
        for kind, level in (("good", 200), ("chip", 40)):
            folder = root / split / kind
            folder.mkdir(parents=True)
            for number in range(count):
                pixels = rng.normal(level, 5, (SIZE, SIZE, 3)).clip(0, 255).astype(np.uint8)
                Image.fromarray(pixels).save(folder / f"{number}.png")
    return root


def session_of(backend: str, data: Path) -> Session:
    """A session as the worker makes it, on small images."""
    from bench.worker.session import Session
    from bench.worker.workload import Workload

    module = backends.get(backend)
    module.load()
    return Session(backend, module, Workload(data, seed=0, weights="random", image_size=SIZE))


def test_an_image_goes_through_all_stages(data: Path) -> None:
    """Each has its time; images come in turn from the given number on."""
    from bench.worker import study_requests
    from bench.worker.workload import STAGES

    session = session_of("stock", data)
    session.prepare(FUSED)
    found = study_requests.stages(session, 6, 4)["images"]
    assert len(found) == 4
    assert all(one[stage] > 0 for one in found for stage in STAGES)
    assert {one["decision"] for one in found} <= {"good", "bad"}
    names = [one["image"] for one in study_requests.stages(session, 0, 8)["images"]]
    assert len(set(names)) == 8, "good and bad images of one name must not be taken for one"


def test_calls_and_arrivals_carry_their_times(data: Path) -> None:
    """On the machine's clock, so that processes can be compared."""
    from bench.worker import study_requests

    session = session_of("stock", data)
    session.prepare(INFERENCE)
    called = study_requests.call_for(session, 0.05)
    spans = list(zip(called["start_ns"], called["end_ns"], strict=True))
    assert ms_per_call([spans])
    begin = time.monotonic_ns() + 1_000_000
    served = study_requests.serve(session, begin, [0, 2_000_000])
    assert len(served["end_ns"]) == 2
    assert served["start_ns"][1] >= begin + 2_000_000


def trained(session: Session, scenario: Scenario) -> tuple[float, float]:
    """Loss of the first steps and of the last ones, from seed 1's start."""
    from bench.worker import study_requests

    session.prepare(scenario)
    study_requests.start_training(session, 1)
    first = study_requests.train(session, 0, 1)["loss"]
    study_requests.train(session, 1, 4)
    last = study_requests.train(session, 5, 1)["loss"]
    assert 0 <= study_requests.evaluate(session)["accuracy"] <= 1
    return first, last


def test_training_starts_from_the_seeds_own_weights_and_learns(data: Path) -> None:
    """The same start for every scenario: the first loss is the same; it falls."""
    default = trained(session_of("stock", data), TRAINING)
    tuned = trained(session_of("stock", data), TUNED)
    assert default[0] == pytest.approx(tuned[0], rel=1e-2)
    assert default[1] < default[0]


def test_training_to_an_accuracy_learns_as_fast_as_a_user_would(data: Path) -> None:
    """A run's steps are a tenth as large, because it compares losses."""
    from bench.worker import study_requests

    session = session_of("stock", data)
    session.prepare(TRAINING)
    own = known(session.active.prepared.optimizer)
    study_requests.start_training(session, 0)
    optimizer = known(session.active.prepared.optimizer)
    assert {group["lr"] for group in optimizer.param_groups} == {STUDIES.accuracy_learning_rate}
    assert {group["lr"] for group in own.param_groups} == {STUDIES.accuracy_learning_rate / 10}


def test_training_needs_both_kinds(data: Path) -> None:
    """One sentence, not a training that learns nothing."""
    from bench.errors import WorkerError
    from bench.worker import study_requests

    session = session_of("stock", data)
    session.work.training_samples = [one for one in session.work.training_samples if one.bad]
    session.prepare(TRAINING)
    with pytest.raises(WorkerError, match="needs good and bad images"):
        study_requests.start_training(session, 0)


def test_a_compiled_model_is_evaluated_uncompiled() -> None:
    """Training compiled it once; evaluating in batches of other sizes compiles nothing more."""
    import torch

    from bench.worker import study_requests
    from bench.worker.backends import Prepared

    class Classifier(torch.nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.head = torch.nn.Linear(3, 2)

        def forward(self, images: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
            logits = self.head(images.mean(dim=(2, 3)))
            return logits.softmax(dim=1), images

    graphs: list[torch.fx.GraphModule] = []

    def backend(graph: torch.fx.GraphModule, _: list[torch.Tensor]) -> Any:
        graphs.append(graph)
        return graph.forward

    model = torch.compile(Classifier(), backend=backend, fullgraph=True, dynamic=False)
    model(torch.rand(2, 3, 4, 4))
    work = SimpleNamespace(
        samples=[SimpleNamespace(bad=False)] * 11, load=lambda part: torch.rand(len(part), 3, 4, 4)
    )
    prepared = Prepared(model=cast("torch.nn.Module", model))
    active = SimpleNamespace(prepared=prepared, scenario=TRAINING)
    found = study_requests.evaluate(cast("Any", SimpleNamespace(active=active, work=work)))
    assert 0 <= found["accuracy"] <= 1
    assert len(graphs) == 1
