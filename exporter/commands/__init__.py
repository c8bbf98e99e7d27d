"""The one-off commands."""
