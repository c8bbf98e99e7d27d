"""One pass over a pool: list its users, read their devices, publish."""
