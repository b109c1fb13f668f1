"""What `make` refuses and what it would run, without installing anything."""

from __future__ import annotations

import os
import shlex
import subprocess
import sys
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from pillqc.rendering.dataset import RenderPlan, render_dataset

if TYPE_CHECKING:
    from collections.abc import Callable

ROOT = Path(__file__).parents[1]


def make(*arguments: str, path: str | None = None) -> subprocess.CompletedProcess[str]:
    """`make` at the root of the project, with that PATH."""
    command = ["make", "-C", str(ROOT), "--no-print-directory", *arguments]
    variables = os.environ | ({"PATH": path} if path else {})
    return subprocess.run(command, capture_output=True, text=True, check=False, env=variables)


@pytest.mark.parametrize(
    ("target", "given", "unknown"),
    [
        ("known-envs", "ENVS=ipex nightly", "ENVS=nightly"),
        ("known-backends", "BACKENDS=onnxruntime tvm", "BACKENDS=tvm"),
        ("known-backends", "BACKENDS=zentorch", "BACKENDS=zentorch"),
    ],
)
def test_an_unknown_choice_is_one_line(target: str, given: str, unknown: str) -> None:
    """Before anything is installed: pip would only warn of an extra that does not exist."""
    done = make(target, given)
    assert done.returncode
    assert done.stderr.startswith(f"make: {unknown} ")


@pytest.mark.parametrize(
    ("envs", "given"),
    [
        ("ipex", []),
        ("ipex latest", ["--env torch-latest=.venv-latest"]),
        ("mine=/opt/python", ["--env mine=/opt/python"]),
    ],
)
def test_environments_reach_the_command(envs: str, given: list[str]) -> None:
    """`latest` is built first, and then handed over by its folder."""
    shown = make("bench", "--dry-run", f"ENVS={envs}").stdout
    (line,) = [line for line in shown.splitlines() if "bench run" in line]
    assert [part for part in given if part in line] == given
    assert line.count("--env ") == len(given)
    assert ("constraints-latest.txt" in shown) == ("latest" in envs)


def test_a_path_with_spaces_is_one_environment() -> None:
    """Its spaces are written as in a shell, since make takes each other one for the next name."""
    envs = r"ipex mine=/opt/my\ env/bin/python"
    (line,) = make("bench", "--dry-run", f"ENVS={envs}").stdout.splitlines()[-1:]
    words = shlex.split(line)
    assert words[words.index("--env") + 1 :] == ["mine=/opt/my env/bin/python"]
    assert make("known-envs", f"ENVS={envs}").returncode == 0
    assert make("known-envs", r"ENVS=no\ name").stderr.startswith(
        r"make: ENVS=no\ name is not known"
    )


def test_further_backends_are_installed_when_named() -> None:
    """By the extra of their name."""
    shown = make("bench", "--dry-run", "BACKENDS=onnxruntime").stdout
    assert "-e '.[ipex,onnxruntime]'" in shown
    assert "--backend onnxruntime" in shown


def test_a_backend_for_a_newer_pytorch_is_installed_beside_it() -> None:
    """In the version of its extra; an environment of the user's own is the user's."""
    shown = make("bench", "--dry-run", "BACKENDS=zentorch openvino", "ENVS=ipex latest").stdout
    assert ".venv-latest/bin/python -m pip install" in shown
    assert "-c constraints-latest.txt 'zentorch==2.14.0.1'" in shown
    assert "-e '.[ipex,openvino]'" in shown
    assert "[ipex,zentorch]" not in shown
    assert "--backend zentorch --backend openvino" in shown
    own = make("bench", "--dry-run", "BACKENDS=zentorch", "ENVS=mine=/opt/python").stdout
    assert "zentorch==" not in own
    assert "--env mine=/opt/python --backend zentorch" in own


def test_a_backend_without_an_environment_to_run_in_is_one_line() -> None:
    """Before anything is installed."""
    done = make("known-backends", "BACKENDS=zentorch")
    assert done.returncode
    words = 'make: BACKENDS=zentorch needs a newer PyTorch than IPEX\'s: say ENVS="ipex latest" too'
    assert done.stderr.startswith(words)


def commands(folder: Path, *arguments: str) -> list[list[str]]:
    """What make has the Python of its environment do, where all is installed already."""
    environment = folder / "env"
    python = environment / "bin/python"
    python.parent.mkdir(parents=True)
    python.write_text("""#!/bin/sh\nprintf '%s\\t' run "$@"; echo\n""")
    python.chmod(0o755)
    for stamp in (".created", ".installed"):
        (environment / stamp).touch()
    done = make(*arguments, f"VENV={environment}")
    assert done.returncode == 0, done.stderr
    lines = [line.split("\t")[:-1] for line in done.stdout.splitlines()]
    return [words[2:] for words in lines if words[:2] == ["run", "-m"]]


def own_pills(folder: Path) -> None:
    """Real pills in MVTec AD's layout, with a description of somebody's own."""
    for kind in ("train/good", "test/good", "test/crack"):
        (folder / kind).mkdir(parents=True)
        (folder / kind / "0.png").touch()
    (folder / "dataset.json").write_text('{"camera": "4"}')


@pytest.mark.parametrize(
    ("target", "command"),
    [
        ("bench", ["bench", "run", "--profile", "standard"]),
        ("gate", ["bench", "gate"]),
        ("tutorial", ["bench", "tutorial"]),
        ("train", ["pillqc", "train"]),
    ],
)
@pytest.mark.parametrize("name", ["pills", "it's my $HOME (new)"])
def test_real_pills_are_used_as_they_are(
    tmp_path: Path, target: str, command: list[str], name: str
) -> None:
    """Whatever their folder is called; nothing is rendered into it."""
    own_pills(tmp_path / name)
    given = f"DATA={tmp_path / name}".replace("$", "$$")
    assert commands(tmp_path, target, given) == [[*command, "--data", str(tmp_path / name)]]


