"""The measurements, one module for each thing that a user would notice."""
