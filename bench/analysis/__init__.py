"""Turn measured rows into comparisons, verdicts and answers: pure, from values to values.

From a run's rows to a verdict:

    speedups.py        a run's rows to `Measurements`, and back to the rows of speedups.csv
    measurements.py    the blocks that count, and why others do not
    judge.py           every comparison; nothing else calls the model
    noise_model.py     the model, and the interval that it gives (`robust.py`, `variances.py`)
    verdicts.py        the verdict of an interval
    claims.py          the best of one family of scenarios against the best of another
    run_facts.py       all of it, indexed for pages, exports and recommendations
"""
