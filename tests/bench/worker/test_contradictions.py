"""Where what a call executed contradicts its scenario's label."""

from __future__ import annotations

import re
from dataclasses import replace

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
)
from bench.worker.kernels import Evidence, contradiction, graph_nodes, parse
from tests.bench.worker.verbose_logs import (
    ASKED,
    FUSED_LINE,
    FUSION_ON,
    MATMUL,
    SAMPLES,
    evidence,
    line,
    sample,
    scenario,
)

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
    (
        scenario("ipex", TORCHSCRIPT, fusion=True, dtype=Dtype.INT8, layout=LAST),
        "ipex-torchscript-fusion-int8",
        None,
    ),
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


@pytest.mark.parametrize("passed", [Layout.CONTIGUOUS, LAST])
def test_a_layout_that_onednn_chose_itself_is_not_the_labels(passed: Layout) -> None:
    """On AMX every convolution of a training step reads channels_last, whatever it is given."""
    found = evidence(sample(f"stock-training-bf16-amx-{passed}.txt"))
    assert {kernel.layout("src") for kernel in found.convolutions} == {"acdb"}
    for label in (Layout.CONTIGUOUS, LAST):
        step = scenario(task=Task.TRAINING, dtype=Dtype.BF16, layout=label)
        assert (contradiction(step, found) is None) == (label is passed)


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


INT8_LINE = line(src="u8").replace("wei:u8", "wei:s8")
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


def test_one_layer_in_another_dtype_is_no_contradiction() -> None:
    """A first convolution in f32 beside bf16 ones is a choice of autocast, not a false label."""
    text = f"{line(layout='abcd')}\n{line(src='bf16', layout='abcd')}"
    assert contradiction(scenario(dtype=Dtype.BF16), evidence(text)) is None


def test_a_cap_that_did_not_take_is_a_contradiction() -> None:
    """The verbose log and not the environment says which instructions ran."""
    found = evidence(line(layout="abcd"))
    capped = scenario(options=("isa=avx2",))
    assert "avx512_core ran" in str(contradiction(capped, found))
    assert contradiction(replace(capped, options=("isa=avx512",)), found) is None


# ---- reduced arithmetic --------------------------------------------------------------------------

REDUCED = replace(COMPILED, mode=Mode.EAGER, options=("fpmath=bf16",))
AMX = "brg_conv_fwd:avx512_core_amx"


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


@pytest.mark.parametrize(
    ("case", "lines", "words"),
    [
        (scenario(), [line(layout="abcd", implementation=AMX, post=ASKED)], "multiplied in bf16"),
        (
            scenario(mode=Mode.COMPILE),
            [line(layout="abcd"), line(layout="abcd", implementation=AMX, post=ASKED)],
            "multiplied in bf16",
        ),
        (scenario(), [line(layout="abcd", post=ASKED)], None),
        (scenario(), [line(layout="abcd", implementation=AMX)], None),
        (
            scenario(dtype=Dtype.BF16),
            [
                line(layout="abcd", src="bf16"),
                line(layout="abcd", implementation=AMX, post=ASKED),
            ],
            None,
        ),
    ],
)
def test_fp32_that_was_multiplied_in_less_is_refused_unless_it_was_varied(
    case: Scenario, lines: list[str], words: str | None
) -> None:
    """A model's own code may allow it; a permission that no kernel could use changes nothing."""
    sentence = contradiction(case, evidence("\n".join(lines)))
    assert (sentence is None) == (words is None)
    assert words is None or words in str(sentence)


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
