"""Put numbers and scenarios into words: sensible digits, units, plain names. Pure."""

from __future__ import annotations

import json
import math
import textwrap
from collections.abc import Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Protocol

from bench.plan.matrix import FURTHER_BACKENDS
from bench.plan.scenario import DEFAULT_ENVIRONMENT, TRAINING_OPTIONS, Status

if TYPE_CHECKING:
    from collections.abc import Collection

    from bench.analysis.comparison import Comparison
    from bench.store.records import ScenarioRow

NOTHING = "\N{EN DASH}"
"""What a cell shows without a value."""

TIMES = "\N{MULTIPLICATION SIGN}"
_WIDTH = 98
"""Characters of a line in the terminal."""

_BACKENDS = {
    "stock": "Stock",
    "ipex": "IPEX",
    "placebo": "Placebo (IPEX only imported)",
    "openvino": "OpenVINO",
    "onnxruntime": "ONNX Runtime",
    "zentorch": "zentorch",
}
_MODES = {
    "eager": "eager",
    "torchscript": "TorchScript",
    "compile": "torch.compile",
    "aot": "AOTInductor",
}
_FUSION = {"on": "fusion on", "off": "fusion off"}
_OPTIONS = {
    "frozen": "shallow blocks frozen",
    "full": "everything trained",
    "fused_adam": "fused Adam",
    "no_freezing": "no freezing",
    "max_autotune": "max-autotune",
    "cpp_wrapper": "C++ wrapper",
}
GLYPHS = {
    "faster": "▲",
    "slower": "▼",
    "same": "=",
    "inconclusive": "?",
    "invalid": "✕",
}
"""Shown beside a verdict, so that colour is never its only sign."""


@dataclass(frozen=True, kw_only=True)
class Nouns:
    """The words for what a call takes, and for what is decided of each."""

    item: str = "image"
    decision: str = "decision"

    @property
    def items(self) -> str:
        """The plural of `item`."""
        return f"{self.item}s"


OF_INSPECTOR = Nouns()
OF_OWN_MODEL = Nouns(item="item", decision="label")


class Interval(Protocol):
    """Anything with an estimate and its two bounds."""

    @property
    def estimate(self) -> float:
        """The ratio."""

    @property
    def low(self) -> float:
        """The lower bound."""

    @property
    def high(self) -> float:
        """The upper bound."""


def finite(value: float | None) -> float | None:
    """Return the value, or None if it is missing or not finite."""
    return value if value is not None and math.isfinite(value) else None


def json_text(values: Mapping[str, object]) -> str:
    """Return an object as JSON; the open end of an interval is null, since JSON has no infinity."""
    return json.dumps(_finite_parts(values), indent=2, allow_nan=False)


def _finite_parts(value: object) -> object:
    if isinstance(value, Mapping):
        return {key: _finite_parts(part) for key, part in value.items()}
    if isinstance(value, (list, tuple)):
        return [_finite_parts(part) for part in value]
    return finite(value) if isinstance(value, float) else value


def times(ratio: float | None) -> str:
    """Return a speedup: `1.32x`."""
    value = finite(ratio)
    if value is None:
        return NOTHING
    return f"{value:.2f}{TIMES}" if value < 10 else f"{value:.1f}{TIMES}"


def bounds(low: float | None, high: float | None) -> str:
    """Return an interval: `[1.28, 1.37]`, `[1.28, ∞]`."""
    if low is None or high is None:
        return ""
    upper = f"{high:.2f}" if math.isfinite(high) else "∞"
    return f"[{low:.2f}, {upper}]"


def with_interval(ratio: Interval) -> str:
    """Return a speedup with its interval: `1.32x [1.28, 1.37]`."""
    return f"{times(ratio.estimate)} {bounds(ratio.low, ratio.high)}".strip()


def at_least(comparison: Comparison) -> str:
    """Return the smallest difference that was shown, if any: `by at least 3.2 %`."""
    if comparison.at_least is None:
        return ""
    if comparison.at_least >= 1:
        return f"at least {times(1 + comparison.at_least)}"
    return f"by at least {percent(comparison.at_least, 2)}"


def digits(value: float | None, significant: int = 3) -> str:
    """Return a number with so many significant digits, without exponent: `1,240`, `84.3`."""
    number = finite(value)
    if number is None:
        return NOTHING
    if number == 0:
        return "0"
    places = max(0, significant - 1 - math.floor(math.log10(abs(number))))
    return f"{number:,.{min(places, 9)}f}"


def tiny(value: float | None) -> str:
    """Return a number that may be far below 1: `3.1e-05`."""
    number = finite(value)
    return NOTHING if number is None else f"{number:.2g}"


def milliseconds(value: float | None) -> str:
    """Return `84.3 ms`, or `12.4 s` from ten seconds on."""
    number = finite(value)
    if number is None:
        return NOTHING
    return f"{digits(number / 1000)} s" if number >= 10_000 else f"{digits(number)} ms"


def seconds(value: float | None) -> str:
    """Return `12.4 s`, or `3 min 5 s` from two minutes on."""
    number = finite(value)
    if number is None:
        return NOTHING
    if number < 120:
        return f"{digits(number)} s"
    minutes, rest = divmod(round(number), 60)
    hours, minutes = divmod(minutes, 60)
    return f"{hours} h {minutes} min" if hours else f"{minutes} min {rest} s"


