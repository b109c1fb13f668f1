"""Put numbers, scenarios and verdicts into words."""
