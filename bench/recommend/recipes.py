"""The lines of PyTorch that run the model as a scenario does. Pure.

They set up what `bench.worker.backends` sets up; where `bench.plan.support` calls a way supported,
by public names that are not deprecated. `model` and `images` are the reader's; int8 also needs
`calibration`, a few batches of training images, and training `labels` and `loss_function`.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from bench.machine.placement import kept_heap
from bench.plan.scenario import (
    CPP_WRAPPER,
    FUSED_ADAM,
    MAX_AUTOTUNE,
    NO_FREEZING,
    Task,
)
from bench.plan.support import is_supported
from bench.text.wording import option_tags

if TYPE_CHECKING:
    from collections.abc import Iterator

    from bench.analysis.run_facts import Facts
    from bench.store.records import ScenarioRow

_CHANNELS_LAST = "memory_format=torch.channels_last"
_INT8_MODE = {"stock": "compile", "ipex": "torchscript"}
"""The one mode in which each backend runs int8."""

_DTYPES = {"fp32": "torch.float32", "bf16": "torch.bfloat16", "fp16": "torch.float16"}

_LOW_WEIGHTS = """\
for layer in model.modules():
    if isinstance(layer, (torch.nn.Conv2d, torch.nn.Linear)):
        layer.to(DTYPE)"""

_FREEZING = """\
import os

os.environ["TORCHINDUCTOR_FREEZING"] = "1"  # weights become constants; set it before importing
"""

_UNDER_AUTOCAST = """

class UnderAutocast(torch.nn.Module):
    def __init__(self, model):
        super().__init__()
        self.model = model

    def forward(self, images):
        with AUTOCAST:
            return self.model(images)


model = UnderAutocast(model)"""

_AHEAD_OF_TIME = """
# once, for this CPU and this version of PyTorch; the weights become constants
with torch.no_grad():
    torch._inductor.aoti_compile_and_package(
        torch.export.export(model, (images,)),
        package_path="model.pt2",
        inductor_configs={"freezing": True},
    )

# in every process
model = torch._inductor.aoti_load_package("model.pt2")"""


_IPEX_INT8 = """\
ipex.enable_onednn_fusion(True)
static = ipex.quantization.default_static_qconfig_mapping
with torch.no_grad():
    model = prepare(model, static, example_inputs=images)
    for batch in calibration:  # some of your training images
        model(batch)
    model = torch.jit.trace(convert(model), images, check_trace=False)
    model = torch.jit.freeze(model.eval())"""

_STOCK_INT8 = """\
quantizer = x86.X86InductorQuantizer()
# without VNNI the sum of two 8-bit products may overflow
narrow = "avx512_vnni" not in Path("/proc/cpuinfo").read_text()
quantizer.set_global(x86.get_default_x86_inductor_quantization_config(reduce_range=narrow))
with torch.no_grad():
    # strict=True: without it PyTorch 2.8 quantises nothing and reports no error
    model = torch.export.export(model, (images,), strict=True).module()
    model = prepare_pt2e(model, quantizer)
    for batch in calibration:  # some of your training images
        model(batch)
    model = convert_pt2e(model)
model = torch.compile(model, dynamic=False)"""

_OPENVINO = """\
import openvino
import torch

model = openvino.convert_model(model.eval(), example_input=images)
model.reshape({model.inputs[0]: list(images.shape)})
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
    return recipe(row, torch=torch, keeps_heap=facts.keeps_heap(row.scenario))


def recipe(row: ScenarioRow, *, torch: str | None = None, keeps_heap: bool = False) -> str | None:
    """Return the code for one scenario; None for scenarios that this module does not know.

    `torch` is the version that it is for: int8 depends on it. With `keeps_heap`, comments above the
    code name the variable with which the process was started.
    """
    code = _code(row, torch)
    if code is None or not keeps_heap:
        return code
    variables = (f"# {name}={value}" for name, value in kept_heap({}).items())
    return "\n".join(("# measured in a process that was started with", *variables, code))


def _code(row: ScenarioRow, torch: str | None) -> str | None:
    if row.backend in _FURTHER:
        return _FURTHER[row.backend](row) if row.task == Task.INFERENCE else None
    if row.backend not in _INT8_MODE:
        return None
    if row.task == Task.TRAINING:
        known = row.mode == "eager" or (row.backend, row.mode) == ("stock", "compile")
        return "\n".join(_training(row)) if known else None
    if row.dtype == "int8":
        return "\n".join(_int8(row, torch)) if row.mode == _INT8_MODE[row.backend] else None
    return "\n".join(_inference(row)) if row.dtype in _DTYPES else None


def _imports(row: ScenarioRow) -> Iterator[str]:
    if row.mode == "compile" and row.task == Task.INFERENCE and not _is_unfrozen(row):
        yield _FREEZING
    if (row.backend, row.dtype) == ("stock", "int8"):
        yield "from pathlib import Path\n"
    yield "import torch"
    if row.mode == "aot":
        yield "import torch._inductor"
    if row.backend == "ipex":
        yield "import intel_extension_for_pytorch as ipex"


