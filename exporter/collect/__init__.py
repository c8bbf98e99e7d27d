"""What is known about the pools, and how it is learned."""
