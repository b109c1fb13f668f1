"""Inspection in shards: parts, lost processes, merging."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import time
from pathlib import Path
from typing import TYPE_CHECKING

import pytest
from PIL import Image

from pillqc.errors import PillqcError, UsageError
from pillqc.inspection import shards
from pillqc.inspection.inspector import Inspection
from pillqc.inspection.shards import Shard
from pillqc.rendering.dataset import RenderPlan, render_dataset
from tests.pillqc import command

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator

    from click.testing import Result

    from pillqc.inspection.inspector import Decision
    from pillqc.inspection.prediction import Unreadable

IMAGES = [Path(f"{number}.png") for number in range(7)]


class LostError(Exception):
    """The process was killed."""


def inspecting(
    paths: Iterable[Path | Unreadable], *, lost_after: int | None = None
) -> Iterator[Inspection]:
    """Call every image good; raise `LostError` after some."""
    for done, path in enumerate(paths):
        if done == lost_after:
            raise LostError
        assert isinstance(path, Path)
        yield Inspection(path=path, decision="good", probability_bad=0.1, ms=1.0)


def run(shard: Shard, folder: Path, *, lost_after: int | None = None) -> tuple[int, int]:
    """Run one process of an inspection: how many images were done before, and now."""
    result = shards.inspect_shard(
        shard,
        folder,
        IMAGES,
        common="same",
        inspect=lambda own: inspecting(own, lost_after=lost_after),
    )
    return result.done_before, result.done_now


def test_shards_share_out_all_images_and_none_twice() -> None:
    """Every N-th, so that all have about as many, whatever is in the folders."""
    parts = [list(Shard(rank=rank, size=3).numbers(7)) for rank in range(3)]
    assert sorted(number for part in parts for number in part) == list(range(7))
    assert [len(part) for part in parts] == [3, 2, 2]
    assert list(Shard(rank=5, size=6).numbers(3)) == []


def test_the_shard_comes_from_the_option_or_from_torchrun() -> None:
    """Without both, one process takes all images."""
    assert shards.parse_shard("2/4") == Shard(rank=1, size=4)
    assert shards.parse_shard(None, {"RANK": "3", "WORLD_SIZE": "8"}) == Shard(rank=3, size=8)
    assert shards.parse_shard(None, {}) == Shard(rank=0, size=1)
    for wrong in ("0/4", "5/4", "2", "a/b"):
        with pytest.raises(UsageError, match="K/N"):
            shards.parse_shard(wrong)
    assert shards.parse_shard(None, {"RANK": "", "WORLD_SIZE": ""}) == Shard(rank=0, size=1)
    for rank in ("x", "-1", "2"):
        with pytest.raises(UsageError, match="--shard"):
            shards.parse_shard(None, {"RANK": rank, "WORLD_SIZE": "2"})


def test_merged_results_are_in_the_order_of_the_images(tmp_path: Path) -> None:
    """As one process would have given them."""
    for rank in (1, 0):
        run(Shard(rank=rank, size=2), tmp_path)
    merged = shards.merge(tmp_path)
    assert not merged.missing
    assert [result["path"] for result in merged.results] == [str(path) for path in IMAGES]
    assert all("number" not in result for result in merged.results)


def test_a_process_lost_in_the_middle_loses_nothing_that_was_done(tmp_path: Path) -> None:
    """Merging reports what is missing; a restart does only that and leaves the other shard."""
    first, second = Shard(rank=0, size=2), Shard(rank=1, size=2)
    run(second, tmp_path)
    with pytest.raises(LostError):
        run(first, tmp_path, lost_after=1)
    merged = shards.merge(tmp_path)
    assert merged.missing == {"1/2": 3}
    assert len(merged.results) == 4
    assert run(first, tmp_path) == (1, 3)
    assert not shards.merge(tmp_path).missing


def test_a_line_cut_by_a_kill_is_done_again(tmp_path: Path) -> None:
    """Whole lines before it are kept."""
    shard = Shard(rank=0, size=1)
    run(shard, tmp_path)
    path = shard.path(tmp_path)
    path.write_bytes(path.read_bytes()[:-5])
    assert shards.merge(tmp_path).missing == {"1/1": 1}
    assert run(shard, tmp_path) == (6, 1)
    assert not shards.merge(tmp_path).missing


def test_a_process_that_never_started_is_missed(tmp_path: Path) -> None:
    """Its file is not there; the names of the others say that it should be."""
    run(Shard(rank=0, size=2), tmp_path)
    assert shards.merge(tmp_path).missing == {"2/2": 3}


def test_shards_of_another_inspection_are_refused(tmp_path: Path) -> None:
    """Other images or another model in one folder would be merged into nonsense."""
    run(Shard(rank=0, size=2), tmp_path)
    with pytest.raises(PillqcError, match="belongs to another inspection"):
        shards.inspect_shard(
            Shard(rank=0, size=2), tmp_path, IMAGES, common="other", inspect=inspecting
        )
    shards.inspect_shard(
        Shard(rank=1, size=2), tmp_path, IMAGES, common="other", inspect=inspecting
    )
    with pytest.raises(PillqcError, match="come from different inspections"):
        shards.merge(tmp_path)


def test_merge_says_in_one_line_what_is_missing(tmp_path: Path) -> None:
    """With `--partial` it writes the results that exist; damage and an empty folder are named."""
    empty = command.run("merge", tmp_path)
    assert (empty.exit_code, "no shards" in empty.output) == (1, True)
    run(Shard(rank=0, size=2), tmp_path)
    refused = command.run("merge", tmp_path)
    assert (refused.exit_code, "2/2 lacks 3 of 7" in refused.output) == (1, True)
    out = tmp_path / "all.jsonl"
    assert command.run("merge", tmp_path, "--partial", "--output", out).exit_code == 0
    assert len(out.read_text().splitlines()) == 4
    (tmp_path / "other").mkdir()
    (tmp_path / "other/shard-1-of-1.jsonl").write_text('{"images": 1}\nnonsense\n')
    damaged = command.run("merge", tmp_path / "other")
    assert (damaged.exit_code, "is damaged" in damaged.output) == (1, True)


@pytest.mark.parametrize(
    ("content", "word"),
    [
        ("", "has no header"),
        ("{}\n", "has no header"),
        ('{"number": 0, "decision": "good"}\n', "has no header"),
        ('{"images": 1, "inspection": "x"}', "has no header"),  # cut short
        ('{"images": 1, "inspection": "x"}\n{"decision": "good"}\n', "is damaged"),
        (
            '{"images": 1, "inspection": "x"}\n{"number": 0, "probability_bad": NaN}\n',
            "is damaged",
        ),
    ],
)
def test_a_shard_that_does_not_say_what_it_is_part_of_is_no_result(
    content: str, word: str, tmp_path: Path
) -> None:
    """Else nobody would know what is missing, and nothing would be all good."""
    (tmp_path / "shard-1-of-2.jsonl").write_text(content)
    for further in ((), ("--partial",)):
        refused = command.run("merge", tmp_path, "--exit-code", *further)
        assert (refused.exit_code, word in refused.output) == (1, True)


class Tray:
    """Images that change while their inspection is interrupted."""

    def __init__(self, root: Path) -> None:
        self.folder = root / "tray"
        self.out = root / "out"
        self.folder.mkdir()
        for number in range(4):
            self.take(number, 20 * number)

    def take(self, number: int, level: int) -> None:
        """Photograph a pill: all files have the same size in bytes."""
        Image.new("RGB", (32, 32), (level, level, level)).save(self.folder / f"{number}.bmp")

    def inspect(self, part: str, *options: str) -> Result:
        """Inspect a part of it."""
        asked = ["inspect", self.folder, "--model", "random", "--size", "32", *options]
        return command.run(*asked, "--shards", self.out, "--shard", part)

    def probabilities(self) -> list[float]:
        """What the merged parts say."""
        return [one["probability_bad"] for one in shards.merge(self.out).results]


@pytest.mark.torch
def test_a_changed_picture_is_inspected_again_and_no_other(tmp_path: Path) -> None:
    """Even if it is as large as before; a copy, whose time alone is another, is not."""
    tray = Tray(tmp_path)
    assert tray.inspect("1/1").exit_code == 0
    before = tray.probabilities()
    tray.take(2, 200)
    os.utime(tray.folder / "3.bmp", (1, 1))
    again = tray.inspect("1/1")
    assert "1 images inspected, 1 of them again" in again.stdout
    assert "3 were done before" in again.stdout
    assert "looked at 4: " in again.stderr
    after = tray.probabilities()
    assert [one == other for one, other in zip(after, before, strict=True)] == [
        *(True, True, False, True)
    ]
    assert "0 images inspected, 4 were done before" in tray.inspect("1/1").stdout


@pytest.mark.torch
def test_parts_from_before_and_after_a_change_are_not_merged(tmp_path: Path) -> None:
    """The tray was filled anew, and only one machine knows; the same commands mend it."""
    tray = Tray(tmp_path)
    for part in ("1/2", "2/2"):
        assert tray.inspect(part).exit_code == 0
    for number in range(4):
        Image.new("RGB", (48, 48), (90, 0, number)).save(tray.folder / f"{number}.bmp")
    assert "2 images inspected, 2 of them again" in tray.inspect("1/2").stdout
    with pytest.raises(PillqcError, match="files changed between"):
        shards.merge(tray.out)
    assert "2 images inspected, 2 of them again" in tray.inspect("2/2").stdout
    assert not shards.merge(tray.out).missing


@pytest.mark.torch
def test_a_picture_that_comes_late_is_inspected(tmp_path: Path) -> None:
    """It was an error when its place was empty."""
    tray = Tray(tmp_path)
    late = tmp_path / "late.png"
    where = (tray.folder, late, "--shards", tray.out, "--shard", "1/1")
    words = ("inspect", *where, "--model", "random", "--size", 32)
    for done in ("5 images inspected", "0 images inspected, 5 were done before"):
        assert done in command.run(*words).stdout
    assert shards.merge(tray.out).results[4]["decision"] == "error"
    Image.new("RGB", (32, 32)).save(late)
    assert "1 images inspected" in command.run(*words).stdout
    assert shards.merge(tray.out).results[4]["decision"] != "error"


@pytest.mark.torch
@pytest.mark.parametrize("where", ["bits", "backend"])
def test_shards_of_another_way_of_reading_or_computing_are_refused(
    where: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Their results would differ for the same picture."""
    tray = Tray(tmp_path)
    assert tray.inspect("1/1").exit_code == 0
    if where == "bits":
        asked = ["--bits", "12", "inspect", tray.folder, "--model", "random", "--size", "32"]
        refused = command.run(*asked, "--shards", tray.out, "--shard", "1/1")
    else:
        from pillqc.model.acceleration import Way

        way = Way(mode="torchscript")
        monkeypatch.setattr("pillqc.model.acceleration.choose", lambda _: (way, ""))
        refused = tray.inspect("1/1", "--backend", "auto")
    assert refused.exit_code == 1
    assert "another inspection" in refused.stderr.splitlines()[-1]


