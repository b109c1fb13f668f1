"""A model compiled ahead of time computes the same, and its package leaves nothing behind."""

from __future__ import annotations

import os
import stat
from contextlib import nullcontext
from pathlib import Path

import pytest
import torch

from pillqc.errors import ExportError
from pillqc.model.ahead_of_time import built_ahead, unpacked_folders
from tests.hardware import needs_onednn_bf16

pytestmark = [pytest.mark.torch, pytest.mark.filterwarnings("ignore")]


def small() -> torch.nn.Module:
    """A convolution, with the same weights every time."""
    torch.manual_seed(3)
    return torch.nn.Sequential(torch.nn.Conv2d(3, 8, 3), torch.nn.ReLU()).eval()


@pytest.mark.parametrize("dtype", ["fp32", pytest.param("bf16", marks=needs_onednn_bf16)])
def test_it_agrees_and_leaves_nothing_behind(
    dtype: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Its file, and what PyTorch unpacks from it, are gone once it is loaded."""
    monkeypatch.setenv("TORCHINDUCTOR_CACHE_DIR", str(tmp_path / "cache"))
    monkeypatch.setattr("tempfile.tempdir", str(tmp_path))
    images = torch.rand(2, 3, 16, 16)
    context = torch.autocast("cpu", torch.bfloat16) if dtype == "bf16" else nullcontext()
    with torch.inference_mode():
        built = built_ahead(small(), images, context)
        error = (built.run(images).float() - small()(images)).abs().max()
    assert error <= (0.02 if dtype == "bf16" else 1e-5)
    assert 0 < built.load_ms < 1000 * built.build_s
    assert built.size_bytes > 8 * 27 * 4
    assert list(tmp_path.rglob("*.pt2")) == []
    assert len(folders := unpacked_folders()) == 1
    assert not any(Path(folder).exists() for folder in folders)
    del built
    assert unpacked_folders() == set()


def test_nobody_else_can_read_the_package(monkeypatch: pytest.MonkeyPatch) -> None:
    """It holds code that a process runs: its folder and the file itself are this user's alone."""
    seen: list[tuple[int, int]] = []

    def build(_exported: object, *, package_path: str, **_more: object) -> None:
        path = Path(package_path)
        path.write_bytes(b"built")
        seen.append((stat.S_IMODE(path.stat().st_mode), stat.S_IMODE(path.parent.stat().st_mode)))

    monkeypatch.setattr("torch._inductor.aoti_compile_and_package", build)
    monkeypatch.setattr("torch._inductor.aoti_load_package", lambda _: lambda images: images)
    previous = os.umask(0)
    try:
        built = built_ahead(small(), torch.rand(2, 3, 16, 16), nullcontext())
    finally:
        os.umask(previous)
    assert seen == [(0o600, 0o700)]
    assert built.size_bytes == len(b"built")


@pytest.mark.parametrize("name", ["ZgjQla", "aotinductor_ZgjQla"])
def test_a_mapped_library_shows_its_folder(name: str, tmp_path: Path) -> None:
    """PyTorch 2.8 and 2.14 unpack to folders of different names; other libraries do not count."""
    folder = str(Path("/tmp", name))  # noqa: S108 - where PyTorch unpacks
    maps = tmp_path / "maps"
    maps.write_text(
        f"7f-8f r-xp 0 fe:00 1 {folder}/model/data/aotinductor/model/c.wrapper.so\n"
        f"8f-9f r-xp 0 fe:00 1 {folder}/model/data/aotinductor/model/c.wrapper.so (deleted)\n"
        "9f-af r-xp 0 fe:00 1 /tmp/other_/lib.so\n"
    )
    assert unpacked_folders(maps) == {folder}


class DependsOnData(torch.nn.Module):
    """A model that no graph holds."""

    def forward(self, images: torch.Tensor) -> torch.Tensor:
        """Branch on a value."""
        return images * 2 if images.sum() > 0 else images


def test_a_model_that_cannot_be_exported_says_why() -> None:
    """The error names who refuses."""
    with pytest.raises(ExportError, match=r"^torch\.export cannot take this model: \S"):
        built_ahead(DependsOnData(), torch.rand(2, 3, 8, 8), nullcontext())
