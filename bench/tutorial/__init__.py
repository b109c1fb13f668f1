"""`bench tutorial`: "Good or Bad Pill?" in its own order, each statement beside our measurement."""
