"""What compiler and loader are given holds no spaces, wherever checkout, home and results lie."""

from __future__ import annotations

import json
import subprocess
import sys
import tempfile
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from bench.engine.worker_process import worker_arguments
from bench.machine import plain_paths
from bench.machine.worker_settings import worker_environment

if TYPE_CHECKING:
    from collections.abc import Iterator


@pytest.fixture(autouse=True)
def _own_links() -> Iterator[None]:
    """Links of a test end with it."""
    plain_paths.link_folder.cache_clear()
    yield
    plain_paths.link_folder.cache_clear()


@pytest.fixture
def spaced(tmp_path: Path) -> Path:
    """A folder as somebody's `My results (new)` is."""
    folder = tmp_path / "My results (new)"
    folder.mkdir()
    return folder


def environment_in(folder: Path, *settings: str) -> Path:
    """An environment in a folder, of a Python that is installed in another one; its interpreter."""
    base = folder / "base"
    base.symlink_to(sys.base_prefix)
    (folder / "env/bin").mkdir(parents=True)
    (folder / "env/pyvenv.cfg").write_text(
        "\n".join([f"home = {base}/bin", *settings, "version = 3\n"])
    )
    (folder / "env/lib").symlink_to(Path(sys.prefix) / "lib")
    python = folder / "env/bin/python"
    python.symlink_to(base / "bin" / Path(sys.executable).resolve().name)
    return python


def test_a_plain_path_stays_itself(tmp_path: Path) -> None:
    """Nothing is made for it, not even the folder."""
    assert plain_paths.plain(tmp_path / "cache") == tmp_path / "cache"
    assert not (tmp_path / "cache").exists()
    assert plain_paths.interpreter(Path(sys.executable)) == Path(sys.executable)


@pytest.mark.parametrize(
    "name", ["a b", "a:b", "tab\tname", "it's", 'a"b', "a\\b", "a(b)", "$HOME"]
)
def test_a_link_leads_to_what_has_another_path(tmp_path: Path, name: str) -> None:
    """What is written there is in the folder itself; a second call gives the same link."""
    folder = tmp_path / name / "cache"
    link = plain_paths.plain(folder)
    assert plain_paths.is_plain(link)
    (link / "x").write_text("1")
    assert (folder / "x").read_text() == "1"
    assert plain_paths.plain(folder) == link


def test_a_link_is_short_where_temporary_files_have_a_long_path(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Else the link that is to shorten a path would lengthen it."""
    long = tmp_path / ("temporary-" + 40 * "x")
    long.mkdir()
    monkeypatch.setattr(tempfile, "tempdir", str(long))
    plain_paths.link_folder.cache_clear()
    link = plain_paths.plain(tmp_path / ("results-" + 90 * "x"), 70)
    assert len(str(link)) <= 70
    assert list(long.iterdir()) == []
    plain_paths.link_folder.cache_clear()


def test_a_worker_is_given_plain_paths_only(spaced: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Its cache, its temporary files, and the packages and headers of its Python."""
    monkeypatch.setattr(tempfile, "tempdir", str(spaced))
    made = worker_environment(1, spaced / "cache")
    assert plain_paths.is_plain(made["TORCHINDUCTOR_CACHE_DIR"])
    assert plain_paths.is_plain(made["TMPDIR"])
    (python, *_) = worker_arguments(environment_in(spaced), [])
    say = "import json, sys, sysconfig, numpy"
    say += "; print(json.dumps([*sysconfig.get_paths().values(), sys.prefix, numpy.__file__]))"
    done = subprocess.run([python, "-c", say], capture_output=True, text=True, check=True)
    paths = json.loads(done.stdout)
    assert [path for path in paths if not plain_paths.is_plain(path)] == []


@pytest.mark.parametrize(
    ("settings", "isolated"),
    [
        (["include-system-site-packages = false"], True),
        (["include-system-site-packages = true"], False),
        ([], False),
    ],
)
def test_a_worker_has_packages_from_where_its_environment_has_them(
    spaced: Path, settings: list[str], isolated: bool
) -> None:
    """An isolated environment has none of those beside the Python that it was made of."""
    python = environment_in(spaced, *settings)
    (mirrored, *_) = worker_arguments(python, [])
    say = "import json, site, sys; print(json.dumps([site.PREFIXES == [sys.prefix], sys.prefix]))"
    found = {}
    for one in (mirrored, python):
        done = subprocess.run([one, "-c", say], capture_output=True, text=True, check=True)
        alone, prefix = json.loads(done.stdout)
        found[plain_paths.is_plain(prefix)] = alone
    assert found == {True: isolated, False: isolated}


def test_without_a_plain_folder_all_stays(spaced: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A compiled scenario then says why itself, and the others run."""
    monkeypatch.setattr(plain_paths, "PLACES", ())
    monkeypatch.setattr(tempfile, "tempdir", str(spaced))
    python = environment_in(spaced)
    assert plain_paths.plain(spaced) == spaced
    assert plain_paths.interpreter(python) == python
