"""The workflows: pinned, with no more rights than they need, and clean for a linter."""

from __future__ import annotations

import re
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]
WORKFLOWS = sorted((ROOT / ".github" / "workflows").glob("*.yml"))
ZIZMOR = Path(sys.executable).with_name("zizmor")
PINNED = re.compile(r"uses: [\w.-]+/[\w./-]+@[0-9a-f]{40} # v\d+\.\d+\.\d+$")


def test_there_are_the_three_workflows() -> None:
    """Tests, gate and the full bench."""
    assert [path.name for path in WORKFLOWS] == ["bench.yml", "gate.yml", "tests.yml"]


@pytest.mark.parametrize("path", WORKFLOWS, ids=lambda path: path.name)
def test_every_action_is_pinned_by_its_whole_commit(path: Path) -> None:
    """A tag can be moved to other code; the comment says which version the commit is."""
    lines = [line.strip().removeprefix("- ") for line in path.read_text().splitlines()]
    uses = [line for line in lines if line.startswith("uses:")]
    assert uses
    assert [line for line in uses if not PINNED.fullmatch(line)] == []


@pytest.mark.parametrize("path", WORKFLOWS, ids=lambda path: path.name)
def test_nothing_is_permitted_but_reading(path: Path) -> None:
    """The whole workflow gets no rights, and its jobs at most the right to read the code."""
    text = path.read_text()
    assert "\npermissions: {}\n" in text
    assert "write" not in re.findall(r"^\s+\w+: (\w+)$", text, re.MULTILINE)
    assert "pull_request_target" not in text
    assert "secrets." not in text


def test_the_self_hosted_runner_never_runs_a_pull_request() -> None:
    """It is a machine that outlives the job."""
    for path in WORKFLOWS:
        text = path.read_text()
        assert ("self-hosted" in text) == (path.name == "bench.yml")
        if "self-hosted" in text.split("jobs:")[1]:
            assert "pull_request" not in text.split("jobs:")[0].split("\non:")[1]


def test_the_linter_finds_nothing() -> None:
    """Offline, so that it needs nothing but the files."""
    done = subprocess.run(
        [str(ZIZMOR), "--offline", "--no-progress", *map(str, WORKFLOWS)],
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stdout + done.stderr


def test_the_linter_finds_what_is_wrong(tmp_path: Path) -> None:
    """A moving tag, all rights, and a pull request's title pasted into a shell."""
    workflow = tmp_path / "bad.yml"
    workflow.write_text(
        "on: pull_request_target\n"
        "permissions: write-all\n"
        "jobs:\n"
        "  bad:\n"
        "    runs-on: ubuntu-latest\n"
        "    steps:\n"
        "      - uses: actions/checkout@v5\n"
        '      - run: echo "${{ github.event.pull_request.title }}"\n'
    )
    done = subprocess.run(
        [str(ZIZMOR), "--offline", "--no-progress", str(workflow)],
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode != 0
    assert "template-injection" in done.stdout
