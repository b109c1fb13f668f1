"""The stock model in a process that merely imported IPEX: what the import alone does.

Importing IPEX replaces kernels, autocast rules, `torch.jit.trace` and oneDNN's verbose switch for
the whole process, with no way back. Its speedup over stock tells that effect from that of
`ipex.optimize`.
"""

from __future__ import annotations

from bench.worker.backends.ipex import IMPORTS, load, verbose
from bench.worker.backends.stock import prepare

__all__ = ["IMPORTS", "load", "prepare", "verbose"]
