"""What the project generates from its own code."""
