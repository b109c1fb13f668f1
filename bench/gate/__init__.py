"""Did this become slower? An exit code that CI can trust on a noisy machine.

Each of three comparisons returns a `result.GateReport`:

    stored.compare(baseline, candidate)    two stored runs of one machine: speedups, never times
    policy.check(policy, run)              floors on speedups within one run
    against.compare(request)               this working tree and another commit, measured now

`outputs` turns the report into a table, Markdown, JUnit XML, GitHub annotations and JSON.
"""
