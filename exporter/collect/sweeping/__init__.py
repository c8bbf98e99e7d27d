"""Sweep of one pool: list the users, read their devices, publish the result."""
