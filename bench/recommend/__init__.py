"""`bench recommend`: the best valid scenario of a run for a wish, and the code to use it."""
