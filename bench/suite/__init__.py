"""`bench suite`: many models, and for how many of them an answer is the same."""
