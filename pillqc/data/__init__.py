"""Images in: folders, splits, masks, safe decoding."""
