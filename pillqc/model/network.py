"""Define the tutorial's network, and load it with weights.

    model = CustomVGG(n_classes=2)              # training mode: scores (N, C)
    probabilities, maps = model.eval()(images)  # (N, C) and (N, C, H, W) in 0..1
    loaded = load_model()                       # the shipped model, or a seeded random one

`CustomVGG` has torchvision's VGG-16 layers without the classifier: its 553 MB would be allocated
and discarded, and would count in every figure of peak memory.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final, cast

import torch
import torch.nn.functional as F  # noqa: N812 - PyTorch's own convention
from torch import Tensor, nn

from pillqc.errors import ModelFileError, PillqcError
from pillqc.model.vgg_layers import channels, make_layers

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from pillqc.model.artifact import ModelCard

FROZEN_LAYERS: Final = 23
"""`features[:23]`: blocks 1 to 4. conv5_1 to conv5_3 and the head train."""
BLOCK_5: Final = 24
"""`features[24:]`: block 5. The max-pool before it has no parameters."""
FEATURE_CHANNELS: Final = 512
CLASSES: Final = ("good", "bad")
DEFAULT_SIZE: Final = 224
BAD: Final = 1
"""Index of the positive class."""
SHIPPED_MODEL: Final = Path(__file__).parent / "pillqc.safetensors"
_FLATTEST_RANGE: Final = 1e-6
"""A map with a smaller range is flat: it is scaled to 0, not to noise."""
_RANDOM_HEAD_STD: Final = 0.3
"""Standard deviation of the head's weights, so that probabilities differ between images."""


