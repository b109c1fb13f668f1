"""The network, its weights, file format, backends and exports."""
