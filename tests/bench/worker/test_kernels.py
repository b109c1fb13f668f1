from __future__ import annotations

import re
from dataclasses import fields, replace
from pathlib import Path
from typing import Any

import pytest

from bench.plan.scenario import (
    CPP_WRAPPER,
    FROZEN,
    MAX_AUTOTUNE,
    Dtype,
    Layout,
    Mode,
    Scenario,
    Task,
    stock_default,
)
from bench.store.records import KernelRow
from bench.worker import kernels
from bench.worker.kernels import Evidence, Kernel, contradiction, graph_nodes, parse
from bench.worker.protocol import KernelsReply

SAMPLES = Path(__file__).with_name("samples")
CONVOLUTION = (
    "onednn_verbose,v1,primitive,exec,cpu,convolution,{implementation},forward_training,"
    "src:{src}:a:blocked:{layout}::f0 wei:{src}:a:blocked:Acdb64a::f0 bia:f32:a:blocked:a::f0 "
    "dst:{src}:a:blocked:acdb::f0,attr-scratchpad:user{post},alg:convolution_direct,"
    "mb2_ic64oc64_ih64oh64kh3sh1dh0ph1_iw64ow64kw3sw1dw0pw1,2.5"
)


def sample(name: str) -> str:
    """Text that a real worker logged."""
    return (SAMPLES / name).read_text()


def line(
    *,
    implementation: str = "brg_conv_fwd:avx512_core",
    src: str = "f32",
    layout: str = "acdb",
    post: str = "",
) -> str:
    """A convolution's line."""
    return CONVOLUTION.format(implementation=implementation, src=src, layout=layout, post=post)


INT8_LINE = line(src="u8").replace("wei:u8", "wei:s8")
IPEX_INT8 = "ipex-torchscript-fusion-int8.txt"


def evidence(text: str, **more: Any) -> Evidence:
    """What a log proves."""
    return Evidence(kernels=parse(text), **more)


def scenario(backend: str = "stock", mode: Mode = Mode.EAGER, **more: Any) -> Scenario:
    """A scenario in fp32, contiguous, inference by default."""
    values: dict[str, Any] = {"task": Task.INFERENCE, "batch_size": 2, **more}
    return Scenario(backend=backend, mode=mode, **values)


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


LAST = Layout.CHANNELS_LAST
TORCHSCRIPT = Mode.TORCHSCRIPT
REAL_LOGS: list[tuple[Scenario, str, int | None]] = [
    (scenario(), "stock-eager-fp32-contiguous", None),
    (scenario(dtype=Dtype.BF16, layout=LAST), "stock-eager-bf16-channels_last", None),
    (
        scenario(mode=TORCHSCRIPT, fusion=True, layout=LAST),
        "stock-torchscript-fusion-fp32",
        None,
    ),
    (scenario("ipex", layout=LAST), "ipex-eager-fp32", 14),
    (scenario("ipex", TORCHSCRIPT, fusion=True, layout=LAST), "ipex-torchscript-fusion-fp32", 14),
    (scenario("ipex", TORCHSCRIPT, fusion=False, layout=LAST), "ipex-torchscript-fp32", 14),
]


@pytest.mark.parametrize(
    ("case", "name", "replaced"), REAL_LOGS, ids=[name for _, name, _ in REAL_LOGS]
)
def test_genuine_logs_are_not_contradicted(case: Scenario, name: str, replaced: int | None) -> None:
    """Real logs of this project's scenarios agree with their labels."""
    graph = SAMPLES / f"{name}.graph"
    nodes = {"nodes": graph_nodes(graph.read_text())} if graph.exists() else {}
    found = evidence(sample(f"{name}.txt"), graph=nodes, layers_replaced=replaced)
    assert contradiction(case, found) is None


MATMUL = (
    "onednn_verbose,v1,primitive,exec,cpu,inner_product,brgemm:avx512_core_bf16,forward_inference,"
    "src:bf16:a:blocked:ab::f0 wei:bf16:a:blocked:AB16b64a2b::f0 dst:bf16:a:blocked:ab::f0,{post},,"
    "mb32ic64oc128,0.02"
)


