"""`bench suite`: measure many models, and count for how many of them an answer is the same."""
