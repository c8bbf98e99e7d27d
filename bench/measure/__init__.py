"""Measurements, one module per aspect that users notice."""