def _is_unfrozen(row: ScenarioRow) -> bool:
    return NO_FREEZING in option_tags(row)


def _layout(row: ScenarioRow) -> Iterator[str]:
    if row.layout == "channels_last":
        yield f"model = model.to({_CHANNELS_LAST})"
        yield f"images = images.to({_CHANNELS_LAST})"


def _inference(row: ScenarioRow) -> Iterator[str]:
    autocast = "" if row.dtype == "fp32" else f", {_autocast(row)}"
    yield from (*_imports(row), "", "model.eval()", *_layout(row))
    if row.backend == "ipex":
        prepack = ", weights_prepack=False" if row.mode == "compile" else ""
        yield f"model = ipex.optimize(model, dtype={_DTYPES[row.dtype]}{prepack})"
    elif autocast:
        yield _LOW_WEIGHTS.replace("DTYPE", _DTYPES[row.dtype])
    if row.mode == "torchscript":
        switch = "ipex" if row.backend == "ipex" else "torch.jit"
        yield f"{switch}.enable_onednn_fusion({row.fusion == 'on'})"
        if autocast:
            yield "torch._C._jit_set_autocast_mode(False)"
        yield f"with torch.no_grad(){autocast}:"
        yield "    model = torch.jit.trace(model, images, check_trace=False)"
        yield "    model = torch.jit.freeze(model.eval())"
        autocast = ""
    if row.mode == "compile":
        yield _compiled(row)
    if row.mode == "aot":
        if autocast:
            yield _UNDER_AUTOCAST.replace("AUTOCAST", _autocast(row))
        yield _AHEAD_OF_TIME
        autocast = ""
    yield from ("", f"with torch.no_grad(){autocast}:", "    outputs = model(images)")


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


def _training(row: ScenarioRow) -> Iterator[str]:
    """Yield one optimiser step; frozen parameters are the reader's choice and stay out of it."""
    yield from (*_imports(row), "", "model.train()", *_layout(row))
    fused = ", fused=True" if FUSED_ADAM in option_tags(row) else ""
    yield "trained = [p for p in model.parameters() if p.requires_grad]"
    yield f"optimizer = torch.optim.Adam(trained, lr=1e-4{fused})"
    if row.backend == "ipex":
        optimized = f"ipex.optimize(model, optimizer=optimizer, dtype={_DTYPES[row.dtype]})"
        yield f"model, optimizer = {optimized}"
    if row.mode == "compile":
        yield _compiled(row)
    yield from ("", "optimizer.zero_grad()")
    if row.dtype == "fp32":
        yield "outputs = model(images)"
    else:
        yield from (f"with {_autocast(row)}:", "    outputs = model(images)")
    yield "loss = loss_function(outputs.float(), labels)"
    yield "loss.backward()"
    yield "optimizer.step()"


def _autocast(row: ScenarioRow) -> str:
    return f'torch.autocast("cpu", {_DTYPES[row.dtype]})'


def _int8(row: ScenarioRow, torch: str | None) -> Iterator[str]:
    """Yield static quantisation; the ranges come from `calibration`, batches shaped as `images`."""
    yield from _imports(row)
    if row.backend == "ipex":
        yield "from intel_extension_for_pytorch.quantization import convert, prepare"
    else:
        is_new = is_supported(row, torch)
        package = "torchao.quantization.pt2e" if is_new else "torch.ao.quantization"
        yield f"from {package}.quantize_pt2e import convert_pt2e, prepare_pt2e"
        yield f"from {package}.quantizer import x86_inductor_quantizer as x86"
    yield from ("", "model.eval()", *_layout(row))
    yield _IPEX_INT8 if row.backend == "ipex" else _STOCK_INT8
    yield from ("", "with torch.no_grad():", "    outputs = model(images)")


def _openvino(row: ScenarioRow) -> str:
    return _OPENVINO.replace("DTYPE", {"fp32": "f32"}.get(row.dtype, row.dtype))


def _onnxruntime(row: ScenarioRow) -> str:
    if row.dtype != "int8":
        return _ONNXRUNTIME.replace("QUANTIZED\n", "").replace("FILE", "model.onnx")
    quantized = _ONNXRUNTIME_INT8.replace("REDUCED", str(row.native_dtype is False))
    return _ONNXRUNTIME.replace("QUANTIZED", quantized).replace("FILE", "int8.onnx")


def _zentorch(row: ScenarioRow) -> str:
    autocast = f", {_autocast(row)}" if row.dtype == "bf16" else ""
    lines = [_FREEZING, _ZENTORCH, "model.eval()", *_layout(row)]
    lines += [_LOW_WEIGHTS.replace("DTYPE", _DTYPES[row.dtype])] if row.dtype == "bf16" else []
    lines += ['model = torch.compile(model, backend="zentorch", dynamic=False)', ""]
    lines += [f"with torch.no_grad(){autocast}:", "    outputs = model(images)"]
    return "\n".join(lines)


_FURTHER = {"openvino": _openvino, "onnxruntime": _onnxruntime, "zentorch": _zentorch}
"""The code of each further backend."""
