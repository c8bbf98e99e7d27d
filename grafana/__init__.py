"""What operators look at and are woken by."""
