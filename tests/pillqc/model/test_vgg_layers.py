"""The layers of VGG-16, and what is not imported for them."""

from __future__ import annotations

import subprocess
import sys

import pytest
import torch
from torchvision.models import vgg

from pillqc.errors import PillqcError
from pillqc.model.vgg_layers import channels, make_layers

pytestmark = pytest.mark.torch

WITHOUT_COMPILER = """
import sys, torch, pillqc.model.network, {module}
model = pillqc.model.network.load_model().model
with torch.no_grad():
    torch.jit.trace(model, torch.zeros(1, 3, 64, 64), check_trace=False)
print(sorted({{"torch._dynamo", "torchvision"}} & set(sys.modules)))
"""


@pytest.mark.parametrize("batch_norm", [False, True])
def test_they_are_torchvisions(*, batch_norm: bool) -> None:
    """The same kinds in the same order, with the same random weights."""
    torch.manual_seed(0)
    made = make_layers(channels(), batch_norm=batch_norm)
    torch.manual_seed(0)
    expected = vgg.make_layers(vgg.cfgs["D"], batch_norm=batch_norm)
    assert str(made) == str(expected)
    assert made.state_dict().keys() == expected.state_dict().keys()
    assert all(map(torch.equal, made.state_dict().values(), expected.state_dict().values()))


def test_a_quarter_of_the_width() -> None:
    """As far as whole channels remain."""
    assert channels(4) == [one // 4 if isinstance(one, int) else one for one in vgg.cfgs["D"]]
    with pytest.raises(PillqcError, match="divided by 3"):
        channels(3)


@pytest.mark.parametrize("module", ["pillqc.inspection.inspector", "bench.worker.session"])
def test_what_compiles_nothing_imports_no_compiler(module: str) -> None:
    """Torchvision's import and the compiler's take as long as PyTorch's own."""
    code = WITHOUT_COMPILER.format(module=module)
    found = subprocess.run(
        [sys.executable, "-c", code], check=True, capture_output=True, text=True, timeout=120
    )
    assert found.stdout.strip() == "[]"
