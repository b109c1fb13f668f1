"""How numbers and scenarios read on the page: sensible digits, units, plain names. Pure."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING, Protocol

from bench.plan.matrix import FURTHER_BACKENDS
from bench.plan.scenario import Verdict

if TYPE_CHECKING:
    from collections.abc import Collection

    from bench.analysis.comparison import Comparison
    from bench.store.records import ScenarioRow

NOTHING = "\N{EN DASH}"
"""What a cell shows where there is no value."""

TIMES = "\N{MULTIPLICATION SIGN}"

_BACKENDS = {
    "stock": "Stock",
    "ipex": "IPEX",
    "placebo": "Placebo (IPEX only imported)",
    "openvino": "OpenVINO",
    "onnxruntime": "ONNX Runtime",
}
_MODES = {"eager": "eager", "torchscript": "TorchScript", "compile": "torch.compile"}
_FUSION = {"on": "fusion on", "off": "fusion off"}
_OPTIONS = {
    "frozen": "shallow blocks frozen",
    "full": "everything trained",
    "fused_adam": "fused Adam",
    "no_freezing": "no freezing",
}
_STATUS = {
    "ok": "ok",
    "unsupported": "unsupported",
    "unavailable": "unavailable",
    "crashed": "crashed",
    "out_of_memory": "out of memory",
    "timeout": "timed out",
    "wrong_output": "wrong output",
    "no_steady_state": "no steady state",
}
_VERDICTS = {
    Verdict.FASTER: "faster",
    Verdict.SLOWER: "slower",
    Verdict.SAME: "same",
    Verdict.INCONCLUSIVE: "inconclusive",
    Verdict.INVALID: "invalid",
}
GLYPHS = {
    "faster": "▲",
    "slower": "▼",
    "same": "=",
    "inconclusive": "?",
    "invalid": "✕",
}
"""A verdict is never told by colour alone."""


class Interval(Protocol):
    """Anything with an estimate and its two bounds."""

    @property
    def estimate(self) -> float:
        """The ratio."""
        ...

    @property
    def low(self) -> float:
        """Lower bound."""
        ...

    @property
    def high(self) -> float:
        """Upper bound."""
        ...


def finite(value: float | None) -> float | None:
    """The value, or None where it is missing or no number."""
    return value if value is not None and math.isfinite(value) else None


def times(ratio: float | None) -> str:
    """A speedup: `1.32x`."""
    value = finite(ratio)
    if value is None:
        return NOTHING
    return f"{value:.2f}{TIMES}" if value < 10 else f"{value:.1f}{TIMES}"


def bounds(low: float | None, high: float | None) -> str:
    """An interval: `[1.28, 1.37]`; an open end reads as such."""
    if low is None or high is None:
        return ""
    upper = f"{high:.2f}" if math.isfinite(high) else "∞"
    return f"[{low:.2f}, {upper}]"


def with_interval(ratio: Interval) -> str:
    """A speedup with its interval: `1.32x [1.28, 1.37]`."""
    return f"{times(ratio.estimate)} {bounds(ratio.low, ratio.high)}".strip()


def at_least(comparison: Comparison) -> str:
    """By how much it differs at least, where that was shown: `by at least 3.2 %`."""
    if comparison.at_least is None:
        return ""
    if comparison.at_least >= 1:
        return f"at least {times(1 + comparison.at_least)}"
    return f"by at least {percent(comparison.at_least)}"


def digits(value: float | None, significant: int = 3) -> str:
    """A number with so many significant digits and never an exponent: `1,240`, `84.3`, `0.123`."""
    number = finite(value)
    if number is None:
        return NOTHING
    if number == 0:
        return "0"
    places = max(0, significant - 1 - math.floor(math.log10(abs(number))))
    return f"{number:,.{min(places, 9)}f}"


def tiny(value: float | None) -> str:
    """An error, which may be far below 1: `3.1e-05`."""
    number = finite(value)
    return NOTHING if number is None else f"{number:.2g}"


def milliseconds(value: float | None) -> str:
    """`84.3 ms`, and from ten seconds on `12.4 s`."""
    number = finite(value)
    if number is None:
        return NOTHING
    return f"{digits(number / 1000)} s" if number >= 10_000 else f"{digits(number)} ms"


def seconds(value: float | None) -> str:
    """`12.4 s`, and from two minutes on `3 min 5 s`."""
    number = finite(value)
    if number is None:
        return NOTHING
    if number < 120:
        return f"{digits(number)} s"
    minutes, rest = divmod(round(number), 60)
    hours, minutes = divmod(minutes, 60)
    return f"{hours} h {minutes} min" if hours else f"{minutes} min {rest} s"


def percent(share: float | None, significant: int = 2) -> str:
    """A share of one as `3 %`."""
    number = finite(share)
    return NOTHING if number is None else f"{100 * number:.{significant}g} %"


def count(number: int, noun: str, plural: str | None = None) -> str:
    """`1 round`, `2 rounds`."""
    return f"{number:,} {noun if number == 1 else plural or noun + 's'}"


def span(numbers: Collection[int], noun: str) -> str:
    """`32 images` where all are alike, else `8 to 32 images`."""
    low, high = min(numbers), max(numbers)
    return count(high, noun) if low == high else f"{low:,} to {count(high, noun)}"


def listed(items: list[str], limit: int = 0) -> str:
    """`a`, `a and b`, `a, b and c`; beyond `limit`, `a, b and 3 more`."""
    if limit and len(items) > limit:
        return f"{', '.join(items[:limit])} and {len(items) - limit} more"
    if len(items) < 2:
        return "".join(items)
    return f"{', '.join(items[:-1])} and {items[-1]}"


def status_words(status: str) -> str:
    """A status as people read it; one from a newer version reads as it is."""
    return _STATUS.get(status, status)


def verdict_words(verdict: str) -> str:
    """A verdict as people read it."""
    return _VERDICTS.get(Verdict(verdict), verdict) if verdict in GLYPHS else verdict


def option_tags(row: ScenarioRow) -> tuple[str, ...]:
    """The scenario's option tags, in order."""
    return tuple(tag for tag in (row.options or "").split("+") if tag)


