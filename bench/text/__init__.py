"""Numbers, scenarios and verdicts in words."""
