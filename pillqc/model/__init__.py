"""Build, load, run and export the network; define its weights and file format."""
