"""The files of a run: typed rows, run metadata, safe writing, the run's folder."""
