"""The workflows: pinned, with no more rights than they need, and clean for a linter."""

from __future__ import annotations

import os
import re
import subprocess
import sys
import textwrap
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


def test_a_request_is_gated_against_the_first_parent_of_its_merge(tmp_path: Path) -> None:
    """The event's own base is older than what was merged, and main's doing would be the request's.

    The step runs as it stands, with an interpreter that only says what it was asked.
    """
    text = (ROOT / ".github" / "workflows" / "gate.yml").read_text()
    assert "pull_request.base" not in text
    found = re.search(r"BASE: \$\{\{ github.event.merge_group.base_sha \|\| '(.+)' \}\}", text)
    script = re.search(r"        run: \|\n((?: {10}.*\n)+)", text)
    assert found is not None
    assert script is not None
    python = tmp_path / ".venv" / "bin" / "python"
    python.parent.mkdir(parents=True)
    python.write_text('#!/bin/sh\necho "$@" >asked; exit 11\n')
    python.chmod(0o755)
    subprocess.run(
        ["bash", "-e", "-c", textwrap.dedent(script[1])],
        cwd=tmp_path,
        check=True,
        env={**os.environ, "BASE": found[1], "GITHUB_OUTPUT": str(tmp_path / "output")},
    )
    assert "bench gate --against HEAD^1 " in (tmp_path / "asked").read_text()
    assert (tmp_path / "output").read_text() == "code=11\n"


def test_a_gate_that_failed_is_red_where_the_verdict_alone_is_required() -> None:
    """GitHub skips a job after one that failed, and a skipped job counts as passed."""
    text = (ROOT / ".github" / "workflows" / "gate.yml").read_text()
    job = text.split("\n  verdict:")[1]
    assert "if: ${{ !cancelled() && needs.measure.outputs.code != '11' }}" in job
    script = re.search(r"run: (test .*)", job)
    assert script is not None
    for code, rc in (("0", 0), ("10", 1), ("1", 1), ("", 1)):
        done = subprocess.run(["bash", "-e", "-c", script[1]], env={"CODE": code}, check=False)
        assert done.returncode == rc


def test_the_gate_runs_for_requests_queues_and_main() -> None:
    """A required job that a merge queue never starts would block it for ever."""
    text = (ROOT / ".github" / "workflows" / "gate.yml").read_text()
    events = text.split("\non:")[1].split("\npermissions:")[0]
    assert re.findall(r"^  (\w+):", events, re.MULTILINE) == ["pull_request", "merge_group", "push"]


def zizmor(*workflows: Path) -> subprocess.CompletedProcess[str]:
    """The linter's findings; offline, so that it needs nothing but the files."""
    command = [str(ZIZMOR), "--offline", "--no-progress", *map(str, workflows)]
    return subprocess.run(command, capture_output=True, text=True, check=False)


def test_the_linter_finds_nothing() -> None:
    """In the three workflows."""
    done = zizmor(*WORKFLOWS)
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
    done = zizmor(workflow)
    assert done.returncode != 0
    assert "template-injection" in done.stdout
