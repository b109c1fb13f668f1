"""What PyTorch, oneDNN and IPEX of an interpreter say, and why they say nothing."""

from __future__ import annotations

import stat
from typing import TYPE_CHECKING

import pytest

from bench import machine
from bench.machine import frameworks
from tests.hardware import ONEDNN_HAS_BF16

if TYPE_CHECKING:
    from pathlib import Path

MISMATCH = (
    "ERROR! Intel® Extension for PyTorch* needs to work with PyTorch 2.8.*, but PyTorch 2.9.1 is "
    "found. Please switch to the matching version and run again.\n"
    "Traceback (most recent call last):\nAttributeError: module 'os' has no attribute 'exit'\n"
)


@pytest.mark.parametrize(
    ("output", "code", "says"),
    [
        (MISMATCH, 1, "PyTorch 2.9.1"),
        (MISMATCH, 0, "PyTorch 2.9.1"),
        ("ModuleNotFoundError: No module named 'torch'", 1, "torch is not installed"),
        (
            "ModuleNotFoundError: No module named 'intel_extension_for_pytorch'",
            1,
            "intel-extension-for-pytorch is not installed",
        ),
        ("", -11, "crashed (SIGSEGV)"),
        ("noise\n", -4, "crashed (SIGILL)"),
        ("a\nOSError: libiomp5.so: cannot open\n\n", 1, "failed: OSError: libiomp5.so"),
        ("", 127, "ended with code 127"),
    ],
)
def test_a_failed_import_has_one_true_reason(output: str, code: int, says: str) -> None:
    """IPEX's mismatch is known by its message; its exit code says something else."""
    reason = frameworks.why(output, code)
    assert says in reason
    assert "\n" not in reason


def interpreter(tmp_path: Path, script: str) -> str:
    """A program in place of a Python interpreter."""
    path = tmp_path / "python"
    path.write_text(f"#!/bin/sh\n{script}\n")
    path.chmod(path.stat().st_mode | stat.S_IXUSR)
    return str(path)


def test_an_environment_without_frameworks_says_why(tmp_path: Path) -> None:
    """All three entries are there, each with the reason."""
    python = interpreter(tmp_path, "echo \"No module named 'torch'\"; exit 1")
    found = frameworks.frameworks(python)
    assert list(found) == ["torch", "onednn", "ipex"]
    assert all("torch is not installed" in said["unavailable"] for said in found.values())


def test_a_missing_interpreter_is_no_failure(tmp_path: Path) -> None:
    """Environments may be named before they are made."""
    found = frameworks.frameworks(str(tmp_path / "none"))
    assert "No such file" in found["torch"]["unavailable"]


def test_a_hanging_import_is_ended(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """With everything that it started."""
    monkeypatch.setattr(frameworks, "TIMEOUT_S", 0.2)
    answer = frameworks.ask("ask_library", interpreter(tmp_path, "sleep 1000 & sleep 1000"))
    assert answer.result is None
    assert "0.2 s" in answer.reason


def test_chatter_cannot_spoil_an_answer(tmp_path: Path) -> None:
    """Answers go through a file, whatever is printed; crashes after the answer do not matter."""
    python = interpreter(tmp_path, 'echo "{ERROR!"; echo \'{"version": "9"}\' > "$3"; exit 3')
    assert frameworks.ask("ask_library", python).result == {"version": "9"}


def test_known_untruths_are_labelled(tmp_path: Path) -> None:
    """'bf16 supported' of oneDNN means 'can emulate', and has that label."""
    said = '{"version": "2.8", "mkldnn_bf16_supported": true, "onednn_bf16_supported": true}'
    python = interpreter(tmp_path, f"echo '{said}' > \"$3\"")
    found = frameworks.frameworks(python)
    assert "emulate" in found["torch"]["caution"]["mkldnn_bf16_supported"]
    assert "emulate" in found["ipex"]["caution"]["onednn_bf16_supported"]
    text = " ".join(machine.render({"frameworks": found}).split())
    assert text.count("means 'can at least emulate'") == 2


LOG = """\
onednn_verbose,v1,info,oneDNN v3.7.1 (commit 8d263e693366ef8db40acc569cc7d8edf644556d)
onednn_verbose,v1,info,cpu,runtime:OpenMP,nthr:2
onednn_verbose,v1,info,cpu,isa:Intel AVX-512 with AVX512BW, AVX512VL, and AVX512DQ extensions
noise
onednn_verbose,v1,primitive,exec,cpu,reorder,jit:uni,undef,src:f32::blocked:acdb::f0 dst:f32,,,1
onednn_verbose,v1,primitive,exec,cpu,convolution,brg_conv_fwd:avx512_core,forward_training,src:f32::b
onednn_verbose,v1,primitive,exec,cpu,convolution,jit_bf16:avx512_core,forward_training,src:bf16::blo
"""


def test_the_log_shows_what_onednn_chose() -> None:
    """Version, instruction set and the kernel of each type: emulated bf16 shows in its name."""
    assert frameworks.read_log(LOG) == {
        "version": "3.7.1",
        "isa": "Intel AVX-512 with AVX512BW, AVX512VL, and AVX512DQ extensions",
        "fp32_convolution": "brg_conv_fwd:avx512_core",
        "bf16_convolution": "jit_bf16:avx512_core",
    }
    assert frameworks.read_log("") == {}


@pytest.mark.torch
@pytest.mark.ipex
def test_torch_and_ipex_answer_on_this_machine() -> None:
    """Real interpreters: native bf16 agrees with the flags in torch's answer and oneDNN's log."""
    here = machine.describe()
    said = here["frameworks"]
    assert said["torch"]["says"]["avx512_bf16"] == here["isa"]["avx512_bf16"]
    assert said["torch"]["says"]["amx_tile"] == here["isa"]["amx_tile"]
    assert ("bf16_convolution" in said["onednn"]) == ONEDNN_HAS_BF16
    if "unavailable" not in said["ipex"]:
        assert said["ipex"]["onednn_bf16_supported"] == ONEDNN_HAS_BF16
    assert "isa" in said["ipex"] or "unavailable" in said["ipex"]
