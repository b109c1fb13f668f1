"""What oneDNN really ran: its verbose log read line by line, and held against the scenario's label.

A label says what was asked for; this says what happened. Presence of a line proves something,
absence proves nothing: small convolutions and fp32 matrix products (MKL) print no line.

Line, comma separated (older versions leave out `v1` and `primitive`, newer may add a timestamp):
`onednn_verbose,v1,primitive,exec,cpu,convolution,brg_conv_fwd:avx512_core,forward_inference,
<memory descriptors>,<attributes>,<auxiliary>,<problem>,<ms>`. Lines of the graph API wrap primitive
lines, so they are left out. Nothing here imports torch.
"""

from __future__ import annotations

import ctypes
import os
import re
import sys
import tempfile
from collections import Counter
from dataclasses import asdict, dataclass, field
from typing import TYPE_CHECKING, Any

from bench.machine import isa
from bench.plan import variables
from bench.plan.scenario import Dtype, Layout, Mode, Scenario, Task

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Mapping, Sequence
    from contextlib import AbstractContextManager

COMPUTE = ("convolution", "deconvolution", "inner_product", "matmul")
"""Primitives that do the arithmetic. A softmax or pooling line names the widest set that the CPU
has, whatever its data, so only these are evidence of what the model ran on."""

_NODE = re.compile(
    r"= (?:prim::(oneDNNFusionGroup)(?:_\d+)?|(ipex::LlgaFusionGroup)(?:_\d+)?"
    r"|((?:torch_)?ipex\w*::\w+))\b"
)
_FUSED_NODE = re.compile(
    r"oneDNNFusionGroup|ipex::LlgaFusionGroup|ipex_prepack::(?!mkl_sgemm_run)\w+_\w+_run"
    r"|ipex::(?:\w*add_layernorm|\w*add_softmax_?|maskedfill_softmax|\w*mha\w*|matmul_(?:div|mul)"
    r"|bmm_add|shuffle_2d|einsum_binary|linear_\w+)"
)
"""What each library calls several operators in one. `convolution_run`, `linear_run` and
`mkl_sgemm_run` are one operator with packed weights."""
_DESCRIPTOR = re.compile(r"(?P<name>[a-z]+)[:_](?P<type>[a-z]+\d\w*):(?P<rest>.*)")
_MARKER = "onednn_verbose,"


@dataclass(frozen=True, kw_only=True)
class Kernel:
    """One primitive that oneDNN executed: the fields of `records.KernelRow` but the run's."""

    position: int
    primitive: str
    implementation: str
    isa: str | None
    data_types: str
    layouts: str
    post_ops: str | None
    problem: str
    ms: float

    def data_type(self, tensor: str) -> str | None:
        """The type of one tensor, e.g. of `src`."""
        return _named(self.data_types).get(tensor)

    @property
    def is_fused(self) -> bool:
        """Whether it computed another operator too. A matrix product adds its own bias by `sum`."""
        own = {"sum"} if self.primitive != "convolution" else set()
        return self.primitive in COMPUTE and bool({*(self.post_ops or "").split("+")} - {"", *own})

    def layout(self, tensor: str) -> str | None:
        """The layout tag of one tensor, e.g. `acdb` (channels_last) of `src`."""
        return _named(self.layouts).get(tensor)


