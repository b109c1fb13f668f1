"""A network with batch norm folds into a plain one that computes the same."""

from __future__ import annotations

import pytest
import torch
from torch import nn

from pillqc.errors import PillqcError
from pillqc.model.batch_norm import NormedVGG, fold_batch_norm, image_scores
from pillqc.model.network import CustomVGG

pytestmark = pytest.mark.torch


@pytest.mark.parametrize(("narrowing", "n_defects"), [(1, 0), (4, 0), (4, 3)])
def test_folding_the_norms_changes_nothing(narrowing: int, n_defects: int) -> None:
    """The plain network has the same probabilities, and a symmetric head."""
    torch.manual_seed(0)
    net = NormedVGG(n_defects=n_defects, narrowing=narrowing).eval()
    for layer in net.features:
        if isinstance(layer, nn.BatchNorm2d):
            nn.init.normal_(layer.weight, 1.0, 0.1)
            nn.init.normal_(layer.bias, 0.0, 0.1)
            nn.init.uniform_(layer.running_var, 0.5, 1.5)  # type: ignore[arg-type] # a buffer
            nn.init.normal_(layer.running_mean, 0.0, 0.1)  # type: ignore[arg-type] # a buffer
    nn.init.normal_(net.head.weight, 0.0, 0.3)
    images = torch.randn(2, 3, 64, 64)
    model = fold_batch_norm(net)
    with torch.no_grad():
        scores, probabilities = image_scores(net(images)), model(images)[0]
    assert torch.allclose(probabilities[:, :2], torch.softmax(scores[:, :2], dim=1), atol=1e-5)
    assert torch.allclose(probabilities[:, 2:], torch.sigmoid(scores[:, 2:]), atol=1e-5)
    assert probabilities.shape == (2, 2 + n_defects)
    assert torch.allclose(model.head.weight[0], -model.head.weight[1])


def test_only_widths_that_divide_vgg16_are_known() -> None:
    """A third of 64 channels is no number of channels."""
    with pytest.raises(PillqcError, match="cannot be divided by 3"):
        NormedVGG(narrowing=3)


@pytest.mark.parametrize("side", [4, 5])
def test_image_scores_are_what_the_plain_network_pools(side: int) -> None:
    """For even and for odd feature maps, whose last row and column are not pooled."""
    model = CustomVGG(narrowing=8)
    features = torch.rand(2, 64, side, side, generator=torch.Generator().manual_seed(0))
    with torch.no_grad():
        scores = image_scores(model.cells(features))
        assert torch.allclose(scores, model.scores(features), atol=1e-5)