@pytest.mark.parametrize(
    ("options", "words"),
    [
        ("--shards {}/out --json", "`pillqc merge`"),
        ("--shards {}/out --csv all.csv", "`pillqc merge`"),
        ("--shards {}/out --exit-code", "`pillqc merge`"),
        ("--shard 2/4", "--shard needs --shards"),  # every process would inspect all images
    ],
)
def test_shards_refuse_what_needs_the_whole(options: str, words: str, tmp_path: Path) -> None:
    """`merge` has all three options."""
    refused = command.run("inspect", "pill.png", *options.format(tmp_path).split())
    assert refused.exit_code == 2
    assert words in refused.output
    assert not (tmp_path / "out").exists()


@pytest.mark.torch
def test_a_part_has_a_closing_line_of_all_its_results(tmp_path: Path) -> None:
    """With the model, as `inspect` and `merge` have; resumed, and inside the inspected folder."""
    for name, level in (("a.png", 30), ("b.png", 90)):
        Image.new("RGB", (32, 32), (level, level, level)).save(tmp_path / name)
    (tmp_path / "c.png").write_text("no image")
    asked = ["inspect", str(tmp_path), "--model", "random", "--size", "32"]
    asked += ["--shards", str(tmp_path / "out"), "--shard", "1/1"]
    for done in ("3 images inspected", "0 images inspected, 3 were done before"):
        part = command.run(*asked)
        assert part.exit_code == 0, part.output
        assert done in part.stdout
        tally, model = part.stderr.splitlines()[-2:]
        assert tally.startswith("looked at 3: ")
        assert tally.endswith("1 errors; not looked at: 0")
        assert model.startswith("model random, threshold 0.5")
    assert tally in command.run("merge", tmp_path / "out").stderr


