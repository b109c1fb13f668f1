"""`python -m bench` is the `bench` command."""

import sys

try:
    from bench.cli.main import main
except KeyboardInterrupt:  # so early that nothing has begun
    sys.exit(130)

main()
