"""Run the workload in a process of its own: the only code of `bench` that imports torch."""
