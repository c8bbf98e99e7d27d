"""In-memory data and state of one pool."""
