"""Pool discovery, sweeps, and storage of the collected data in memory and in the state file."""
