"""What oneDNN's log and the graphs of a call say that it executed."""

from __future__ import annotations

from dataclasses import fields, replace

import pytest

from bench.store.records import KernelRow
from bench.worker import kernels
from bench.worker.kernels import Evidence, Kernel, graph_nodes, parse
from bench.worker.protocol import KernelsReply
from tests.bench.worker.verbose_logs import ASKED, FUSED_LINE, FUSION_ON, evidence, line, sample


def test_a_line_is_read_into_every_field() -> None:
    """One convolution of a real log, field by field."""
    kernel = parse(line(post=" attr-post-ops:eltwise_relu"))[0]
    assert kernel == Kernel(
        position=0,
        primitive="convolution",
        implementation="brg_conv_fwd:avx512_core",
        isa="avx512_core",
        data_types="src:f32 wei:f32 bia:f32 dst:f32",
        layouts="src:acdb wei:Acdb64a bia:a dst:acdb",
        post_ops="eltwise_relu",
        problem="mb2_ic64oc64_ih64oh64kh3sh1dh0ph1_iw64ow64kw3sw1dw0pw1",
        ms=2.5,
        kind="forward_training",
    )
    assert kernel.data_type("src") == "f32"
    assert kernel.layout("wei") == "Acdb64a"


def test_a_kernel_has_the_fields_of_its_row() -> None:
    """The parent adds the run and the scenario and nothing else."""
    ours = {field.name for field in fields(Kernel)}
    assert ours == {field.name for field in fields(KernelRow)} - {"run_id", "scenario"}


def test_stock_default_reorders_at_every_convolution() -> None:
    """Contiguous weights are repacked at every call: that is what IPEX and freezing spare."""
    found = evidence(sample("stock-eager-fp32-contiguous.txt"))
    assert len(found.convolutions) >= 13
    assert sum(kernel.primitive == "reorder" for kernel in found.kernels) >= 26
    assert found.fused_ops == 0
    assert found.isa == "avx512_core"
    assert found.reorder_share is not None
    assert 0 < found.reorder_share < 1


@pytest.mark.parametrize(
    ("name", "convolutions", "fused", "isa"),
    [
        ("stock-eager-bf16-channels_last", 14, 0, "avx512_core_bf16"),
        ("stock-torchscript-fusion-fp32", 14, 13, "avx512_core"),
        ("ipex-torchscript-fusion-fp32", 14, 13, "avx512_core"),
        ("ipex-torchscript-fusion-int8", 13, 13, "avx512_core_vnni"),
    ],
)
def test_a_real_log_shows_what_ran(name: str, convolutions: int, fused: int, isa: str) -> None:
    """Both copies of oneDNN log in one format; a softmax's wider instruction set does not count."""
    found = evidence(sample(f"{name}.txt"))
    assert (len(found.convolutions), found.fused_ops, found.isa) == (convolutions, fused, isa)


def test_lines_of_the_graph_api_are_not_counted_twice() -> None:
    """OneDNN Graph wraps every primitive line in a further one."""
    text = sample("stock-torchscript-fusion-fp32.txt")
    assert "graph,exec" in text
    assert len(parse(text)) == text.count("primitive,exec")


def test_a_log_of_packed_weights_has_no_reorders() -> None:
    """IPEX packs them when it optimises."""
    text = sample("ipex-torchscript-fusion-fp32.txt")
    assert "softmax,jit:avx512_core_bf16" in text
    assert evidence(text).reorder_share == 0.0


VERSION_2 = (
    "onednn_verbose,exec,cpu,convolution,jit:avx2,forward_inference,src_f32::blocked:abcd:f0 "
    "wei_f32::blocked:Acdb8a:f0,,alg:convolution_direct,mb1,1.5"
)
WITH_TIMESTAMP = (
    "onednn_verbose,v1,1700000000.25,primitive,exec,cpu,convolution,jit:avx2,forward_inference,"
    "src:f32::blocked:abcd::f0 wei:f32::blocked:Acdb8a::f0,,alg:convolution_direct,mb1,1.5"
)


@pytest.mark.parametrize("other", [VERSION_2, WITH_TIMESTAMP], ids=["version 2", "timestamp"])
def test_lines_of_other_versions_are_read(other: str) -> None:
    """Another environment brings another oneDNN."""
    (kernel,) = parse(other)
    assert (kernel.primitive, kernel.isa, kernel.ms) == ("convolution", "avx2", 1.5)
    assert kernel.data_types == "src:f32 wei:f32"
    assert kernel.layouts == "src:abcd wei:Acdb8a"


