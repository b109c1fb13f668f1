"""Read from oneDNN's verbose log what a call executed, and compare it with the label.

A line proves that a kernel ran. A missing line proves nothing, because small convolutions and fp32
matrix products (MKL) print none.

A line has these fields, separated by commas (older versions leave out `v1` and `primitive`, newer
ones may add a timestamp):
`onednn_verbose,v1,primitive,exec,cpu,convolution,brg_conv_fwd:avx512_core,forward_inference,
<memory descriptors>,<attributes>,<auxiliary>,<problem>,<ms>`. Lines of the graph API wrap primitive
lines and are skipped. Nothing in this module imports torch.
"""

from __future__ import annotations

import re
from collections import Counter
from dataclasses import asdict, dataclass, field
from typing import TYPE_CHECKING, Any

from bench.machine import isa
from bench.plan import variables
from bench.plan.scenario import (
    CPP_WRAPPER,
    MAX_AUTOTUNE,
    Dtype,
    Layout,
    Mode,
    Scenario,
    Task,
)

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping

    from bench.worker import protocol

COMPUTE = ("convolution", "deconvolution", "inner_product", "matmul")
"""Primitives that do the arithmetic. Only these show the instruction set: softmax and pooling name
the CPU's widest one, whatever their data."""

_CHANNELS_LAST = ("acdb", "acdeb")
"""Tags of images and of volumes."""
_NODE = re.compile(
    r"= (?:prim::(oneDNNFusionGroup)(?:_\d+)?|(ipex::LlgaFusionGroup)(?:_\d+)?"
    r"|((?:torch_)?ipex\w*::\w+))\b"
)
_FUSED_NODE = re.compile(
    r"oneDNNFusionGroup|ipex::LlgaFusionGroup|ipex_prepack::(?!mkl_sgemm_run)\w+_\w+_run"
    r"|ipex::(?:\w*add_layernorm|\w*add_softmax_?|maskedfill_softmax|\w*mha\w*|matmul_(?:div|mul)"
    r"|bmm_add|shuffle_2d|einsum_binary|linear_\w+)"
)
"""Names that the libraries give to fused operators. `convolution_run`, `linear_run` and
`mkl_sgemm_run` are one operator with packed weights."""
_DESCRIPTOR = re.compile(r"(?P<name>[a-z]+)[:_](?P<type>[a-z]+\d\w*):(?P<rest>.*)")
_MARKER = "onednn_verbose,"


@dataclass(frozen=True, kw_only=True)
class Kernel:
    """One primitive that oneDNN executed: a `KernelRow` without the run and the scenario."""

    position: int
    primitive: str
    implementation: str
    isa: str | None
    data_types: str
    layouts: str
    post_ops: str | None
    problem: str
    ms: float
    kind: str | None = None
    fpmath: str | None = None
    """What oneDNN may multiply fp32 data in, where that is less than fp32."""

    def data_type(self, tensor: str) -> str | None:
        """Return the type of one tensor, such as `src`."""
        return _named(self.data_types).get(tensor)

    @property
    def is_fused(self) -> bool:
        """Whether it computed another operator too; a matrix product's `sum` is its own bias."""
        own = {"sum"} if self.primitive != "convolution" else set()
        return self.primitive in COMPUTE and bool({*(self.post_ops or "").split("+")} - {"", *own})

    @property
    def with_post_ops(self) -> str:
        """The primitive and what it computed too, such as `convolution+sum+eltwise_relu`."""
        post_ops = (post.partition(":")[0] for post in (self.post_ops or "").split("+"))
        return "+".join(filter(None, (self.primitive, *post_ops)))

    @property
    def is_reduced(self) -> bool:
        """Whether it multiplied fp32 data in less: by instructions that have no fp32 product."""
        may = self.fpmath is not None and self.data_type("src") == "f32"
        return may and any(name in (self.isa or "") for name in ("bf16", "fp16", "amx"))

    def layout(self, tensor: str) -> str | None:
        """Return the layout tag of one tensor, such as `acdb` (channels_last) of `src`."""
        return _named(self.layouts).get(tensor)


