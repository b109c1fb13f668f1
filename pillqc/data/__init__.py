"""Read images: folders, splits, masks, safe decoding."""
