"""`bench recommend`: choose the best valid scenario of a run for a wish, and give its code."""
