"""The lines of PyTorch that run the model as a scenario does. Pure.

They set up what `bench.worker.backends` sets up. `model` and `images` are the reader's; int8 also
needs `calibration`, a few batches of training images, and training `labels` and `loss_function`.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from bench.machine.placement import kept_heap
from bench.plan.scenario import DEFAULT_ENVIRONMENT, FUSED_ADAM, NO_FREEZING, Task
from bench.text.wording import option_tags

if TYPE_CHECKING:
    from collections.abc import Iterator

    from bench.store.records import ScenarioRow

_CHANNELS_LAST = "memory_format=torch.channels_last"
_AUTOCAST = 'torch.autocast("cpu", torch.bfloat16)'
_INT8_MODE = {"stock": "compile", "ipex": "torchscript"}
"""The one mode in which each backend runs int8."""

_BF16_WEIGHTS = """\
for layer in model.modules():
    if isinstance(layer, (torch.nn.Conv2d, torch.nn.Linear)):
        layer.to(torch.bfloat16)"""

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
narrow = not torch.cpu._is_vnni_supported()
quantizer.set_global(x86.get_default_x86_inductor_quantization_config(reduce_range=narrow))
with torch.no_grad():
    # strict=True: without it PyTorch 2.8 quantises nothing and reports no error
    model = torch.export.export(model, (images,), strict=True).module()
    model = prepare_pt2e(model, quantizer)
    for batch in calibration:  # some of your training images
        model(batch)
    model = convert_pt2e(model)
torch._inductor.config.freezing = True
model = torch.compile(model, backend="inductor", dynamic=False)"""

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
import os

os.environ["TORCHINDUCTOR_FREEZING"] = "1"  # before torch is imported

import torch
import zentorch  # makes its backend known to torch.compile
"""


def recipe(row: ScenarioRow, *, keeps_heap: bool = False) -> str | None:
    """Return the code for one scenario; None for scenarios that this module does not know.

    With `keeps_heap`, comments above it name the variable with which the process was started.
    """
    code = _code(row)
    if code is None or not keeps_heap:
        return code
    variables = (f"# {name}={value}" for name, value in kept_heap({}).items())
    return "\n".join(("# measured in a process that was started with", *variables, code))


def _code(row: ScenarioRow) -> str | None:
    if row.backend in _FURTHER:
        return _FURTHER[row.backend](row) if row.task == Task.INFERENCE else None
    if row.backend not in _INT8_MODE:
        return None
    if row.task == Task.TRAINING:
        return "\n".join(_training(row)) if row.mode == "eager" else None
    if row.dtype == "int8":
        known = (row.mode, row.environment) == (_INT8_MODE[row.backend], DEFAULT_ENVIRONMENT)
        return "\n".join(_int8(row)) if known else None
    return "\n".join(_inference(row)) if row.dtype in ("fp32", "bf16") else None


def _imports(row: ScenarioRow) -> Iterator[str]:
    yield "import torch"
    if row.mode == "compile":
        yield "import torch._inductor.config"
    if row.backend == "ipex":
        yield "import intel_extension_for_pytorch as ipex"


def _layout(row: ScenarioRow) -> Iterator[str]:
    if row.layout == "channels_last":
        yield f"model = model.to({_CHANNELS_LAST})"
        yield f"images = images.to({_CHANNELS_LAST})"


def _inference(row: ScenarioRow) -> Iterator[str]:
    autocast = f", {_AUTOCAST}" if row.dtype == "bf16" else ""
    yield from (*_imports(row), "", "model.eval()", *_layout(row))
    if row.backend == "ipex":
        prepack = ", weights_prepack=False" if row.mode == "compile" else ""
        yield f"model = ipex.optimize(model, dtype={_dtype(row)}{prepack})"
    elif row.dtype == "bf16":
        yield _BF16_WEIGHTS
    if row.mode == "torchscript":
        switch = "ipex" if row.backend == "ipex" else "torch.jit"
        yield f"{switch}.enable_onednn_fusion({row.fusion == 'on'})"
        if row.dtype == "bf16":
            yield "torch._C._jit_set_autocast_mode(False)"
        yield f"with torch.no_grad(){autocast}:"
        yield "    model = torch.jit.trace(model, images, check_trace=False)"
        yield "    model = torch.jit.freeze(model.eval())"
        autocast = ""
    if row.mode == "compile":
        if NO_FREEZING not in option_tags(row):
            yield "torch._inductor.config.freezing = True"
        backend = "ipex" if row.backend == "ipex" else "inductor"
        yield f'model = torch.compile(model, backend="{backend}", dynamic=False)'
    yield from ("", f"with torch.no_grad(){autocast}:", "    outputs = model(images)")


def _training(row: ScenarioRow) -> Iterator[str]:
    """Yield one optimiser step; frozen parameters are the reader's choice and stay out of it."""
    yield from (*_imports(row), "", "model.train()", *_layout(row))
    fused = ", fused=True" if FUSED_ADAM in option_tags(row) else ""
    yield "trained = [p for p in model.parameters() if p.requires_grad]"
    yield f"optimizer = torch.optim.Adam(trained, lr=1e-4{fused})"
    if row.backend == "ipex":
        yield f"model, optimizer = ipex.optimize(model, optimizer=optimizer, dtype={_dtype(row)})"
    yield from ("", "optimizer.zero_grad()")
    if row.dtype == "bf16":
        yield from (f"with {_AUTOCAST}:", "    outputs = model(images)")
    else:
        yield "outputs = model(images)"
    yield "loss = loss_function(outputs.float(), labels)"
    yield "loss.backward()"
    yield "optimizer.step()"


def _dtype(row: ScenarioRow) -> str:
    return "torch.bfloat16" if row.dtype == "bf16" else "torch.float32"


def _int8(row: ScenarioRow) -> Iterator[str]:
    """Yield static quantisation; the ranges come from `calibration`, batches shaped as `images`."""
    yield from _imports(row)
    if row.backend == "ipex":
        yield "from intel_extension_for_pytorch.quantization import convert, prepare"
    else:
        yield "from torch.ao.quantization.quantize_pt2e import convert_pt2e, prepare_pt2e"
        yield "from torch.ao.quantization.quantizer import x86_inductor_quantizer as x86"
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
    autocast = f", {_AUTOCAST}" if row.dtype == "bf16" else ""
    lines = [_ZENTORCH, "model.eval()", *_layout(row)]
    lines += [_BF16_WEIGHTS] if row.dtype == "bf16" else []
    lines += ['model = torch.compile(model, backend="zentorch", dynamic=False)', ""]
    lines += [f"with torch.no_grad(){autocast}:", "    outputs = model(images)"]
    return "\n".join(lines)


_FURTHER = {"openvino": _openvino, "onnxruntime": _onnxruntime, "zentorch": _zentorch}
"""The code of each further backend."""
