"""What to measure: scenarios, the matrix, profiles, variables, and every threshold."""
