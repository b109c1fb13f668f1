"""Training: batches, loss, loop, and the shipped model's recipe."""
