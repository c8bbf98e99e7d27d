"""State file that preserves the collected data across restarts."""
