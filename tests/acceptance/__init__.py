"""Tests that need real programs, or take long: `make acceptance`."""
