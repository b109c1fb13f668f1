"""Files are decoded before they are needed, in order; a broken one costs only itself."""

from __future__ import annotations

import threading
from typing import TYPE_CHECKING, Any

import numpy as np
import pytest
from PIL import Image

if TYPE_CHECKING:
    from pathlib import Path

pytestmark = pytest.mark.torch


class _Counting:
    """A stand-in for the model: returns the brightness and records batch sizes."""

    def __init__(self) -> None:
        self.batches: list[int] = []

    def __call__(self, images: Any) -> Any:
        import torch

        self.batches.append(len(images))
        bright = images.mean((1, 2, 3)).sigmoid()
        maps = images[:, :2].clamp(0, 1)
        return torch.stack([1 - bright, bright], dim=1), maps


def _images(root: Path, count: int) -> list[Path]:
    paths = []
    for index in range(count):
        path = root / f"{index}.png"
        Image.fromarray(np.full((6, 8, 3), 20 * index, np.uint8)).save(path)
        paths.append(path)
    return paths


def test_results_come_in_order_with_the_size_of_the_file(tmp_path: Path) -> None:
    """Brighter files follow darker ones, as given; boxes can be scaled to the file."""
    from pillqc.inspection.prediction import Prediction, predict

    model: Any = _Counting()
    paths = _images(tmp_path, 5)
    results = list(predict(model, paths, size=4, batch_size=2))
    assert [r.path for r in results] == paths
    assert model.batches == [2, 2, 1]
    bad = [r.bad for r in results if isinstance(r, Prediction)]
    assert bad == sorted(bad)
    first = results[0]
    assert isinstance(first, Prediction)
    assert (first.width, first.height, first.heat.shape) == (8, 6, (4, 4))


def test_pills_that_are_nearly_certain_keep_their_order(tmp_path: Path) -> None:
    """In single precision each is 1; the probability of good tells them apart."""
    import torch

    from pillqc.inspection.prediction import Prediction, predict

    def certain(images: Any) -> Any:
        good = 10.0 ** (-12.0 - images.mean((1, 2, 3)))
        shares = torch.stack([good, 1.0 - good], dim=1)
        assert (shares[:, 1] == 1.0).all()
        return shares, images[:, :2].clamp(0, 1)

    model: Any = certain
    bad = [r.bad for r in predict(model, _images(tmp_path, 5), size=4) if isinstance(r, Prediction)]
    assert bad == sorted(set(bad))
    assert len(bad) == 5


def test_a_broken_file_is_reported_in_its_place(tmp_path: Path) -> None:
    """The rest goes on, also when a whole batch is broken."""
    from pillqc.inspection.prediction import Unreadable, predict

    paths = _images(tmp_path, 3)
    broken = tmp_path / "broken.png"
    broken.write_text("no picture")
    model: Any = _Counting()
    results = list(predict(model, [paths[0], broken, broken, broken, paths[1]], batch_size=2))
    kinds = [isinstance(r, Unreadable) for r in results]
    assert kinds == [False, True, True, True, False]
    assert model.batches == [1, 1]


def test_memory_does_not_grow_with_the_number_of_files(tmp_path: Path) -> None:
    """At most three batches are taken from the input before results are returned."""
    from pillqc.inspection.prediction import predict

    (path,) = _images(tmp_path, 1)
    taken = 0

    def endless() -> Any:
        nonlocal taken
        while True:
            taken += 1
            yield path

    results = predict(_Counting(), endless(), size=4, batch_size=4)  # type: ignore[arg-type] # a stand-in
    for _ in range(8):
        next(results)
    assert taken <= 4 * 4
    results.close()  # type: ignore[attr-defined] # a generator
    assert not [t for t in threading.enumerate() if t.name.startswith("prefetch")]
