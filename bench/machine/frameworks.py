"""Ask torch, oneDNN and IPEX, each in a process of its own, what they will use.

Some reports are untrue in a known way; they are recorded unchanged, with a label. Only oneDNN's own
log of what it ran is trusted.
"""

from __future__ import annotations

import json
import os
import re
import signal
import subprocess
import tempfile
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from bench.machine import software

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

TIMEOUT_S = 90
"""Importing both takes up to ten seconds, on a cold disk tens of them."""

_IPEX_ERROR = re.compile(r"ERROR!\s*(.+)")
_MISSING = re.compile(r"No module named '(torch|intel_extension_for_pytorch)'")
_PACKAGES = {"torch": "torch", "intel_extension_for_pytorch": "intel-extension-for-pytorch"}

TORCH_LABELS = {
    "cpu_capability": "ATen's own kernels only; never says more than AVX512",
    "mkldnn_bf16_supported": "means 'can at least emulate', not that bf16 is native",
}
IPEX_LABELS = {
    "onednn_bf16_supported": "means 'can at least emulate', not that bf16 is native",
    "onednn_isa": "follows ATEN_CPU_CAPABILITY although oneDNN does not; oneDNN's log decides",
}


@dataclass(frozen=True, kw_only=True)
class Answer:
    """The result of one script: the JSON that it wrote, or the reason why it wrote none."""

    result: dict[str, Any] | None
    reason: str
    output: str


def frameworks(python: str) -> dict[str, Any]:
    """Query both at the same time; a failed query is `{"unavailable": reason}`."""
    with ThreadPoolExecutor(2) as pool:
        stock, ipex = pool.map(
            lambda library: ask("ask_library", python, arguments=(library,)), ("torch", "ipex")
        )
    return {
        "torch": _labelled(stock, TORCH_LABELS),
        "onednn": _onednn(stock),
        "ipex": _labelled(ipex, IPEX_LABELS),
    }


def ask(
    script: str,
    python: str,
    base: Mapping[str, str] | None = None,
    *,
    arguments: Sequence[str] = (),
) -> Answer:
    """Run one of the scripts beside this file in another interpreter.

    `base` are its environment variables, by default those of this process; `arguments` follow the
    path of its result.
    """
    source = Path(__file__).with_name(f"{script}.py").read_text()
    environment = {
        **software.unsteered(os.environ if base is None else base),
        "TORCH_WARM_POOL": "0",  # no pool of compilers that burns seconds
        "ONEDNN_VERBOSE": "1",
        "PYTHONIOENCODING": "utf-8",
    }
    # an empty folder, so that nothing in the current one is imported by mistake
    with tempfile.TemporaryDirectory() as folder:
        result = Path(folder) / "answer.json"
        return _run(
            [_absolute(python), "-c", source, str(result), *arguments], folder, environment, result
        )


def _absolute(python: str) -> str:
    """Return a path that works from another folder; links stay, as environments are links."""
    return os.path.abspath(python) if os.sep in python else python  # noqa: PTH100 - resolve() follows links


def _run(command: list[str], folder: str, environment: Mapping[str, str], result: Path) -> Answer:
    try:
        process = subprocess.Popen(
            command,
            cwd=folder,
            env=environment,
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            start_new_session=True,
        )
    except OSError as error:
        return Answer(result=None, reason=f"{command[0]}: {error.strerror}", output="")
    with process:
        try:
            raw, _ = process.communicate(timeout=TIMEOUT_S)
        except subprocess.TimeoutExpired:
            os.killpg(process.pid, signal.SIGKILL)
            reason = f"importing it did not end within {TIMEOUT_S} s"
            return Answer(result=None, reason=reason, output="")
    output = raw.decode(errors="replace")
    try:
        answer = json.loads(result.read_text())
    except (OSError, ValueError):
        return Answer(result=None, reason=why(output, process.returncode), output=output)
    return Answer(result=answer, reason="", output=output)


def why(output: str, code: int) -> str:
    """Explain in one sentence why an interpreter wrote no result.

    IPEX prints a version mismatch to standard output; its exit code does not show it.
    """
    error = _IPEX_ERROR.search(output)
    if error:
        return " ".join(error[1].split())
    missing = _MISSING.search(output)
    if missing:
        return f"{_PACKAGES[missing[1]]} is not installed in this environment"
    if code < 0:
        return f"importing it crashed ({_signal_name(-code)})"
    lines = [line.strip() for line in output.splitlines() if line.strip()]
    return f"importing it failed: {lines[-1][:200]}" if lines else f"it ended with code {code}"


def _signal_name(number: int) -> str:
    try:
        return signal.Signals(number).name
    except ValueError:
        return f"signal {number}"


def _labelled(answer: Answer, labels: Mapping[str, str]) -> dict[str, Any]:
    if answer.result is None:
        return {"unavailable": answer.reason}
    caution = {key: text for key, text in labels.items() if answer.result.get(key) is not None}
    return {**answer.result, "caution": caution}


def _onednn(answer: Answer) -> dict[str, Any]:
    """Return the version of torch's oneDNN and its choice for a convolution, from its log."""
    if answer.result is None:
        return {"unavailable": answer.reason}
    log = read_log(answer.output)
    return log or {"unavailable": "this torch has no oneDNN, or it logs nothing"}


def read_log(output: str) -> dict[str, Any]:
    """Return version, instruction set and implementation per dtype from oneDNN's log."""
    found: dict[str, Any] = {}
    patterns = {
        "version": r"info,oneDNN v([\w.-]+)",
        "isa": r"info,cpu,isa:(.+)",
        "fp32_convolution": r"exec,cpu,convolution,([^,]+),[^,]*,src:f32",
        "bf16_convolution": r"exec,cpu,convolution,([^,]+),[^,]*,src:bf16",
    }
    for line in output.splitlines():
        if not line.startswith(("onednn_verbose,", "dnnl_verbose,")):
            continue
        for name, pattern in patterns.items():
            match = re.search(pattern, line)
            if match:
                found.setdefault(name, match[1].strip())
    return found
