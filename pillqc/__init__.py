"""The workload: a pill inspector on VGG-16, with its data, training, evaluation and command line.

Usable on its own; it never imports the benchmark. Nothing is imported here, so that rendering and
reading a folder do not wait for torch.
"""

__version__ = "0.2.0"
