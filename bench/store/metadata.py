"""Declare the content of environment.json, the metadata of a run or a study, as a type.

    found = RunMetadata.of(records.read_environment(folder))
    found.machine.cpu_model, found.policy.verdict.confidence

What a file does not say, or says in another form, has its default: files of version 0.1 and of
later versions can be read, and so can those of a run that was killed.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from bench.plan.matrix import Exclusion  # noqa: TC001 - `typed_json` reads the annotations
from bench.plan.own_models import has_layouts
from bench.plan.thresholds import DEFAULT, Policy
from bench.store import typed_json


@dataclass(frozen=True, kw_only=True)
class Framework:
    """What torch, oneDNN or IPEX reports of itself."""

    version: str = ""
    isa: str = ""
    unavailable: str = ""
    """Why it reports nothing."""


@dataclass(frozen=True, kw_only=True)
class MachineFacts:  # as many fields as `bench.machine.describe` has keys that somebody reads
    """The machine as `bench.machine.describe` found it."""

    name: str = ""
    fingerprint: str = ""
    cpu_model: str = ""
    vendor: str = ""
    family: int | None = None
    model: int | None = None
    stepping: int | None = None
    architecture: str = ""
    isa: Mapping[str, bool] = field(default_factory=dict)
    native_bf16: bool | None = None
    physical_cores: int | None = None
    logical_cores: int | None = None
    sockets: int | None = None
    usable_physical_cores: int | None = None
    usable_logical_cores: int | None = None
    affinity: tuple[int, ...] = ()
    slow_cpus: tuple[int, ...] = ()
    cgroup_cpu_limit: float | None = None
    caches: Mapping[str, int] = field(default_factory=dict)
    """KiB by `l1d_kib`, `l2_kib`, `l3_kib`."""
    numa_nodes: tuple[Mapping[str, Any], ...] = ()
    memory_total_gib: float | None = None
    memory_limit_gib: float | None = None
    governor: str = ""
    turbo: bool | None = None
    instance_type: str = ""
    virtualization: str = ""
    container: str = ""
    os: str = ""
    kernel: str = ""
    libc: str = ""
    transparent_huge_pages: str = ""
    packages: Mapping[str, str] = field(default_factory=dict)
    env: Mapping[str, str] = field(default_factory=dict)
    frameworks: Mapping[str, Framework] = field(default_factory=dict)
    notes: tuple[str, ...] = ()


@dataclass(frozen=True, kw_only=True)
class EnvironmentFacts:
    """Another Python environment of the run."""

    version: str = ""
    """Of its Python."""
    packages: Mapping[str, str] = field(default_factory=dict)


@dataclass(frozen=True, kw_only=True)
class MatrixFacts:
    """What the run planned to measure."""

    scenarios: tuple[str, ...] = ()
    excluded: tuple[Exclusion, ...] = ()


@dataclass(frozen=True, kw_only=True)
class ModelFacts:
    """The model that was measured."""

    name: str = ""
    weights: str = ""
    trained: bool | None = None
    parameters: int | None = None
    gflop_per_image: float | None = None


@dataclass(frozen=True, kw_only=True)
class Form:
    """How a user's model is called, and what it returns."""

    is_plain: bool = True
    """Whether it takes one tensor and nothing else."""
    positional: int = 1
    """Arguments by position."""
    keywords: tuple[str, ...] = ()
    only_tensors: bool = True
    """Whether every argument is one tensor, and tracing can pass it by its name."""
    dims: tuple[int, ...] = (4,)
    """Numbers of dimensions among the input tensors."""
    weight_dims: tuple[int, ...] = (1, 2, 4)
    outputs: str = "tensors"
    """`tensors` for a tensor or a tuple of tensors, else `mapping`, `dataclass` or `nested`."""
    has_attention: bool = True
    """Whether it holds an attention layer of PyTorch's own."""
    has_values: bool = True
    """Whether a number other than zero was among the outputs; else that they agree says little."""

    @property
    def has_layouts(self) -> bool:
        """Whether a tensor has a memory layout to choose."""
        return has_layouts([*self.dims, *self.weight_dims])


@dataclass(frozen=True, kw_only=True)
class DataFacts:
    """The images that were measured on, or the inputs of a user's model."""

    source: str = ""
    """`synthetic`, `folder`; of a user's model `random` or `given`."""
    root: str = ""
    """The folder; of a user's model the shape of an item or the function of its inputs."""
    form: Form | None = None
    images: int | None = None
    sha256: str = ""


@dataclass(frozen=True, kw_only=True)
class PeakFacts:
    """The peak of large library calls, measured in the run."""

    gflop_per_s: Mapping[str, float] = field(default_factory=dict)
    """By dtype."""
    memory_gb_per_s: float | None = None


@dataclass(frozen=True, kw_only=True)
class HarnessFacts:
    """What the harness itself used."""

    parent_cpu_share: float | None = None
    measuring_share: float | None = None
    peak_memory_gib: float | None = None


@dataclass(frozen=True, kw_only=True)
class OwnModel:
    """A model of the user's own; empty for the inspector."""

    model: str = ""
    settings: tuple[str, ...] = ()
    inputs: str = ""
    shape: str = ""
    decide: str = ""
    calibration: str = ""
    train_step: str = ""


@dataclass(frozen=True, kw_only=True)
class RequestFacts:
    """What was typed, as far as pages show it; `bench.run.measure` reads the whole."""

    own: OwnModel = OwnModel()


@dataclass(frozen=True, kw_only=True)
class RunMetadata:  # as many fields as environment.json has keys
    """Everything that environment.json says of a run or a study."""

    run_id: str = ""
    started_utc: str = ""
    finished_utc: str = ""
    profile: str = ""
    budget_s: float | None = None
    complete: bool | None = None
    notes: tuple[str, ...] = ()
    commit: str = ""
    dirty: bool | None = None
    command: tuple[str, ...] = ()
    request: RequestFacts = RequestFacts()
    machine: MachineFacts = MachineFacts()
    environments: Mapping[str, EnvironmentFacts] = field(default_factory=dict)
    policy: Policy = DEFAULT
    matrix: MatrixFacts = MatrixFacts()
    peak: PeakFacts = PeakFacts()
    data: DataFacts = DataFacts()
    model: ModelFacts = ModelFacts()
    harness: HarnessFacts = field(default=HarnessFacts(), metadata={typed_json.ALSO: ("self",)})
    workers: Mapping[str, Mapping[str, Any]] = field(default_factory=dict)
    """Scenario -> its worker's conditions (`bench.worker.conditions`)."""
    has_model_policy: bool = False
    """Whether the file keeps thresholds of the model: version 0.1 judged by another rule."""

    @classmethod
    def of(cls, values: Mapping[str, Any]) -> RunMetadata:
        """Read the content of an environment.json."""
        policy = values.get("policy")
        return dataclasses.replace(
            typed_json.convert(cls, values, lenient=True),
            has_model_policy=isinstance(policy, Mapping) and policy.get("model") is not None,
        )
