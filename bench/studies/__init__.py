"""Answer questions beside the matrix, each a study measured by the engine of a run."""
