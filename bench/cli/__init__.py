"""Define what people type: one file a command, with its options and exit codes."""
