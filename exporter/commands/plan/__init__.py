"""`plan`: forecast calls, duration and series per pool."""
