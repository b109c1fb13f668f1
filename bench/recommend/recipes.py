"""The lines of PyTorch that run the model as a scenario does. Pure.

They set up what `bench.worker.backends` sets up. `model` and its inputs are the reader's
(`bench.recommend.inputs_in_code`); int8 also needs `calibration`, a few batches of training data,
and training `labels` and `loss_function`, or for a user's model `batch` and `train_step`.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from bench.machine.placement import kept_heap
from bench.plan.scenario import DEFAULT_ENVIRONMENT, FUSED_ADAM, NO_FREEZING, Task
from bench.recommend.inputs_in_code import InputsInCode
from bench.text.wording import option_tags

if TYPE_CHECKING:
    from collections.abc import Iterator

    from bench.store.metadata import Form
    from bench.store.records import ScenarioRow

_AUTOCAST = 'torch.autocast("cpu", torch.bfloat16)'
_INT8_MODE = {"stock": "compile", "ipex": "torchscript"}
"""The one mode in which each backend runs int8."""

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
narrow = not torch.cpu._is_vnni_supported()
quantizer.set_global(x86.get_default_x86_inductor_quantization_config(reduce_range=narrow))
with torch.no_grad():
    # strict=True: without it PyTorch 2.8 quantises nothing and reports no error
    model = torch.export.export(model, EXPORTED, strict=True).module()
    model = prepare_pt2e(model, quantizer)
    for batch in calibration:  # some of your training ITEMS
        CALL_ON_BATCH
    model = convert_pt2e(model)
torch._inductor.config.freezing = True
model = torch.compile(model, backend="inductor", dynamic=False)"""

_OPENVINO = """\
import openvino
import torch

model = openvino.convert_model(model.eval(), example_input=images)
model.reshape({model.inputs[0]: list(images.shape)})
settings = {
    "INFERENCE_PRECISION_HINT": "PRECISION",
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
options = onnxruntime.SessionOptions()
options.intra_op_num_threads = torch.get_num_threads()
options.inter_op_num_threads = 1
session = onnxruntime.InferenceSession(
    "model.onnx", options, providers=["CPUExecutionProvider"]
)

found = session.run(None, {"images": images.numpy()})
outputs = [torch.from_numpy(one) for one in found]"""
_OF_ARRAYS = {"openvino": _OPENVINO, "onnxruntime": _ONNXRUNTIME}
"""Backends that take and return arrays."""


def recipe(row: ScenarioRow, *, keeps_heap: bool = False, form: Form | None = None) -> str | None:
    """Return the code for one scenario; None for scenarios that this module does not know.

    `form` is that of a user's inputs; None for the inspector's images. With `keeps_heap`, comments
    above it name the variable with which the process was started.
    """
    code = _code(row, InputsInCode(form=form))
    if code is None or not keeps_heap:
        return code
    variables = (f"# {name}={value}" for name, value in kept_heap({}).items())
    return "\n".join(("# measured in a process that was started with", *variables, code))


def _code(row: ScenarioRow, given: InputsInCode) -> str | None:
    if row.backend in _OF_ARRAYS and row.task == Task.INFERENCE:
        if not given.is_single:
            return None
        precision = {"fp32": "f32"}.get(row.dtype, row.dtype)
        code = _OF_ARRAYS[row.backend].replace("PRECISION", precision)
        return code.replace("images", given.names[0])
    if row.backend not in _INT8_MODE:
        return None
    if row.task == Task.TRAINING:
        return "\n".join(_training(row, given)) if row.mode == "eager" else None
    if row.dtype == "int8":
        known = (row.mode, row.environment) == (_INT8_MODE[row.backend], DEFAULT_ENVIRONMENT)
        return "\n".join(_int8(row, given)) if known else None
    return "\n".join(_inference(row, given)) if row.dtype in ("fp32", "bf16") else None


def _imports(row: ScenarioRow) -> Iterator[str]:
    yield "import torch"
    if row.mode == "compile":
        yield "import torch._inductor.config"
    if row.backend == "ipex":
        yield "import intel_extension_for_pytorch as ipex"


def _inference(row: ScenarioRow, given: InputsInCode) -> Iterator[str]:
    autocast = f", {_AUTOCAST}" if row.dtype == "bf16" else ""
    laid_out, traced = row.layout == "channels_last", row.mode == "torchscript"
    yield from _imports(row)
    yield from given.imports(traced=traced, laid_out=laid_out)
    yield from ("", "model.eval()", *(given.layout() if laid_out else ()))
    if row.backend == "ipex":
        prepack = ", weights_prepack=False" if row.mode == "compile" else ""
        yield f"model = ipex.optimize(model, dtype={_dtype(row)}{prepack})"
    elif row.dtype == "bf16":
        yield given.bf16_weights
    if traced:
        yield from given.wrapper()
        switch = "ipex" if row.backend == "ipex" else "torch.jit"
        yield f"{switch}.enable_onednn_fusion({row.fusion == 'on'})"
        if row.dtype == "bf16":
            yield "torch._C._jit_set_autocast_mode(False)"
        yield f"with torch.no_grad(){autocast}:"
        yield f"    model = torch.jit.trace(model, {given.example}, check_trace=False)"
        yield "    model = torch.jit.freeze(model.eval())"
        autocast = ""
    if row.mode == "compile":
        if NO_FREEZING not in option_tags(row):
            yield "torch._inductor.config.freezing = True"
        backend = "ipex" if row.backend == "ipex" else "inductor"
        yield f'model = torch.compile(model, backend="{backend}", dynamic=False)'
    call = given.traced_call if traced else given.call
    yield from ("", f"with torch.no_grad(){autocast}:", f"    outputs = {call}")


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
        yield f"model, optimizer = ipex.optimize(model, optimizer=optimizer, dtype={_dtype(row)})"
    yield from ("", "optimizer.zero_grad()")
    forward = "loss = train_step(model, batch)" if own else "outputs = model(images)"
    if row.dtype == "bf16":
        yield from (f"with {_AUTOCAST}:", f"    {forward}")
    else:
        yield forward
    if not own:
        yield "loss = loss_function(outputs.float(), labels)"
    yield "loss.backward()"
    yield "optimizer.step()"


def _dtype(row: ScenarioRow) -> str:
    return "torch.bfloat16" if row.dtype == "bf16" else "torch.float32"


def _int8(row: ScenarioRow, given: InputsInCode) -> Iterator[str]:
    """Yield static quantisation; the ranges come from `calibration`, batches like the inputs."""
    ipex, laid_out = row.backend == "ipex", row.layout == "channels_last"
    yield from _imports(row)
    if ipex:
        yield "from intel_extension_for_pytorch.quantization import convert, prepare"
    else:
        yield "from torch.ao.quantization.quantize_pt2e import convert_pt2e, prepare_pt2e"
        yield "from torch.ao.quantization.quantizer import x86_inductor_quantizer as x86"
    yield from given.imports(traced=ipex, laid_out=laid_out)
    yield from ("", "model.eval()", *(given.layout() if laid_out else ()))
    if ipex:
        yield from given.wrapper()
    call = given.traced_call if ipex else given.call
    on_batch = given.traced_call_on_batch if ipex else given.call_on_batch
    code = (_IPEX_INT8 if ipex else _STOCK_INT8).replace("CALL_ON_BATCH", on_batch)
    code = code.replace("EXAMPLE_OF_IPEX", given.example_of_ipex).replace("EXAMPLE", given.example)
    code = code.replace("EXPORTED", given.exported)
    yield code.replace("ITEMS", "data" if given.form else "images")
    yield from ("", "with torch.no_grad():", f"    outputs = {call}")