@dataclass(frozen=True, kw_only=True)
class Evidence:
    """What one call executed, as far as it is known."""

    kernels: tuple[Kernel, ...] = ()
    layers_replaced: int | None = None
    graph: Mapping[str, Any] = field(default_factory=dict)
    """TorchScript has `nodes` {name: count}; compile `graphs`, `breaks`, and `tuned` products and
    `cpp_wrappers` if any; aot `packages`; int8 of a backend without oneDNN `arithmetic`: how many
    operators took 8-bit numbers, and of how many."""
    layouts: frozenset[Layout] = frozenset(Layout)
    """Those that a label can be checked for, in this model (`Workload.layouts`)."""

    @property
    def convolutions(self) -> tuple[Kernel, ...]:
        """The convolutions that printed a line."""
        return tuple(kernel for kernel in self.kernels if kernel.primitive == "convolution")

    @property
    def arithmetic(self) -> tuple[Kernel, ...]:
        """The kernels that did the arithmetic and printed a line."""
        return tuple(kernel for kernel in self.kernels if kernel.primitive in COMPUTE)

    @property
    def fused_ops(self) -> int:
        """The number of convolutions and matrix products that computed another operator too."""
        return sum(kernel.is_fused for kernel in self.kernels)

    @property
    def isa(self) -> str | None:
        """The widest instruction set of the arithmetic; an unknown one counts as widest."""
        names = [kernel.isa for kernel in self.arithmetic]
        return max((name for name in names if name is not None), key=isa.rank, default=None)

    @property
    def reorder_share(self) -> float | None:
        """The share of oneDNN's time that layout changes took; None without a log."""
        total = sum(kernel.ms for kernel in self.kernels)
        if total == 0:
            return None
        return sum(kernel.ms for kernel in self.kernels if kernel.primitive == "reorder") / total


def reply(scenario: Scenario, evidence: Evidence) -> protocol.KernelsReply:
    """Return the evidence, and where it contradicts the scenario's label, as a reply's fields."""
    graph = dict(evidence.graph)
    if evidence.reorder_share is not None:
        graph["reorder_share"] = round(evidence.reorder_share, 4)
    return {
        "kernels": [asdict(kernel) for kernel in evidence.kernels],
        "fused_ops": evidence.fused_ops,
        "isa": evidence.isa,
        "layers_replaced": evidence.layers_replaced,
        "graph": graph,
        "contradiction": contradiction(scenario, evidence),
    }


def parse(text: str) -> tuple[Kernel, ...]:
    """Read the executed primitives of a verbose log, in order; skip all other and broken lines."""
    kernels: list[Kernel] = []
    for line in text.splitlines():
        kernel = _kernel(line, len(kernels))
        if kernel is not None:
            kernels.append(kernel)
    return tuple(kernels)


def _kernel(line: str, position: int) -> Kernel | None:
    start = line.find(_MARKER)
    fields = line[start:].split(",") if start >= 0 else []
    if "exec" not in fields[:5] or "graph" in fields[:5]:
        return None
    fields = fields[fields.index("exec") + 1 :]
    if len(fields) != 9:
        return None
    _engine, primitive, implementation, kind, descriptors, attributes, _aux, problem, ms = fields
    parts = [match for text in descriptors.split() if (match := _DESCRIPTOR.fullmatch(text))]
    post_ops = re.search(r"attr-post-ops:(\S+)", attributes)
    fpmath = re.search(r"attr-fpmath:(?!strict)(\w+)", attributes)
    try:
        duration = float(ms)
    except ValueError:
        return None
    return Kernel(
        position=position,
        primitive=primitive,
        implementation=implementation,
        isa=_isa(implementation),
        data_types=" ".join(f"{part['name']}:{part['type']}" for part in parts),
        layouts=" ".join(f"{part['name']}:{_tag(part['rest'])}" for part in parts),
        post_ops=post_ops.group(1).strip("'") if post_ops else None,
        problem=problem,
        ms=duration,
        kind=kind,
        fpmath=fpmath.group(1) if fpmath else None,
    )


def _isa(implementation: str) -> str | None:
    """Return `avx512_core` of `brg_conv_fwd:avx512_core`; None for `jit:uni`, which names none."""
    name = implementation.rpartition(":")[2]
    return name if name in isa.ORDER or re.match(r"(sse|avx|amx|sve)", name) else None


def _tag(rest: str) -> str:
    """Return the layout tag of `a:blocked:acdb::f0` or `:blocked:acdb::f0`."""
    fields = rest.split(":")
    return fields[fields.index("blocked") + 1] if "blocked" in fields[:-1] else fields[-1]


