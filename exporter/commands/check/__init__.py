"""`check-config --aws`: try each permission that the configuration needs."""
