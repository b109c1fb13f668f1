"""Which commit the gate compares with, in the repositories that people and CI check out."""

from __future__ import annotations

import os
import shutil
from dataclasses import dataclass
from typing import TYPE_CHECKING

import pytest

from bench.errors import BenchError
from bench.gate import base
from bench.gate.result import NoVerdictError
from tests.bench.git_repository import git

if TYPE_CHECKING:
    from pathlib import Path


@dataclass(frozen=True, kw_only=True)
class Repository:
    """A repository of the project, its commits one file each."""

    folder: Path

    def git(self, *arguments: str) -> str:
        """Git in it."""
        return git(self.folder, *arguments)

    def commit(self, name: str) -> str:
        """One more commit; returns it."""
        (self.folder / "bench" / name).write_text(name)
        self.git("add", ".")
        self.git("commit", "--quiet", "--message", name)
        return self.git("rev-parse", "HEAD")

    def clone(self, name: str, *options: str) -> Repository:
        """A clone beside it."""
        folder = self.folder.with_name(name)
        self.git("clone", "--quiet", *options, f"file://{self.folder}", str(folder))
        return Repository(folder=folder)

    def fetched(self, reference: str, *, depth: int = 20) -> Repository:
        """A clone of one reference without a branch, as CI makes it, beside this repository."""
        clone = Repository(folder=self.folder.with_name("ci"))
        clone.folder.mkdir()
        clone.git("init", "--quiet")
        clone.git(
            "fetch",
            "--quiet",
            f"--depth={depth}",
            f"file://{self.folder}",
            f"+{reference}:refs/remotes/ci",
        )
        clone.git("checkout", "--quiet", "--detach", "refs/remotes/ci")
        return clone

    def found(self, revision: str | None = None) -> str:
        """What the gate compares with."""
        return base.resolve(base.project(self.folder, self.folder), revision).commit


@pytest.fixture
def repository(tmp_path: Path) -> Repository:
    """One commit on main."""
    made = Repository(folder=tmp_path / "repository")
    for file in ("bench/__init__.py", "pillqc/__init__.py"):
        (made.folder / file).parent.mkdir(parents=True)
        (made.folder / file).touch()
    made.git("init", "--quiet", "--initial-branch", "main")
    made.commit("first")
    return made


@dataclass(frozen=True, kw_only=True)
class Request:
    """A pull request's merge, and the two commits of main that matter."""

    left: str
    """Where the request left main: what the event calls its base."""
    parent: str
    """The first parent of the merge."""
    merge: str


def merged(repository: Repository, into: str = "main") -> Request:
    """The request's merge into a branch that moved on, twice; on no branch, as on a forge."""
    left = repository.git("rev-parse", "HEAD")
    repository.git("switch", "--quiet", "--create", "topic")
    repository.commit("topic")
    repository.git("switch", "--quiet", into)
    parent = repository.commit("moved on")
    repository.git("switch", "--quiet", "--detach")
    repository.git("merge", "--quiet", "--no-ff", "--message", "merge", "topic")
    merge = repository.git("rev-parse", "HEAD")
    repository.git("update-ref", "refs/pull/1/merge", merge)
    repository.git("switch", "--quiet", into)
    repository.commit("moved on again")
    return Request(left=left, parent=parent, merge=merge)


def test_a_request_is_compared_with_its_merges_first_parent(
    repository: Repository,
) -> None:
    """Whatever main brought since the request left it is not the request's doing."""
    request = merged(repository)
    repository.git("switch", "--quiet", "--detach", request.merge)
    assert repository.found() == request.parent
    assert repository.found("HEAD^1") == request.parent


def test_a_request_into_another_branch(
    repository: Repository, monkeypatch: pytest.MonkeyPatch
) -> None:
    """CI says which: where that one left main lies far behind."""
    repository.git("switch", "--quiet", "--create", "release")
    repository.commit("released")
    request = merged(repository, into="release")
    clone = repository.clone("clone")
    clone.git("fetch", "--quiet", "origin", "refs/pull/1/merge")
    clone.git("switch", "--quiet", "--detach", request.merge)
    monkeypatch.setenv("GITHUB_BASE_REF", "release")
    assert clone.found() == request.parent