FUSED = [
    "oneDNNFusionGroup",
    "ipex::LlgaFusionGroup",
    "ipex_prepack::convolution_relu_run",
    "ipex_prepack::linear_gelu_run",
    "ipex::add_layernorm",
    "ipex::rms_add_layernorm",
    "ipex::add_softmax",
    "ipex::distil_add_softmax_",
    "ipex::maskedfill_softmax",
    "ipex::mha_scores_calc",
    "ipex::distil_mha_scores_calc",
    "ipex::matmul_div",
    "ipex::matmul_mul",
    "ipex::bmm_add",
    "ipex::shuffle_2d",
    "ipex::einsum_binary",
    "ipex::linear_silu",
]
NOT_FUSED = [
    "ipex_prepack::convolution_run",
    "ipex_prepack::linear_run",
    "ipex_prepack::mkl_sgemm_run",
    "torch_ipex::convolution_forward",
    "ipex::softmax",
]


@pytest.mark.parametrize(
    ("node", "is_fused"), [*((n, True) for n in FUSED), *((n, False) for n in NOT_FUSED)]
)
def test_fused_nodes_are_known_by_each_librarys_names(node: str, *, is_fused: bool) -> None:
    """With or without a convolution, as in a transformer."""
    found = Evidence(layers_replaced=3, graph={"nodes": {node: 1}})
    on = scenario("ipex", Mode.TORCHSCRIPT, fusion=True)
    assert contradiction(on, found) is None
    sentence = contradiction(on, replace(found, kernels=parse(line())))
    assert (sentence is None) == is_fused
    assert (contradiction(replace(on, fusion=False), found) is not None) == is_fused


@pytest.mark.parametrize(
    ("post", "fused"), [("attr-post-ops:eltwise_gelu_erf", 1), ("attr-post-ops:sum", 0), ("", 0)]
)
def test_a_matrix_product_is_fused_unless_it_only_adds_its_bias(post: str, fused: int) -> None:
    """The bias comes as a `sum`."""
    found = evidence(MATMUL.format(post=post), layers_replaced=3)
    assert found.fused_ops == fused
    off = scenario("ipex", Mode.TORCHSCRIPT, fusion=False, dtype=Dtype.BF16)
    assert (contradiction(off, found) is not None) == bool(fused)


FUSED_LINE = line(post=" attr-post-ops:eltwise_relu")


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
    case = scenario("ipex", Mode.TORCHSCRIPT, fusion=True)
    reply = kernels.reply(case, evidence(log, graph={"nodes": dict.fromkeys(nodes, 1)}))
    assert kernels.fused_operators(reply) == found
    assert kernels.fused_operators({}) == []


FUSION_ON = scenario(mode=Mode.TORCHSCRIPT, fusion=True)
FUSION_OFF = replace(FUSION_ON, fusion=False)
COMPILED = scenario(mode=Mode.COMPILE)
AHEAD = scenario(mode=Mode.AOT, layout=Layout.CHANNELS_LAST)
TUNED = replace(COMPILED, options=(MAX_AUTOTUNE,))
BY_CPP = replace(COMPILED, options=(CPP_WRAPPER,))
WHOLE = {"graphs": 1, "breaks": 0}


@pytest.mark.parametrize(
    ("case", "found", "words"),
    [
        (FUSION_ON, evidence(line()), "fused"),
        (FUSION_ON, replace(evidence(line()), graph={"nodes": {}}), "fused"),
        (FUSION_OFF, evidence(FUSED_LINE), "fusion is off"),
        (FUSION_OFF, Evidence(graph={"nodes": {"oneDNNFusionGroup": 3}}), "fusion is off"),
        (scenario(dtype=Dtype.BF16), evidence(line(layout="abcd")), "ran in f32"),
        (scenario(), evidence(line(src="bf16", layout="abcd")), "ran in bf16"),
        (scenario(dtype=Dtype.INT8), evidence(line()), "ran in f32"),
        (scenario(dtype=Dtype.INT8), Evidence(), "no kernel reported"),
        (scenario(dtype=Dtype.INT8), evidence(f"{line()}\n{INT8_LINE}"), "1 of 2 kernels"),
        (scenario(layout=Layout.CHANNELS_LAST), evidence(line(layout="abcd")), "channels_last"),
        (scenario(), evidence(line(layout="acdb")), "label says contiguous"),
        (scenario("ipex"), Evidence(layers_replaced=0), "replaced no layer"),
        (scenario("ipex"), Evidence(layers_replaced=None), "replaced no layer"),
        (
            scenario(mode=Mode.TORCHSCRIPT, fusion=False),
            Evidence(graph={"nodes": {"ipex_prepack::convolution_run": 13}}),
            "runs IPEX operators",
        ),
        (COMPILED, Evidence(graph={"graphs": 0, "breaks": 0}), "no graph was compiled"),
        (COMPILED, Evidence(graph={"graphs": 2, "breaks": 1}), "1 graph break"),
        (replace(COMPILED, dtype=Dtype.BF16), evidence(line(), graph=WHOLE), "ran in f32"),
        (replace(AHEAD, dtype=Dtype.BF16), evidence(line(), graph={"packages": 1}), "ran in f32"),
        (AHEAD, evidence(line(), graph={"packages": 0}), "no AOTInductor package is loaded"),
        (AHEAD, Evidence(), "no AOTInductor package is loaded"),
        (scenario(dtype=Dtype.FP16), evidence(line(src="bf16", layout="abcd")), "ran in bf16"),
        (TUNED, Evidence(graph=WHOLE), "nothing to choose from"),
        (BY_CPP, Evidence(graph=WHOLE), "Python calls the compiled kernels"),
    ],
)
def test_denying_evidence_is_a_contradiction(case: Scenario, found: Evidence, words: str) -> None:
    """Each label has something that gives a false one away."""
    sentence = contradiction(case, found)
    assert sentence is not None
    assert words in sentence