def _named(text: str) -> dict[str, str]:
    """Read `src:f32 wei:f32` into a mapping; of several `src` (concat's) the first counts."""
    pairs = (part.partition(":") for part in reversed(text.split()))
    return {name: value for name, _, value in pairs}


def graph_nodes(graph: str) -> dict[str, int]:
    """Count each fused or IPEX operator in an optimised TorchScript graph."""
    counts = Counter(next(filter(None, names)) for names in _NODE.findall(graph))
    return dict(sorted(counts.items()))


def arithmetic(reply: protocol.KernelsReply) -> list[Kernel]:
    """Return the kernels of a reply that did the arithmetic."""
    found = (Kernel(**fields) for fields in reply.get("kernels", ()))
    return [kernel for kernel in found if kernel.primitive in COMPUTE]


def fused_operators(reply: protocol.KernelsReply) -> list[str]:
    """Name what one call fused: `convolution+eltwise_relu`, or a fused node of the graph.

    The log decides where it holds arithmetic: a node may hold an operator alone. MKL's matrix
    products print no line, and then the graph decides.
    """
    logged = arithmetic(reply)
    if logged:
        names = [one.with_post_ops for one in logged if one.is_fused]
    else:
        nodes = reply.get("graph", {}).get("nodes", {})
        names = [name for name in nodes if _FUSED_NODE.fullmatch(name)]
    return list(dict.fromkeys(names))


def contradiction(scenario: Scenario, evidence: Evidence) -> str | None:
    """Return a sentence if the evidence contradicts the scenario's label, else None."""
    checks = (
        _wrong_backend,
        _wrong_dtype,
        _wrong_fusion,
        _wrong_layout,
        _not_compiled,
        _above_cap,
        _reduced_unasked,
        _not_reduced,
    )
    return next((found for check in checks if (found := check(scenario, evidence))), None)


def _wrong_backend(scenario: Scenario, evidence: Evidence) -> str | None:
    foreign = [name for name in evidence.graph.get("nodes", {}) if name.startswith("ipex")]
    if scenario.backend == "stock" and foreign:
        return f"a stock scenario runs IPEX operators: {', '.join(foreign)}"
    # Compiled IPEX packs weights in the graph; in int8 the kernels are the proof; and training may
    # leave nothing but its fused optimizer step, without which it is refused.
    replaces = scenario.mode is not Mode.COMPILE and scenario.dtype is not Dtype.INT8
    replaces = replaces and scenario.task is not Task.TRAINING
    if scenario.backend == "ipex" and replaces and not evidence.layers_replaced:
        return "ipex.optimize replaced no layer: this would time stock PyTorch"
    own = [name for name in evidence.graph.get("nodes", {}) if name.startswith("zentorch::")]
    if scenario.backend == "zentorch" and not own:
        return "zentorch put no operator of its own into the graph: this would time stock Inductor"
    return None


def _wrong_dtype(scenario: Scenario, evidence: Evidence) -> str | None:
    if scenario.dtype is Dtype.INT8:
        return _not_int8(evidence)
    ran = {str(one.data_type("src")) for one in evidence.convolutions or evidence.arithmetic}
    expected = {Dtype.FP32: "f32", Dtype.BF16: "bf16", Dtype.FP16: "f16"}[scenario.dtype]
    if not ran or expected in ran:
        return None
    return f"the label says {scenario.dtype}, but the arithmetic ran in {', '.join(sorted(ran))}"


def _not_int8(evidence: Evidence) -> str | None:
    """Require 8-bit kernels: a quantiser that finds nothing to quantise leaves fp32, silently.

    A backend that does not use oneDNN counts its own operators.
    """
    ran = evidence.arithmetic
    small = sum(k.data_type("src") in ("u8", "s8") and k.data_type("wei") == "s8" for k in ran)
    small, total = evidence.graph.get("arithmetic", (small, len(ran)))
    if not total:
        return "the label says int8, but no kernel reported that it took 8-bit numbers"
    if 2 * small > total:
        return None
    types = sorted({str(kernel.data_type("src")) for kernel in ran})
    return f"the label says int8, but {small} of {total} kernels took 8-bit numbers" + (
        f" (they ran in {', '.join(types)})" if types else ""
    )


