"""Record what happened during a run beside its rows: typed events, and a sentence for each.

`environment.json` keeps them as `events`, a list of `{"kind": ..., fields}`, and their sentences in
the same order as `notes`.
"""

from __future__ import annotations

from dataclasses import asdict, dataclass, fields
from enum import Enum
from typing import TYPE_CHECKING, Any

from bench.text.numbers import spell_seconds
from bench.text.wording import count

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping


class EventKind(str, Enum):
    """The kinds of events; a value stands in environment.json."""

    BLOCK_NOT_COUNTED = "block_not_counted"
    NO_STEADY_STATE = "no_steady_state"
    CONTROL_FAILED = "control_failed"
    EVIDENCE_MISSING = "evidence_missing"
    RELEASE_FAILED = "release_failed"
    PROBE_FAILED = "probe_failed"
    PEAK_NOT_REPEATED = "peak_not_repeated"
    PICTURES_MISSING = "pictures_missing"
    INTERRUPTED = "interrupted"
    RESUMED = "resumed"
    BUDGET_EXCEEDED = "budget_exceeded"
    HEADLINES_OPEN = "headlines_open"
    EARLIER_BUDGET = "earlier_budget"
    """A note on its budget, of a run that an earlier version wrote."""
    NOTE = "note"


_SENTENCES = {
    EventKind.BLOCK_NOT_COUNTED: "A block of {subject} does not count: {reason}.",
    EventKind.NO_STEADY_STATE: (
        "{subject} reached no steady state in launch {launch} and was measured all the same."
    ),
    EventKind.CONTROL_FAILED: "The control of {subject} failed in launch {launch}: {reason}.",
    EventKind.EVIDENCE_MISSING: "{subject} was measured, but its evidence is missing: {reason}.",
    EventKind.RELEASE_FAILED: "The worker of {subject} did not release its model: {reason}.",
    EventKind.PROBE_FAILED: "The machine's speed was not probed: {reason}.",
    EventKind.PEAK_NOT_REPEATED: "The peak could not be measured again: {reason}.",
    EventKind.PICTURES_MISSING: "Pictures of {subject} are missing: {reason}.",
    EventKind.INTERRUPTED: (
        "The run was interrupted after {seconds}: it shows what was measured until then."
    ),
    EventKind.RESUMED: (
        "The run was cut and resumed at {reason}: what follows has later launch numbers."
    ),
    EventKind.BUDGET_EXCEEDED: (
        "The budget of {budget_s} was exceeded by {seconds}: each task is measured once whatever "
        "it takes, and a launch that takes longer than was foreseen is not cut."
    ),
    EventKind.HEADLINES_OPEN: "The budget of {budget_s} left {open} of {headlines} open{enough}.",
    EventKind.EARLIER_BUDGET: "{reason}",
    EventKind.NOTE: "{reason}",
}


@dataclass(frozen=True, kw_only=True)
class Event:
    """One event; a field that its kind does not need is None."""

    kind: EventKind
    subject: str | None = None
    """The participant, comparison group or backend concerned."""
    launch: int | None = None
    """Counts from 0, as in the CSVs."""
    round: int | None = None
    reason: str | None = None
    """Why; of `resumed` the UTC time, of `note` the whole sentence."""
    seconds: float | None = None
    budget_s: float | None = None
    open: int | None = None
    """Headlines without an answer."""
    headlines: int | None = None
    enough_s: float | None = None
    """The budget that would probably answer them all, where it is known."""

    @property
    def sentence(self) -> str:
        """The event for a reader."""
        seconds = "" if self.seconds is None else spell_seconds(self.seconds)
        budget = "" if self.budget_s is None else spell_seconds(self.budget_s)
        enough = ""
        if self.enough_s:
            minutes = round(self.enough_s / 60)
            enough = f"; about {minutes} min should be enough (BUDGET={60 * minutes})"
        return _SENTENCES[self.kind].format(
            subject=self.subject,
            launch=(self.launch or 0) + 1,
            reason=self.reason,
            seconds=seconds,
            budget_s=budget,
            open=self.open,
            headlines=count(self.headlines or 0, "headline"),
            enough=enough,
        )


def to_environment(events: Iterable[Event]) -> dict[str, Any]:
    """Return the entries `notes` and `events` of environment.json."""
    kept = list(events)
    return {
        "notes": [event.sentence for event in kept],
        "events": [
            {key: value for key, value in asdict(event).items() if value is not None}
            for event in kept
        ],
    }


def from_environment(environment: Mapping[str, Any]) -> list[Event]:
    """Read the events of a run; of one written by an earlier version, its notes as they are."""
    found = environment.get("events")
    if not isinstance(found, list):
        notes = environment.get("notes")
        notes = notes if isinstance(notes, list) else []
        return [Event(kind=_kind_of(str(note)), reason=str(note)) for note in notes]
    return [event for one in found if (event := _read(one)) is not None]


def _kind_of(note: str) -> EventKind:
    """Return the kind of an earlier version's note, which began so where a budget cut something."""
    return EventKind.EARLIER_BUDGET if note.startswith("The budget") else EventKind.NOTE


def _read(kept: object) -> Event | None:
    """Read one event; None where a later version or a damaged file has something else there."""
    if not isinstance(kept, dict) or kept.get("kind") not in [*EventKind]:
        return None
    given: dict[str, Any] = {}
    for field in fields(Event):
        expected = str if field.name in ("subject", "reason") else (int, float)
        if isinstance(kept.get(field.name), expected):
            given[field.name] = kept[field.name]
    return Event(**{**given, "kind": EventKind(kept["kind"])})