class CustomVGG(nn.Module):
    """VGG-16 that classifies a pill as good or bad and locates its defect.

    In training mode the forward pass returns class scores (N, C). In evaluation mode it returns
    class probabilities (N, C) and a map per class (N, C, H, W) in 0..1, as large as the input.

    With `n_defects`, defects are further classes after good and bad: C is 2 + `n_defects`. Good and
    bad share a softmax, as without them. Each defect has a probability of its own (a sigmoid),
    because a pill may have several.

    The tutorial computes its map before the last max-pool, so the map does not add up to the score.
    Here the pooling window slides by one cell instead of two: every second window is one that the
    classifier averages (`cells`), and the map has twice the resolution of the pooled features. It
    shows the evidence that all windows around a place share (`evidence`).

    `calibrate_maps` sets `map_low` and `map_high`, which scale the maps of a class in all images.
    Before that every image is scaled by its own minimum and maximum, as in the tutorial, except
    that a flat map becomes 0 without a division by zero. Both are tensor arithmetic, so that
    tracing, freezing and compiling keep them.
    """

    map_low: Tensor
    map_high: Tensor
    map_calibrated: Tensor

    def __init__(
        self,
        n_classes: int = 2,
        *,
        n_defects: int = 0,
        freeze: bool = True,
        narrowing: int = 1,
    ) -> None:
        super().__init__()
        if n_classes < 2:
            raise PillqcError(f"a model needs at least 2 classes, not {n_classes}")
        self.n_classes = n_classes
        """How many of the outputs share a softmax; they come first."""
        self.n_defects = n_defects
        outputs = n_classes + n_defects
        self.features: Any = make_layers(channels(narrowing)[:-1])  # its layers are of many kinds
        self.pool = nn.MaxPool2d(2)
        self.average = nn.AdaptiveAvgPool2d(1)
        self.flatten = nn.Flatten()
        self.head = nn.Linear(FEATURE_CHANNELS // narrowing, outputs)
        self.register_buffer("map_low", torch.zeros(outputs))
        self.register_buffer("map_high", torch.ones(outputs))
        self.register_buffer("map_calibrated", torch.zeros((), dtype=torch.bool))
        self._initialise()
        if freeze:
            self.freeze()

    def forward(self, images: Tensor) -> Tensor | tuple[Tensor, Tensor]:
        """Return scores in training mode, (probabilities, maps) in evaluation mode."""
        features = self.features(images)
        scores = self.scores(features)
        if self.training:
            return scores
        maps = self.scaled(self.evidence(features, images.shape[-2:]))
        return self.probabilities(scores), maps

    def probabilities(self, scores: Tensor) -> Tensor:
        """Return the probabilities (N, C) of scores (N, C)."""
        if not self.n_defects:
            return torch.softmax(scores, dim=1)
        classes, defects = scores[:, : self.n_classes], scores[:, self.n_classes :]
        return torch.cat([torch.softmax(classes, dim=1), torch.sigmoid(defects)], dim=1)

    def scores(self, features: Tensor) -> Tensor:
        """Return class scores (N, C) for features (N, 512, h, w)."""
        return cast("Tensor", self.head(self.flatten(self.average(self.pool(features)))))

    def cells(self, features: Tensor) -> Tensor:
        """Return class scores of all pooling windows (N, C, h+1, w+1), one cell apart.

        `scores` averages the windows at odd rows and columns.
        """
        windows = F.max_pool2d(features, 2, stride=1, padding=1)
        # Call the layer: `ipex.optimize` packs its weight into a form that only the layer can read.
        scores = cast("Tensor", self.head(windows.permute(0, 2, 3, 1)))
        return scores.permute(0, 3, 1, 2)

    def evidence(self, features: Tensor, size: Sequence[int]) -> Tensor:
        """Return unscaled maps (N, C, *size): at each place the least score of all windows there.

        A window has the highest score of its four cells, so windows alone show every defect one
        cell too wide on all sides.
        """
        least = -F.max_pool2d(-self.cells(features), 2, stride=1)
        wide = F.interpolate(least, size=list(size), mode="bilinear", align_corners=False)
        return cast("Tensor", wide)

    def freeze(self) -> None:
        """Stop training blocks 1 to 4: no gradient for `features[:23]`."""
        self.features[:FROZEN_LAYERS].requires_grad_(requires_grad=False)

    def is_frozen(self) -> bool:
        """Return whether no parameter of blocks 1 to 4 trains."""
        return not any(p.requires_grad for p in self.features[:FROZEN_LAYERS].parameters())

    def frozen_outputs(self, images: Tensor) -> Tensor:
        """Return the output of blocks 1 to 4 and their max-pool (N, 512, H/16, W/16)."""
        return cast("Tensor", self.features[:BLOCK_5](images))

    def calibrate_maps(self, low: Tensor, high: Tensor) -> None:
        """Set one scale per class for all images: `low` becomes 0, the middle to `high` .5.

        Above the middle the scale approaches 1 without reaching it, so that even a strong defect
        has one hottest place.
        """
        if not bool(torch.all(high - low > _FLATTEST_RANGE)):
            raise PillqcError("the scale of the maps is empty: high must be above low")
        self.map_low.copy_(low)
        self.map_high.copy_(high)
        self.map_calibrated.fill_(value=True)

    def scaled(self, maps: Tensor) -> Tensor:
        """Return evidence as heat from 0 to 1, on the calibrated scale or on each image's own."""
        low = torch.where(self.map_calibrated, self._wide(self.map_low), maps.amin((2, 3), True))
        high = torch.where(self.map_calibrated, self._wide(self.map_high), maps.amax((2, 3), True))
        share = ((maps - low) / (high - low).clamp_min(_FLATTEST_RANGE)).clamp_min(0.0)
        return torch.where(self.map_calibrated, share / (share + 0.5), share.clamp_max(1.0))

    def _wide(self, per_class: Tensor) -> Tensor:
        return per_class[None, :, None, None]

    def _initialise(self) -> None:
        """Initialise like torchvision's VGG, except the head, which follows no norm."""
        if self.head.weight.is_meta:
            return  # it has no values, and PyTorch would import its compiler, a second, to set none
        for layer in self.features:
            if isinstance(layer, nn.Conv2d):
                nn.init.kaiming_normal_(layer.weight, mode="fan_out", nonlinearity="relu")
                nn.init.zeros_(cast("Tensor", layer.bias))
        nn.init.normal_(self.head.weight, 0.0, _RANDOM_HEAD_STD)
        nn.init.zeros_(self.head.bias)


@dataclass(frozen=True, kw_only=True)
class LoadedModel:
    """A model with its threshold and card."""

    model: CustomVGG
    """In evaluation mode."""
    trained: bool
    """If False, its decisions mean nothing, and every output must say so."""
    threshold: float
    """Probability of `bad` from which a pill is called bad."""
    name: str
    """`shipped`, `random`, `imagenet`, `hed`, or the model file's name."""
    card: ModelCard | None = None
    """The model file's card."""
    path: Path | None = None
    """The model file."""

    @cached_property
    def sha256(self) -> str | None:
        """SHA-256 of the model file, if there is one."""
        from pillqc.data.splits import content_hash

        return content_hash(self.path) if self.path else None

    def at_threshold(self, threshold: float) -> LoadedModel:
        """Return the model with this threshold and no undecided band, which needs the old one."""
        card = replace(self.card, undecided=None) if self.card else None
        return replace(self, threshold=threshold, card=card)

    def at_false_rejects(self, share: float) -> LoadedModel:
        """Return the model with the threshold that rejected at most this share of good pills.

        Raises:
            PillqcError: its card has no such threshold.
        """
        card = self.card.thresholds if self.card else {}
        thresholds = {float(known): threshold for known, threshold in card.items()}
        fitting = [known for known in thresholds if known <= share]
        if not fitting:
            least = f"thresholds from a share of {min(thresholds)} on" if thresholds else "none"
            raise PillqcError(
                f"{self.name}: no threshold is known to reject at most {share} of good pills: its"
                f" card has {least}; give --threshold, or a model trained with more good pills"
            )
        return self.at_threshold(thresholds[max(fitting)])

    @property
    def size(self) -> int:
        """Side of its input images in pixels."""
        return self.card.size if self.card else DEFAULT_SIZE

    @property
    def undecided(self) -> tuple[float, float] | None:
        """Probabilities between which a person should look."""
        return self.card.undecided if self.card else None

    @property
    def box_threshold(self) -> float:
        """Heat from which a pixel belongs to a box."""
        return self.card.box_threshold if self.card else 0.5

    @property
    def defects(self) -> tuple[str, ...]:
        """Defects that it names, in the order of its outputs; none for a good/bad model."""
        return self.card.defects if self.card else ()


def load_model(
    weights: str | Path | None = None,
    *,
    freeze: bool = True,
    seed: int = 0,
    comparing: bool = False,
) -> LoadedModel:
    """Return a model in evaluation mode.

    Args:
        weights: a pillqc model file; `imagenet` (torchvision's) or `hed` (edges of photographs),
            both with an untrained head; `random`; or None for the shipped model, which is random
            where the package has none.
        freeze: whether blocks 1 to 4 get no gradient.
        seed: for random weights. The same seed gives the same bits.
        comparing: whether the caller can use a model of `pillqc compare`, which is no `CustomVGG`
            and gives the same outputs in evaluation mode.
    """
    if weights is None:
        if SHIPPED_MODEL.is_file():
            return _from_file(SHIPPED_MODEL, name="shipped", freeze=freeze)
        weights = "random"
    if str(weights) == "random":
        return _untrained(_seeded(seed, freeze=freeze), name="random")
    if str(weights) in {"imagenet", "hed"}:
        from pillqc.model.hed import hed_features

        model = _seeded(seed, freeze=freeze)
        features = hed_features() if str(weights) == "hed" else _imagenet_features()
        model.features.load_state_dict(features)
        return _untrained(model, name=str(weights))
    path = Path(weights)
    return _from_file(path, name=path.name, freeze=freeze, comparing=comparing)


def count_parameters(model: nn.Module) -> tuple[int, int]:
    """Return the number of parameters that train, and of all."""
    sizes = [(p.numel(), p.requires_grad) for p in model.parameters()]
    return sum(size for size, trains in sizes if trains), sum(size for size, _ in sizes)


def symmetric(values: Tensor, n_classes: int) -> Tensor:
    """Return a head's weight or bias without what its first `n_classes` outputs share.

    It changes no probability, because these share a softmax; their maps then show evidence.
    """
    classes = values[:n_classes]
    return torch.cat([classes - classes.mean(dim=0, keepdim=True), values[n_classes:]])


@torch.no_grad()
def with_defects(model: CustomVGG, n_defects: int) -> CustomVGG:
    """Return the model with that many defects to learn, or the model itself if both have none.

    Every defect starts as the evidence for bad against good: what is not defective has none of
    them, and only their differences are left to learn. Defects of the model are not kept.
    """
    if n_defects == model.n_defects == 0:
        return model
    frozen, narrowing = model.is_frozen(), FEATURE_CHANNELS // model.head.in_features
    with torch.device("meta"):  # random weights would be discarded
        made = CustomVGG(model.n_classes, n_defects=n_defects, freeze=frozen, narrowing=narrowing)
    state = model.state_dict()
    for name in ("head.weight", "head.bias", "map_low", "map_high"):
        classes = state[name][: model.n_classes]
        evidence = (classes[BAD] - classes[1 - BAD])[None]
        rows = evidence if name.startswith("head") else 2.0 * classes[BAD][None]
        state[name] = torch.cat([classes, *[rows] * n_defects])
    made.load_state_dict({name: value.clone() for name, value in state.items()}, assign=True)
    return made.train(model.training)


def _untrained(model: CustomVGG, *, name: str) -> LoadedModel:
    return LoadedModel(model=model.eval(), trained=False, threshold=0.5, name=name)


def _seeded(seed: int, *, freeze: bool, n_classes: int = 2) -> CustomVGG:
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        return CustomVGG(n_classes, freeze=freeze)


def _imagenet_features() -> dict[str, Tensor]:
    """Return torchvision's published weights of the features, downloaded or from its cache."""
    from torchvision.models import vgg

    try:
        state: Mapping[str, Any] = vgg.VGG16_Weights.IMAGENET1K_V1.get_state_dict(
            progress=False, check_hash=True
        )
    except (OSError, RuntimeError) as error:
        raise PillqcError(
            f"ImageNet weights cannot be loaded ({error}); put torchvision's vgg16 file into the "
            "torch hub cache, or use --weights random or a model file"
        ) from error
    prefix = "features."
    return {k[len(prefix) :]: v for k, v in state.items() if k.startswith(prefix)}


def _from_file(path: Path, *, name: str, freeze: bool, comparing: bool = False) -> LoadedModel:
    from pillqc.model.artifact import read_artifact

    card, tensors = read_artifact(path)
    if card.compares and not comparing:
        raise PillqcError(
            f"{path}: a model of `pillqc compare`, which only inspect, evaluate and card can use;"
            " give one of `pillqc train`"
        )
    again = "train or download it again"
    with torch.device("meta"):  # random weights would be discarded
        if card.compares:
            from pillqc.model.comparison_file import AGAIN, comparing_model

            again = AGAIN
            model = cast("CustomVGG", comparing_model(path, card, tensors))
        else:
            model = CustomVGG(len(card.classes), n_defects=len(card.defects), freeze=freeze)
    expected = model.state_dict()
    wrong = sorted(expected.keys() ^ tensors.keys()) or sorted(
        k for k, v in expected.items() if tensors[k].shape != v.shape
    )
    if wrong:
        raise ModelFileError(
            f"{path}: not a model of this version: {wrong[0]} is missing, unknown or of another "
            f"shape; {again}"
        )
    # copies, because the tensors may be the file's mapped memory
    own = {name: value.to(expected[name].dtype, copy=True) for name, value in tensors.items()}
    model.load_state_dict(own, assign=True)
    return LoadedModel(
        model=model.eval(),
        trained=card.trained,
        threshold=card.threshold,
        name=name,
        card=card,
        path=path,
    )
