"""Write a gate's report for the terminal and as Markdown, JUnit XML, GitHub annotations and JSON.

Each says what was compared, by how much, how sure, and how to repeat it. Names and reasons come
from files and other commits, so each form escapes them.
"""

from __future__ import annotations

import json
import re
from xml.etree import ElementTree as ET

from bench.gate.result import Case, GateReport, Outcome, spell_change
from bench.text.wording import wrapped

_MARK = {Outcome.PASSED: "ok  ", Outcome.REGRESSION: "SLOW", Outcome.NO_VERDICT: "?   "}
_WORD = {
    Outcome.PASSED: "passed",
    Outcome.REGRESSION: "**regression**",
    Outcome.NO_VERDICT: "no verdict",
}
_LEVEL = {Outcome.REGRESSION: "error", Outcome.NO_VERDICT: "warning"}
_IN_JSON = ("title", "exit_code", "headline", "compared", "repeat", "problem", "notes")
_CONTROL = re.compile(r"[\x00-\x08\x0b\x0c\x0e-\x1f\x7f-\x9f\ud800-\udfff\ufffe\uffff]")
_MARKDOWN = re.compile(r"([\\`*_{}\[\]()#+!|~<>@&$:])")


def printable(text: str) -> str:
    """Replace control characters, which terminals interpret and XML forbids."""
    return _CONTROL.sub("\ufffd", text)


def one_line(text: str) -> str:
    """Return the text on one line, without control characters."""
    return " ".join(printable(text).split())


def terminal(report: GateReport) -> str:
    """Return a table for the terminal, a paragraph for each scenario."""
    lines = [*wrapped(one_line(report.compared)), ""]
    for case in report.cases:
        change = spell_change(case.ratio.estimate) if case.ratio and case.ratio.is_sound else "-"
        lines.append(f"{_MARK[case.outcome]}  {change:>14}  {one_line(case.name)}")
        lines += wrapped(one_line(case.reason), " " * 22)
    for note in report.notes:
        lines += wrapped(one_line(f"note: {note}"), "      ")
    if report.cases or report.notes:
        lines.append("")
    lines += wrapped(one_line(report.headline))
    lines.append(f"Exit code {report.exit_code}. Repeat: {one_line(report.repeat)}")
    return "\n".join(lines)


def markdown(report: GateReport) -> str:
    """Return Markdown for a job summary or a comment on a pull request."""
    lines = [f"### {_md(report.title)}: {_md(report.headline)}", "", _md(report.compared), ""]
    if report.cases:
        lines += ["| scenario | result | change | interval (95 %) | why |", "|---|---|---|---|---|"]
        lines += [_md_row(case) for case in report.cases]
        lines.append("")
    if report.notes:
        lines += [*(f"- {_md(note)}" for note in report.notes), ""]
    command = one_line(report.repeat)
    longest = max((len(run) for run in re.findall(r"`+", command)), default=0)
    fence = "`" * max(3, longest + 1)  # longer than any in the command
    lines += [f"Exit code {report.exit_code}. To repeat it locally:", ""]
    lines += [f"{fence}console", f"$ {command}", fence]
    return "\n".join(lines) + "\n"


def _md(text: str) -> str:
    return _MARKDOWN.sub(r"\\\1", one_line(text))


def _md_row(case: Case) -> str:
    change, interval = "", ""
    if case.ratio and case.ratio.is_sound:
        change = f"{case.ratio.estimate:.3f}x"
        interval = f"{case.ratio.low:.3f} to {case.ratio.high:.3f}"
    cells = (_md(case.name), _WORD[case.outcome], change, interval, _md(case.reason))
    return f"| {' | '.join(cells)} |"


def junit(report: GateReport) -> str:
    """Return JUnit XML: a regression is a failure, no verdict an error."""
    cases = report.cases or (
        Case(scenario="gate", outcome=Outcome.NO_VERDICT, reason=report.problem or report.headline),
    )
    counts = {outcome: sum(c.outcome is outcome for c in cases) for outcome in Outcome}
    numbers = {
        "tests": str(len(cases)),
        "failures": str(counts[Outcome.REGRESSION]),
        "errors": str(counts[Outcome.NO_VERDICT]),
    }
    root = ET.Element("testsuites", numbers)
    suite = ET.SubElement(root, "testsuite", {"name": f"bench gate: {report.title}", **numbers})
    properties = ET.SubElement(suite, "properties")
    for name in ("compared", "headline", "repeat"):
        value = printable(str(getattr(report, name)))
        ET.SubElement(properties, "property", {"name": name, "value": value})
    for case in cases:
        attributes = {"classname": "bench.gate", "name": printable(case.name)}
        element = ET.SubElement(suite, "testcase", attributes)
        reason = printable(case.reason)
        if case.outcome is Outcome.PASSED:
            ET.SubElement(element, "system-out").text = reason
        else:
            kind = "failure" if case.outcome is Outcome.REGRESSION else "error"
            attributes = {"message": reason, "type": case.outcome.value}
            found = ET.SubElement(element, kind, attributes)
            found.text = printable(f"{report.compared}\nRepeat: {report.repeat}")
    ET.indent(root)
    text: bytes = ET.tostring(root, encoding="utf-8", xml_declaration=True)
    return f"{text.decode()}\n"


def github(report: GateReport) -> str:
    """Return GitHub's workflow commands, one for each scenario that did not pass."""
    if report.problem:
        return _annotation("warning", "Gate: no verdict", report.problem)
    return "".join(
        _annotation(
            _LEVEL[case.outcome],
            f"Gate: {case.outcome} in {case.name}",
            f"{case.reason}. Repeat: {report.repeat}",
        )
        for case in report.cases
        if case.outcome in _LEVEL
    )


def _annotation(level: str, title: str, text: str) -> str:
    title, text = (one_line(part).replace("%", "%25") for part in (title, text))
    title = title.replace(":", "%3A").replace(",", "%2C")
    return f"::{level} title={title}::{text}\n"


def as_json(report: GateReport) -> str:
    """Return one JSON object for scripts."""
    cases = [
        {
            "scenario": case.scenario,
            "outcome": case.outcome.value,
            "reason": case.reason,
            "ratio": (
                {name: getattr(case.ratio, name) for name in ("estimate", "low", "high")}
                if case.ratio and case.ratio.is_sound
                else None
            ),
            "limit": case.limit,
            "details": case.details,
        }
        for case in report.cases
    ]
    whole = {name: getattr(report, name) for name in _IN_JSON}
    return json.dumps({**whole, "cases": cases}, indent=2, allow_nan=False) + "\n"
