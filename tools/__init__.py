"""Generators and build scripts of the project."""
