"""The engine: starts workers and measures groups of participants in paired rounds."""