@pytest.mark.parametrize("depth", [1, 2])
def test_shallow_merge(repository: Repository, monkeypatch: pytest.MonkeyPatch, depth: int) -> None:
    """With depth 2 the merge's first parent is there without its branch; with 1 nothing is."""
    request = merged(repository)
    clone = repository.fetched("refs/pull/1/merge", depth=depth)
    monkeypatch.setenv("GITHUB_BASE_REF", "main")
    monkeypatch.setenv("GITHUB_REF", "refs/pull/1/merge")
    if depth == 2:
        assert clone.found() == request.parent
    else:
        with pytest.raises(NoVerdictError, match="fetch-depth: 0"):
            clone.found()
        with pytest.raises(BenchError, match="fetch-depth: 0"):
            clone.found("HEAD^1")


OF_REQUEST = [
    {"GITHUB_REF": "refs/pull/12/merge", "GITHUB_BASE_REF": "main"},
    {"CI_MERGE_REQUEST_EVENT_TYPE": "merged_result"},
    {"CI_MERGE_REQUEST_EVENT_TYPE": "merge_train", "CI_DEFAULT_BRANCH": "main"},
]
OF_BRANCH: list[dict[str, str]] = [
    {},
    {"GITHUB_REF": "refs/heads/topic"},
    {"GITHUB_REF": "refs/heads/pull/12/merge"},
    {"GITHUB_REF": "refs/pull/12/merge", "GITHUB_SHA": "of a commit that is not checked out"},
    {"CI_MERGE_REQUEST_EVENT_TYPE": "detached", "CI_DEFAULT_BRANCH": "main"},
]


@pytest.mark.parametrize("variables", OF_REQUEST)
def test_a_requests_merge_is_one_where_ci_says_so(
    repository: Repository, monkeypatch: pytest.MonkeyPatch, variables: dict[str, str]
) -> None:
    """Its first parent needs no target branch. Of another checkout CI says nothing."""
    request = merged(repository)
    clone = repository.fetched("refs/pull/1/merge")
    for name, value in variables.items():
        monkeypatch.setenv(name, value)
    assert clone.found() == request.parent
    built = "GITHUB_SHA" if "GITHUB_REF" in variables else "CI_COMMIT_SHA"
    monkeypatch.setenv(built, request.merge)
    assert clone.found() == request.parent
    monkeypatch.setenv(built, request.left)
    with pytest.raises(NoVerdictError):
        clone.found()


@pytest.mark.parametrize("variables", OF_BRANCH)
def test_a_branch_that_main_was_merged_into_is_never_its_own_base(
    repository: Repository, monkeypatch: pytest.MonkeyPatch, variables: dict[str, str]
) -> None:
    """The first parent of such a merge is the branch's own work, slow or not."""
    repository.git("switch", "--quiet", "--create", "topic")
    repository.commit("slow")
    repository.git("switch", "--quiet", "main")
    main = repository.commit("moved on")
    repository.git("switch", "--quiet", "topic")
    repository.git("merge", "--quiet", "--no-ff", "--message", "Merge main into topic", "main")
    clone = repository.fetched("refs/heads/topic")
    for name, value in variables.items():
        monkeypatch.setenv(name, value)
    with pytest.raises(NoVerdictError, match="fetch-depth: 0"):
        clone.found()
    clone.git("fetch", "--quiet", f"file://{repository.folder}", "main:refs/remotes/origin/main")
    assert clone.found() == main


def test_main_itself_is_compared_with_the_commit_before(repository: Repository) -> None:
    """Also after a merge, on a tag, and where the remote's main is further."""
    before = repository.git("rev-parse", "HEAD")
    head = repository.commit("second")
    assert repository.found() == before
    repository.git("tag", "main", "HEAD^1")  # of the same name as the branch
    assert repository.found() == before
    repository.git("tag", "v1")
    repository.commit("third")
    clone = repository.clone("clone")
    clone.git("switch", "--quiet", "--detach", "v1")
    assert clone.found() == before
    clone.git("switch", "--quiet", "--create", "topic", head)
    clone.git("switch", "--quiet", "main")
    clone.commit("fourth")
    clone.git("update-ref", "refs/remotes/origin/main", "HEAD")
    clone.git("merge", "--quiet", "--no-ff", "--message", "merge", "topic")
    assert clone.found() == clone.git("rev-parse", "HEAD^1")


