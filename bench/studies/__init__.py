"""Studies: questions beside the matrix, measured with the same workers, rounds and intervals.

Each is one command: `bench operators`, `stages`, `instances`, `load`, `accuracy`. A study says what
its participants are and what one turn of a participant asks of its worker; launches, balanced
rounds, controls, noise and the files are `bench.studies.study`'s, which uses a run's own parts.
"""
