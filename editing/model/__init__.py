"""A model's parts, and running it."""