@dataclass(frozen=True, kw_only=True)
class Evidence:
    """All that is known of what one call executed."""

    kernels: tuple[Kernel, ...] = ()
    layers_replaced: int | None = None
    graph: Mapping[str, Any] = field(default_factory=dict)
    """TorchScript: `nodes` {name: count}; compile: `graphs`, `breaks`."""

    @property
    def convolutions(self) -> tuple[Kernel, ...]:
        """The convolutions that printed a line."""
        return tuple(kernel for kernel in self.kernels if kernel.primitive == "convolution")

    @property
    def fused_ops(self) -> int:
        """Convolutions and matrix products that did a further operator's work."""
        return sum(kernel.is_fused for kernel in self.kernels)

    @property
    def isa(self) -> str | None:
        """The widest instruction set that the arithmetic was executed with."""
        return widest(kernel.isa for kernel in self.kernels if kernel.primitive in COMPUTE)

    @property
    def reorder_share(self) -> float | None:
        """Share of oneDNN's own time that went into changing layouts; None without a log."""
        total = sum(kernel.ms for kernel in self.kernels)
        if total == 0:
            return None
        return sum(kernel.ms for kernel in self.kernels if kernel.primitive == "reorder") / total

    def reply(self) -> dict[str, Any]:
        """The fields of the worker's answer."""
        graph = dict(self.graph)
        if self.reorder_share is not None:
            graph["reorder_share"] = round(self.reorder_share, 4)
        return {
            "kernels": [asdict(kernel) for kernel in self.kernels],
            "fused_ops": self.fused_ops,
            "isa": self.isa,
            "layers_replaced": self.layers_replaced,
            "graph": graph,
        }


def parse(text: str) -> tuple[Kernel, ...]:
    """All primitives that a verbose log says were executed, in order.

    Lines of anything else, and lines cut short, are passed over: other output may be in between.
    """
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
    _engine, primitive, implementation, _kind, descriptors, attributes, _aux, problem, ms = fields
    parts = [match for text in descriptors.split() if (match := _DESCRIPTOR.fullmatch(text))]
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
        post_ops=_post_ops(attributes),
        problem=problem,
        ms=duration,
    )


def _isa(implementation: str) -> str | None:
    """The instruction set in `brg_conv_fwd:avx512_core`; None in `jit:uni`, which names none."""
    name = implementation.rpartition(":")[2]
    return name if name in isa.ORDER or re.match(r"(sse|avx|amx|sve)", name) else None


def _tag(rest: str) -> str:
    """The layout tag of `a:blocked:acdb::f0` or `:blocked:acdb::f0`."""
    fields = rest.split(":")
    return fields[fields.index("blocked") + 1] if "blocked" in fields[:-1] else fields[-1]


def _post_ops(attributes: str) -> str | None:
    found = re.search(r"attr-post-ops:(\S+)", attributes)
    return found.group(1).strip("'") if found else None


def _named(text: str) -> dict[str, str]:
    """`src:f32 wei:f32` as a mapping; of several of one name (concat's sources) the first."""
    named: dict[str, str] = {}
    for part in text.split():
        name, _, value = part.partition(":")
        named.setdefault(name, value)
    return named


def widest(names: Iterable[str | None]) -> str | None:
    """The widest of some instruction sets; unknown ones rank above all, to be seen."""
    return max((name for name in names if name is not None), key=isa.rank, default=None)


def graph_nodes(graph: str) -> dict[str, int]:
    """How often each fused or IPEX operator stands in an optimised TorchScript graph."""
    counts = Counter(next(filter(None, names)) for names in _NODE.findall(graph))
    return dict(sorted(counts.items()))


def capture(call: Callable[[], object], verbose: AbstractContextManager[object]) -> str:
    """Run the call once with verbose on, and return what C code wrote to stdout meanwhile.

    oneDNN prints through the C library to file descriptor 1, past `sys.stdout`: the descriptor
    itself is turned to a temporary file, with C's buffers flushed on both sides.
    """
    libc = ctypes.CDLL(None)
    sys.stdout.flush()
    libc.fflush(None)
    with tempfile.TemporaryFile() as log:
        outside = os.dup(1)
        os.dup2(log.fileno(), 1)
        try:
            with verbose:
                call()
        finally:
            sys.stdout.flush()
            libc.fflush(None)
            os.dup2(outside, 1)
            os.close(outside)
        log.seek(0)
        return log.read().decode(errors="replace")


def contradiction(scenario: Scenario, evidence: Evidence) -> str | None:
    """A sentence if the evidence denies the scenario's label, else None."""
    for check in (_backend, _dtype, _fusion, _layout, _compiled, _cap):
        sentence = check(scenario, evidence)
        if sentence is not None:
            return sentence
    return None