def percent(share: float | None, significant: int = 3) -> str:
    """Return a share of one as `3 %`; from 1 % on without exponent, whatever the digits."""
    number = finite(share)
    if number is None:
        return NOTHING
    whole = len(f"{abs(100 * number):.0f}")
    return f"{100 * number:.{max(significant, whole)}g} %"


def count(number: int, noun: str, plural: str | None = None) -> str:
    """Return `1 round`, `2 rounds`."""
    return f"{number:,} {noun if number == 1 else plural or noun + 's'}"


def rounds_in_launches(rounds: int, launches: int) -> str:
    """Return `8 rounds in 1 launch`."""
    return f"{count(rounds, 'round')} in {count(launches, 'launch', 'launches')}"


def span(numbers: Collection[int], noun: str) -> str:
    """Return `32 images` if all are equal, else `8 to 32 images`."""
    low, high = min(numbers), max(numbers)
    return count(high, noun) if low == high else f"{low:,} to {count(high, noun)}"


def listed(items: list[str], limit: int = 0) -> str:
    """Return `a, b and c`; beyond `limit`, `a, b and 3 more`."""
    if limit and len(items) > limit:
        return f"{', '.join(items[:limit])} and {len(items) - limit} more"
    if len(items) < 2:
        return "".join(items)
    return f"{', '.join(items[:-1])} and {items[-1]}"


def last_line(text: str, otherwise: str) -> str:
    """Return the last line of a log that says something, or other words where none does."""
    lines = (line.strip() for line in reversed(text.splitlines()))
    return next(filter(None, lines), otherwise)


def wrapped(text: str, mark: str = "") -> list[str]:
    """Return the lines of a text for a terminal, the first after a mark, the others below it."""
    return textwrap.wrap(
        text,
        _WIDTH,
        initial_indent=mark,
        subsequent_indent=" " * len(mark),
        break_long_words=False,
        break_on_hyphens=False,
    )


def status_words(status: str) -> str:
    """Return a status in words; one from a newer version stays unchanged."""
    return "timed out" if status == Status.TIMEOUT else status.replace("_", " ")


def option_tags(row: ScenarioRow) -> tuple[str, ...]:
    """Return the scenario's options, in order."""
    return tuple(tag for tag in (row.options or "").split("+") if tag)


def backend_name(backend: str) -> str:
    """Return `Stock`, `IPEX`, ..."""
    return _BACKENDS.get(backend, backend)


def mode_name(mode: str) -> str:
    """Return `eager`, `TorchScript`, `torch.compile`; a mode of a newer version stays unchanged."""
    return _MODES.get(mode, mode)


def way_name(row: ScenarioRow) -> str:
    """Return backend, mode and fusion: `IPEX · TorchScript, fusion on`."""
    if row.backend in FURTHER_BACKENDS:
        return backend_name(row.backend)
    mode = mode_name(row.mode)
    if row.fusion:
        mode = f"{mode}, {_FUSION.get(row.fusion, row.fusion)}"
    return f"{backend_name(row.backend)} · {mode}"


def detail_name(row: ScenarioRow) -> str:
    """Return what `way_name` leaves out: `fp32 · channels_last · batch 8`."""
    parts = [row.dtype, row.layout, f"batch {row.batch_size}"]
    parts += [_OPTIONS.get(tag, tag) for tag in option_tags(row)]
    if row.environment != DEFAULT_ENVIRONMENT:
        parts.append(row.environment)
    return " · ".join(part for part in parts if part)


def _beside_training(row: ScenarioRow) -> list[str]:
    """Return the options in words, without what a training step trains."""
    return [_OPTIONS.get(tag, tag) for tag in option_tags(row) if tag not in TRAINING_OPTIONS]


def chart_name(row: ScenarioRow) -> str:
    """Return one line that distinguishes scenarios of one comparison group."""
    if row.backend == "placebo":
        return f"Placebo (IPEX imported) · {row.mode} · {row.dtype}"
    layout = "" if row.layout == "channels_last" else row.layout
    parts = [way_name(row), row.dtype, layout, *_beside_training(row)]
    if row.environment != DEFAULT_ENVIRONMENT:
        parts.append(row.environment)
    return " · ".join(part for part in parts if part)


def spoken(row: ScenarioRow) -> str:
    """Return a scenario inside a sentence: `IPEX with TorchScript (fusion on)`."""
    dtype = "" if row.dtype == "fp32" else f" in {row.dtype}"
    environment = "" if row.environment == DEFAULT_ENVIRONMENT else f" ({row.environment})"
    if row.backend in FURTHER_BACKENDS:
        return f"{backend_name(row.backend)}{dtype}{environment}"
    backend = {"stock": "stock PyTorch", "ipex": "IPEX"}.get(row.backend, row.backend)
    has_name = row.mode in _MODES and row.mode != "eager"
    mode = f"with {_MODES[row.mode]}" if has_name else row.mode
    notes = [_FUSION.get(row.fusion or "", row.fusion or "")]
    if row.backend == "stock" and row.mode == "eager":
        notes.append(row.layout)
    notes += _beside_training(row)
    inside = ", ".join(note for note in notes if note)
    return f"{backend} {mode}{f' ({inside})' if inside else ''}{dtype}{environment}"
