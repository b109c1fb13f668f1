"""Write the lines of PyTorch that run the model as a scenario does. Pure.

They set up what `bench.worker.backends` sets up; where `bench.plan.support` calls a way supported,
by public names that are not deprecated. `model` and its inputs are the reader's
(`bench.recommend.inputs_in_code`); int8 also needs `calibration`, a few batches of training data,
and training `labels` and `loss_function`, or for a user's model `batch` and `train_step`.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from bench.machine.worker_settings import kept_heap
from bench.plan.scenario import (
    CPP_WRAPPER,
    FUSED_ADAM,
    MAX_AUTOTUNE,
    NO_FREEZING,
    Task,
)
from bench.plan.support import is_supported
from bench.recommend.inputs_in_code import InputsInCode
from bench.text.wording import option_tags

if TYPE_CHECKING:
    from collections.abc import Iterator

    from bench.analysis.run_facts import Facts
    from bench.store.metadata import Form
    from bench.store.records import ScenarioRow

_INT8_MODE = {"stock": "compile", "ipex": "torchscript"}
"""The one mode in which each backend runs int8."""

_DTYPES = {"fp32": "torch.float32", "bf16": "torch.bfloat16", "fp16": "torch.float16"}

_FREEZING = """\
import os

os.environ["TORCHINDUCTOR_FREEZING"] = "1"  # weights become constants; set it before importing
"""

_UNDER_AUTOCAST = """

class UnderAutocast(torch.nn.Module):
    def __init__(self, model):
        super().__init__()
        self.model = model

    def forward(self, *args, **kwargs):
        with AUTOCAST:
            return self.model(*args, **kwargs)


model = UnderAutocast(model)"""

_AHEAD_OF_TIME = """
# once, for this CPU and this version of PyTorch; the weights become constants
with torch.no_grad():
    torch._inductor.aoti_compile_and_package(
        torch.export.export(model, EXPORTED),
        package_path="model.pt2",
        inductor_configs={"freezing": True},
    )

# in every process
model = torch._inductor.aoti_load_package("model.pt2")"""


_IPEX_INT8 = """\
ipex.enable_onednn_fusion(True)
static = ipex.quantization.default_static_qconfig_mapping
with torch.no_grad():
    model = prepare(model, static, EXAMPLE_OF_IPEX)
    for batch in calibration:  # some of your training ITEMS
        CALL_ON_BATCH
    model = torch.jit.trace(convert(model), EXAMPLE, check_trace=False)
    model = torch.jit.freeze(model.eval())"""

_STOCK_INT8 = """\
quantizer = x86.X86InductorQuantizer()
# without VNNI the sum of two 8-bit products may overflow
narrow = "avx512_vnni" not in Path("/proc/cpuinfo").read_text()
quantizer.set_global(x86.get_default_x86_inductor_quantization_config(reduce_range=narrow))
with torch.no_grad():
    # strict=True: without it PyTorch 2.8 quantises nothing and reports no error
    model = torch.export.export(model, EXPORTED, strict=True).module()
    model = prepare_pt2e(model, quantizer)
    for batch in calibration:  # some of your training ITEMS
        CALL_ON_BATCH
    model = convert_pt2e(model)
model = torch.compile(model, dynamic=False)"""

_OPENVINO = """\
import openvino
import torch

with torch.no_grad():
    exported = torch.export.export(model.eval(), (images,))
model = openvino.convert_model(exported)
settings = {
    "INFERENCE_PRECISION_HINT": "DTYPE",
    "PERFORMANCE_HINT": "LATENCY",
    "INFERENCE_NUM_THREADS": torch.get_num_threads(),
    "NUM_STREAMS": 1,
}
model = openvino.Core().compile_model(model, "CPU", settings)

found = model(images.numpy())
outputs = [torch.from_numpy(found[index]) for index in range(len(found))]"""

_ONNXRUNTIME = """\
import onnxruntime
import torch

torch.onnx.export(
    model.eval(), (images,), "model.onnx",
    input_names=["images"], dynamo=False, opset_version=17,
)
QUANTIZED
options = onnxruntime.SessionOptions()
options.intra_op_num_threads = torch.get_num_threads()
options.inter_op_num_threads = 1
session = onnxruntime.InferenceSession(
    "FILE", options, providers=["CPUExecutionProvider"]
)

found = session.run(None, {"images": images.numpy()})
outputs = [torch.from_numpy(one) for one in found]"""

_ONNXRUNTIME_INT8 = """\
from onnxruntime.quantization import QuantType, quantize_static

class Images:
    batches = iter(calibration)  # some of your training images

    def get_next(self):
        batch = next(self.batches, None)
        return None if batch is None else {"images": batch.numpy()}

