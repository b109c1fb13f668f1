"""Run the `bench` command as `python -m bench`."""

import sys

try:
    from bench.cli.main import main
except KeyboardInterrupt:  # nothing has begun
    sys.exit(130)

main()
