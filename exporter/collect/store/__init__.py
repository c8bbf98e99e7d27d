"""In-memory data of one pool."""