quantize_static(
    "model.onnx", "int8.onnx", Images(), per_channel=True,
    activation_type=QuantType.QUInt8, weight_type=QuantType.QInt8,
    reduce_range=REDUCED,  # True on a CPU without VNNI
)"""

_ZENTORCH = """\
import torch
import zentorch  # makes its backend known to torch.compile
"""


def recipe_of(facts: Facts, row: ScenarioRow) -> str | None:
    """Return the code for a scenario of a run, as `recipe` does."""
    torch = facts.packages(row.environment).get("torch")
    keeps_heap, form = facts.keeps_heap(row.scenario), facts.metadata.data.form
    return recipe(row, torch=torch, keeps_heap=keeps_heap, form=form)


def recipe(
    row: ScenarioRow,
    *,
    torch: str | None = None,
    keeps_heap: bool = False,
    form: Form | None = None,
) -> str | None:
    """Return the code for one scenario; None for scenarios that this module does not know.

    `torch` is the version that it is for: int8 depends on it. `form` is that of a user's inputs;
    None for the inspector's images. With `keeps_heap`, comments above the code name the variable
    with which the process was started.
    """
    code = _code(row, torch, InputsInCode(form=form))
    if code is None or not keeps_heap:
        return code
    variables = (f"# {name}={value}" for name, value in kept_heap({}).items())
    return "\n".join(("# measured in a process that was started with", *variables, code))


def _code(row: ScenarioRow, torch: str | None, given: InputsInCode) -> str | None:
    if row.backend in _FURTHER:
        known = row.task == Task.INFERENCE and given.is_single
        return _FURTHER[row.backend](row, given) if known else None
    if row.backend not in _INT8_MODE:
        return None
    if row.task == Task.TRAINING:
        known = row.mode == "eager" or (row.backend, row.mode) == ("stock", "compile")
        return "\n".join(_training(row, given)) if known else None
    if row.dtype == "int8":
        known = row.mode == _INT8_MODE[row.backend]
        return "\n".join(_int8(row, torch, given)) if known else None
    return "\n".join(_inference(row, given)) if row.dtype in _DTYPES else None


def _imports(row: ScenarioRow) -> Iterator[str]:
    freezes = row.mode == "compile" and NO_FREEZING not in option_tags(row)
    if freezes and row.task == Task.INFERENCE:
        yield _FREEZING
    if (row.backend, row.dtype) == ("stock", "int8"):
        yield "from pathlib import Path\n"
    yield "import torch"
    if row.mode == "aot":
        yield "import torch._inductor"
    if row.backend == "ipex":
        yield "import intel_extension_for_pytorch as ipex"


def _inference(row: ScenarioRow, given: InputsInCode) -> Iterator[str]:
    autocast = "" if row.dtype == "fp32" else f", {_autocast(row)}"
    laid_out, traced = row.layout == "channels_last", row.mode == "torchscript"
    yield from _imports(row)
    yield from given.imports(traced=traced, laid_out=laid_out)
    yield from ("", "model.eval()", *given.fast_path(row), *(given.layout() if laid_out else ()))
    if row.backend == "ipex":
        prepack = ", weights_prepack=False" if row.mode == "compile" else ""
        yield f"model = ipex.optimize(model, dtype={_DTYPES[row.dtype]}{prepack})"
    elif autocast:
        yield given.low_weights(_DTYPES[row.dtype])
    if traced:
        yield from given.wrapper()
        switch = "ipex" if row.backend == "ipex" else "torch.jit"
        yield f"{switch}.enable_onednn_fusion({row.fusion == 'on'})"
        if autocast:
            yield "torch._C._jit_set_autocast_mode(False)"
        yield f"with torch.no_grad(){autocast}:"
        yield f"    model = torch.jit.trace(model, {given.example}, check_trace=False)"
        yield "    model = torch.jit.freeze(model.eval())"
        autocast = ""
    if row.mode == "compile":
        yield _compiled(row)
    if row.mode == "aot":
        if autocast:
            yield _UNDER_AUTOCAST.replace("AUTOCAST", _autocast(row))
        yield _AHEAD_OF_TIME.replace("EXPORTED", given.exported)
        autocast = ""
    call = given.traced_call if traced else given.call
    yield from ("", f"with torch.no_grad(){autocast}:", f"    outputs = {call}")


def _compiled(row: ScenarioRow) -> str:
    """Return the call of `torch.compile`, which takes a mode or options."""
    settings = ["dynamic=False"]
    if row.backend == "ipex":
        settings.append('backend="ipex"')
    if MAX_AUTOTUNE in option_tags(row):
        settings.append('mode="max-autotune-no-cudagraphs"')
    if CPP_WRAPPER in option_tags(row):
        settings.append('options={"cpp_wrapper": True}')
    return f"model = torch.compile(model, {', '.join(settings)})"


def _training(row: ScenarioRow, given: InputsInCode) -> Iterator[str]:
    """Yield one optimiser step; frozen parameters are the reader's choice and stay out of it."""
    own = given.form is not None
    laid_out = row.layout == "channels_last"
    names = ("batch",) if own else ()
    yield from _imports(row)
    yield from given.imports(traced=False, laid_out=laid_out, names=names)
    yield from ("", "model.train()", *(given.layout(*names) if laid_out else ()))
    fused = ", fused=True" if FUSED_ADAM in option_tags(row) else ""
    yield "trained = [p for p in model.parameters() if p.requires_grad]"
    yield f"optimizer = torch.optim.Adam(trained, lr=1e-4{fused})"
    if row.backend == "ipex":
        optimized = f"ipex.optimize(model, optimizer=optimizer, dtype={_DTYPES[row.dtype]})"
        yield f"model, optimizer = {optimized}"
    if row.mode == "compile":
        yield _compiled(row)
    yield from ("", "optimizer.zero_grad()")
    forward = "loss = train_step(model, batch)" if own else "outputs = model(images)"
    if row.dtype == "fp32":
        yield forward
    else:
        yield from (f"with {_autocast(row)}:", f"    {forward}")
    if not own:
        yield "loss = loss_function(outputs.float(), labels)"
    yield "loss.backward()"
    yield "optimizer.step()"


