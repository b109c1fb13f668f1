"""Quantise to int8 by IPEX: statically, as its documentation says, then trace and freeze.

IPEX's TorchScript fusion makes the int8 operators (`ipex::LlgaFusionGroup`, by oneDNN's graph
compiler), so there is no int8 without fusion.
"""

from __future__ import annotations

import copy
import warnings
from typing import TYPE_CHECKING

import torch

from bench.plan.scenario import Mode, Scenario
from bench.worker.backends import Prepared
from bench.worker.backends.ipex import set_fusion
from bench.worker.backends.stock import lay_out, script

if TYPE_CHECKING:
    from collections.abc import Iterable

    from bench.worker.workload.inputs import Inputs


def quantize(
    model: torch.nn.Module,
    scenario: Scenario,
    example: Inputs,
    calibration: Iterable[Inputs],
) -> Prepared:
    """Quantize the model; its activations' ranges come from the calibration data.

    Raises:
        NotImplementedError: the scenario is not TorchScript with fusion, or IPEX cannot quantise
            this model.
    """
    if scenario.mode is not Mode.TORCHSCRIPT or not scenario.fusion:
        raise NotImplementedError("IPEX's int8 runs only in TorchScript with fusion on")
    import intel_extension_for_pytorch as ipex
    from intel_extension_for_pytorch.quantization import convert, prepare

    model = copy.deepcopy(model).eval()
    torch.backends.mha.set_fastpath_enabled(False)  # it would hide linear layers
    lay_out(model, scenario.layout)
    set_fusion(on=True)
    with torch.no_grad(), warnings.catch_warnings():
        warnings.simplefilter("ignore")  # observers warn of settings that IPEX chose
        try:
            observed = prepare(
                model,
                ipex.quantization.default_static_qconfig_mapping,
                example_inputs=(example,),
                inplace=True,
            )
            for images in calibration:
                observed(images)
            converted = convert(observed, inplace=True)
        except (AssertionError, AttributeError, KeyError, TypeError) as error:
            # it patches every call of the model and trips over what it does not expect
            raise NotImplementedError(
                f"IPEX cannot quantise this model: {type(error).__name__}: {error}"
            ) from error
    return Prepared(model=script(converted, example, None))
