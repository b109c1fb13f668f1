"""Start a worker by `python -m bench.worker`; `--help` lists its options."""

import os
import sys

from bench.worker.main import main

if __name__ == "__main__":
    code = main()
    sys.stdout.flush()
    sys.stderr.flush()
    os._exit(code)  # libraries' threads and exit handlers have nothing left to do