def _wrong_fusion(scenario: Scenario, evidence: Evidence) -> str | None:
    if scenario.fusion is None or scenario.task is Task.TRAINING:
        return None
    fused = any(_FUSED_NODE.fullmatch(name) for name in evidence.graph.get("nodes", {}))
    if not scenario.fusion:
        return "fusion is off, but operators were fused" if fused or evidence.fused_ops else None
    # Every library fuses an activation into a convolution; a model of other operators may have
    # nothing to fuse.
    if evidence.convolutions and "nodes" in evidence.graph and not fused:
        return "fusion is on, but the optimised graph holds no fused operator"
    if evidence.convolutions and not (fused or evidence.fused_ops):
        return "fusion is on, but no kernel of oneDNN reports a fused operation"
    return None


def _wrong_layout(scenario: Scenario, evidence: Evidence) -> str | None:
    """Check stock eager mode only; all others may choose layouts themselves."""
    chosen = scenario.mode is Mode.EAGER and scenario.backend != "ipex"
    if not chosen or scenario.layout not in evidence.layouts or not evidence.convolutions:
        return None
    last = _given_channels_last(evidence.kernels)
    if scenario.layout is Layout.CHANNELS_LAST and not last:
        return "the label says channels_last, but no convolution read such a tensor"
    if scenario.layout is Layout.CONTIGUOUS and last:
        return f"the label says contiguous, but {last} convolutions read channels_last tensors"
    return None


def _given_channels_last(kernels: Iterable[Kernel]) -> int:
    """Count the convolutions whose caller passed them a channels_last tensor.

    On AMX oneDNN computes in that layout whatever it is given, and changes the layout itself: the
    convolution then follows a reorder of its source.
    """
    given, changed = 0, False
    for kernel in kernels:
        source = kernel.layout("src")
        if kernel.primitive == "reorder":
            changed |= source not in _CHANNELS_LAST and kernel.layout("dst") in _CHANNELS_LAST
        elif kernel.primitive == "convolution":
            given += source in _CHANNELS_LAST and not changed
            changed = False
    return given


def _not_compiled(scenario: Scenario, evidence: Evidence) -> str | None:
    graph = evidence.graph
    if scenario.mode is Mode.AOT:
        loaded = graph.get("packages")
        return None if loaded else "the label says aot, but no AOTInductor package is loaded"
    if scenario.mode is not Mode.COMPILE or "graphs" not in graph:
        return None
    if not graph["graphs"]:
        return "the label says compile, but no graph was compiled"
    if breaks := graph.get("breaks", 0):
        return f"the compiled model has {breaks} graph breaks"
    if CPP_WRAPPER in scenario.options and not graph.get("cpp_wrappers"):
        return "the label says C++ wrapper, but Python calls the compiled kernels"
    if MAX_AUTOTUNE in scenario.options and not graph.get("tuned"):
        return "max-autotune found nothing to choose from in this model: it is plain compile"
    return None


def _above_cap(scenario: Scenario, evidence: Evidence) -> str | None:
    """Check a cap on instruction sets; one without effect would favour the older generation."""
    cap = variables.of(scenario).get("isa")
    return isa.passed(cap, evidence.isa) if cap else None


def _reduced_unasked(scenario: Scenario, evidence: Evidence) -> str | None:
    """Refuse fp32 that was multiplied in less: a model's own code may allow it."""
    if scenario.dtype is not Dtype.FP32 or variables.FPMATH in variables.of(scenario):
        return None
    reduced = [kernel for kernel in evidence.arithmetic if kernel.is_reduced]
    modes = ", ".join(sorted({str(kernel.fpmath) for kernel in reduced}))
    return f"the label says fp32, but kernels multiplied in {modes}" if reduced else None


def _not_reduced(scenario: Scenario, evidence: Evidence) -> str | None:
    """Require narrower arithmetic where it is allowed: oneDNN may do without, silently."""
    value = variables.of(scenario).get(variables.FPMATH)
    if value is None:
        return None
    ran = [kernel for kernel in evidence.arithmetic if kernel.data_type("src") == "f32"]
    if not ran:
        return f"fpmath={value} was allowed, but no kernel reported that it took fp32 numbers"
    if 2 * sum(kernel.is_reduced for kernel in ran) > len(ran):
        return None
    full = [kernel for kernel in ran if not kernel.is_reduced]
    allowed = sum(kernel.fpmath == value for kernel in full)
    names = ", ".join(sorted({kernel.implementation for kernel in full}))
    return (
        f"fpmath={value} was allowed, but {len(full)} of {len(ran)} kernels multiplied in fp32 "
        f"all the same ({names}; the permission reached {allowed} of them)"
    )
