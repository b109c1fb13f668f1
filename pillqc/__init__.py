"""Inspect pills with VGG-16: data, training, evaluation and command line of the workload.

Usable on its own; it never imports the benchmark. Nothing is imported here, so that rendering and
reading a folder do not wait for torch.
"""

__version__ = "0.2.0"