def backend_name(backend: str) -> str:
    """`Stock`, `IPEX`, ..."""
    return _BACKENDS.get(backend, backend)


def way_name(row: ScenarioRow) -> str:
    """Backend, mode and fusion: `IPEX · TorchScript, fusion on`."""
    if row.backend in FURTHER_BACKENDS:
        return backend_name(row.backend)
    mode = _MODES.get(row.mode, row.mode)
    if row.fusion:
        mode = f"{mode}, {_FUSION.get(row.fusion, row.fusion)}"
    return f"{backend_name(row.backend)} · {mode}"


def detail_name(row: ScenarioRow, *, batch: bool = True) -> str:
    """What `way_name` leaves out: `fp32 · channels_last · batch 8`."""
    parts = [row.dtype, row.layout]
    if batch:
        parts.append(f"batch {row.batch_size}")
    parts += [_OPTIONS.get(tag, tag) for tag in option_tags(row)]
    if row.environment != "ipex-2.8":
        parts.append(row.environment)
    return " · ".join(parts)


def chart_name(row: ScenarioRow) -> str:
    """One line that tells scenarios of one comparison group apart."""
    extra = [_OPTIONS.get(tag, tag) for tag in option_tags(row) if tag not in ("frozen", "full")]
    if row.backend == "placebo":
        return f"Placebo (IPEX imported) · {row.mode} · {row.dtype}"
    layout = "" if row.layout == "channels_last" else row.layout
    parts = [way_name(row), row.dtype, layout, *extra]
    if row.environment != "ipex-2.8":
        parts.append(row.environment)
    return " · ".join(part for part in parts if part)


def spoken(row: ScenarioRow) -> str:
    """A scenario inside a sentence: `IPEX with TorchScript (fusion on)`."""
    if row.backend in FURTHER_BACKENDS:
        dtype = "" if row.dtype == "fp32" else f" in {row.dtype}"
        return f"{backend_name(row.backend)}{dtype}"
    backend = {"stock": "stock PyTorch", "ipex": "IPEX"}.get(row.backend, row.backend)
    mode = {
        "eager": "eager",
        "torchscript": "with TorchScript",
        "compile": "with torch.compile",
    }.get(row.mode, row.mode)
    notes = [_FUSION.get(row.fusion or "", row.fusion or "")]
    if row.backend == "stock" and row.mode == "eager":
        notes.append(row.layout)
    notes += [_OPTIONS.get(tag, tag) for tag in option_tags(row) if tag not in ("frozen", "full")]
    inside = ", ".join(note for note in notes if note)
    dtype = "" if row.dtype == "fp32" else f" in {row.dtype}"
    environment = "" if row.environment == "ipex-2.8" else f" ({row.environment})"
    return f"{backend} {mode}{f' ({inside})' if inside else ''}{dtype}{environment}"
