"""Turn measured rows into comparisons, verdicts and answers: pure, from values to values."""
