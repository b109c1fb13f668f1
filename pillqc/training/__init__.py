"""Train a model: batches, loss, loop, and the shipped model's recipe."""
