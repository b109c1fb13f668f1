"""`python -m pillqc` is the command `pillqc`."""

import sys

try:
    from pillqc.commands.main import main
except KeyboardInterrupt:  # so early that nothing has begun
    sys.exit(130)

if __name__ == "__main__":
    main()
