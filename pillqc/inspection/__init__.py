"""Inspect pills: predictions, decisions, boxes, pictures, shards."""
