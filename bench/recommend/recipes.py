"""The few lines of PyTorch that run the model the way a scenario does. Pure.

They set up what `bench.worker.backends` sets up, for people who want to use a result. `model` and
`images` are the reader's own; int8 also needs `calibration`, a few batches of their training
images, and training `labels` and a `loss_function`.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from bench.machine.placement import kept_heap
from bench.plan.matrix import FURTHER_BACKENDS
from bench.plan.scenario import DEFAULT_ENVIRONMENT, FUSED_ADAM, NO_FREEZING, Task
from bench.text import wording

if TYPE_CHECKING:
    from collections.abc import Iterator

    from bench.store.records import ScenarioRow

_LAST = "memory_format=torch.channels_last"
_AUTOCAST = 'torch.autocast("cpu", torch.bfloat16)'
_STARTED = "# measured in a process that was started with"
_INT8 = {"stock": "compile", "ipex": "torchscript"}
"""The one mode in which each backend runs int8."""


def recipe(row: ScenarioRow, *, keeps_heap: bool = False) -> str | None:
    """The code for one scenario; None for ways that this module does not know.

    `keeps_heap` says above it with which variable the process was started.
    """
    code = _code(row)
    if code is None or not keeps_heap:
        return code
    return "\n".join((_STARTED, *(f"# {n}={v}" for n, v in kept_heap({}).items()), code))


def _code(row: ScenarioRow) -> str | None:
    if row.task == Task.TRAINING:
        known = row.backend in ("stock", "ipex") and row.mode == "eager"
        return "\n".join(_training(row)) if known else None
    if row.backend in FURTHER_BACKENDS:
        further = {"openvino": _openvino, "onnxruntime": _onnxruntime}.get(row.backend)
        return "\n".join(further(row)) if further else None
    if row.backend not in ("stock", "ipex"):
        return None
    if row.dtype == "int8":
        known = row.mode == _INT8[row.backend] and row.environment == DEFAULT_ENVIRONMENT
        return "\n".join(_int8(row)) if known else None
    if row.dtype not in ("fp32", "bf16"):
        return None
    lines = [*_imports(row), "", "model.eval()", *_layout(row), *_prepare(row), "", *_call(row)]
    return "\n".join(lines)


def _imports(row: ScenarioRow) -> Iterator[str]:
    yield "import torch"
    if row.mode == "compile":
        yield "import torch._inductor.config"
    if row.backend == "ipex":
        yield "import intel_extension_for_pytorch as ipex"


def _layout(row: ScenarioRow) -> Iterator[str]:
    if row.layout == "channels_last":
        yield f"model = model.to({_LAST})"
        yield f"images = images.to({_LAST})"


def _prepare(row: ScenarioRow) -> Iterator[str]:
    if row.backend == "ipex":
        prepack = ", weights_prepack=False" if row.mode == "compile" else ""
        yield f"model = ipex.optimize(model, dtype={_dtype(row)}{prepack})"
    elif row.dtype == "bf16":
        yield "for layer in model.modules():"
        yield "    if isinstance(layer, (torch.nn.Conv2d, torch.nn.Linear)):"
        yield "        layer.to(torch.bfloat16)"
    if row.mode == "torchscript":
        yield from _script(row)
    if row.mode == "compile":
        yield from _compile(row)


def _script(row: ScenarioRow) -> Iterator[str]:
    on = row.fusion == "on"
    switch = "ipex" if row.backend == "ipex" else "torch.jit"
    yield f"{switch}.enable_onednn_fusion({on})"
    if row.dtype == "bf16":
        yield "torch._C._jit_set_autocast_mode(False)"
    yield f"with torch.no_grad(){_autocast(row)}:"
    yield "    model = torch.jit.trace(model, images, check_trace=False)"
    yield "    model = torch.jit.freeze(model.eval())"


def _compile(row: ScenarioRow) -> Iterator[str]:
    if NO_FREEZING not in wording.option_tags(row):
        yield "torch._inductor.config.freezing = True"
    backend = "ipex" if row.backend == "ipex" else "inductor"
    yield f'model = torch.compile(model, backend="{backend}", dynamic=False)'


def _call(row: ScenarioRow) -> Iterator[str]:
    cast = _autocast(row) if row.mode != "torchscript" else ""
    yield f"with torch.no_grad(){cast}:"
    yield "    outputs = model(images)"


def _training(row: ScenarioRow) -> Iterator[str]:
    """One optimiser step; what is frozen is the reader's choice, and stays out of the optimizer."""
    yield from (*_imports(row), "", "model.train()", *_layout(row))
    fused = ", fused=True" if FUSED_ADAM in wording.option_tags(row) else ""
    yield "trained = [p for p in model.parameters() if p.requires_grad]"
    yield f"optimizer = torch.optim.Adam(trained, lr=1e-4{fused})"
    if row.backend == "ipex":
        yield f"model, optimizer = ipex.optimize(model, optimizer=optimizer, dtype={_dtype(row)})"
    yield from ("", "optimizer.zero_grad()")
    if row.dtype == "bf16":
        yield f"with {_AUTOCAST}:"
        yield "    outputs = model(images)"
    else:
        yield "outputs = model(images)"
    yield "loss = loss_function(outputs.float(), labels)"
    yield "loss.backward()"
    yield "optimizer.step()"


