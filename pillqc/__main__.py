"""Run the command `pillqc` as `python -m pillqc`."""

import sys

try:
    from pillqc.commands.main import main
except KeyboardInterrupt:  # while the modules are imported
    sys.exit(130)

if __name__ == "__main__":
    main()
