"""`bench tutorial`: go through "Good or Bad Pill?" and measure each statement."""
