"""What the page says of ways that rest on something archived, deprecated or private."""

from __future__ import annotations

import html
import re
from dataclasses import replace

import pytest

from bench.analysis.run_facts import Facts
from bench.plan.support import MEANINGS
from bench.recommend.rules import Wish, recommend
from bench.report import answers, build, details, formats
from bench.report.speedup_table import speedups
from bench.text.wording import TIMES
from tests.bench.calls import longer
from tests.bench.made_up_runs import DEFAULT_1, LAST_1, MakeRun, answer_of

COMPILED_1 = "inference/stock/compile/fp32/channels_last/b1"
SCRIPT_1 = "inference/stock/torchscript+fusion/fp32/channels_last/b1"
INT8_1 = "inference/stock/compile/int8/channels_last/b1"


@pytest.fixture(scope="module")
def good(make_run: MakeRun) -> Facts:
    """A quiet, complete run."""
    return Facts(make_run())


def test_first_screen_says_how_far_the_fastest_supported_way_is(good: Facts) -> None:
    """The sentence of `bench recommend`, the ratio in large type, and why the fastest is none."""
    found = recommend(good, Wish())
    assert found.supported is not None
    assert found.supported.comparison is not None
    answer = answer_of(good, "supported")
    assert answer.headline == found.supported.sentence
    assert "torch.compile" in answer.headline
    assert answer.number == f"{found.supported.comparison.estimate:.2f}{TIMES}"
    assert [line.label for line in answer.lines] == ["IPEX", "TorchScript"]
    assert answer.headline in formats.terminal(good).replace("\n  ", " ")


@pytest.mark.parametrize(
    ("factor", "tone", "said"), [(0.99, "good", "within 3 %"), (1.2, "bad", "% slower than IPEX")]
)
def test_tone_follows_the_verdict(make_run: MakeRun, factor: float, tone: str, said: str) -> None:
    """Within 3 % is good; slower by more is not, and by how much is said."""
    only = (DEFAULT_1, COMPILED_1, "inference/ipex/torchscript+fusion/fp32/channels_last/b1")
    run = longer(make_run(only=only, rounds=12), COMPILED_1, factor)
    answer = answer_of(Facts(run), "supported")
    assert (answer.tone, said in answer.headline) == (tone, True)


def test_a_supported_winner_needs_nothing_beside_it(make_run: MakeRun) -> None:
    """And where nothing is recommended but stock default, nothing is said."""
    answer = answer_of(Facts(make_run(only=(DEFAULT_1, COMPILED_1))), "supported")
    assert answer.tone == "good"
    assert "nothing archived" in answer.headline
    slow = Facts(longer(make_run(only=(DEFAULT_1, LAST_1)), LAST_1, 2.0))
    assert "supported" not in [one.key for one in answers.answers(slow)]


def test_marks_stand_behind_names_in_tables_and_entries_and_have_one_legend(
    make_run: MakeRun,
) -> None:
    """In words; an entry names everything with its source; supported ways have no mark."""
    run = make_run(int8=True, rounds=4)
    facts = Facts(run)
    marks = {row.cells[0].sort: row.cells[0].mark for row in speedups(facts, {}).rows}
    assert marks[SCRIPT_1] == "deprecated"
    assert marks[COMPILED_1] == marks[DEFAULT_1] == ""
    assert {marks[name] for name in marks if "/ipex/" in str(name)} == {"archived"}
    entries = {entry.id: entry for entry in details.all_details(facts)}
    script = entries["inference/stock/torchscript+fusion/bf16/channels_last/b1"]
    assert [one.severity.value for one in script.concerns] == ["deprecated", "private"]
    assert entries[COMPILED_1].concerns == ()
    page = html.unescape(build(run))
    assert page.count('id="marks"') == 1
    for severity, meaning in MEANINGS.items():
        assert f'<span class="mark">{severity.value}</span> {meaning}' in page
    for concern in script.concerns:
        assert concern.sentence in page
        assert concern.source in page
        assert not re.search(rf'(href|src)="{re.escape(concern.source)}', page)
    assert r"TorchScript, fusion on \[deprecated\]" in formats.markdown(facts)


def test_marks_depend_on_the_environments_pytorch(make_run: MakeRun) -> None:
    """The int8 quantizer of PyTorch 2.8 is deprecated; a newer one takes torchao's."""
    made = make_run(int8=True, rounds=4, environments=("torch-latest",))
    known = {"torch-latest": {"packages": {"torch": "2.14.1"}}}
    facts = Facts(replace(made, environment={**made.environment, "environments": known}))
    old, new = facts.scenarios[INT8_1], facts.scenarios[f"{INT8_1}@torch-latest"]
    assert (facts.mark(old), facts.mark(new)) == ("deprecated", "")
    codes = {entry.id: entry.code for entry in details.all_details(facts)}
    assert "from torch.ao.quantization." in codes[old.scenario]
    assert "from torchao.quantization." in codes[new.scenario]
    assert all("does not warn" in one.sentence for one in facts.concerns(facts.scenarios[SCRIPT_1]))
