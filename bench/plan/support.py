"""Say what a scenario rests on that is archived, deprecated or private, by rules. Pure.

    concerns(row, torch="2.14.1")     # what to know before building on it, with sources
    is_supported(row)                 # whether none of it is archived, deprecated or private

The advice looks ahead and does not wait for a warning: TorchScript is deprecated since PyTorch
2.10, and PyTorch 2.8, which IPEX needs, does not say so yet. To add a rule, add it to `RULES`.
"""

from __future__ import annotations

import re
from dataclasses import dataclass, replace
from enum import Enum
from typing import TYPE_CHECKING, Protocol

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable

_Version = tuple[int, int]
_PUBLIC_API = "https://github.com/pytorch/pytorch/wiki/Public-API-definition-and-documentation"


class Severity(str, Enum):
    """How far something is from being supported, the gravest first."""

    ARCHIVED = "archived"
    DEPRECATED = "deprecated"
    PRIVATE = "private"
    SUPPORTED = "supported"
    """Nothing speaks against it, though a sentence may be worth reading."""


MEANINGS = {
    Severity.ARCHIVED: "nobody repairs it any more",
    Severity.DEPRECATED: "its makers advise against it and may remove it",
    Severity.PRIVATE: "a name in it begins with an underscore, is in no documentation and may "
    "change in any release",
}
"""What the marks on a page mean."""

DOCUMENTED = ("torch._inductor.aoti_compile_and_package", "torch._inductor.aoti_load_package")
"""Names with an underscore that are not private: PyTorch's documentation tells its readers to call
them, and has no others for what they do."""


class Way(Protocol):
    """The fields that rules read: of a scenario, or of its row in scenarios.csv."""

    @property
    def backend(self) -> str:
        """Who runs the model."""

    @property
    def mode(self) -> str:
        """How PyTorch executes it."""

    @property
    def dtype(self) -> str:
        """The requested arithmetic."""


@dataclass(frozen=True, kw_only=True)
class Concern:
    """Something that a way of running rests on, and why that is not supported, or only just."""

    what: str
    severity: Severity
    since: str
    """The version or the time from which on it is so."""
    sentence: str
    source: str
    """The address of a public page that says so."""


@dataclass(frozen=True, kw_only=True)
class Rule:
    """A concern, and the ways of running and versions of PyTorch that it is about."""

    concern: Concern
    applies: Callable[[Way], bool]
    warns_from: _Version | None = None
    """The first PyTorch that says so itself."""
    gone_in: _Version | None = None
    """The first PyTorch in which these ways no longer rest on it."""


RULES = (
    Rule(
        concern=Concern(
            what="IPEX",
            severity=Severity.ARCHIVED,
            since="March 2026",
            sentence="IPEX is archived: no patches since March 2026; 2.8 is its last release and "
            "needs PyTorch 2.8.",
            source="https://github.com/intel/intel-extension-for-pytorch/releases",
        ),
        applies=lambda way: way.backend in ("ipex", "placebo"),
    ),
    Rule(
        concern=Concern(
            what="TorchScript",
            severity=Severity.DEPRECATED,
            since="PyTorch 2.10",
            sentence="TorchScript is deprecated since PyTorch 2.10, in favour of torch.export.",
            source="https://pytorch.org/blog/pytorch-2-11-release-blog/",
        ),
        applies=lambda way: way.mode == "torchscript",
        warns_from=(2, 10),
    ),
    Rule(
        concern=Concern(
            what="torch.ao.quantization",
            severity=Severity.DEPRECATED,
            since="PyTorch 2.8",
            sentence="Quantising with torch.ao.quantization is deprecated since PyTorch 2.8, in "
            "favour of torchao.",
            source="https://docs.pytorch.org/docs/2.13/quantization.html",
        ),
        applies=lambda way: (way.backend, way.dtype) == ("stock", "int8"),
        gone_in=(2, 10),
    ),
    Rule(
        concern=Concern(
            what="torch.onnx.export(dynamo=False)",
            severity=Severity.DEPRECATED,
            since="PyTorch 2.8",
            sentence="The model reaches ONNX Runtime through PyTorch's exporter that is built on "
            "TorchScript (dynamo=False), which warns since PyTorch 2.8 that it is the old one.",
            source="https://docs.pytorch.org/docs/stable/onnx.html",
        ),
        applies=lambda way: way.backend == "onnxruntime",
    ),
    Rule(
        concern=Concern(
            what="torch._C._jit_set_autocast_mode",
            severity=Severity.PRIVATE,
            since="always",
            sentence="TorchScript in bf16 needs the private switch "
            "torch._C._jit_set_autocast_mode, which may change in any release.",
            source=_PUBLIC_API,
        ),
        applies=lambda way: (way.mode, way.dtype) == ("torchscript", "bf16"),
    ),
    Rule(
        concern=Concern(
            what="torch._inductor.aoti_compile_and_package",
            severity=Severity.SUPPORTED,
            since="PyTorch 2.6",
            sentence="AOTInductor is called through torch._inductor: PyTorch documents these names "
            "though they begin with an underscore, and has no public ones.",
            source="https://docs.pytorch.org/docs/2.12/user_guide/torch_compiler/"
            "torch.compiler_aot_inductor.html",
        ),
        applies=lambda way: way.mode == "aot",
    ),
)
"""The gravest first."""


def concerns(way: Way, torch: str | None = None) -> tuple[Concern, ...]:
    """Return what to know before one builds on this way of running, the gravest first.

    `torch` is the version of PyTorch that it runs in. Without it nothing counts as gone.
    """
    version = _version(torch)
    return tuple(
        _in_version(rule, torch, version)
        for rule in RULES
        if rule.applies(way) and (version is None or rule.gone_in is None or version < rule.gone_in)
    )


def is_supported(way: Way, torch: str | None = None) -> bool:
    """Return whether nothing speaks against building on this way of running."""
    return gravest(concerns(way, torch)) is Severity.SUPPORTED


def gravest(found: Iterable[Concern]) -> Severity:
    """Return the severity of the gravest concern; `supported` without any."""
    order = list(Severity)
    return min((one.severity for one in found), key=order.index, default=Severity.SUPPORTED)


def _in_version(rule: Rule, torch: str | None, version: _Version | None) -> Concern:
    """Return the concern; says so where this version of PyTorch does not warn of it yet."""
    if version is None or rule.warns_from is None or version >= rule.warns_from:
        return rule.concern
    not_yet = f"PyTorch {torch} does not warn of it yet; the advice is the same."
    return replace(rule.concern, sentence=f"{rule.concern.sentence} {not_yet}")


def _version(text: str | None) -> _Version | None:
    """Return the first two numbers of a version such as `2.14.1+cpu`; None for another form."""
    found = re.match(r"(\d+)\.(\d+)", text or "")
    return (int(found[1]), int(found[2])) if found else None
