"""Run git with the user's configuration, for the repository that a folder is in.

commit = git(folder, "rev-parse", "HEAD")
"""

from __future__ import annotations

import os
import subprocess
from pathlib import Path

from bench.errors import BenchError

_TIMEOUT_S = 300
_LONGEST_REASON = 500
_SETTINGS = ("-c", "core.hooksPath=/dev/null", "-c", "core.fileMode=false")
"""No hooks run; file modes are ignored, since mounted folders change them."""
_LOCATIONS = ("GIT_DIR", "GIT_WORK_TREE", "GIT_COMMON_DIR")
_REPOSITORY_VARIABLES = (
    *_LOCATIONS,
    "GIT_INDEX_FILE",
    "GIT_OBJECT_DIRECTORY",
    "GIT_ALTERNATE_OBJECT_DIRECTORIES",
    "GIT_SHALLOW_FILE",
    "GIT_GRAFT_FILE",
    "GIT_NAMESPACE",
    "GIT_PREFIX",
    "GIT_INTERNAL_SUPER_PREFIX",
    "GIT_IMPLICIT_WORK_TREE",
    "GIT_QUARANTINE_PATH",
)
"""What git sets for its hooks (`git rev-parse --local-env-vars`), without variables of
configuration (`GIT_CONFIG_COUNT`, `GIT_CONFIG_GLOBAL`, ...), which stay."""


def git(folder: Path, *arguments: str) -> str:
    """Run git in `folder` and return what it prints.

    Raises:
        BenchError: git is missing or fails; has git's message.
    """
    try:
        done = subprocess.run(
            ["git", *_SETTINGS, "-C", str(folder), *arguments],
            stdin=subprocess.DEVNULL,
            capture_output=True,
            text=True,
            errors="replace",
            check=False,
            timeout=_TIMEOUT_S,
            env={**_environment(folder.resolve()), "LC_ALL": "C", "GIT_TERMINAL_PROMPT": "0"},
        )
    except FileNotFoundError as error:
        raise BenchError("git is not installed, or not on the PATH") from error
    except OSError as error:
        raise BenchError(f"cannot run git: {error.strerror}") from error
    except subprocess.TimeoutExpired as error:
        raise BenchError(f"git {arguments[0]} did not end in {_TIMEOUT_S} s") from error
    if done.returncode:
        message = " ".join(done.stderr.split()) or f"exit code {done.returncode}"
        raise BenchError(f"git {arguments[0]} failed: {message[:_LONGEST_REASON]}")
    return done.stdout.strip()


def has_changes(project: Path) -> bool:
    """Return whether a tracked file of the folder differs from the commit."""
    return bool(git(project, "status", "--porcelain", "--untracked-files=no", "--", "."))


def _environment(folder: Path) -> dict[str, str]:
    """Return the user's variables without those that name another repository than the folder's."""
    kept = {key: value for key, value in os.environ.items() if key not in _REPOSITORY_VARIABLES}
    above = (folder, *folder.parents)
    tree = os.environ.get("GIT_WORK_TREE")
    if tree and Path(tree).resolve() in above and not any((one / ".git").exists() for one in above):
        # a working tree without a `.git`, whose repository is elsewhere: only these name it
        kept |= {
            key: str(Path(os.environ[key]).resolve()) for key in _LOCATIONS if key in os.environ
        }
    return kept
