"""Inspection of pills: predictions, decisions, boxes, pictures, shards."""
