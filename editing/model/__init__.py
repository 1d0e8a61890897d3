"""Loading a model, finding its parts, and running it."""
