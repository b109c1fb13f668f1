"""Studies: questions beside the matrix, measured by the engine of a run."""
