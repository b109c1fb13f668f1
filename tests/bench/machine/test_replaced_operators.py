"""The dispatcher's dump, before and after an import: which kernels are others."""

from __future__ import annotations

from bench.machine.replaced_operators import active_kernels, changes

BEFORE = """\
name: aten::cat
schema: aten::cat(Tensor[] tensors, int dim=0) -> Tensor
debug: registered at /build/aten/src/ATen/RegisterSchema.cpp:6
alias analysis kind: FROM_SCHEMA
CPU: registered at /build/aten/RegisterCPU.cpp:30476 :: (Tensor[] _0) -> Tensor [ boxed unboxed ]
Autograd[alias]: registered at /torch/VariableType.cpp:5 :: (Tensor[] _0) -> Tensor [ boxed ]
"""
AFTER = BEFORE.replace(
    "CPU: registered at /build/aten/RegisterCPU.cpp:30476",
    "CPU: registered at /ipex/csrc/cpu/aten/Cat.cpp:12 :: (Tensor[] _0) -> Tensor [ ]\n"
    "CPU (inactive): registered at /build/aten/RegisterCPU.cpp:30476",
) + ("AutocastCPU: registered at /ipex/csrc/cpu/autocast.cpp:3 :: (Tensor[] _0) -> Tensor [ ]\n")


def test_only_the_active_kernel_of_a_key_counts() -> None:
    """A later registration makes the earlier one inactive; the schema's own line is no kernel."""
    assert active_kernels(AFTER) == {
        "CPU": "registered at /ipex/csrc/cpu/aten/Cat.cpp:12",
        "Autograd": "registered at /torch/VariableType.cpp:5",
        "AutocastCPU": "registered at /ipex/csrc/cpu/autocast.cpp:3",
    }


def test_replaced_and_added_kernels_are_told_apart() -> None:
    """Unchanged keys, unchanged operators and new operators are left out."""
    before = {"aten::cat": active_kernels(BEFORE), "aten::add": {"CPU": "registered at x:1"}}
    after = {**before, "aten::cat": active_kernels(AFTER), "new::op": {"CPU": "registered at y:1"}}
    assert changes(before, after) == {
        "aten::cat": {
            "replaced": ["CPU"],
            "added": ["AutocastCPU"],
            "where": ["/ipex/csrc/cpu/aten/Cat.cpp:12", "/ipex/csrc/cpu/autocast.cpp:3"],
        }
    }
