"""Figures that others published, to stand beside ours as history. None of them is measured here."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True, kw_only=True)
class Published:
    """One published speedup, with what it was measured on."""

    what: str
    speedup: str
    machine: str
    versions: str
    remark: str


_TUTORIAL = {
    "machine": "Azure D4_v5 (Xeon 8370C, 4 vCPU)",
    "versions": "stock PyTorch 1.8.0 against IPEX 1.8.0",
    "remark": "no warm-up, no no_grad; another cloud, CPU and version than the tutorial's "
    "m6i.4xlarge",
}

PUBLISHED = (
    Published(what="Pill model, fp32, batch 1", speedup="2.22\N{MULTIPLICATION SIGN}", **_TUTORIAL),
    Published(
        what="Pill model, fp32, batch 10", speedup="1.38\N{MULTIPLICATION SIGN}", **_TUTORIAL
    ),
    Published(
        what="Pill model, fp32, batch 50", speedup="1.04\N{MULTIPLICATION SIGN}", **_TUTORIAL
    ),
    Published(
        what="VGG-11, fp32, batch 64 / batch 1",
        speedup="1.15\N{MULTIPLICATION SIGN} / 1.21\N{MULTIPLICATION SIGN}",
        machine="c6i.2xlarge",
        versions="Intel's performance page",
        remark="against stock PyTorch of its day",
    ),
    Published(
        what="VGG-11, fp32, batch 64 / batch 1",
        speedup="1.20\N{MULTIPLICATION SIGN} / 1.13\N{MULTIPLICATION SIGN}",
        machine="two Xeon 8380",
        versions="Intel's performance page",
        remark="against stock PyTorch of its day",
    ),
)
