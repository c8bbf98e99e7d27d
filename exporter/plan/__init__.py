"""What sweeping the configured pools would take, said before it is done."""