@pytest.mark.parametrize(
    ("decisions", "usual", "asked"),
    [(("good", "good"), 0, 0), (("good", "undecided"), 0, 3), (("bad", "error"), 1, 4)],
)
def test_merge_exits_and_writes_a_table_as_one_inspection_does(
    decisions: tuple[Decision, ...], usual: int, asked: int, tmp_path: Path
) -> None:
    """1 for a file that cannot be read, 3 for a bad pill with `--exit-code`."""
    folder, table = tmp_path / "out", tmp_path / "all.csv"
    found = [
        Inspection(path=Path(f"{number}.png"), decision=decision, probability_bad=0.5)
        for number, decision in enumerate(decisions)
    ]
    images = [one.path for one in found]
    shards.inspect_shard(
        Shard(rank=0, size=1), folder, images, common="", inspect=lambda _: iter(found)
    )
    plain = command.run("merge", folder, "--csv", table)
    assert plain.exit_code == usual
    rows = table.read_text().splitlines()
    assert [row.split(",")[:2] for row in rows[1:]] == [
        [f"{number}.png", decision] for number, decision in enumerate(decisions)
    ]
    assert command.run("merge", folder, "--exit-code").exit_code == asked


@pytest.fixture
def pills(tmp_path: Path) -> Path:
    """Real images to inspect."""
    plan = RenderPlan(size=64, train_good=1, test_good=8, per_defect=1)
    return render_dataset(tmp_path / "pills", plan, jobs=1).root / "test"


