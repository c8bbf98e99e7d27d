"""`check-config --aws`: check of each AWS permission that the configuration needs."""
