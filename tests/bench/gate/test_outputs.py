"""Every form of the answer says the same, and none can be broken by a name or a reason."""

from __future__ import annotations

import json
from dataclasses import replace
from xml.etree import ElementTree as ET

import pytest
from hypothesis import given
from hypothesis import strategies as st

from bench.analysis.comparison import Ratio
from bench.gate import outputs
from bench.gate.result import Case, GateReport, Outcome

NASTY = (
    "a|b\n::error::x <script>alert('1')</script> `x` ```y``` \x1b[31m\x00 %0A & \"q\" @all #1 ]]>"
)
RATIO = Ratio(estimate=0.9, low=0.88, high=0.92, launches=3, rounds=9)


def case(outcome: Outcome, scenario: str = "inference/x/b1", reason: str = "why") -> Case:
    """A case with that outcome."""
    return Case(scenario=scenario, outcome=outcome, reason=reason, ratio=RATIO)


def report(*cases: Case, problem: str | None = None, text: str = "base and head") -> GateReport:
    """An answer made of these cases."""
    return GateReport(
        title="Base against head",
        compared=text,
        repeat=f"bench gate {text}",
        cases=cases,
        problem=problem,
        notes=(text,),
    )


ALL = report(
    case(Outcome.PASSED, "p"), case(Outcome.REGRESSION, "r"), case(Outcome.NO_VERDICT, "n")
)
FORMS = {
    "terminal": outputs.terminal,
    "markdown": outputs.markdown,
    "junit": outputs.junit,
    "json": outputs.as_json,
}


@pytest.mark.parametrize("form", FORMS)
def test_every_form_says_what_how_much_how_sure_and_how_to_repeat(form: str) -> None:
    """A reader of one form misses nothing of the others."""
    text = FORMS[form](replace(ALL, cases=(case(Outcome.REGRESSION, reason="11.1 % slower"),)))
    for part in ("base and head", "11.1 %", "inference/x/b1", "bench gate base and head"):
        assert part in text, part


@pytest.mark.parametrize(
    ("outcomes", "problem", "code", "words"),
    [
        ([Outcome.PASSED], None, 0, "Passed: "),
        ([Outcome.PASSED, Outcome.NO_VERDICT], None, 11, "No verdict on 1 of 2"),
        ([Outcome.REGRESSION, Outcome.NO_VERDICT], None, 10, "Slower: s0"),
        ([Outcome.REGRESSION], "other machine", 11, "No verdict: other machine"),
        ([], None, 11, "nothing"),
        ([], "empty", 11, "No verdict: empty"),
    ],
)
def test_the_exit_code_follows_from_the_cases(
    outcomes: list[Outcome], problem: str | None, code: int, words: str
) -> None:
    """Nothing compared is no pass, and one regression outweighs what is not known."""
    cases = [case(outcome, f"s{number}") for number, outcome in enumerate(outcomes)]
    found = report(*cases, problem=problem)
    assert found.exit_code == code
    assert words in found.headline
    assert f"Exit code {code}" in outputs.terminal(found)
    assert json.loads(outputs.as_json(found))["exit_code"] == code


def test_junit_has_one_test_case_a_scenario() -> None:
    """Failures are regressions, errors are what has no verdict, and the counts agree."""
    root = ET.fromstring(outputs.junit(ALL))  # noqa: S314 - our own text
    assert (root.get("tests"), root.get("failures"), root.get("errors")) == ("3", "1", "1")
    kinds = {c.get("name"): [child.tag for child in c] for c in root.iter("testcase")}
    assert kinds == {"p": ["system-out"], "r": ["failure"], "n": ["error"]}


def test_junit_without_any_case_is_still_an_error() -> None:
    """An empty suite would read as green."""
    root = ET.fromstring(outputs.junit(report(problem="other machine")))  # noqa: S314 - our own
    assert root.get("errors") == "1"
    assert root.find(".//error") is not None


def test_github_gets_one_line_for_everything_that_is_no_pass() -> None:
    """A regression is an error, no verdict a warning, and a pass is silent."""
    lines = outputs.github(ALL).splitlines()
    assert [line.split(" ")[0] for line in lines] == ["::error", "::warning"]
    assert outputs.github(report(problem="x")).startswith("::warning title=Gate%3A no verdict::x")
    assert outputs.github(report(case(Outcome.PASSED))) == ""


def nasty(text: str) -> GateReport:
    """That text everywhere."""
    return report(case(Outcome.REGRESSION, text, text), case(Outcome.PASSED, text), text=text)


def check_all_forms(found: GateReport) -> None:
    """Check that each form is well-formed, whatever its text."""
    root = ET.fromstring(outputs.junit(found))  # noqa: S314 - that it parses is the test
    assert len(list(root.iter("testcase"))) == len(found.cases)
    assert json.loads(outputs.as_json(found))["cases"][0]["scenario"] == found.cases[0].scenario
    for line in outputs.github(found).splitlines():
        assert line.startswith(("::error title=", "::warning title="))
        assert line.count("::") >= 2
    rows = [line for line in outputs.markdown(found).splitlines() if line.startswith("| ")]
    assert len(rows) == 1 + len(found.cases)
    for row in rows:
        assert row.replace("\\\\", "").replace("\\|", "").count("|") == 6
    for text in (outputs.terminal(found), outputs.markdown(found)):
        assert not set(text) & set(map(chr, [*range(10), *range(11, 32), 127]))


def test_hostile_text_breaks_no_form() -> None:
    """Scenario names come from files, reasons from another commit's workers."""
    found = nasty(NASTY)
    check_all_forms(found)
    markdown = outputs.markdown(found)
    assert "<script>" not in markdown.split("```")[0]
    assert "\n::error::x" not in outputs.terminal(found) + markdown


@given(st.text(min_size=1))
def test_no_text_at_all_breaks_a_form(text: str) -> None:
    """Surrogates, control characters and markup included."""
    check_all_forms(nasty(text))