def alone(*words: str) -> str:
    """What `pillqc ...` prints, in this process."""
    done = command.run(*words)
    assert done.exit_code == 0, done.output
    return done.stdout


@pytest.mark.torch
@pytest.mark.slow
def test_several_processes_of_torchrun_inspect_as_one_does(pills: Path, tmp_path: Path) -> None:
    """Same decisions and probabilities, in the same order."""
    asked = ["inspect", str(pills), "--size", "32", "--model", "random"]
    torchrun = ["torch.distributed.run", "--standalone", "--nproc-per-node", "2", "-m", "pillqc"]
    out = ["--shards", str(tmp_path / "out"), "--pictures", str(tmp_path / "marked")]
    subprocess.run([sys.executable, "-m", *torchrun, *asked, *out], check=True)
    single = [json.loads(line) for line in alone(*asked, "--json").splitlines()]
    merged = shards.merge(tmp_path / "out")
    assert not merged.missing
    assert len(list((tmp_path / "marked").iterdir())) == len(single)
    kept = ("path", "decision", "boxes")
    assert [{k: one[k] for k in kept} for one in merged.results] == [
        {k: one[k] for k in kept} for one in single
    ]
    for one, other in zip(merged.results, single, strict=True):
        assert one["probability_bad"] == pytest.approx(other["probability_bad"], abs=1e-4)


@pytest.mark.torch
@pytest.mark.slow
def test_a_process_killed_in_the_middle_is_made_up_for(pills: Path, tmp_path: Path) -> None:
    """A real process is killed while it works; merging reports what is missing."""
    asked = ["inspect", str(pills), "--model", "random", "--batch-size", "1", "--size", "128"]
    asked += ["--shards", str(tmp_path / "out")]
    killed = Shard(rank=0, size=2).path(tmp_path / "out")
    lost_words = [sys.executable, "-m", "pillqc", *asked, "--shard", "1/2"]
    with subprocess.Popen(lost_words) as lost:
        while not (killed.exists() and len(killed.read_bytes().splitlines()) >= 3):
            assert lost.poll() is None, "it ended before it could be killed"
            time.sleep(0.01)
        lost.kill()
    alone(*asked, "--shard", "2/2")
    lacking = shards.merge(tmp_path / "out")
    assert set(lacking.missing) == {"1/2"}
    assert lacking.results
    alone(*asked, "--shard", "1/2")
    assert not shards.merge(tmp_path / "out").missing


@pytest.mark.skipif(not Path("/dev/full").exists(), reason="a device of Linux")
def test_a_closing_line_that_cannot_be_printed_changes_no_exit_code(tmp_path: Path) -> None:
    """A script reads the code, whatever became of the error stream."""
    run(Shard(rank=0, size=1), tmp_path)
    with Path("/dev/full").open("w") as full:
        words = (sys.executable, "-m", "pillqc", "merge", str(tmp_path))
        assert subprocess.call(words, stdout=subprocess.DEVNULL, stderr=full) == 0
