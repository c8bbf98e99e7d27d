"""Status page and its JSON document."""
