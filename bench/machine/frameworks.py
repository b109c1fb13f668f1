"""What torch, oneDNN and IPEX each say that they will use, asked in processes of their own.

Some of what they say is untrue in a known way; it is recorded as said and labelled. oneDNN's own
log of what it ran is the only witness that is trusted.
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
    from collections.abc import Mapping

_TIMEOUT_S = 90
"""Importing both takes up to ten seconds, on a cold disk tens of them."""

_COMPLAINT = re.compile(r"ERROR!\s*(.+)")
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
    """What came of asking: the JSON that was written, or the reason why there is none."""

    result: dict[str, Any] | None
    reason: str
    output: str


def frameworks(python: str) -> dict[str, Any]:
    """Ask both, at the same time; what cannot be asked is `{"unavailable": reason}`."""
    with ThreadPoolExecutor(2) as pool:
        stock, ipex = pool.map(lambda script: ask(script, python), ("ask_torch", "ask_ipex"))
    return {
        "torch": _labelled(stock, TORCH_LABELS),
        "onednn": _onednn(stock),
        "ipex": _labelled(ipex, IPEX_LABELS),
    }


def ask(script: str, python: str, base: Mapping[str, str] | None = None) -> Answer:
    """Run one of the scripts beside this file in another interpreter.

    `base` are the variables it is started with; this process's own by default.
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
        return _run([_absolute(python), "-c", source, str(result)], folder, environment, result)


def _absolute(python: str) -> str:
    """A path that holds in another working folder; links are kept, as environments are links."""
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
            raw, _ = process.communicate(timeout=_TIMEOUT_S)
        except subprocess.TimeoutExpired:
            os.killpg(process.pid, signal.SIGKILL)
            reason = f"importing it did not end within {_TIMEOUT_S} s"
            return Answer(result=None, reason=reason, output="")
    output = raw.decode(errors="replace")
    try:
        answer = json.loads(result.read_text())
    except (OSError, ValueError):
        return Answer(result=None, reason=why(output, process.returncode), output=output)
    return Answer(result=answer, reason="", output=output)


def why(output: str, code: int) -> str:
    """One sentence about an interpreter that gave no answer.

    IPEX's complaint about a mismatch stands in its standard output; the exit code says nothing.
    """
    complaint = _COMPLAINT.search(output)
    if complaint:
        return " ".join(complaint[1].split())
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
    said = {key: meaning for key, meaning in labels.items() if answer.result.get(key) is not None}
    return {**answer.result, "caution": said}


def _onednn(answer: Answer) -> dict[str, Any]:
    """Torch's oneDNN: what its log says it is and what it chose for a convolution."""
    if answer.result is None:
        return {"unavailable": answer.reason}
    log = read_log(answer.output)
    return log or {"unavailable": "this torch has no oneDNN, or it logs nothing"}


def read_log(output: str) -> dict[str, Any]:
    """Version, instruction set and the implementation per dtype, from oneDNN's verbose lines."""
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
