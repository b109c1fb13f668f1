"""Find the commit that a gate compares with, and the project in its repository.

tree = top_level(folder)
base = resolve(project(tree, folder), None)    # None: the commit that HEAD's changes start from
"""

from __future__ import annotations

import os
import re
from dataclasses import dataclass
from pathlib import Path

from bench.errors import BenchError
from bench.gate.result import NoVerdictError
from bench.store.git import git, has_changes

CODE = ("bench", "pillqc", "pyproject.toml", "constraints.txt")
"""The files that decide how fast a side is."""
_PACKAGE = Path("bench", "__init__.py")
_MAIN_BRANCHES = (
    "refs/remotes/origin/HEAD",
    "refs/remotes/origin/main",
    "refs/heads/main",
    "refs/remotes/origin/master",
    "refs/heads/master",
)
_TARGETS = ("GITHUB_BASE_REF", "CI_MERGE_REQUEST_TARGET_BRANCH_NAME", "CI_DEFAULT_BRANCH")
"""Variables in which GitHub and GitLab name the branch that a request goes to, main or another."""
_REQUESTS_MERGE = {
    "GITHUB_REF": re.compile(r"refs/pull/\d+/merge"),
    "CI_MERGE_REQUEST_EVENT_TYPE": re.compile(r"merged_result|merge_train"),
}
"""What GitHub and GitLab say where they merged a request into its target, and build the merge."""
_BUILT = ("GITHUB_SHA", "CI_COMMIT_SHA")
"""Variables in which they name the commit that they build; a job may have checked out another."""
_FETCH = "fetch the whole history (`fetch-depth: 0` on GitHub, `GIT_DEPTH: 0` on GitLab)"


@dataclass(frozen=True, kw_only=True)
class Base:
    """The commit to compare with, and why this one."""

    commit: str
    why: str


def top_level(folder: Path) -> Path:
    """Return the working tree that contains `folder`.

    Raises:
        BenchError: it is in none, or git fails.
    """
    return Path(git(folder, "rev-parse", "--show-toplevel"))


def project(tree: Path, folder: Path) -> Path:
    """Return the project around `folder`, or the only one in the working tree.

    Raises:
        BenchError: there is none, or there are several and `folder` is in none of them.
    """
    here = folder.resolve()
    for one in (here, *here.parents):
        if one.is_relative_to(tree) and is_project(one):
            return one
    tracked = git(tree, "ls-files", "-z", "--", str(_PACKAGE), f"*/{_PACKAGE}").split("\0")
    found = {(tree / name).parents[1] for name in tracked if name}
    projects = sorted(one for one in found if is_project(one))
    if len(projects) == 1:
        return projects[0]
    several = f"contains pillqc-bench {len(projects)} times: run the gate in the folder of one"
    none = "does not contain pillqc-bench (bench/ and pillqc/): run the gate in a checkout of it"
    raise BenchError(f"{tree} {several if projects else none}")


def is_project(folder: Path) -> bool:
    """Return whether this folder contains both packages."""
    return (folder / _PACKAGE).is_file() and (folder / "pillqc" / "__init__.py").is_file()


def resolve(project: Path, revision: str | None) -> Base:
    """Return the named commit, or by default the one that HEAD's changes start from.

    Raises:
        NoVerdictError: this clone lacks the commit that HEAD's changes start from.
        BenchError: this clone has no commit of that name.
    """
    if revision is None:
        return _before_changes(project)
    found = _commit(project, revision)
    if found is None:
        raise BenchError(f"this clone has no commit {revision!r}: name another, or {_FETCH}")
    return Base(commit=found, why=f"named as {revision}")


def _before_changes(project: Path) -> Base:
    """Return where HEAD left its target branch; for a commit of that branch, the one before it.

    CI often checks a request out as its own merge into that branch. The result is then the merge's
    first parent, however far the branch has moved on since, also if the branch was not fetched. The
    first parent of any other merge may be a commit of the request itself.
    """
    branch = _target(project)
    left = branch and _git_or_none(project, "merge-base", "HEAD", branch)
    if not branch or not left:
        if _is_requests_merge(project) and (parent := _commit(project, "HEAD^1")):
            return Base(commit=parent, why="the first parent of the request's merge, which HEAD is")
        problem = "this clone has no main branch"
        if branch:
            problem = f"HEAD and {_short(branch)} have no common commit in this clone"
        raise NoVerdictError(f"{problem}: {_FETCH}, or name a commit with --against")
    if left != git(project, "rev-parse", "HEAD"):
        return Base(commit=left, why=f"where HEAD left {_short(branch)}")
    if not os.environ.get("CI") and git(project, "status", "--porcelain", "--", *CODE):
        return Base(commit=left, why="HEAD, whose code this tree changes")
    before = _commit(project, "HEAD^1")
    if before is None:
        raise NoVerdictError(
            f"HEAD is a commit of {_short(branch)} and this clone lacks the one before it, so "
            f"there is nothing to compare: {_FETCH}, or name a commit with --against"
        )
    return Base(commit=before, why=f"the commit before HEAD, which is one of {_short(branch)}")


def _is_requests_merge(project: Path) -> bool:
    """Return whether CI says that HEAD is the merge that it made of a request into its target."""
    made = any(form.fullmatch(os.environ.get(name, "")) for name, form in _REQUESTS_MERGE.items())
    head = git(project, "rev-parse", "HEAD")
    built = all(os.environ.get(name, head) == head for name in _BUILT)
    return made and built and _commit(project, "HEAD^2") is not None


def _target(project: Path) -> str | None:
    """Return the branch that HEAD goes to, or None if this clone lacks it."""
    named = next((os.environ[name] for name in _TARGETS if os.environ.get(name)), None)
    branches = (f"refs/remotes/origin/{named}", f"refs/heads/{named}") if named else _MAIN_BRANCHES
    return next((branch for branch in branches if _commit(project, branch)), None)


def _short(branch: str) -> str:
    return branch.removeprefix("refs/").removeprefix("heads/").removeprefix("remotes/")


def _commit(project: Path, revision: str) -> str | None:
    return _git_or_none(
        project, "rev-parse", "--verify", "--end-of-options", f"{revision}^{{commit}}"
    )


def _git_or_none(project: Path, *arguments: str) -> str | None:
    """Return what git prints, or None if it fails."""
    try:
        return git(project, *arguments)
    except BenchError:
        return None


def sources(project: Path) -> dict[Path, bytes]:
    """Return the working tree's code, which head's workers import."""
    found = (file for name in CODE for file in (project / name).rglob("*.py"))
    return {file: file.read_bytes() for file in found}


def describe_tree(project: Path) -> str:
    """Describe the project's working tree: its commit, and whether it has changes."""
    commit = git(project, "rev-parse", "--short=10", "HEAD")
    return f"{commit} with changes" if has_changes(project) else commit