def _autocast(row: ScenarioRow) -> str:
    return f", {_AUTOCAST}" if row.dtype == "bf16" else ""


def _dtype(row: ScenarioRow) -> str:
    return "torch.bfloat16" if row.dtype == "bf16" else "torch.float32"


def _int8(row: ScenarioRow) -> Iterator[str]:
    """Static quantisation; the ranges come from `calibration`, batches shaped as `images`."""
    yield from _imports(row)
    if row.backend == "ipex":
        yield "from intel_extension_for_pytorch.quantization import convert, prepare"
    else:
        yield "from torch.ao.quantization.quantize_pt2e import convert_pt2e, prepare_pt2e"
        yield "from torch.ao.quantization.quantizer import x86_inductor_quantizer as x86"
    yield from ("", "model.eval()", *_layout(row))
    yield from _ipex_int8() if row.backend == "ipex" else _stock_int8()
    yield from ("", "with torch.no_grad():", "    outputs = model(images)")


def _ipex_int8() -> Iterator[str]:
    yield "ipex.enable_onednn_fusion(True)"
    yield "static = ipex.quantization.default_static_qconfig_mapping"
    yield "with torch.no_grad():"
    yield "    model = prepare(model, static, example_inputs=images)"
    yield "    for batch in calibration:  # some of your training images"
    yield "        model(batch)"
    yield "    model = torch.jit.trace(convert(model), images, check_trace=False)"
    yield "    model = torch.jit.freeze(model.eval())"


def _stock_int8() -> Iterator[str]:
    yield "quantizer = x86.X86InductorQuantizer()"
    yield "narrow = not torch.cpu._is_vnni_supported()"
    yield (
        "quantizer.set_global("
        "x86.get_default_x86_inductor_quantization_config(reduce_range=narrow))"
    )
    yield "with torch.no_grad():"
    yield "    # strict=True: without it PyTorch 2.8 quantises nothing and says nothing"
    yield "    model = torch.export.export(model, (images,), strict=True).module()"
    yield "    model = prepare_pt2e(model, quantizer)"
    yield "    for batch in calibration:  # some of your training images"
    yield "        model(batch)"
    yield "    model = convert_pt2e(model)"
    yield "torch._inductor.config.freezing = True"
    yield 'model = torch.compile(model, backend="inductor", dynamic=False)'


def _openvino(row: ScenarioRow) -> Iterator[str]:
    precision = {"fp32": "f32"}.get(row.dtype, row.dtype)
    yield from ("import openvino", "import torch", "")
    yield "model = openvino.convert_model(model.eval(), example_input=images)"
    yield "model.reshape({model.inputs[0]: list(images.shape)})"
    yield "settings = {"
    yield f'    "INFERENCE_PRECISION_HINT": "{precision}",'
    yield '    "PERFORMANCE_HINT": "LATENCY",'
    yield '    "INFERENCE_NUM_THREADS": torch.get_num_threads(),'
    yield '    "NUM_STREAMS": 1,'
    yield "}"
    yield 'model = openvino.Core().compile_model(model, "CPU", settings)'
    yield ""
    yield "found = model(images.numpy())"
    yield "outputs = [torch.from_numpy(found[index]) for index in range(len(found))]"


def _onnxruntime(_row: ScenarioRow) -> Iterator[str]:
    yield from ("import onnxruntime", "import torch", "")
    yield "torch.onnx.export("
    yield '    model.eval(), (images,), "model.onnx",'
    yield '    input_names=["images"], dynamo=False, opset_version=17,'
    yield ")"
    yield "options = onnxruntime.SessionOptions()"
    yield "options.intra_op_num_threads = torch.get_num_threads()"
    yield "options.inter_op_num_threads = 1"
    yield "session = onnxruntime.InferenceSession("
    yield '    "model.onnx", options, providers=["CPUExecutionProvider"]'
    yield ")"
    yield ""
    yield 'found = session.run(None, {"images": images.numpy()})'
    yield "outputs = [torch.from_numpy(one) for one in found]"
