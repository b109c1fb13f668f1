"""A module of the user's with models, inputs and functions of theirs, and models made of it."""

from __future__ import annotations

from typing import Any

from bench.plan.scenario import Task, stock_default
from bench.worker.workload.own_model import OwnModel

SCENARIO = stock_default(Task.INFERENCE, 2)
CODE = """
import collections
import dataclasses
import functools
import threading
import torch
import warnings

class Small(torch.nn.Module):
    def __init__(self):
        super().__init__()
        self.layer = torch.nn.Conv2d(3, 4, 3)

    def forward(self, images):
        return self.layer(images)

class Named(Small):
    def forward(self, images):
        found = super().forward(images)
        return {"map": found, "boxes": [found.sum(), found.mean()]}

class Text(Small):
    def forward(self, images):
        return {"label": "good"}

class Remarked(Small):
    def forward(self, images):
        return {"map": super().forward(images), "unit": "mm", "items": 3, "loss": None}

class NotANumber(Small):
    def forward(self, images):
        return torch.log(super().forward(images) - 9)

class Sparse(Small):
    def forward(self, images):
        return super().forward(images).to_sparse()

class Forces(Small):
    def forward(self, images):
        with torch.enable_grad():
            places = images.clone().requires_grad_()
            return torch.autograd.grad(super().forward(places).sum(), places)[0]

class Lazy(torch.nn.Module):
    def __init__(self):
        super().__init__()
        self.layer = torch.nn.LazyConv2d(4, 3)

    def forward(self, images):
        return self.layer(images)

class Decorated(Small):
    @torch.compile(backend="aot_eager")
    def forward(self, images):
        return super().forward(images)

class Recurrent(torch.nn.LSTM):
    def __init__(self):
        super().__init__(4, 5)

KEPT = Small()

def kept():
    return KEPT

@functools.lru_cache
def cached():
    return Small()

def around_kept():
    return torch.nn.Sequential(KEPT, torch.nn.ReLU())

class Locked(Small):
    def __init__(self):
        super().__init__()
        self.lock = threading.Lock()

LOCKED = Locked()

def locked():
    return LOCKED

def compiled_part():
    made = torch.nn.Sequential(Small())
    made[0].compile()
    return made

def scripted_part():
    return torch.nn.Sequential(torch.jit.script(Small()))

def exported():
    return torch.export.export(Small().eval(), (torch.rand(1, 3, 8, 8),)).module()

def exported_part():
    return torch.nn.Sequential(torch.nn.Identity(), exported())

def quantised():
    return torch.nn.Sequential(
        torch.nn.Flatten(), torch.ao.nn.quantized.dynamic.Linear(192, 2)
    )

class MayBeQuantised(Small):
    def __init__(self):
        super().__init__()
        self.sum = torch.ao.nn.quantized.FloatFunctional()

    def forward(self, images):
        return self.sum.add(super().forward(images), torch.ones(1))

class Narrow(Small):
    def forward(self, images):
        return torch.zeros(2, 3) @ torch.zeros(2, 3)

class Caching(Small):
    kept = None

    def forward(self, images):
        if self.kept is None:
            self.kept = torch.zeros_like(images)
        return super().forward(images + self.kept)

class Normed(Small):
    def __init__(self):
        super().__init__()
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # PyTorch has a newer one
            torch.nn.utils.weight_norm(self.layer)

class Baked(Small):
    def forward(self, images):
        return super().forward(images) * float(images.mean())

class Nothing(Small):
    def forward(self, images):
        return [super().forward(images) * 0, images[:, :0]]

class Attention(torch.nn.TransformerEncoderLayer):
    def __init__(self):
        super().__init__(8, 2, 8, batch_first=True)

class Tokens(torch.nn.Module):
    def __init__(self, width=4, layers=0):
        super().__init__()
        self.words = torch.nn.Embedding(9, width)
        self.layers = torch.nn.Sequential(*(torch.nn.Linear(width, width) for _ in range(layers)))

    def forward(self, tokens, *, mask, scale=1, more=()):
        found = self.layers(self.words(tokens)) * mask.unsqueeze(-1) * scale
        return Output(logits=found + sum(more), loss=None)

@dataclasses.dataclass
class Output:
    logits: torch.Tensor
    loss: object

def by_keyword(size):
    return {"tokens": torch.arange(size * 3).reshape(size, 3) % 9, "mask": torch.ones(size, 3)}

def by_both(size):
    more = [torch.full((1,), 1.0), torch.full((1,), 2.0)]
    keywords = by_keyword(size)
    return (keywords.pop("tokens"),), {**keywords, "scale": 2, "more": more}

class Detector(Small):
    def forward(self, images):
        return [{"map": super(Detector, self).forward(one[None])[0]} for one in images]

def list_of_images(size):
    return [torch.rand(3, 8, 8) for _ in range(size)]

class Loop(Small):
    def train(self, loader, epochs):
        raise AssertionError("a training loop was entered")

class Silent(Small):
    def train(self, mode=True):
        super().train(mode)

class Random(Small):
    def forward(self, images):
        return torch.nn.functional.dropout(super().forward(images), training=True)

class InPlace(Small):
    def forward(self, images):
        return super().forward(images.mul_(1.5))

def scripted():
    return torch.jit.script(Small())

def compiled():
    return torch.compile(Small())

def half():
    return Small().bfloat16()

def exits():
    import argparse
    argparse.ArgumentParser().parse_args()
    raise SystemExit(3)

def downloads():
    import urllib.request
    urllib.request.urlopen("http://localhost:1/weights.pt")

def without_onednn():
    torch.backends.mkldnn.enabled = False
    return Small()

def products_in_bf16():
    torch.set_float32_matmul_precision("medium")
    return Small()

def products_in_tf32():
    torch.set_float32_matmul_precision("high")
    return Small()

def threads():
    torch.set_num_threads(torch.get_num_threads() + 1)
    return Small()

def broken():
    raise ValueError("no weights here\\nsecond line")

def a_number():
    return 3

def images(size):
    return torch.rand(size, 3, 8, 8)

class Filling(Small):
    def forward(self, images):
        return super().forward(images.nan_to_num(0.5))

class FillingInPlace(Small):
    def forward(self, images):
        return super().forward(images.nan_to_num_(0.5))

def with_gaps(size):
    found = torch.ones(size, 3, 8, 8)
    found[:, :, 2] = float("nan")
    found[:, :, 3] = float("inf")
    return found

def time_first(size):
    return torch.rand(3, size, 4)

def a_graph(size):
    return torch.rand(6 * size, 4), torch.arange(2 * size)

class OfGraph(torch.nn.Linear):
    def __init__(self):
        super().__init__(4, 4)

    def forward(self, nodes, chosen):
        return super().forward(nodes[chosen])

def sparse(size):
    return torch.rand(size, 3, 8, 8).to_sparse()

def one(size):
    return torch.rand(1, 3, 8, 8)

def no_tensor(size):
    return [size]

class Loaded(Small):
    def __init__(self):
        super().__init__()
        for weight in self.parameters():
            torch.nn.init.constant_(weight, 0.5)

class Pair(torch.nn.Module):
    def forward(self, left, right):
        return left + right

Point = collections.namedtuple("Point", "x y")

class OfPoint(torch.nn.Module):
    def forward(self, point):
        return point.x * point.y

def a_point(size):
    return (Point(torch.full((size,), 2.0), torch.full((size,), 3.0)),)

def largest(output):
    return output.logits.sum(2).argmax(1)

def words(output):
    return ["many" if one.sum() > 0 else "few" for one in output.logits.numpy()]

def by_unit(output):
    return [output["unit"]] * len(output["map"])

def two_labels(output):
    return [1, 2]

def a_float(output):
    return output.logits.sum((1, 2))

def scores(output):
    return output.logits.sum(1)

def no_label(output):
    return [None]

def always_four(size):
    return torch.rand(4, 3, 8, 8)

def one_at_a_time(size):
    if size > 1:
        raise ValueError("one at a time")
    return torch.rand(1, 3, 8, 8)

def one_number(output):
    return 3

def raises(*given):
    raise KeyError("no such thing")

def tokens_to_calibrate(size):
    for n in range(1000):
        yield by_keyword(size) | {"tokens": torch.full((size, 3), n % 9)}
    yield by_keyword(size - 1)

def images_to_calibrate(size):
    return [torch.rand(size + 1, 3, 8, 8), torch.rand(size, 3, 8, 8)]

def wrong_to_calibrate(size):
    return [torch.rand(size, 3, 9, 9)]

def no_list(size):
    return 3

def loss_of_tokens(model, batch):
    return model(**batch).logits.square().mean()

class Labelled(OfGraph):
    def forward(self, given, labels=None):
        return torch.nn.Linear.forward(self, given["nodes"])

def labelled(size):
    return {"given": {"nodes": torch.rand(size, 4)}, "labels": torch.arange(size) % 4}

def loss_of_popped(model, batch):
    labels, nodes = batch.pop("labels"), batch["given"].pop("nodes")
    return torch.nn.functional.cross_entropy(model({"nodes": nodes}), labels)

class Pooled(Small):
    def __init__(self):
        super().__init__()
        self.norm = torch.nn.BatchNorm1d(4)

    def forward(self, images):
        return self.norm(super().forward(images).mean((2, 3)))

def loss_of_first_step(model, batch):
    kept = vars(model).setdefault("kept", model(batch).mean())
    return kept.square()

def loss_of_images(model, batch):
    return (model(batch) - 1).square().mean()

def no_loss(model, batch):
    return float(model(batch).mean().detach())

@dataclasses.dataclass
class Config:
    width: int = 4

def of_config(config):
    return Tokens(config.width)

CONSTANT = 3
"""


def own(factory: str, **more: Any) -> OwnModel:
    """That model with random images of 8 by 8 pixels by default."""
    takes = more or {"shape": (3, 8, 8)}
    return OwnModel(factory=f"users_code:{factory}", seed=1, **takes)
