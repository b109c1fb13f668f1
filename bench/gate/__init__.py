"""Say whether this became slower, by an exit code that CI can trust on a noisy machine.

Each of three comparisons returns a `result.GateReport`:

    stored_runs.compare(baseline, candidate)    two stored runs of one machine: their speedups
    policy.check(policy, run)                   floors on speedups within one run
    against.compare(request)                    this tree and another commit, measured now

The report has the exit code (`result.GateReport.exit_code`). `outputs` turns it into a table,
Markdown, JUnit XML, GitHub annotations and JSON.
"""