def _backend(scenario: Scenario, evidence: Evidence) -> str | None:
    nodes: Mapping[str, int] = evidence.graph.get("nodes", {})
    foreign = [name for name in nodes if name.startswith("ipex")]
    if scenario.backend == "stock" and foreign:
        return f"a stock scenario runs IPEX operators: {', '.join(foreign)}"
    if scenario.backend != "ipex" or scenario.mode is Mode.COMPILE:
        return None
    if scenario.dtype is Dtype.INT8:
        return None  # it replaces no layer: its kernels are the proof
    if not evidence.layers_replaced:
        return "ipex.optimize replaced no layer: this would time stock PyTorch"
    return None


def _dtype(scenario: Scenario, evidence: Evidence) -> str | None:
    if scenario.dtype is Dtype.INT8:
        return _int8(evidence)
    ran = Counter(kernel.data_type("src") for kernel in evidence.convolutions)
    expected = {Dtype.FP32: "f32", Dtype.BF16: "bf16"}
    if not ran or expected[scenario.dtype] in ran:
        return None
    return f"{scenario.dtype} was asked for, but the convolutions ran in {_listed(ran)}"


def _int8(evidence: Evidence) -> str | None:
    """int8 must show: a quantiser that finds nothing to quantise leaves fp32 and says nothing."""
    ran = [kernel for kernel in evidence.kernels if kernel.primitive in COMPUTE]
    small = [
        kernel
        for kernel in ran
        if kernel.data_type("src") in ("u8", "s8") and kernel.data_type("wei") == "s8"
    ]
    if 2 * len(small) > len(ran):
        return None
    if not ran:
        return "int8 was asked for, but no kernel printed that it took 8-bit numbers"
    types = Counter(kernel.data_type("src") for kernel in ran)
    return (
        f"int8 was asked for, but {len(small)} of {len(ran)} kernels took 8-bit numbers "
        f"(they ran in {_listed(types)})"
    )


def _fusion(scenario: Scenario, evidence: Evidence) -> str | None:
    if scenario.fusion is None or scenario.task is Task.TRAINING:
        return None
    nodes: Mapping[str, int] = evidence.graph.get("nodes", {})
    fused = [name for name in nodes if _FUSED_NODE.fullmatch(name)]
    if scenario.fusion and evidence.convolutions:
        # all fuse an activation into a convolution; of other operators some fuse none, rightly
        if "nodes" in evidence.graph and not fused:
            return "fusion is on, but the optimised graph holds no fused operator"
        if not (fused or evidence.fused_ops):
            return "fusion is on, but nothing that oneDNN ran carries a fused operation"
    if not scenario.fusion and (fused or evidence.fused_ops):
        return "fusion is off, but operators were fused"
    return None


def _layout(scenario: Scenario, evidence: Evidence) -> str | None:
    """Only stock eager: every other way may rightly choose layouts of its own."""
    if scenario.mode is not Mode.EAGER or scenario.backend == "ipex":
        return None
    sources: Sequence[str | None] = [kernel.layout("src") for kernel in evidence.convolutions]
    last = sum(tag == "acdb" for tag in sources)
    if scenario.layout is Layout.CHANNELS_LAST and sources and not last:
        return "channels_last was asked for, but no convolution read such a tensor"
    if scenario.layout is Layout.CONTIGUOUS and last:
        return f"contiguous was asked for, but {last} convolutions read channels_last tensors"
    return None


def _compiled(scenario: Scenario, evidence: Evidence) -> str | None:
    if scenario.mode is not Mode.COMPILE or "graphs" not in evidence.graph:
        return None
    graphs, breaks = evidence.graph["graphs"], evidence.graph.get("breaks", 0)
    if not graphs:
        return "compilation was asked for, but no graph was compiled"
    if breaks:
        return f"the compiled model fell apart at {breaks} graph breaks"
    return None


def _cap(scenario: Scenario, evidence: Evidence) -> str | None:
    """A cap on instructions that did not take would show a generation as better than it is."""
    cap = variables.of(scenario).get("isa")
    return isa.passed(cap, evidence.isa) if cap else None


def _listed(counts: Mapping[str | None, int]) -> str:
    return ", ".join(sorted(str(name) for name in counts))
