"""The long-running process: composition root, active configuration, reload."""