def test_the_first_commit_of_main_has_nothing_before_it(repository: Repository) -> None:
    """That is no verdict, and so is a clone that lacks the commit before."""
    with pytest.raises(NoVerdictError, match="nothing to compare") as caught:
        repository.found()
    assert caught.value.exit_code == 11
    repository.commit("second")
    with pytest.raises(NoVerdictError, match="fetch-depth: 0"):
        repository.clone("clone", "--depth=1").found()


def test_changes_on_main_are_compared_with_their_commit(
    repository: Repository, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Files that git does not know yet too; in CI what a build writes is nobody's change."""
    before = repository.git("rev-parse", "HEAD")
    head = repository.commit("second")
    (repository.folder / "README.md").write_text("not code")
    assert repository.found() == before
    (repository.folder / "bench" / "new.py").write_text("code")
    assert repository.found() == head
    monkeypatch.setenv("CI", "true")
    assert repository.found() == before


def test_a_default_branch_by_name(repository: Repository, monkeypatch: pytest.MonkeyPatch) -> None:
    """A clone knows the remote's; without one the commit must be named: a guess may be wrong."""
    repository.git("branch", "--move", "trunk")
    left = repository.git("rev-parse", "HEAD")
    clone = repository.clone("clone")
    clone.git("switch", "--quiet", "--create", "topic")
    clone.commit("topic")
    assert clone.found() == left
    clone.git("remote", "set-head", "origin", "--delete")
    with pytest.raises(BenchError, match="--against"):
        clone.found()
    monkeypatch.setenv("CI_DEFAULT_BRANCH", "trunk")
    assert clone.found() == left


def test_a_worktree_has_a_file_for_its_git_folder(repository: Repository, tmp_path: Path) -> None:
    """Both are compared like any other checkout."""
    left = repository.git("rev-parse", "HEAD")
    repository.git("worktree", "add", "--quiet", "-b", "topic", str(tmp_path / "linked"))
    linked = Repository(folder=tmp_path / "linked")
    linked.commit("topic")
    assert linked.found() == left
    outer = Repository(folder=tmp_path / "outer")
    outer.folder.mkdir()
    outer.git("init", "--quiet")
    allowed = ("-c", "protocol.file.allow=always")
    outer.git(*allowed, "submodule", "--quiet", "add", str(repository.folder), "inner")
    inner = Repository(folder=outer.folder / "inner")
    inner.git("switch", "--quiet", "--create", "topic")
    inner.commit("topic")
    assert base.top_level(inner.folder) == inner.folder
    assert inner.found() == left


def test_git_variables(
    repository: Repository, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Containers allow another owner's checkout so; without it the error is git's own.

    The git of this test stands for another owner's checkout, which only root could make.
    """
    fake = tmp_path / "bin" / "git"
    fake.parent.mkdir()
    refuses = "fatal: detected dubious ownership: git config --global --add safe.directory"
    fake.write_text(
        f'#!/bin/sh\n[ "$GIT_CONFIG_KEY_0" ] && exec {shutil.which("git")} "$@"\n'
        f"echo '{refuses}' >&2; exit 128\n"
    )
    fake.chmod(0o755)
    monkeypatch.setenv("PATH", f"{fake.parent}:{os.environ['PATH']}")
    with pytest.raises(BenchError, match=r"dubious ownership.*safe\.directory"):
        base.top_level(repository.folder)
    for name, value in (("COUNT", "1"), ("KEY_0", "safe.directory"), ("VALUE_0", "*")):
        monkeypatch.setenv(f"GIT_CONFIG_{name}", value)
    assert base.top_level(repository.folder) == repository.folder


def test_a_repository_without_the_project_or_with_two_says_so(repository: Repository) -> None:
    """The sentence says where to run it."""
    (repository.folder / "old").mkdir()
    for package in ("bench", "pillqc"):
        repository.git("mv", package, f"old/{package}")
    assert base.project(repository.folder, repository.folder) == repository.folder / "old"
    shutil.copytree(repository.folder / "old", repository.folder / "new")
    repository.git("add", ".")
    with pytest.raises(BenchError, match="2 times"):
        base.project(repository.folder, repository.folder)
    inside = repository.folder / "new" / "bench"
    assert base.project(repository.folder, inside) == repository.folder / "new"
    repository.git("rm", "-r", "--quiet", "--force", ".")
    repository.folder.mkdir(exist_ok=True)
    with pytest.raises(BenchError, match="checkout"):
        base.project(repository.folder, repository.folder)