def _autocast(row: ScenarioRow) -> str:
    return f'torch.autocast("cpu", {_DTYPES[row.dtype]})'


def _int8(row: ScenarioRow, torch: str | None, given: InputsInCode) -> Iterator[str]:
    """Yield static quantisation; the ranges come from `calibration`, batches like the inputs."""
    ipex, laid_out = row.backend == "ipex", row.layout == "channels_last"
    yield from _imports(row)
    if ipex:
        yield "from intel_extension_for_pytorch.quantization import convert, prepare"
    else:
        is_new = is_supported(row, torch)
        package = "torchao.quantization.pt2e" if is_new else "torch.ao.quantization"
        yield f"from {package}.quantize_pt2e import convert_pt2e, prepare_pt2e"
        yield f"from {package}.quantizer import x86_inductor_quantizer as x86"
    yield from given.imports(traced=ipex, laid_out=laid_out)
    yield from ("", "model.eval()", *given.fast_path(row), *(given.layout() if laid_out else ()))
    if ipex:
        yield from given.wrapper()
    call = given.traced_call if ipex else given.call
    on_batch = given.traced_call_on_batch if ipex else given.call_on_batch
    code = (_IPEX_INT8 if ipex else _STOCK_INT8).replace("CALL_ON_BATCH", on_batch)
    code = code.replace("EXAMPLE_OF_IPEX", given.example_of_ipex).replace("EXAMPLE", given.example)
    code = code.replace("EXPORTED", given.exported)
    yield code.replace("ITEMS", "data" if given.form else "images")
    yield from ("", "with torch.no_grad():", f"    outputs = {call}")


def _openvino(row: ScenarioRow, given: InputsInCode) -> str:
    code = _OPENVINO.replace("DTYPE", {"fp32": "f32"}.get(row.dtype, row.dtype))
    return code.replace("images", given.names[0])


def _onnxruntime(row: ScenarioRow, given: InputsInCode) -> str:
    code = _ONNXRUNTIME.replace("images", given.names[0])
    if row.dtype != "int8":
        return code.replace("QUANTIZED\n", "").replace("FILE", "model.onnx")
    quantized = _ONNXRUNTIME_INT8.replace("REDUCED", str(row.native_dtype is False))
    quantized = quantized.replace('"images"', f'"{given.names[0]}"')
    return code.replace("QUANTIZED", quantized).replace("FILE", "int8.onnx")


def _zentorch(row: ScenarioRow, given: InputsInCode) -> str:
    is_low = row.dtype != "fp32"
    autocast = f", {_autocast(row)}" if is_low else ""
    lines = [_FREEZING, _ZENTORCH, "model.eval()", *given.fast_path(row)]
    lines += given.layout() if row.layout == "channels_last" else ()
    lines += [given.low_weights(_DTYPES[row.dtype])] if is_low else []
    lines += ['model = torch.compile(model, backend="zentorch", dynamic=False)', ""]
    lines += [f"with torch.no_grad(){autocast}:", f"    outputs = {given.call}"]
    return "\n".join(lines)


_FURTHER = {"openvino": _openvino, "onnxruntime": _onnxruntime, "zentorch": _zentorch}
"""The code of each further backend."""
