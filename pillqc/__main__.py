"""`python -m pillqc` is the command `pillqc`."""

from pillqc.cli import main

if __name__ == "__main__":
    main()
