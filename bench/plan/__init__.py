"""Define what can be measured: scenarios, matrix, profiles, variables, and every threshold."""