@pytest.mark.parametrize(
    "text",
    [
        "",
        "hello from the model",
        "onednn_verbose,v1,info,oneDNN v3.7.1 (commit N/A)",
        "onednn_verbose,v1,primitive,info,template:operation,engine,primitive,implementation",
        line()[:-20],
        line() + "x",
        "onednn_verbose,v1,primitive,exec",
    ],
)
def test_what_is_no_execution_is_passed_over(text: str) -> None:
    """Headers, foreign output and lines cut short yield nothing and raise nothing."""
    assert parse(text) == ()


def test_foreign_text_before_a_line_does_not_hide_it() -> None:
    """A print without a newline may share the line."""
    assert len(parse("progress 10%" + line())) == 1


@pytest.mark.parametrize(
    ("names", "expected"),
    [
        (["avx2", "avx512_core", None], "avx512_core"),
        (["avx512_core_amx", "avx512_core_bf16"], "avx512_core_amx"),
        (["avx512_core", "avx99_new"], "avx99_new"),
        ([None], None),
        ([], None),
    ],
)
def test_widest_instruction_set(names: list[str | None], expected: str | None) -> None:
    """Known sets by their rank; an unknown one is shown rather than dropped."""
    executed = replace(parse(line())[0], isa=None)
    ran = tuple(replace(executed, isa=name) for name in names)
    assert Evidence(kernels=ran).isa == expected


@pytest.mark.parametrize("implementation", ["jit:uni", "jit:blk", "ref:any", "simple:any"])
def test_an_implementation_without_instruction_set_has_none(implementation: str) -> None:
    """`uni` means that it was generated for whatever there was."""
    assert parse(line(implementation=implementation))[0].isa is None


def test_fused_and_ipex_nodes_of_a_graph_are_counted() -> None:
    """Graphs that PyTorch really optimised, with fusion by stock, by IPEX, and off."""
    stock = graph_nodes(sample("stock-torchscript-fusion-fp32.graph"))
    ipex = graph_nodes(sample("ipex-torchscript-fusion-fp32.graph"))
    off = graph_nodes(sample("ipex-torchscript-fp32.graph"))
    assert set(stock) == {"oneDNNFusionGroup"}
    assert ipex["ipex_prepack::convolution_relu_run"] == 13
    assert off["torch_ipex::convolution_forward"] == 13
    assert not any("relu_run" in name for name in off)


def test_the_groups_of_ipex_int8_are_counted_as_one_kind_of_node() -> None:
    """In the graph they are numbered."""
    graph = "%1 = ipex::LlgaFusionGroup_0[a=[1]](%0)\n%2 = ipex::LlgaFusionGroup_13[a=[1]](%1)\n"
    assert graph_nodes(graph) == {"ipex::LlgaFusionGroup": 2}


@pytest.mark.parametrize(
    ("attributes", "found"),
    [("", None), (" attr-fpmath:strict:true", None), (ASKED, "bf16"), (f"{ASKED}:true", "bf16")],
)
def test_what_onednn_may_multiply_in_is_read_from_the_attributes(
    attributes: str, found: str | None
) -> None:
    """Older versions print the mode alone, later ones whether it holds for whole numbers too."""
    assert parse(line(post=attributes))[0].fpmath == found


@pytest.mark.parametrize(
    ("log", "nodes", "found"),
    [
        (f"{FUSED_LINE}\n{FUSED_LINE}", (), ["convolution+eltwise_relu"]),
        (
            line(post=" attr-post-ops:sum:1:0:f32+eltwise_relu:0:1"),
            (),
            ["convolution+sum+eltwise_relu"],
        ),
        (line(), ("oneDNNFusionGroup",), []),
        ("", ("ipex_prepack::linear_relu_run", "ipex_prepack::linear_run"),
         ["ipex_prepack::linear_relu_run"]),
        ("", ("ipex_prepack::mkl_sgemm_run",), []),
    ],
)  # fmt: skip
def test_what_was_fused_is_named(log: str, nodes: tuple[str, ...], found: list[str]) -> None:
    """By the log where it holds arithmetic: a fused node may hold a single operator."""
    reply = kernels.reply(FUSION_ON, evidence(log, graph={"nodes": dict.fromkeys(nodes, 1)}))
    assert kernels.fused_operators(reply) == found
    assert kernels.fused_operators({}) == []


def test_the_reply_carries_what_the_protocol_promises() -> None:
    """All fields but the logged call, which the session adds; only a resumed run has `reorders`."""
    reply = kernels.reply(FUSION_ON, evidence(FUSED_LINE, layers_replaced=14))
    assert set(reply) == set(KernelsReply.__annotations__) - {"reorders", "calls"}
    assert reply["fused_ops"] == 1
    assert reply["graph"] == {"reorder_share": 0.0}
