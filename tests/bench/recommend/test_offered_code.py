"""The code that the page and `bench recommend` offer for each wish."""

from __future__ import annotations

import dataclasses
import html
import json
import shlex
from typing import TYPE_CHECKING

from bench.analysis.run_facts import Facts
from bench.machine.worker_settings import kept_heap
from bench.recommend.rules import Wish, recommend, uses
from bench.report import build, formats
from tests.bench.command import bench

if TYPE_CHECKING:
    from pathlib import Path

    from tests.bench.made_up_runs import MakeRun, Save


def test_code_says_how_its_process_was_started(make_run: MakeRun) -> None:
    """A process that keeps its heap needs a variable; others need none."""
    run = make_run()
    facts = Facts(run)
    said = recommend(facts, Wish()).code
    assert said is not None
    assert "GLIBC_TUNABLES" not in said
    workers = {name: {"env": kept_heap({})} for name, _ in facts.metadata.workers.items()}
    kept = dataclasses.replace(run, environment={**run.environment, "workers": workers})
    code = recommend(Facts(kept), Wish()).code
    assert code is not None
    assert code.startswith("# measured in a process that was started with\n# GLIBC_TUNABLES=glibc.")
    assert code.endswith(said)


def test_page_offers_what_recommend_says_for_each_wish(make_run: MakeRun) -> None:
    """The page, the terminal, Markdown and JSON give the same answers."""
    facts = Facts(make_run(trained=True, int8=True, rounds=4))
    offered = uses(facts)
    assert [use.wish for use in offered] == [
        "One image at a time",
        "Most images a second",
        "Without IPEX",
        "Supported ways only",
        "int8 too",
    ]
    assert offered[0].found == recommend(facts, Wish())
    assert offered[2].found == recommend(facts, Wish(without_ipex=True))
    page = html.unescape(build(facts.run))
    text = formats.markdown(facts)
    for use in offered:
        assert use.found.code
        assert use.found.code in page
        assert use.found.code in text
        assert use.command in page
    held = json.loads(formats.as_json(facts))["uses"]
    assert [one["code"] for one in held] == [use.found.code for use in offered]


def test_commands_beside_the_code_print_that_code(
    make_run: MakeRun, save: Save, tmp_path: Path
) -> None:
    """The page's commands print the page's code."""
    run = make_run(trained=True, int8=True, rounds=4)
    folder = save(run, tmp_path / "run")
    for use in uses(Facts(run)):
        program, command, _, *options = shlex.split(use.command)
        assert (program, command) == ("bench", "recommend")
        done = bench(command, folder, *options)
        assert done.exit_code == 0, done.output
        assert (use.found.code or "") in done.output


def test_noisy_run_offers_no_code_and_says_why(make_run: MakeRun) -> None:
    """Without a valid comparison there is nothing to recommend."""
    (only,) = uses(Facts(make_run(noisy=True)))
    assert only.found.code is None
    assert "nothing can be recommended" in only.title
    assert only.found.reasons
