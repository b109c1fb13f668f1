"""Run the commands of `pillqc`: each parses options, calls a module of the package, and prints."""