def rendered(folder: Path) -> None:
    """As few pills as possible, rendered by pillqc."""
    plan = RenderPlan(size=32, train_good=1, test_good=1, per_defect=1)
    render_dataset(folder, plan, jobs=1)


def without_good_pills(folder: Path) -> None:
    """A folder that was meant by nobody."""
    (folder / "holiday").mkdir(parents=True)
    (folder / "holiday/0.png").touch()


@pytest.mark.parametrize(
    "make_folder", [lambda _: None, Path.mkdir, Path.touch, rendered, without_good_pills]
)
def test_the_renderer_decides_about_all_but_real_pills(
    tmp_path: Path, make_folder: Callable[[Path], None]
) -> None:
    """It renders what is missing, reuses its own, and refuses what a wrong name leads to."""
    data = tmp_path / "my pills"
    make_folder(data)
    assert commands(tmp_path, "tutorial", f"DATA={data}") == [
        ["pillqc", "render", "--out", str(data)],
        ["bench", "tutorial", "--data", str(data)],
    ]


def test_the_home_folder_may_be_meant(tmp_path: Path) -> None:
    """Not every shell puts it there before make sees it."""
    own_pills(tmp_path / "my pills")
    found = commands(tmp_path, "train", "DATA=~/my pills", f"HOME={tmp_path}")
    assert found == [["pillqc", "train", "--data", str(tmp_path / "my pills")]]


@pytest.mark.parametrize(
    ("target", "given", "command"),
    [
        ("gate", "AGAINST=main@{1 day ago}", "gate --against 'main@{1 day ago}' --data data/pills"),
        ("report", "RUN=my runs/1", "report 'my runs/1'"),
        ("report", "RUN=", "report"),
    ],
)
def test_a_value_with_spaces_is_one_argument(
    tmp_path: Path, target: str, given: str, command: str
) -> None:
    """And an empty one is none."""
    *_, last = commands(tmp_path, target, given)
    assert shlex.join(last) == f"bench {command}"


FAKE = """#!/bin/sh
[ "$1" = -m ] && {{ echo "venv by $(basename "$0")"; exit 1; }}
CODE="$2" exec {python} -c \
    'import os, sys; sys.version_info = (3, {minor}, 0); exec(os.environ["CODE"])'
"""


def pythons(folder: Path, **minors: int) -> str:
    """A PATH on which these programs say that they are Python 3 of that minor version."""
    names = ("python3", "python3_12", "python3_11", "python3_10", "of_uv")
    for name in names:
        program = folder / name.replace("_", ".")
        found = FAKE.format(python=sys.executable, minor=minors.get(name))
        program.write_text(found if name in minors else "#!/bin/sh\nexit 127\n")
        program.chmod(0o755)
    uv = folder / "uv"
    uv.write_text(f"#!/bin/sh\necho '{folder}/of.uv'\n" if "of_uv" in minors else "")
    uv.chmod(0o755)
    return f"{folder}:/usr/bin:/bin"


@pytest.mark.parametrize(
    ("minors", "taken"),
    [
        ({"python3": 11, "python3_12": 12}, "python3"),
        ({"python3": 13, "python3_12": 12}, "python3.12"),
        ({"python3": 14, "python3_12": 14, "python3_11": 11}, "python3.11"),
        ({"python3": 9, "python3_10": 10}, "python3.10"),
        ({"python3": 14, "of_uv": 12}, "of.uv"),
    ],
)
def test_a_python_for_ipex_is_found(tmp_path: Path, minors: dict[str, int], taken: str) -> None:
    """Today's systems have a later one as python3, and often an earlier one beside it."""
    done = make(
        f"{tmp_path}/env/.created", f"VENV={tmp_path}/env", path=pythons(tmp_path, **minors)
    )
    assert done.stdout.splitlines()[0] == f"venv by {taken}"


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        ((), "uv python install 3.12"),
        (("PYTHON=python3.10",), "PYTHON="),
    ],
)
def test_without_such_a_python_one_line_says_how_to_get_one(
    tmp_path: Path, arguments: tuple[str, ...], words: str
) -> None:
    """Nothing is created before."""
    path = pythons(tmp_path, python3=13, python3_10=9)
    done = make(f"{tmp_path}/env/.created", f"VENV={tmp_path}/env", *arguments, path=path)
    assert done.stderr.startswith("make: ")
    assert words in done.stderr
    assert not (tmp_path / "env").exists()


def test_a_python_may_lie_in_a_folder_with_spaces(tmp_path: Path) -> None:
    """Named, or found by uv in somebody's home."""
    folder = tmp_path / "a b"
    folder.mkdir()
    path = pythons(folder, python3=13, of_uv=12)
    goal = (f"{tmp_path}/env/.created", f"VENV={tmp_path}/env")
    assert make(*goal, path=path).stdout.splitlines() == ["venv by of.uv"]
    named = make(*goal, f"PYTHON={folder}/of.uv", path="/usr/bin:/bin")
    assert named.stdout.splitlines() == ["venv by of.uv"]


def test_a_later_python_is_taken_where_it_is_named(tmp_path: Path) -> None:
    """All but IPEX works there, and that is said."""
    path = pythons(tmp_path, python3=13)
    goal = (f"{tmp_path}/env/.created", f"VENV={tmp_path}/env", "PYTHON=python3")
    said = make(*goal, path=path).stdout.splitlines()
    assert "all but IPEX works" in said[0]
    assert said[1] == "venv by python3"