@pytest.mark.parametrize(
    "case",
    [
        scenario(),
        scenario(dtype=Dtype.BF16),
        scenario(layout=Layout.CHANNELS_LAST),
        FUSION_ON,
        FUSION_OFF,
        COMPILED,
        scenario("placebo"),
        scenario(task=Task.TRAINING, options=(FROZEN,)),
    ],
)
def test_an_empty_log_proves_nothing(case: Scenario) -> None:
    """Small convolutions and MKL's matrix products print no line."""
    assert contradiction(case, Evidence()) is None


def test_a_training_step_of_ipex_may_be_its_optimizer_alone() -> None:
    """In fp32 it packs no linear layer for training; its own optimizer step is required before."""
    assert contradiction(scenario("ipex", task=Task.TRAINING), Evidence(layers_replaced=0)) is None


def test_a_users_model_may_change_layouts_itself() -> None:
    """So `contiguous` promises nothing, and `channels_last` only where a layer has a layout."""
    last, plain = evidence(line(layout="acdb")), evidence(line(layout="abcd"))
    of_images, of_words = frozenset({LAST}), frozenset[Layout]()
    assert contradiction(scenario(), replace(last, layouts=of_images)) is None
    assert contradiction(scenario(layout=LAST), replace(plain, layouts=of_images)) is not None
    assert contradiction(scenario(layout=LAST), replace(plain, layouts=of_words)) is None
    volumes = evidence(line(layout="acdeb"), layouts=of_images)
    assert contradiction(scenario(layout=LAST), volumes) is None


def test_matrix_products_show_the_dtype_of_a_model_without_convolutions() -> None:
    """A transformer in the wrong dtype is found too."""
    products = evidence(MATMUL.format(post=""))
    assert contradiction(scenario(dtype=Dtype.BF16), products) is None
    assert "ran in bf16" in str(contradiction(scenario(), products))


@pytest.mark.parametrize(
    ("case", "graph"),
    [
        (COMPILED, WHOLE),
        (TUNED, {**WHOLE, "tuned": 2}),
        (BY_CPP, {**WHOLE, "cpp_wrappers": 1}),
        (AHEAD, {"packages": 1}),
    ],
)
def test_what_compilers_report_is_the_labels_proof(case: Scenario, graph: dict[str, int]) -> None:
    """With a graph, its options, and kernels of the dtype: bf16 and fp16 too."""
    assert contradiction(case, evidence(line(), graph=graph)) is None
    for dtype, logged in ((Dtype.BF16, "bf16"), (Dtype.FP16, "f16")):
        found = evidence(line(src=logged), graph=graph)
        assert contradiction(replace(case, dtype=dtype), found) is None


def test_int8_is_proved_by_8_bit_kernels_of_most_of_the_arithmetic() -> None:
    """A real log of IPEX has 13 convolutions and 2 matrix products in int8."""
    case = scenario(
        "ipex", Mode.TORCHSCRIPT, fusion=True, dtype=Dtype.INT8, layout=Layout.CHANNELS_LAST
    )
    assert contradiction(case, evidence(sample(IPEX_INT8))) is None


