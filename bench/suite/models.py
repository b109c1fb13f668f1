"""List the suite's models: torchvision's, with random weights, and those of the user's file.

Speed does not depend on the values of weights, so none are downloaded.
"""

from __future__ import annotations

import json
import re
from dataclasses import dataclass
from typing import TYPE_CHECKING

from bench.errors import UsageError
from bench.run.request import OwnChoice

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

REFERENCE = "vgg16"
"""The model whose answer is compared with the others'."""
_NO_WEIGHTS = "weights_backbone=None"


@dataclass(frozen=True, kw_only=True)
class SuiteModel:
    """One model of a suite."""

    name: str
    kind: str
    """`residual`, `mobile`, `dense`, `plain`, `attention`, `detection`, `segmentation`, `own`."""
    choice: OwnChoice


def _model(path: str, kind: str, *settings: str, **inputs: str) -> SuiteModel:
    choice = OwnChoice(model=f"torchvision.models{path}", settings=settings, **inputs)
    return SuiteModel(name=path.partition(":")[2], kind=kind, choice=choice)


def _classifier(name: str, kind: str, *settings: str, side: int = 224) -> SuiteModel:
    return _model(f":{name}", kind, *settings, shape=f"3,{side},{side}")


def _segmenter(name: str) -> SuiteModel:
    return _model(f".segmentation:{name}", "segmentation", _NO_WEIGHTS, shape="3,256,256")


def _detector(name: str) -> SuiteModel:
    images = "bench.worker.workload.suite_inputs:image_list"
    return _model(f".detection:{name}", "detection", _NO_WEIGHTS, inputs=images)


MODELS: tuple[SuiteModel, ...] = (
    _classifier(REFERENCE, "plain"),
    _classifier("alexnet", "plain"),
    _classifier("squeezenet1_1", "plain"),
    _classifier("resnet18", "residual"),
    _classifier("resnet50", "residual"),
    _classifier("resnext50_32x4d", "residual"),
    _classifier("wide_resnet50_2", "residual"),
    _classifier("regnet_y_400mf", "residual"),
    _classifier("convnext_tiny", "residual"),
    _classifier("mobilenet_v2", "mobile"),
    _classifier("mobilenet_v3_large", "mobile"),
    _classifier("mnasnet1_0", "mobile"),
    _classifier("shufflenet_v2_x1_0", "mobile"),
    _classifier("efficientnet_b0", "mobile"),
    _classifier("densenet121", "dense"),
    _classifier("googlenet", "dense", "aux_logits=False", "init_weights=False"),
    _classifier("inception_v3", "dense", "aux_logits=False", "init_weights=False", side=299),
    _classifier("vit_b_16", "attention"),
    _classifier("swin_t", "attention"),
    _classifier("maxvit_t", "attention"),
    _segmenter("lraspp_mobilenet_v3_large"),
    _segmenter("deeplabv3_mobilenet_v3_large"),
    _detector("ssdlite320_mobilenet_v3_large"),
    _detector("fasterrcnn_mobilenet_v3_large_320_fpn"),
)


def chosen(names: tuple[str, ...], extra: tuple[SuiteModel, ...] = ()) -> tuple[SuiteModel, ...]:
    """Return the named models, or all; the extra ones come last.

    Raises:
        UsageError: there is no model of that name.
    """
    every = {model.name: model for model in (*MODELS, *extra)}
    for name in names:
        if name not in every:
            raise UsageError(f"there is no model {name!r}: choose from {', '.join(every)}")
    return tuple(every[name] for name in dict.fromkeys(names or every))


def read_models(path: Path) -> tuple[SuiteModel, ...]:
    """Read your own models from a JSON file.

        [{"name": "mine", "model": "shop/model.py:load", "input_shape": [3, 224, 224]},
         {"name": "other", "model": "shop:Net", "inputs": "shop:batch", "factory_args": ["n=3"]}]

    Raises:
        UsageError: the file cannot be read, or an entry is not of that form.
    """
    try:
        entries = json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError) as error:
        reason = getattr(error, "strerror", None) or error
        raise UsageError(
            f"cannot read the models in {path} ({reason}): give a JSON file as in docs/suite.md"
        ) from error
    if not isinstance(entries, list) or not entries:
        raise UsageError(f"{path} is not a list of models: see docs/suite.md")
    models = tuple(_own(path, number, entry) for number, entry in enumerate(entries, start=1))
    known = {model.name for model in MODELS}
    for number, model in enumerate(models, start=1):
        if model.name in known:
            raise UsageError(f"{path}, model {number}: there is another model {model.name!r}")
        known.add(model.name)
    return models


_NAME = re.compile(r"[a-z0-9][a-z0-9._-]*")


def _is_text(value: object) -> bool:
    return isinstance(value, str)


def _are_texts(value: object) -> bool:
    return isinstance(value, list) and all(map(_is_text, value))


def _is_shape(value: object) -> bool:
    return _is_text(value) or (isinstance(value, list) and all(type(n) is int for n in value))


_VALUES: dict[str, tuple[Callable[[object], bool], str]] = {
    "model": (_is_text, 'a text such as "shop/model.py:load"'),
    "input_shape": (_is_shape, "a list of whole numbers such as [3, 224, 224]"),
    "inputs": (_is_text, 'a text such as "shop:batch"'),
    "factory_args": (_are_texts, 'a list of texts such as ["layers=3"]'),
}
"""By key beside `name`: whether a value is of its type, and what to give."""
_KEYS = {"name", *_VALUES}


def _own(path: Path, number: int, entry: object) -> SuiteModel:
    where = f"{path}, model {number}"
    if not isinstance(entry, dict) or not {"name", "model"} <= entry.keys() <= _KEYS:
        keys = ", ".join(sorted(_KEYS))
        raise UsageError(f"{where}: a model has a name, a model and, of these, its inputs: {keys}")
    name = str(entry["name"])
    if not _NAME.fullmatch(name):
        raise UsageError(
            f"{where}: the name {name!r} is not small letters, digits, '.', '_', '-', a letter or "
            "digit first: a folder gets it"
        )
    for key, (is_right, wanted) in _VALUES.items():
        if key in entry and not is_right(entry[key]):
            raise UsageError(f"{where}: {key} of {name!r} must be {wanted}")
    shape = entry.get("input_shape")
    choice = OwnChoice(
        model=entry["model"],
        inputs=entry.get("inputs"),
        shape=",".join(map(str, shape)) if isinstance(shape, list) else shape,
        settings=tuple(entry.get("factory_args", ())),
    )
    try:
        choice.check()
    except UsageError as error:
        raise UsageError(f"{where}: {error}") from error
    return SuiteModel(name=name, kind="own", choice=choice)
