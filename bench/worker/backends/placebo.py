"""Run the stock model in a process that has imported IPEX: what does the import alone change?

Importing IPEX replaces kernels, autocast rules, `torch.jit.trace` and oneDNN's verbose switch for
the whole process, for good. This backend's speedup over stock separates that effect from that of
`ipex.optimize`.
"""

from __future__ import annotations

from bench.worker.backends.ipex import IMPORTS, load, verbose
from bench.worker.backends.stock import prepare

__all__ = ["IMPORTS", "load", "prepare", "verbose"]
