"""Events of a run: kept in environment.json beside their sentences, and read back."""

from __future__ import annotations

import json
from typing import Any

import pytest

from bench.store.events import Event, EventKind, from_environment, to_environment

EVENTS = [
    Event(kind=EventKind.BLOCK_NOT_COUNTED, subject="a/b", launch=1, round=0, reason="paused"),
    Event(kind=EventKind.HEADLINES_OPEN, budget_s=40.0, open=1, headlines=2, enough_s=60.0),
    Event(kind=EventKind.HEADLINES_OPEN, budget_s=40.0, open=1, headlines=1),
    Event(kind=EventKind.CONTROL_FAILED, subject="inference/b1", launch=1, reason="killed"),
    Event(kind=EventKind.INTERRUPTED, seconds=61.0),
]


def test_events_come_back_from_json_as_they_were() -> None:
    """Only the fields of their kind are written; the notes say the same, in order."""
    kept = json.loads(json.dumps(to_environment(EVENTS)))
    assert kept["events"][-1] == {"kind": "interrupted", "seconds": 61.0}
    assert from_environment(kept) == EVENTS
    values = (
        ("a/b", "paused"),
        ("40 s", "1 of 2", "BUDGET=60"),
        ("40 s", "1 of 1"),
        ("inference/b1", "launch 2", "killed"),
        ("1 min 1 s",),
    )
    for note, words in zip(kept["notes"], values, strict=True):
        assert all(word in note for word in words), note


@pytest.mark.parametrize("kind", EventKind)
def test_every_kind_has_a_sentence(kind: EventKind) -> None:
    """Whatever fields it has."""
    assert Event(kind=kind, reason="because").sentence


@pytest.mark.parametrize(
    ("environment", "sentences"),
    [
        ({"notes": ["It was late.", 3]}, ["It was late.", "3"]),
        ({"notes": 4}, []),
        ({}, []),
        ({"notes": ["x"], "events": []}, []),
        ({"events": [{"kind": ["note"]}, {"kind": {}}]}, []),
        ({"events": [{"kind": "new"}, 7, {"kind": "note", "reason": "x", "more": 1}]}, ["x"]),
        (
            {"events": [{"kind": "probe_failed", "reason": "x", "launch": []}]},
            [Event(kind=EventKind.PROBE_FAILED, reason="x").sentence],
        ),
    ],
)
def test_other_files_are_read(environment: dict[str, Any], sentences: list[str]) -> None:
    """Notes of an earlier version stay as they are; an event that is not known is left out."""
    assert [event.sentence for event in from_environment(environment)] == sentences
