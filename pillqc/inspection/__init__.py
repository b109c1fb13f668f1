"""A pill in, a decision out: probabilities, boxes, pictures, shards."""
