"""Numbers, scenarios and verdicts as people read them."""