def test_the_groups_of_ipex_int8_are_counted_as_one_kind_of_node() -> None:
    """In the graph they are numbered."""
    graph = "%1 = ipex::LlgaFusionGroup_0[a=[1]](%0)\n%2 = ipex::LlgaFusionGroup_13[a=[1]](%1)\n"
    assert graph_nodes(graph) == {"ipex::LlgaFusionGroup": 2}


def test_one_layer_in_another_dtype_is_no_contradiction() -> None:
    """A first convolution in f32 beside bf16 ones is a choice of autocast, not a false label."""
    text = f"{line(layout='abcd')}\n{line(src='bf16', layout='abcd')}"
    assert contradiction(scenario(dtype=Dtype.BF16), evidence(text)) is None


def test_the_reply_carries_what_the_protocol_promises() -> None:
    """All fields but the logged call, which the session adds; only a resumed run has `reorders`."""
    reply = kernels.reply(FUSION_ON, evidence(FUSED_LINE, layers_replaced=14))
    assert set(reply) == set(KernelsReply.__annotations__) - {"reorders", "calls"}
    assert reply["fused_ops"] == 1
    assert reply["graph"] == {"reorder_share": 0.0}


def test_a_cap_that_did_not_take_is_a_contradiction() -> None:
    """The verbose log and not the environment says which instructions ran."""
    evidence = kernels.Evidence(kernels=parse(line(layout="abcd")))
    capped = replace(stock_default(Task.INFERENCE, 1), options=("isa=avx2",))
    assert "avx512_core ran" in str(kernels.contradiction(capped, evidence))
    assert kernels.contradiction(replace(capped, options=("isa=avx512",)), evidence) is None


# ---- reduced arithmetic --------------------------------------------------------------------------

REDUCED = replace(COMPILED, mode=Mode.EAGER, options=("fpmath=bf16",))
ASKED = " attr-fpmath:bf16"
AMX = "brg_conv_fwd:avx512_core_amx"


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
    ("lines", "words"),
    [
        ([line(layout="abcd", implementation=AMX, post=ASKED)], None),
        ([line(layout="abcd", post=ASKED)], r"multiplied in fp32 all the same .*reached 1 of them"),
        ([line(layout="abcd", implementation=AMX)], r"brg_conv_fwd:avx512_core_amx; .*reached 0"),
        ([line(layout="abcd")], "reached 0 of them"),
        (
            [line(layout="abcd", implementation=AMX, post=ASKED), line(layout="abcd", post=ASKED)],
            "1 of 2 kernels",
        ),
        ([], "no kernel reported"),
    ],
)
def test_reduced_arithmetic_needs_the_permission_and_a_kernel_that_used_it(
    lines: list[str], words: str | None
) -> None:
    """Else a scenario that only carries the label would be timed as equal."""
    sentence = contradiction(REDUCED, evidence("\n".join(lines)))
    assert (sentence is None) == (words is None)
    assert words is None or re.search(words, str(sentence))


# ---- further backends ----------------------------------------------------------------------------


def test_a_zentorch_without_operators_of_its_own_is_stock() -> None:
    """The compiler leaves to Inductor what it does not replace."""
    case = scenario("zentorch", Mode.COMPILE, layout=Layout.CHANNELS_LAST)
    graph = {"graphs": 1, "breaks": 0, "nodes": {"mkldnn::_convolution_pointwise": 13}}
    found = Evidence(graph=graph)
    assert "no operator of its own" in str(contradiction(case, found))
    own = {**graph, "nodes": {"zentorch::zentorch_linear_unary": 1}}
    assert contradiction(case, replace(found, graph=own)) is None


@pytest.mark.parametrize(
    ("counts", "words"),
    [([13, 14], None), ([1, 2], "1 of 2 kernels"), ([0, 14], "0 of 14"), ([0, 0], "no kernel")],
)
def test_int8_without_onednn_is_counted_by_the_backend(
    counts: list[int], words: str | None
) -> None:
    """More than half of its arithmetic, as for the others."""
    case = scenario("onnxruntime", Mode.COMPILE, dtype=Dtype.INT8)
    sentence = contradiction(case, Evidence(graph={"nodes": {}, "arithmetic": counts}))
    assert (sentence is None) == (words is None)
    assert words is None or words in str(sentence)
